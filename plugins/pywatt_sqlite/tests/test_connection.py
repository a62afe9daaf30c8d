"""A connection's thread: waiting for other processes' locks, interrupted, given up."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import weakref
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from pywatt_core.errors import StorageError, Unavailable
from pywatt_sqlite.connection import Connection

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from pywatt_sqlite.database import SqliteDatabase

    Opened = Callable[..., AbstractAsyncContextManager[SqliteDatabase]]


ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


def stranger(path: Path) -> closing[sqlite3.Connection]:
    """A connection that is not ours, as another process would have it."""
    return closing(sqlite3.connect(path, isolation_level=None))


async def test_a_lock_of_another_process_is_waited_for(opened: Opened, tmp_path: Path) -> None:
    async with opened(busy_timeout=50) as database:
        await database.execute("CREATE TABLE t (x)")
        with stranger(tmp_path / "test.db") as other:
            other.execute("BEGIN IMMEDIATE")
            writing = asyncio.create_task(database.execute("INSERT INTO t VALUES (1)"))
            await asyncio.wait({writing}, timeout=0.1)
            assert not writing.done()
            assert await database.fetch_all("SELECT * FROM t") == []
            other.execute("COMMIT")
            assert await writing == 1


async def test_a_lock_that_is_not_freed_in_time_is_unavailable(opened: Opened, tmp_path: Path) -> None:
    async with opened(busy_timeout=0.05) as database:
        await database.execute("CREATE TABLE t (x)")
        with stranger(tmp_path / "test.db") as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(Unavailable, match="another process holds"):
                await database.execute("INSERT INTO t VALUES (1)")
            with pytest.raises(Unavailable, match="another process holds"):
                async with database.transaction():
                    pass
        assert await database.execute("INSERT INTO t VALUES (1)") == 1


async def test_who_stops_waiting_for_a_lock_does_not_write_later(opened: Opened, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with opened(busy_timeout=50) as database:
        await database.execute("CREATE TABLE t (x)")
        with stranger(tmp_path / "test.db") as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await database.execute("INSERT INTO t VALUES ('late')")
            other.execute("COMMIT")
        assert await database.execute("INSERT INTO t VALUES ('in time')") == 1
        assert await database.fetch_all("SELECT x FROM t") == [{"x": "in time"}]
    assert "given up" not in caplog.text


async def test_a_thread_that_cannot_be_interrupted_is_given_up_and_replaced(tmp_path: Path) -> None:
    connection = Connection((tmp_path / "a.db").as_uri(), (), busy_timeout=1, cached_statements=10, patience=0.05)
    await connection.open()
    begun, stuck = threading.Event(), threading.Event()

    def disk_that_does_not_answer(_: sqlite3.Connection) -> None:
        begun.set()
        stuck.wait()

    task = asyncio.create_task(connection.run(disk_that_does_not_answer))
    while not begun.is_set():
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert connection.lost
    with pytest.raises(Unavailable, match="given up"):
        await connection.run(lambda connection: connection.execute("SELECT 1"))
    connection.abandon()
    stuck.set()
    await asyncio.to_thread(connection._worker._thread.join, 30)
    assert not connection._worker._thread.is_alive()


async def test_stopping_what_is_over_does_not_touch_what_runs(tmp_path: Path) -> None:
    connection = Connection((tmp_path / "a.db").as_uri(), (), busy_timeout=1, cached_statements=10)
    await connection.open()
    await connection.run(lambda connection: connection.execute("SELECT 1").fetchall())
    over = connection._latest
    assert over is not None
    begun, go_on = threading.Event(), threading.Event()

    def hold() -> int:
        begun.set()
        go_on.wait()
        return 0

    def count(connection: sqlite3.Connection) -> int:
        connection.set_progress_handler(hold, 10)
        (total,) = connection.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 9999) SELECT count(*) FROM n"
        ).fetchone()
        return int(total)

    counting = asyncio.create_task(connection.run(count))
    while not begun.is_set():
        await asyncio.sleep(0)
    await connection._stop(over)
    go_on.set()
    assert await counting == 9999
    assert not connection.lost
    await connection.close()


async def test_a_connection_keeps_neither_what_was_asked_nor_what_was_answered(opened: Opened) -> None:
    class Watched(str):
        """Text that can be watched."""

    async with opened(path=":memory:") as database:
        asked = Watched("x" * 1000)
        answered = (await database.fetch_all("SELECT ? AS value", (asked,)))[0]
        watched = weakref.ref(asked)
        del asked
        assert watched() is None
        (connection,) = database._readers._connections
        assert connection._latest is not None
        assert not [value for value in vars(connection._latest).values() if value in ([answered], answered)]


async def test_a_pool_replaces_a_connection_that_was_given_up(opened: Opened) -> None:
    async with opened(readers=1) as database:
        reader = await database._readers.acquire()
        reader.lost = True
        waiting = asyncio.create_task(database.fetch_value("SELECT 7"))
        await asyncio.sleep(0)
        database._readers.release(reader)
        await reader._ended()
        assert await waiting == 7
        assert await database._readers.acquire() is not reader


async def test_closing_leaves_no_thread_and_no_file_but_the_database(opened: Opened, tmp_path: Path) -> None:
    before = set(threading.enumerate())
    async with opened(readers=3) as database:
        await database.execute("CREATE TABLE t (x)")
        await asyncio.gather(*[database.fetch_all("SELECT * FROM t") for _ in range(10)])
        assert len(set(threading.enumerate()) - before) == 4
        assert (tmp_path / "test.db-wal").exists()
    assert set(threading.enumerate()) - before == set()
    assert [path.name for path in tmp_path.iterdir()] == ["test.db"]


async def test_closing_interrupts_what_does_not_end(opened: Opened) -> None:
    before = set(threading.enumerate())
    async with opened(close_timeout=0.05, readers=2) as database:
        endless = [asyncio.create_task(database.fetch_value(ENDLESS)) for _ in range(4)]
        await asyncio.wait(endless, timeout=0.05)
    outcomes = await asyncio.gather(*endless, return_exceptions=True)
    assert [isinstance(outcome, StorageError) for outcome in outcomes] == [True] * 4
    assert set(threading.enumerate()) - before == set()


async def test_a_thousand_cancellations_leave_no_thread_and_no_lock(opened: Opened, tmp_path: Path) -> None:
    before = set(threading.enumerate())
    async with opened(readers=2) as database:
        await database.execute("CREATE TABLE t (x)")
        for number in range(1000):
            statement = ENDLESS if number % 3 else "INSERT INTO t VALUES (1)"
            task = asyncio.create_task(database.execute(statement) if number % 2 else database.fetch_value(statement + " " * (number % 5)))
            for _ in range(number % 7):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert len(set(threading.enumerate()) - before) <= 3
        with stranger(tmp_path / "test.db") as other:
            other.execute("BEGIN EXCLUSIVE")
            other.execute("ROLLBACK")
            assert other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
    assert set(threading.enumerate()) - before == set()
