"""What the earlier SDK called a database's and a cache's configuration, in every spelling that it had."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ..errors import ConfigError
from ..redaction import Secret, register, url_password


class DatabaseType(enum.Enum):
    """What kind of database. Made from any spelling: ``DatabaseType("postgres")``."""

    POSTGRESQL = "postgresql"
    POSTGRES = "postgresql"  # noqa: PIE796 - one member under two names
    MYSQL = "mysql"
    MARIADB = "mysql"  # noqa: PIE796
    SQLITE = "sqlite"

    @classmethod
    def _missing_(cls, value: object) -> DatabaseType | None:
        return _spelt(cls, value)


class CacheType(enum.Enum):
    """What kind of cache. Made from any spelling: ``CacheType("memory")``."""

    IN_MEMORY = "InMemory"
    MEMORY = "InMemory"  # noqa: PIE796
    REDIS = "Redis"
    MEMCACHED = "Memcached"
    FILE = "File"

    @classmethod
    def _missing_(cls, value: object) -> CacheType | None:
        return _spelt(cls, value)


class CachePolicy(enum.Enum):
    """Which key goes when there is no room. `RANDOM` is PyWatt's own: orchestrators that are not PyWatt's do not know it."""

    LRU = "LRU"
    LFU = "LFU"
    FIFO = "FIFO"
    MRU = "MRU"
    RANDOM = "RANDOM"
    NONE = "None"

    @classmethod
    def _missing_(cls, value: object) -> CachePolicy | None:
        return _spelt(cls, value)


E = TypeVar("E", bound=enum.Enum)


def _spelt(kind: type[E], value: object) -> E | None:
    """The member of this name, or of this value, in capitals or not, with or without ``_`` and ``-``."""
    wanted = str(value).replace("_", "").replace("-", "").lower()
    for name, member in kind.__members__.items():
        if wanted in (name.replace("_", "").lower(), str(member.value).lower()):
            return member
    return None


def _kind(kind: type[E], first: object, second: object, name: str, other: str) -> E | None:
    """One option in two spellings."""
    if first is not None and second is not None:
        raise ConfigError(f"{name} and {other} are the same: set one of them")
    said = first if first is not None else second
    if said is None:
        return None
    try:
        return kind(said)
    except ValueError:
        raise ConfigError(f"{other} is {said!r}: one of {', '.join(sorted(kind.__members__))} is needed") from None


def hidden(password: Secret | str | None) -> Secret | None:
    if isinstance(password, str):
        register(password, name="password")
        return Secret(password)
    return password


def _in_order(config: DatabaseConfig | CacheConfig, spellings: Sequence[tuple[str, str]]) -> None:
    """What both configurations do first: one spelling of each option, a list of hosts, and no password that could be shown."""
    for name, other in spellings:
        if getattr(config, name) not in (None, ()) and getattr(config, other) not in (None, ()):
            raise ConfigError(f"{name} and {other} are the same: set one of them")
    if isinstance(config.hosts, str):
        object.__setattr__(config, "hosts", (config.hosts,))
    object.__setattr__(config, "password", hidden(config.password))
    if config.url and url_password(config.url) is not None:
        register(config.url, name="url")


@dataclass(frozen=True, kw_only=True)
class DatabaseConfig:
    """A database, as a URL or in fields. Of two spellings of one option (``pool``, ``pool_config``) one may be set.

    What kind it is stands in `type`, `db_type` or the URL. Raises `ConfigError` where they say nothing, or not the same.
    """

    type: DatabaseType | str | None = None
    """The same as `db_type`."""
    db_type: DatabaseType | str | None = None
    """What kind of database it is."""
    url: str | None = field(default=None, repr=False)
    """Everything in one; it may hold a password, and is not shown."""
    host: str | None = None
    """The server."""
    hosts: Sequence[str] | str = ()
    """Servers, ``host`` or ``host:port``; a text is one."""
    port: int | None = None
    """Their port."""
    database: str | None = None
    """The database's name, or the file of SQLite. In ``proxy`` mode the service's, unless `service` names it."""
    username: str | None = None
    """Who to connect as."""
    user: str | None = None
    """The same as `username`."""
    password: Secret | str | None = field(default=None, repr=False)
    """Redacted everywhere."""
    ssl_mode: str | None = None
    """As the database spells it."""
    pool: Mapping[str, Any] | None = None
    """The options of the pool of connections, for example ``{"max_connections": 20}``."""
    pool_config: Mapping[str, Any] | None = None
    """The same as `pool`."""
    service: str | None = None
    """In ``proxy`` mode: the NAME of ``[services.NAME]``."""
    extra_params: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Further options of the provider; not shown, for a password may be among them."""

    def __post_init__(self) -> None:
        _in_order(self, (("host", "hosts"), ("username", "user"), ("pool", "pool_config")))
        self.kind  # noqa: B018 - wrong ones are told at once

    @property
    def kind(self) -> DatabaseType:
        """What kind of database it is."""
        said = _kind(DatabaseType, self.type, self.db_type, "type", "db_type")
        scheme = self.url.partition(":")[0].partition("+")[0] if self.url else ""
        in_url = _spelt(DatabaseType, scheme)
        if said is None and in_url is None:
            raise ConfigError("db_type is missing: a URL that begins with postgresql://, mysql:// or sqlite:// says it too")
        if said is not None and in_url is not None and said is not in_url:
            raise ConfigError(f"db_type is {said.value}, and the URL is one of {in_url.value}: remove one of them")
        kind = said or in_url
        assert kind is not None
        return kind


