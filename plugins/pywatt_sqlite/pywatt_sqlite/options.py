"""SQLite: where the file is, and how it is used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pywatt_core.sql.options import DIALECTS, PoolOptions

MEMORY = ":memory:"
READERS = 4
ACQUIRE_TIMEOUT = 10.0


@dataclass(frozen=True, kw_only=True)
class Options:
    """The keys of a ``[databases.NAME]`` section with ``use = "sqlite"``. Times are in seconds."""

    path: str = MEMORY
    """The file, made with its folder where it does not exist; ``:memory:`` is a database that lives as long as it is open."""
    url: str = ""
    """The same as `path`, as ``sqlite:///data/main.db``, ``sqlite:////an/absolute/path.db`` or ``sqlite:///:memory:``."""
    dsn: str = ""
    """The same as `url`."""
    database: str = ""
    """The same as `path`."""
    db: str = ""
    """The same as `path`."""
    type: str = ""
    """May name the kind of database once more: ``sqlite``."""
    db_type: str = ""
    """The same as `type`."""
    readers: int = READERS
    """How many connections read at the same time, at most. A ``:memory:`` database has one connection for everything."""
    read_only: bool = False
    """Open an existing file and refuse every change."""
    foreign_keys: bool = True
    """Enforce ``REFERENCES``; SQLite itself leaves that off."""
    journal_mode: Literal["wal", "delete", "truncate", "persist", "memory", "off"] = "wal"
    """With ``wal`` readers and the writer do not wait for each other. Network file systems need ``delete``."""
    synchronous: Literal["off", "normal", "full", "extra"] = "full"
    """``full``: what was committed survives a power cut. ``normal`` is faster and may lose the last commits then, no more."""
    busy_timeout: float = 5.0
    """How long a statement waits for a lock that another process holds."""
    acquire_timeout: float = ACQUIRE_TIMEOUT
    """How long a statement or a transaction waits for a connection that other tasks use."""
    close_timeout: float = 5.0
    """How long closing waits for what is still running before it is interrupted."""
    cached_statements: int = 128
    """How many compiled statements each connection keeps."""
    pool: PoolOptions | None = None
    """As for a server: `max_connections` stands for `readers`, and there is `acquire_timeout`. The rest means nothing for a file."""
    pool_config: PoolOptions | None = None
    """The same as `pool`."""
    slow_statement: float = 1.0
    """A statement that takes longer is logged with its text, never with its values. 0: none is."""

    def __post_init__(self) -> None:
        self._settle_path()
        self._settle_pool()
        for name in ("type", "db_type"):
            kind = getattr(self, name)
            if kind and DIALECTS.get(kind.lower()) != "sqlite":
                raise ValueError(f"{name} is {kind!r}, and this is sqlite: remove it, or change `use`")
        if not self.path:
            raise ValueError('path is empty: name a file, or ":memory:"')
        if self.read_only and self.path == MEMORY:
            raise ValueError("read_only needs a file: a database in memory would stay empty for ever")
        if self.readers < 1:
            raise ValueError(f"readers is {self.readers}: at least 1 is needed")
        if self.cached_statements < 0:
            raise ValueError(f"cached_statements is {self.cached_statements}: 0 or more is needed")
        for name in ("busy_timeout", "acquire_timeout", "close_timeout", "slow_statement"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} is {getattr(self, name)}: a number of seconds, 0 or more, is needed")

    def _settle_path(self) -> None:
        """Whatever names the file, `path` does from here on."""
        said = {name: text for name in ("url", "dsn", "database", "db") if (text := getattr(self, name))}
        if len(said) + (self.path != MEMORY) > 1:
            raise ValueError(f"{' and '.join(said)}{' and path' if self.path != MEMORY else ''} all name the file: set one of them")
        for name, text in said.items():
            object.__setattr__(self, "path", of_url(text, name) if name in ("url", "dsn") else text)
            object.__setattr__(self, name, "")  # so that a copy with another path is one

    def _settle_pool(self) -> None:
        if self.pool and self.pool_config:
            raise ValueError("pool_config is the same as pool: set one of them")
        pool = self.pool or self.pool_config
        if pool is None:
            return
        if self.readers != READERS or self.acquire_timeout != ACQUIRE_TIMEOUT:
            raise ValueError("pool says how many readers there are and how long to wait for one: remove readers and acquire_timeout")
        for name, value in (
            ("readers", pool.max_connections),
            ("acquire_timeout", pool.acquire_timeout),
            ("pool", None),
            ("pool_config", None),
        ):
            object.__setattr__(self, name, value)


def of_url(text: str, name: str) -> str:
    """The path in a URL such as ``sqlite:///data/main.db``. Raises `ValueError` that calls the option `name`."""
    from urllib.parse import unquote

    scheme, separator, rest = text.partition("://")
    if not separator or scheme.lower() not in ("sqlite", "sqlite+aiosqlite"):
        raise ValueError(f"{name} has to begin with sqlite:///")
    if rest and not rest.startswith("/"):
        raise ValueError(f"{name} names a server, and a file has none: write sqlite:///data/main.db")
    if "?" in rest:
        raise ValueError(f"{name} has parameters after a ?: set them as options of the section instead")
    return unquote(rest[1:]) or MEMORY
