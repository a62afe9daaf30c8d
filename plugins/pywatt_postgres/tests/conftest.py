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
    from collections.abc import Callable, Iterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from pywatt_postgres.database import PostgresDatabase
    from tools.running_servers import PostgresServer

_numbers = itertools.count(1)


async def _ask(port: int, sql: str) -> Any:
    import asyncpg

    connection = await asyncpg.connect(host="127.0.0.1", port=port, user="postgres", database="postgres", timeout=30)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


@pytest.fixture
def server(postgres_server: PostgresServer) -> PostgresServer:
    """The server, for the tests that are the same for every server."""
    return postgres_server


@pytest.fixture
def ask(postgres_server: PostgresServer) -> Callable[[str], Any]:
    """Calls with SQL ask the server itself, through nothing of ours: the first value of the first row."""
    return lambda sql: asyncio.run(_ask(postgres_server.port, sql))


@pytest.fixture
def schema(ask: Callable[[str], Any]) -> Iterator[str]:
    """An empty schema of the database ``postgres``, for one test."""
    name = f"test_{next(_numbers)}"
    ask(f"CREATE SCHEMA {name}")
    yield name
    ask(f"DROP SCHEMA {name} CASCADE")


@pytest.fixture
def opened(postgres_server: PostgresServer, schema: str, tmp_path: Path) -> Callable[..., AbstractAsyncContextManager[PostgresDatabase]]:
    """Opens a database of the test's own: ``async with opened(slow_statement=0.1) as database``."""

    def open_it(**options: Any) -> AbstractAsyncContextManager[PostgresDatabase]:
        where = {
            "host": "127.0.0.1",
            "port": postgres_server.port,
            "user": "pywatt",
            "password": Secret("let-me-in"),
            "database": "postgres",
        }
        chosen = Options(**{"close_timeout": 0.5, "schema": schema, **({} if "url" in options else where), **options})
        return open_postgres(chosen, Context(module_id="test", section="databases.main", folder=tmp_path))

    return open_it
