"""SQLite databases for PyWatt, and the plugin to read first: this file describes, `database.py` acts.

A plugin is an ordinary package with an entry point in the group ``pywatt``. It says what it provides in hooks (at the
end of this file), and imports its library only where something is really opened (in `open_sqlite`), so that looking at
what is installed stays cheap.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pywatt_core.hookspecs import hookimpl
from pywatt_core.interfaces import Context, Database, Provider

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from .database import SqliteDatabase

__all__ = ["Options", "open_sqlite"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """The keys of a ``[databases.NAME]`` section with ``use = "sqlite"``. Times are in seconds."""

    path: str = ":memory:"
    """The file, made with its folder where it does not exist; ``:memory:`` is a database that lives as long as it is open."""
    readers: int = 4
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
    acquire_timeout: float = 10.0
    """How long a statement or a transaction waits for a connection that other tasks use."""
    close_timeout: float = 5.0
    """How long closing waits for what is still running before it is interrupted."""
    cached_statements: int = 128
    """How many compiled statements each connection keeps."""

    def __post_init__(self) -> None:
        if not self.path:
            raise ValueError('path is empty: name a file, or ":memory:"')
        if self.read_only and self.path == ":memory:":
            raise ValueError("read_only needs a file: a database in memory would stay empty for ever")
        if self.readers < 1:
            raise ValueError(f"readers is {self.readers}: at least 1 is needed")
        if self.cached_statements < 0:
            raise ValueError(f"cached_statements is {self.cached_statements}: 0 or more is needed")
        for name in ("busy_timeout", "acquire_timeout", "close_timeout"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} is {getattr(self, name)}: a number of seconds, 0 or more, is needed")


@asynccontextmanager
async def open_sqlite(options: Options, context: Context) -> AsyncIterator[SqliteDatabase]:
    """Open the file or fail with `Unavailable`; on leaving, wait for running statements and close every connection."""
    from .database import SqliteDatabase  # imports aiosqlite, which only an opened database needs

    database = await SqliteDatabase.open(options, context.folder)
    try:
        yield database
    finally:
        await database.close()


@hookimpl
def pywatt_register_databases() -> Iterable[Provider[Database]]:
    return [Provider("sqlite", Options, open_sqlite)]
