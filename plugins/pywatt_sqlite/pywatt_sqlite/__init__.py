"""SQLite databases for PyWatt, and the plugin to read first: this file describes, `database.py` acts.

A plugin is an ordinary package with an entry point in the group ``pywatt``. It says what it provides in hooks (at the
end of this file), and imports its library only where something is really opened (in `open_sqlite`), so that looking at
what is installed stays cheap.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from pywatt_core.hookspecs import hookimpl
from pywatt_core.interfaces import Context, Database, Provider
from pywatt_core.lazy import lazily

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from .database import SqliteDatabase
    from .database import SqliteDatabase as SqliteConnection
    from .options import Options as Options

__all__ = ["Options", "SqliteConnection", "SqliteDatabase", "open_sqlite"]


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
    return [Provider("sqlite", "pywatt_sqlite.options:Options", open_sqlite)]


__getattr__ = lazily(__name__, {"options": "Options", "database": "SqliteDatabase SqliteConnection"})
