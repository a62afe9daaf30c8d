"""What is particular to SQLite's transactions."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import aclosing, closing
from typing import TYPE_CHECKING

import pytest

from pywatt_core.errors import Conflict, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from pywatt_sqlite.database import SqliteDatabase
    from pywatt_sqlite.transaction import Transaction

    Opened = Callable[..., AbstractAsyncContextManager[SqliteDatabase]]


ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) INSERT INTO t SELECT i FROM n"


async def test_a_transaction_that_sqlite_has_rolled_back_says_so_and_commits_nothing(opened: Opened) -> None:
    async with opened() as database:
        await database.execute("CREATE TABLE t (x UNIQUE)")
        with pytest.raises(StorageError, match="rolled the transaction back"):
            async with database.transaction() as transaction:
                await transaction.execute("INSERT INTO t VALUES (1)")
                with pytest.raises(Conflict):
                    await transaction.execute("INSERT OR ROLLBACK INTO t VALUES (1)")
                with pytest.raises(StorageError, match="rolled the transaction back"):
                    await transaction.execute("INSERT INTO t VALUES (2)")
        assert await database.fetch_all("SELECT * FROM t") == []


async def test_a_change_that_was_interrupted_takes_its_whole_transaction_along(opened: Opened) -> None:
    async with opened() as database:
        await database.execute("CREATE TABLE t (x)")
        with pytest.raises(StorageError, match="rolled the transaction back"):
            async with database.transaction() as transaction:
                await transaction.execute("INSERT INTO t VALUES (1)")
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.1), transaction.transaction() as inner:
                        await inner.execute(ENDLESS)
                await transaction.execute("INSERT INTO t VALUES (2)")
        assert await database.fetch_all("SELECT * FROM t") == []


async def test_a_constraint_that_is_checked_at_the_end_fails_the_commit(opened: Opened) -> None:
    async with opened() as database:
        await database.execute("CREATE TABLE parents (id INTEGER PRIMARY KEY)")
        await database.execute("CREATE TABLE children (parent REFERENCES parents (id) DEFERRABLE INITIALLY DEFERRED)")
        with pytest.raises(Conflict, match="foreign key"):
            async with database.transaction() as transaction:
                await transaction.execute("INSERT INTO children VALUES (1)")
        async with database.transaction() as transaction:
            await transaction.execute("INSERT INTO children VALUES (1)")
            await transaction.execute("INSERT INTO parents VALUES (1)")
        assert await database.fetch_all("SELECT * FROM children") == [{"parent": 1}]


async def test_a_commit_that_has_begun_is_carried_through_a_cancellation(opened: Opened, tmp_path: Path) -> None:
    async with opened(journal_mode="delete", busy_timeout=50) as database:
        await database.execute("CREATE TABLE t AS SELECT 1 AS x UNION SELECT 2")

        async def insert() -> None:
            async with database.transaction() as transaction:
                await transaction.execute("INSERT INTO t VALUES (3)")

        with closing(sqlite3.connect(tmp_path / "test.db", timeout=0, isolation_level=None)) as other:
            reading = other.execute("SELECT * FROM t")
            assert reading.fetchone() == (1,)  # while this goes on, a commit has to wait
            task = asyncio.create_task(insert())
            late = sqlite3.connect(tmp_path / "test.db", timeout=0)
            with closing(late), pytest.raises(sqlite3.OperationalError, match="locked"):
                while True:  # a reader is refused as soon as the commit waits
                    late.execute("SELECT * FROM t").fetchall()
                    await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait({task}, timeout=0.1)
            assert not task.done()
            reading.close()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert await database.fetch_value("SELECT max(x) FROM t") == 3


async def test_two_writers_of_one_file_lose_nothing(opened: Opened) -> None:
    async with opened() as first, opened() as second:
        await first.execute("CREATE TABLE t (total)")
        await first.execute("INSERT INTO t VALUES (0)")

        async def count(database: SqliteDatabase) -> None:
            async with database.transaction() as transaction:
                total = await transaction.fetch_value("SELECT total FROM t")
                await transaction.execute("UPDATE t SET total = ?", (total + 1,))

        await asyncio.gather(*[count(database) for database in (first, second) for _ in range(20)])
        assert await second.fetch_value("SELECT total FROM t") == 40


async def test_a_deferred_transaction_that_was_overtaken_is_a_conflict(opened: Opened) -> None:
    async with opened() as first, opened() as second:
        await first.execute("CREATE TABLE t (x)")
        with pytest.raises(Conflict, match="run the transaction again"):
            async with first.transaction(isolation="DEFERRED") as transaction:
                assert await transaction.fetch_all("SELECT * FROM t") == []
                await second.execute("INSERT INTO t VALUES (1)")
                await transaction.execute("INSERT INTO t VALUES (2)")
        assert await first.fetch_all("SELECT * FROM t") == [{"x": 1}]


async def test_a_read_only_transaction_sees_one_state_beside_a_writer(opened: Opened) -> None:
    async with opened() as database:
        await database.execute("CREATE TABLE t (x)")
        async with database.transaction(read_only=True) as transaction:
            assert await transaction.fetch_all("SELECT * FROM t") == []
            await database.execute("INSERT INTO t VALUES (1)")
            assert await transaction.fetch_all("SELECT * FROM t") == []
        assert await database.fetch_all("SELECT * FROM t") == [{"x": 1}]


@pytest.mark.parametrize("isolation", ["immediate", "exclusive"])
async def test_a_read_only_transaction_takes_no_lock_for_writing(opened: Opened, isolation: str) -> None:
    async with opened() as database:
        with pytest.raises(StorageError, match=isolation):
            async with database.transaction(read_only=True, isolation=isolation):
                pass


async def test_a_savepoint_has_no_isolation_of_its_own(opened: Opened) -> None:
    async with opened() as database, database.transaction() as transaction:
        with pytest.raises(StorageError, match="takes its isolation"):
            async with transaction.transaction(isolation="immediate"):
                pass
        with pytest.raises(StorageError, match="takes its isolation"):
            async with transaction.transaction(read_only=True):
                pass


async def test_the_outer_transaction_is_not_used_inside_the_inner_one(opened: Opened) -> None:
    async with opened() as database:
        await database.execute("CREATE TABLE t (x)")
        async with database.transaction() as outer, outer.transaction() as inner:
            with pytest.raises(StorageError, match="use the object that it gave you"):
                await outer.execute("INSERT INTO t VALUES (1)")
            await inner.execute("INSERT INTO t VALUES (2)")
        assert await database.fetch_all("SELECT * FROM t") == [{"x": 2}]


async def test_an_iteration_does_not_outlive_its_transaction(opened: Opened) -> None:
    async with opened() as database:
        await database.execute("CREATE TABLE t (x)")
        async with database.transaction() as transaction:
            for number in range(1000):
                await transaction.execute("INSERT INTO t VALUES (?)", (number,))
            rows = transaction.iterate("SELECT x FROM t ORDER BY x")
            assert (await anext(rows)).x == 0
            await transaction.execute("UPDATE t SET x = x")
        with pytest.raises(StorageError, match="the transaction is over"):
            async for _ in rows:
                pass
        async with database.transaction() as transaction, aclosing(transaction.iterate("SELECT x FROM t")) as rows:
            await anext(rows)
        assert await database.execute("DROP TABLE t") == 0


async def test_a_task_left_behind_in_a_transaction_changes_nothing_after_it(opened: Opened) -> None:
    async with opened() as database:
        await database.execute("CREATE TABLE t (x)")
        with pytest.raises(ZeroDivisionError):
            async with database.transaction() as transaction:
                left = [asyncio.create_task(transaction.execute("INSERT INTO t VALUES (?)", (number,))) for number in range(5)]
                await asyncio.sleep(0)
                raise ZeroDivisionError
        await asyncio.gather(*left, return_exceptions=True)
        assert await database.fetch_all("SELECT * FROM t") == []


async def test_a_savepoint_left_behind_in_a_task_touches_no_later_transaction(opened: Opened) -> None:
    async with opened() as database:
        await database.execute("CREATE TABLE t (x)")
        inside, go_on = asyncio.Event(), asyncio.Event()

        async def stay(outer: Transaction) -> None:
            async with outer.transaction() as inner, aclosing(inner.iterate("SELECT 1 AS x UNION SELECT 2")) as rows:
                assert (await anext(rows)).x == 1
                inside.set()
                await go_on.wait()
                await inner.execute("INSERT INTO t VALUES ('from the past')")

        with pytest.raises(ZeroDivisionError):
            async with database.transaction() as transaction:
                left = asyncio.create_task(stay(transaction))
                await inside.wait()
                raise ZeroDivisionError
        async with database.transaction() as later:
            await later.execute("INSERT INTO t VALUES ('kept')")
            go_on.set()
            with pytest.raises(StorageError, match="the transaction is over"):
                await left
            await later.execute("INSERT INTO t VALUES ('kept too')")
        assert await database.fetch_all("SELECT x FROM t") == [{"x": "kept"}, {"x": "kept too"}]


async def test_who_is_cancelled_after_the_end_interrupts_nobody_else(opened: Opened) -> None:
    async with opened() as database:
        await database.execute("CREATE TABLE t (x)")
        for number in range(50):
            with pytest.raises(ZeroDivisionError):
                async with database.transaction() as transaction:
                    left = [asyncio.create_task(transaction.execute("INSERT INTO t VALUES ('undone')")) for _ in range(3)]
                    for _ in range(number % 7):
                        await asyncio.sleep(0)
                    raise ZeroDivisionError
            writing = asyncio.create_task(database.execute("INSERT INTO t VALUES (?)", (number,)))
            for task in left:
                await asyncio.sleep(0)
                task.cancel()
            assert await writing == 1
            await asyncio.gather(*left, return_exceptions=True)
        assert [row.x for row in await database.fetch_all("SELECT x FROM t")] == list(range(50))
