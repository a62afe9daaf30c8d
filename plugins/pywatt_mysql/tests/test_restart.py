"""A server that goes away and comes back: errors are typed meanwhile, and nobody has to start again."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pywatt_core.errors import StorageError, Unavailable
from pywatt_core.interfaces import Context
from pywatt_core.redaction import Secret
from pywatt_core.sql.options import PoolOptions
from pywatt_mysql import Options, open_mysql, running
from tools.running_servers import MariadbServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractAsyncContextManager

    from pywatt_mysql.database import MySqlDatabase


@pytest.fixture
def own_server(start_server: Callable[..., Any]) -> Iterator[MariadbServer]:
    """A server that the test may stop."""
    with start_server(MariadbServer) as server:
        yield server


def opened(server: MariadbServer, **options: Any) -> AbstractAsyncContextManager[MySqlDatabase]:
    where = {
        "host": "127.0.0.1",
        "port": server.port,
        "user": "pywatt",
        "password": Secret("let-me-in"),
        "database": "test",
        "close_timeout": 0.5,
    }
    return open_mysql(Options(**{**where, **options}), Context(module_id="test", section="databases.main"))


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
async def test_under_load_a_restart_is_a_gap_and_nothing_more(own_server: MariadbServer, how: signal.Signals) -> None:
    async with opened(own_server, pool=PoolOptions(max_connections=5, acquire_timeout=5)) as database:
        await database.execute("CREATE TABLE counters (id INT PRIMARY KEY, total INT NOT NULL)")
        await database.execute("INSERT INTO counters SELECT seq, 0 FROM seq_0_to_9")
        stop = asyncio.Event()
        kept, unclear, refused, wrong = [0] * 10, [0] * 10, [], []

        async def load(number: int) -> None:
            while not stop.is_set():
                try:
                    async with database.transaction() as transaction:
                        await transaction.execute("UPDATE counters SET total = total + 1 WHERE id = ?", (number,))
                        await transaction.fetch_value("SELECT 1")
                    kept[number] += 1
                except StorageError as error:
                    refused.append(error)
                    unclear[number] += "COMMIT" in str(error)
                    await asyncio.sleep(0.01)
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
        await until(lambda: all(now > then + 3 for now, then in zip(kept, before, strict=True)))
        stop.set()
        await asyncio.gather(*tasks)
        assert wrong == []
        assert {type(error) for error in refused} <= {Unavailable, StorageError}
        rows = await database.fetch_all("SELECT id, total FROM counters ORDER BY id")
        if how is signal.SIGTERM:  # a killed server may lose what innodb_flush_log_at_trx_commit=0 had promised
            assert all(kept[row.id] <= row.total <= kept[row.id] + unclear[row.id] for row in rows), (kept, unclear, rows)
        assert await database.fetch_value("SELECT count(*) FROM information_schema.processlist WHERE DB = 'test'") <= 5
        assert not [error for error in refused if "Traceback" in str(error) or "object at" in str(error)]


async def test_an_idle_database_notices_nothing_of_a_restart(own_server: MariadbServer) -> None:
    async with opened(own_server) as database:
        await database.ping()
        await asyncio.to_thread(own_server.restart)
        async with asyncio.timeout(60):
            while True:
                try:
                    assert await database.fetch_value("SELECT 1") == 1
                    break
                except Unavailable:  # its end has not been heard of yet
                    continue


async def test_without_a_server_every_call_is_unavailable(own_server: MariadbServer) -> None:
    async with opened(own_server, pool=PoolOptions(min_connections=0)) as database:
        await asyncio.to_thread(own_server.stop)
        async with asyncio.timeout(30):
            while True:
                with pytest.raises(Unavailable) as caught:
                    await database.ping()
                if "cannot be reached" in str(caught.value):
                    break
        with pytest.raises(Unavailable, match=r"connecting to mysql://pywatt@127.0.0.1:\d+/test: the server cannot be reached"):
            await database.execute("DELETE FROM items")
        with pytest.raises(Unavailable):
            async with database.transaction():
                pass
        with pytest.raises(Unavailable):
            async for _ in database.iterate("SELECT 1"):
                pass


def freeze(server: MariadbServer) -> None:
    """Stop every thread of the server, and wait until they have stopped."""
    process = server._process
    assert process is not None
    os.kill(process.pid, signal.SIGSTOP)
    give_up = time.monotonic() + 30
    threads = Path(f"/proc/{process.pid}/task")
    while any((thread / "stat").read_text().rpartition(")")[2].split()[0] != "T" for thread in threads.iterdir()):
        assert time.monotonic() < give_up, "it does not stop"


def thaw(server: MariadbServer) -> None:
    """Have it go on."""
    assert server._process is not None
    os.kill(server._process.pid, signal.SIGCONT)


async def test_a_server_that_hangs_is_told_within_the_deadline(own_server: MariadbServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "ENDING_TIMEOUT", 0.2)
    async with opened(own_server, connect_timeout=0.2, statement_timeout=0.3, pool=PoolOptions(max_connections=2)) as database:
        await database.execute("CREATE TABLE t (id INT)")
        freeze(own_server)
        try:
            with pytest.raises(Unavailable, match=r"does not answer within 0\.2 s"):
                await database.ping()
            with pytest.raises(Unavailable, match="did not answer in time"):
                await database.execute("INSERT INTO t VALUES (1)")
        finally:
            thaw(own_server)
        async with asyncio.timeout(30):
            while True:
                try:
                    await database.ping()
                    break
                except Unavailable:
                    continue
        with pytest.raises(Unavailable, match=r"COMMIT had no answer within 0\.2 s: whether it was done is unknown"):
            try:
                async with database.transaction() as transaction:
                    await transaction.execute("INSERT INTO t VALUES (1)")
                    freeze(own_server)
            finally:
                thaw(own_server)
        async with asyncio.timeout(30):
            assert await database.fetch_value("SELECT count(*) FROM t") in (0, 1)
