"""PostgreSQL databases for PyWatt: this file describes, `database.py` acts."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from pywatt_core.hookspecs import hookimpl
from pywatt_core.interfaces import Context, Database, Provider
from pywatt_core.lazy import lazily

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from .database import PostgresDatabase
    from .options import Options as Options

__all__ = ["Options", "PostgresConnection", "PostgresDatabase", "open_postgres"]


@asynccontextmanager
async def open_postgres(options: Options, context: Context) -> AsyncIterator[PostgresDatabase]:
    """Connect or fail with `Unavailable`; on leaving, wait for running statements and close every connection."""
    from .database import PostgresDatabase  # imports asyncpg, which only an opened database needs

    database = await PostgresDatabase.open(options, context)
    try:
        yield database
    finally:
        await database.close()


@hookimpl
def pywatt_register_databases() -> Iterable[Provider[Database]]:
    return [
        Provider("postgres", "pywatt_postgres.options:Options", open_postgres),
        Provider("postgresql", "pywatt_postgres.options:Options", open_postgres),
    ]


__getattr__ = lazily(__name__, {"options": "Options", "database": "PostgresDatabase PostgresConnection"})
