"""Transactions as MariaDB has them: isolation that is real, deadlocks, statements that commit, commits that are carried through."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING

import pytest

from pywatt_core.errors import Conflict, StorageError
from pywatt_core.sql.options import PoolOptions
from pywatt_mysql.transaction import beginning
from tools.server_databases.transactions import TransactionSuite, make_counters

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from pywatt_mysql.database import MySqlDatabase

    Opened = Callable[..., AbstractAsyncContextManager[MySqlDatabase]]


class TestTransaction(TransactionSuite):
    connection = "SELECT CONNECTION_ID()"

    async def kill(self, watcher: MySqlDatabase, connection: int) -> None:
        await watcher.execute(f"KILL CONNECTION {connection}")


@pytest.mark.parametrize(
    ("isolation", "seen"), [("read committed", [0, 5]), ("REPEATABLE_READ", [0, 0]), (None, [0, 0]), ("read uncommitted", [9, 5])]
)
async def test_the_server_works_at_the_isolation_that_was_asked_for(opened: Opened, isolation: str | None, seen: list[int]) -> None:
    async with opened() as database:
        await make_counters(database)
        async with database.transaction(isolation=isolation) as reader:
            async with database.transaction() as writer:
                await writer.execute("UPDATE counters SET total = 9 WHERE id = 1")
                first = await reader.fetch_value("SELECT total FROM counters WHERE id = 1")
                await writer.execute("UPDATE counters SET total = 5 WHERE id = 1")
            assert [first, await reader.fetch_value("SELECT total FROM counters WHERE id = 1")] == seen
        async with database.transaction() as following:  # on the connection of the one before, or another: both as usual
            assert await following.fetch_value("SELECT @@tx_isolation") == "REPEATABLE-READ"


def test_an_isolation_is_a_name_and_never_a_statement() -> None:
    assert beginning(None, False) == ["START TRANSACTION"]
    assert beginning("Serializable", True) == ["SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", "START TRANSACTION READ ONLY"]
    with pytest.raises(StorageError, match="read uncommitted, read committed, repeatable read, serializable"):
        beginning("serializable; DROP TABLE items", False)


async def test_a_deadlock_is_a_conflict_for_one_of_the_two_and_ends_its_whole_transaction(opened: Opened) -> None:
    async with opened() as database:
        await make_counters(database)
        both = asyncio.Barrier(2)
        refused: list[str] = []

        async def cross(first: int, second: int) -> None:
            async with database.transaction() as transaction:
                await transaction.execute("UPDATE counters SET total = total + 1 WHERE id = ?", (first,))
                await both.wait()
                try:
                    async with transaction.transaction() as savepoint:
                        await savepoint.execute("UPDATE counters SET total = total + 1 WHERE id = ?", (second,))
                except Conflict:
                    with pytest.raises(StorageError, match="the server has rolled it back; run it again") as caught:
                        await transaction.execute("UPDATE counters SET total = 100 WHERE id = ?", (first,))
                    refused.append(str(caught.value))
                    raise

        outcomes = await asyncio.gather(cross(1, 2), cross(2, 1), return_exceptions=True)
        (conflict,) = [outcome for outcome in outcomes if outcome is not None]
        assert isinstance(conflict, Conflict)
        assert conflict.kind == "deadlock"
        assert len(refused) == 1
        assert await database.fetch_value("SELECT sum(total) FROM counters") == 2


async def test_a_deadlock_that_is_swallowed_cannot_be_committed(opened: Opened) -> None:
    async with opened() as database:
        await make_counters(database)
        both = asyncio.Barrier(2)

        async def cross(first: int, second: int) -> None:
            async with database.transaction() as transaction:
                await transaction.execute("UPDATE counters SET total = total + 1 WHERE id = ?", (first,))
                await both.wait()
                with suppress(Conflict):
                    await transaction.execute("UPDATE counters SET total = total + 1 WHERE id = ?", (second,))

        outcomes = await asyncio.gather(cross(1, 2), cross(2, 1), return_exceptions=True)
        (error,) = [outcome for outcome in outcomes if outcome is not None]
        assert str(error) == "the transaction is over: the server has rolled it back; run it again"
        assert await database.fetch_value("SELECT sum(total) FROM counters") == 2


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE more (id INT)",
        "ALTER TABLE counters ADD x INT",
        "DROP TABLE counters",
        "TRUNCATE counters",
        "LOCK TABLES counters READ",
    ],
)
async def test_a_statement_that_would_commit_is_refused_before_it_runs(opened: Opened, sql: str) -> None:
    async with opened() as database:
        await make_counters(database)
        with pytest.raises(StorageError, match="cannot be undone in MySQL, and commits the transaction that it is in: run it outside"):
            async with database.transaction() as transaction:
                await transaction.execute("UPDATE counters SET total = 1")
                await transaction.execute(sql)
        assert await database.fetch_value("SELECT sum(total) FROM counters") == 0


async def test_a_temporary_table_commits_nothing_and_does_not_outlive_its_user(opened: Opened) -> None:
    async with opened(pool=PoolOptions(max_connections=1)) as database:
        await make_counters(database)
        async with database.transaction() as transaction:
            await transaction.execute("UPDATE counters SET total = 1")
            await transaction.execute("CREATE TEMPORARY TABLE mine (id INT)")
            await transaction.execute("INSERT INTO mine VALUES (1)")
            await transaction.execute("DROP TEMPORARY TABLE IF EXISTS other")
            assert await transaction.fetch_value("SELECT count(*) FROM mine") == 1
        with pytest.raises(StorageError, match="there is no such table: mine"):
            await database.fetch_value("SELECT count(*) FROM mine")


async def test_a_commit_that_no_text_shows_ends_the_transaction_and_is_told(opened: Opened) -> None:
    async with opened() as database:
        await make_counters(database)
        await database.execute("CREATE PROCEDURE sly() BEGIN COMMIT; END")
        with pytest.raises(StorageError, match="the transaction is over: CALL has committed it"):
            async with database.transaction() as transaction:
                await transaction.execute("UPDATE counters SET total = 1")
                with pytest.raises(StorageError, match="nothing of it can be undone"):
                    await transaction.execute("CALL sly()")
                with pytest.raises(StorageError, match="the transaction is over: CALL has committed it"):
                    await transaction.execute("UPDATE counters SET total = 7")
                await transaction.execute("CALL sly()")
        assert await database.fetch_value("SELECT sum(total) FROM counters") == 2


async def test_after_a_failed_statement_the_transaction_goes_on(opened: Opened) -> None:
    async with opened() as database:
        await make_counters(database)
        async with database.transaction() as transaction:
            await transaction.execute("UPDATE counters SET total = 9 WHERE id = 1")
            with pytest.raises(Conflict):
                await transaction.execute("INSERT INTO counters VALUES (1, 1)")
            await transaction.execute("UPDATE counters SET total = 9 WHERE id = 2")
        assert await database.fetch_value("SELECT sum(total) FROM counters") == 18


async def test_a_transaction_that_is_cancelled_anywhere_is_kept_whole_or_not_at_all(opened: Opened) -> None:
    async with opened() as database:
        await make_counters(database)
        for steps in range(40):

            async def work() -> None:
                async with database.transaction() as outer:
                    await outer.execute("UPDATE counters SET total = total + 1 WHERE id = 1")
                    async with outer.transaction() as inner:
                        await inner.execute("UPDATE counters SET total = total + 1 WHERE id = 2")

            task = asyncio.create_task(work())
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            outcome = (await asyncio.gather(task, return_exceptions=True))[0]
            assert outcome is None or isinstance(outcome, asyncio.CancelledError)
            one, two = [row.total for row in await database.fetch_all("SELECT total FROM counters ORDER BY id FOR UPDATE")]
            assert one == two


async def test_the_task_that_has_a_savepoint_open_uses_the_savepoint(opened: Opened) -> None:
    async with opened() as database, database.transaction() as outer, outer.transaction() as inner:
        with pytest.raises(StorageError, match="open in the same task"):
            await outer.fetch_value("SELECT 1")
        assert await inner.fetch_value("SELECT 1") == 1
        with pytest.raises(StorageError, match="takes its isolation"):
            async with inner.transaction(isolation="serializable"):
                pass


async def test_statements_run_between_the_rows_of_an_iteration(opened: Opened) -> None:
    async with opened() as database:
        await database.execute("CREATE TABLE copies (n INT)")
        async with database.transaction() as transaction:
            async with aclosing(transaction.iterate("SELECT seq FROM seq_1_to_100")) as rows:
                async for row in rows:
                    await transaction.execute("INSERT INTO copies VALUES (?)", (row.seq,))
                    if row.seq == 50:
                        async with transaction.transaction() as savepoint:
                            await savepoint.execute("INSERT INTO copies VALUES (0)")
            assert await transaction.fetch_value("SELECT count(*) FROM copies") == 101
