"""What the tests of this plugin share: a database of its own for each test, on one real server."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any

import pytest

from pywatt_core.interfaces import Context
from pywatt_core.redaction import Secret
from pywatt_mysql import Options, open_mysql

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from pywatt_mysql.database import MySqlDatabase
    from tools.running_servers import MariadbServer

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def endless() -> str:
    """A statement that takes for ever, and does not notice that nobody waits for it."""
    return "SELECT count(*) FROM seq_1_to_100000000 AS a, seq_1_to_100000000 AS b"


@pytest.fixture(scope="session")
def how_many_endless() -> str:
    """Counts how often `endless` runs at the server."""
    return "SELECT count(*) FROM information_schema.processlist WHERE INFO LIKE 'SELECT count(*) FROM seq_1_to_100000000 AS a%'"


async def _ask(port: int, sql: str) -> Any:
    import asyncmy

    connection = await asyncmy.connect(host="127.0.0.1", port=port, user="pywatt", password="let-me-in", autocommit=True)
    try:
        async with connection.cursor() as cursor:
            await cursor.execute(sql)
            row = await cursor.fetchone()
            return None if row is None else row[0]
    finally:
        await connection.ensure_closed()


@pytest.fixture
def server(mariadb_server: MariadbServer) -> MariadbServer:
    """The server, for the tests that are the same for every server."""
    return mariadb_server


@pytest.fixture
def ask(mariadb_server: MariadbServer) -> Callable[[str], Any]:
    """Calls with SQL ask the server itself, through nothing of ours: the first value of the first row."""
    return lambda sql: asyncio.run(_ask(mariadb_server.port, sql))


@pytest.fixture
def schema(ask: Callable[[str], Any]) -> Iterator[str]:
    """An empty database of the server, for one test."""
    name = f"test_{next(_numbers)}"
    ask(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
    yield name
    ask(f"DROP DATABASE {name}")


@pytest.fixture
def opened(mariadb_server: MariadbServer, schema: str, tmp_path: Path) -> Callable[..., AbstractAsyncContextManager[MySqlDatabase]]:
    """Opens a database of the test's own: ``async with opened(slow_statement=0.1) as database``."""

    def open_it(**options: Any) -> AbstractAsyncContextManager[MySqlDatabase]:
        where = {
            "host": "127.0.0.1",
            "port": mariadb_server.port,
            "user": "pywatt",
            "password": Secret("let-me-in"),
            "database": schema,
        }
        chosen = Options(**{"close_timeout": 0.5, **({} if "url" in options else where), **options})
        return open_mysql(chosen, Context(module_id="test", section="databases.main", folder=tmp_path))

    return open_it
