"""What the tests of this plugin share: a database of its own for each test, on one real server."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any

import pytest

from pywatt_core.interfaces import Context
from pywatt_core.redaction import Secret
from pywatt_postgres import Options, open_postgres

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from pywatt_postgres.database import PostgresDatabase
    from tools.running_servers import PostgresServer

_numbers = itertools.count(1)


async def _make(port: int, name: str) -> None:
    import asyncpg

    connection = await asyncpg.connect(host="127.0.0.1", port=port, user="postgres", database="postgres", timeout=30)
    try:
        await connection.execute(f"CREATE DATABASE {name}")
    finally:
        await connection.close()


@pytest.fixture
def database_name(postgres_server: PostgresServer) -> str:
    """An empty database on the server."""
    name = f"test_{next(_numbers)}"
    asyncio.run(_make(postgres_server.port, name))
    return name


@pytest.fixture
def opened(
    postgres_server: PostgresServer, database_name: str, tmp_path: Path
) -> Callable[..., AbstractAsyncContextManager[PostgresDatabase]]:
    """Opens the test's database: ``async with opened(slow_statement=0.1) as database``."""

    def open_it(**options: Any) -> AbstractAsyncContextManager[PostgresDatabase]:
        where = {"host": "127.0.0.1", "port": postgres_server.port, "user": "pywatt", "password": Secret("let-me-in")}
        if "url" in options:
            where = {}
        else:
            where["database"] = database_name
        chosen = Options(**{"close_timeout": 0.5, **where, **options})
        return open_postgres(chosen, Context(module_id="test", section="databases.main", folder=tmp_path))

    return open_it