@dataclass(frozen=True, kw_only=True)
class CacheConfig:
    """A cache. Raises `ConfigError` for kinds and policies that there are not."""

    type: CacheType | str | None = None
    """The same as `cache_type`."""
    cache_type: CacheType | str | None = None
    """What kind of cache it is; in memory by default."""
    url: str | None = field(default=None, repr=False)
    """Everything about a server in one; it may hold a password, and is not shown."""
    host: str | None = None
    """The server."""
    hosts: Sequence[str] | str = ()
    """Servers, ``host`` or ``host:port``; a text is one."""
    port: int | None = None
    """Their port."""
    username: str | None = None
    """Who to connect as."""
    password: Secret | str | None = field(default=None, repr=False)
    """Redacted everywhere."""
    database: int | None = None
    """The number of a Redis database."""
    namespace: str | None = None
    """What every key begins with, at the server."""
    policy: CachePolicy | str | None = None
    """Of a cache in memory or in a file; least recently used by default."""
    default_ttl: float | None = None
    """Seconds that a value is kept where `set` does not say."""
    default_ttl_seconds: float | None = None
    """The same as `default_ttl`."""
    max_size_bytes: int | None = None
    """Of a cache in memory or in a file: how much room there is."""
    file_path: str | None = None
    """Of a file cache: the file."""
    tls_enabled: bool = False
    """Speak TLS with the server."""
    service: str | None = None
    """In ``proxy`` mode: the NAME of ``[services.NAME]``, ``main`` by default."""
    extra_params: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Further options of the provider; not shown, for a password may be among them."""

    def __post_init__(self) -> None:
        _in_order(self, (("host", "hosts"), ("default_ttl", "default_ttl_seconds")))
        self.kind, self.chosen_policy  # noqa: B018 - wrong ones are told at once

    @property
    def kind(self) -> CacheType:
        """What kind of cache it is."""
        return _kind(CacheType, self.type, self.cache_type, "type", "cache_type") or CacheType.IN_MEMORY

    @property
    def chosen_policy(self) -> CachePolicy | None:
        """`policy`, None where it is not said."""
        return _kind(CachePolicy, None, self.policy, "", "policy")

    @property
    def ttl(self) -> float | None:
        """`default_ttl`, whichever way it was spelt."""
        return self.default_ttl if self.default_ttl is not None else self.default_ttl_seconds
