"""A server that goes away and comes back: errors are typed meanwhile, and nobody has to start again."""

from __future__ import annotations

import asyncio
import gc
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from pywatt_core.errors import StorageError
from pywatt_core.interfaces import Context
from pywatt_core.sql.options import PoolOptions
from pywatt_postgres import Options, open_postgres
from tools.running_servers import PostgresServer
from tools.server_databases.restart import RestartSuite

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractAsyncContextManager

    from pywatt_postgres.database import PostgresDatabase
    from tools.running_servers import RunningServer


@pytest.fixture
def own_server(start_server: Callable[..., Any]) -> Iterator[PostgresServer]:
    """A server that the test may stop."""
    with start_server(PostgresServer) as server:
        yield server


def opened(server: RunningServer, **options: Any) -> AbstractAsyncContextManager[PostgresDatabase]:
    where = {"host": "127.0.0.1", "port": server.port, "user": "postgres", "database": "postgres", "close_timeout": 0.5}
    return open_postgres(Options(**{**where, **options}), Context(module_id="test", section="databases.main"))


class TestRestart(RestartSuite):
    connections = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pywatt test'"
    unreachable = "connecting: the server cannot be reached"

    def opened(self, server: RunningServer, **options: Any) -> AbstractAsyncContextManager[PostgresDatabase]:
        return opened(server, **options)


async def test_a_server_that_is_down_costs_a_line_of_the_log_and_no_traceback(
    own_server: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(own_server, pool=PoolOptions(min_connections=2)) as database:
        await database.ping()
        await asyncio.to_thread(own_server.stop)
        async with asyncio.timeout(60):
            while not caplog.records:
                with suppress(StorageError):
                    await database.ping()
                await asyncio.sleep(0.01)
    for record in caplog.records:  # it may be going down still
        assert re.fullmatch(r"connecting: the (server cannot be reached|database system is) .*; it is tried again", record.getMessage())
    assert "Traceback" not in caplog.text


async def test_connecting_that_is_given_up_leaves_no_error_that_nobody_looks_at(own_server: PostgresServer) -> None:
    told: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(str(context)))

    async def connect() -> None:
        async with opened(own_server):
            pass

    for turns in range(60):
        task = asyncio.create_task(connect())
        for _ in range(turns % 30):
            await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError, StorageError):
            await task
    await connect()
    gc.collect()
    assert told == []
