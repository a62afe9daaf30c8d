"""MariaDB and MySQL databases for PyWatt: this file describes, `database.py` acts."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from pywatt_core.hookspecs import hookimpl
from pywatt_core.interfaces import Context, Database, Provider
from pywatt_core.lazy import lazily

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from .database import MySqlDatabase
    from .options import Options as Options

__all__ = ["MySqlConnection", "MySqlDatabase", "Options", "open_mysql"]


@asynccontextmanager
async def open_mysql(options: Options, context: Context) -> AsyncIterator[MySqlDatabase]:
    """Connect or fail with `Unavailable`; on leaving, wait for running statements and close every connection."""
    from .database import MySqlDatabase  # imports asyncmy, which only an opened database needs

    database = await MySqlDatabase.open(options, context)
    try:
        yield database
    finally:
        await database.close()


@hookimpl
def pywatt_register_databases() -> Iterable[Provider[Database]]:
    return [Provider(name, "pywatt_mysql.options:Options", open_mysql) for name in ("mysql", "mariadb")]


__getattr__ = lazily(__name__, {"options": "Options", "database": "MySqlDatabase MySqlConnection"})
