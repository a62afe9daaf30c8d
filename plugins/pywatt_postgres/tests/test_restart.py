"""A server that goes away and comes back: errors are typed meanwhile, and nobody has to start again."""

from __future__ import annotations

import asyncio
import gc
import re
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from pywatt_core.errors import StorageError, Unavailable
from pywatt_core.interfaces import Context
from pywatt_core.sql.options import PoolOptions
from pywatt_postgres import Options, open_postgres
from tools.running_servers import PostgresServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractAsyncContextManager

    from pywatt_postgres.database import PostgresDatabase


@pytest.fixture
def own_server(start_server: Callable[..., Any]) -> Iterator[PostgresServer]:
    """A server that the test may stop."""
    with start_server(PostgresServer) as server:
        yield server


def opened(server: PostgresServer, **options: Any) -> AbstractAsyncContextManager[PostgresDatabase]:
    where = {"host": "127.0.0.1", "port": server.port, "user": "postgres", "database": "postgres", "close_timeout": 0.5}
    return open_postgres(Options(**{**where, **options}), Context(module_id="test", section="databases.main"))


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
async def test_under_load_a_restart_is_a_gap_and_nothing_more(own_server: PostgresServer, how: signal.Signals) -> None:
    pool = PoolOptions(max_connections=5, acquire_timeout=5)
    async with opened(own_server, pool=pool, application_name="load") as database:
        await database.execute("CREATE TABLE counters (id INT PRIMARY KEY, total INT NOT NULL)")
        await database.execute("INSERT INTO counters SELECT generate_series(0, 9), 0")
        stop = asyncio.Event()
        kept, refused, wrong, last = [0] * 10, [], [], [""] * 10

        async def load(number: int) -> None:
            while not stop.is_set():
                try:
                    async with database.transaction() as transaction:
                        await transaction.execute("UPDATE counters SET total = total + 1 WHERE id = ?", (number,))
                        await transaction.fetch_value("SELECT 1")
                    kept[number] += 1
                    last[number] = "kept"
                except Unavailable as error:
                    refused.append(str(error))
                    last[number] = "refused"
                    await asyncio.sleep(0.01)
                except StorageError as error:  # the statement after the one that broke
                    refused.append(str(error))
                    last[number] = "refused"
                except Exception as error:
                    wrong.append(error)

        async def until(condition: Callable[[], bool]) -> None:
            async with asyncio.timeout(60):
                while not condition():
                    await asyncio.sleep(0.01)

        tasks = [asyncio.create_task(load(number)) for number in range(10)]
        await until(lambda: min(kept) > 3)
        await asyncio.to_thread(own_server.stop, how)
        await until(lambda: len(refused) >= 20)
        await asyncio.to_thread(own_server.start)
        before = list(kept)
        await until(lambda: all(after > old + 3 for after, old in zip(kept, before, strict=True)))
        stop.set()
        await asyncio.gather(*tasks)
        assert wrong == []
        rows = await database.fetch_all("SELECT id, total FROM counters ORDER BY id")
        if how is signal.SIGINT:  # a killed server may lose what synchronous_commit=off had promised
            assert all(kept[row.id] <= row.total <= kept[row.id] + 1 for row in rows), (kept, rows)
        connections = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'load'"
        assert await database.fetch_value(connections) <= 5
        assert not [text for text in refused if "Traceback" in text or "object at" in text]


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


async def test_an_idle_database_notices_nothing_of_a_restart(own_server: PostgresServer) -> None:
    async with opened(own_server) as database:
        await database.ping()
        await asyncio.to_thread(own_server.restart)
        await asyncio.sleep(0)
        async with asyncio.timeout(60):
            while True:
                try:
                    assert await database.fetch_value("SELECT 1") == 1
                    break
                except Unavailable:  # its end has not been heard of yet
                    continue


async def test_without_a_server_every_call_is_unavailable(own_server: PostgresServer) -> None:
    async with opened(own_server, pool=PoolOptions(min_connections=0)) as database:
        await asyncio.to_thread(own_server.stop)
        async with asyncio.timeout(30):
            while True:
                with pytest.raises(Unavailable) as caught:
                    await database.ping()
                if "cannot be reached" in str(caught.value):
                    break
        with pytest.raises(Unavailable, match="connecting: the server cannot be reached"):
            await database.execute("DELETE FROM items")
        with pytest.raises(Unavailable):
            async with database.transaction():
                pass
        with pytest.raises(Unavailable):
            async for _ in database.iterate("SELECT 1"):
                pass
