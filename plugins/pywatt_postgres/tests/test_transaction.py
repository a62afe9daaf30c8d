"""Transactions as PostgreSQL has them: isolation that is real, failures that abort, savepoints, commits that are carried through."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest

from pywatt_core.errors import Conflict, StorageError, Unavailable
from pywatt_core.sql.options import PoolOptions
from pywatt_postgres import transaction as transactions
from pywatt_postgres.transaction import beginning
from tools.server_databases.transactions import TransactionSuite, make_counters

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from pywatt_postgres.database import PostgresDatabase

    Opened = Callable[..., AbstractAsyncContextManager[PostgresDatabase]]


class TestTransaction(TransactionSuite):
    connection = "SELECT pg_backend_pid()"

    async def kill(self, watcher: PostgresDatabase, connection: int) -> None:
        await watcher.fetch_value("SELECT pg_terminate_backend(?)", (connection,))


@pytest.mark.parametrize("isolation", ["read committed", "repeatable read", "SERIALIZABLE", "repeatable_read"])
async def test_the_server_works_at_the_isolation_that_was_asked_for(opened: Opened, isolation: str) -> None:
    async with opened() as database, database.transaction(isolation=isolation, read_only=True) as transaction:
        assert await transaction.fetch_value("SHOW transaction_isolation") == isolation.lower().replace("_", " ")
        assert await transaction.fetch_value("SHOW transaction_read_only") == "on"


def test_an_isolation_is_a_name_and_never_a_statement() -> None:
    assert beginning(None, False) == "BEGIN"
    assert beginning("Serializable", True) == "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY"
    with pytest.raises(StorageError, match="read uncommitted, read committed, repeatable read, serializable"):
        beginning("serializable; DROP TABLE items", False)
    with pytest.raises(StorageError, match="isolation 4 is not one of PostgreSQL's"):
        beginning(4, False)  # type: ignore[arg-type]


async def test_a_lost_race_is_a_conflict_of_the_kind_serialization(opened: Opened) -> None:
    async with opened() as database:
        await make_counters(database)
        with pytest.raises(Conflict, match="run the transaction again") as caught:
            async with database.transaction(isolation="repeatable read") as one:
                await one.fetch_value("SELECT total FROM counters WHERE id = 1")
                async with database.transaction() as other:
                    await other.execute("UPDATE counters SET total = 5 WHERE id = 1")
                await one.execute("UPDATE counters SET total = 7 WHERE id = 1")
        assert caught.value.kind == "serialization"
        assert await database.fetch_value("SELECT total FROM counters WHERE id = 1") == 5


async def test_a_deadlock_is_a_conflict_of_the_kind_deadlock_for_one_of_the_two(opened: Opened) -> None:
    async with opened() as database:
        await make_counters(database)
        both = asyncio.Barrier(2)

        async def cross(first: int, second: int) -> None:
            async with database.transaction() as transaction:
                await transaction.execute("SET LOCAL deadlock_timeout = '20ms'")
                await transaction.execute("UPDATE counters SET total = total + 1 WHERE id = ?", (first,))
                await both.wait()
                await transaction.execute("UPDATE counters SET total = total + 1 WHERE id = ?", (second,))

        outcomes = await asyncio.gather(cross(1, 2), cross(2, 1), return_exceptions=True)
        (conflict,) = [outcome for outcome in outcomes if outcome is not None]
        assert isinstance(conflict, Conflict)
        assert conflict.kind == "deadlock"
        assert await database.fetch_value("SELECT sum(total) FROM counters") == 2


async def test_committing_after_a_failed_statement_says_that_nothing_was_kept(opened: Opened) -> None:
    async with opened() as database:
        await make_counters(database)
        with pytest.raises(StorageError, match="nothing of it was kept; let the error leave the block"):
            async with database.transaction() as transaction:
                await transaction.execute("UPDATE counters SET total = 9")
                with pytest.raises(StorageError):
                    await transaction.execute("SELECT nothing FROM nowhere")
                with pytest.raises(StorageError, match="a statement of the transaction failed before"):
                    await transaction.fetch_value("SELECT 1")
        assert await database.fetch_value("SELECT sum(total) FROM counters") == 0


async def test_what_may_fail_goes_into_a_savepoint(opened: Opened) -> None:
    async with opened() as database:
        await make_counters(database)
        async with database.transaction() as transaction:
            await transaction.execute("UPDATE counters SET total = 9 WHERE id = 1")
            with pytest.raises(Conflict):
                async with transaction.transaction() as savepoint:
                    await savepoint.execute("INSERT INTO counters VALUES (1, 1)")
            with pytest.raises(StorageError, match="a statement of the transaction failed before"):
                async with transaction.transaction() as savepoint:
                    with pytest.raises(Conflict):
                        await savepoint.execute("INSERT INTO counters VALUES (1, 1)")
            await transaction.execute("UPDATE counters SET total = 9 WHERE id = 2")
        assert await database.fetch_value("SELECT sum(total) FROM counters") == 18


async def test_a_constraint_that_is_checked_at_the_end_fails_the_commit(opened: Opened) -> None:
    async with opened() as database:
        await database.execute("CREATE TABLE pairs (id INT PRIMARY KEY, other INT REFERENCES pairs (id) DEFERRABLE INITIALLY DEFERRED)")
        with pytest.raises(Conflict) as caught:
            async with database.transaction() as transaction:
                await transaction.execute("INSERT INTO pairs VALUES (1, 2)")
        assert caught.value.kind == "foreign key"
        assert await database.fetch_value("SELECT count(*) FROM pairs") == 0


async def test_a_savepoint_that_is_cancelled_anywhere_leaves_its_transaction_usable(opened: Opened) -> None:
    async with opened() as database:
        await make_counters(database)
        for steps in range(40):
            async with database.transaction() as outer:

                async def inside(outer: Any = outer) -> None:
                    async with outer.transaction() as inner:
                        await inner.execute("UPDATE counters SET total = total + 1 WHERE id = 1")

                task = asyncio.create_task(inside())
                for _ in range(steps):
                    await asyncio.sleep(0)
                task.cancel()
                kept = not isinstance((await asyncio.gather(task, return_exceptions=True))[0], BaseException)
                before = await outer.fetch_value("SELECT total FROM counters WHERE id = 1")
                await outer.execute("UPDATE counters SET total = 0 WHERE id = 1")
            assert before == 1 if kept else before in (0, 1)
        assert await database.fetch_value("SELECT total FROM counters WHERE id = 1") == 0


async def test_the_task_that_has_a_savepoint_open_uses_the_savepoint(opened: Opened) -> None:
    async with opened() as database, database.transaction() as outer, outer.transaction() as inner:
        with pytest.raises(StorageError, match="open in the same task"):
            await outer.fetch_value("SELECT 1")
        assert await inner.fetch_value("SELECT 1") == 1
        with pytest.raises(StorageError, match="takes its isolation"):
            async with inner.transaction(isolation="serializable"):
                pass


async def test_statements_run_between_the_rows_of_an_iteration(opened: Opened) -> None:
    async with opened() as database, database.transaction() as transaction:
        await transaction.execute("CREATE TABLE copies (n INT)")
        async with aclosing(transaction.iterate("SELECT n FROM generate_series(1, 100) AS n")) as rows:
            async for row in rows:
                await transaction.execute("INSERT INTO copies VALUES (?)", (row.n,))
        assert await transaction.fetch_value("SELECT count(*) FROM copies") == 100


async def test_a_long_transaction_does_not_collect_cursors_at_the_server(opened: Opened) -> None:
    async with opened() as database, database.transaction() as transaction:
        for _ in range(20):
            async with aclosing(transaction.iterate("SELECT n FROM generate_series(1, 100) AS n")) as rows:
                await anext(rows)
        assert await transaction.fetch_value("SELECT count(*) FROM pg_cursors WHERE name LIKE '%portal%'") == 0


async def test_a_commit_without_an_answer_says_that_nobody_knows(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transactions, "ENDING_TIMEOUT", 0.2)
    monkeypatch.setattr(transactions, "CLEANING_TIMEOUT", 0.1)
    pid = 0
    async with opened(statement_timeout=0, pool=PoolOptions(max_connections=1)) as database:
        await make_counters(database)
        try:
            with pytest.raises(Unavailable, match=r"COMMIT had no answer within 0\.2 s: whether it was done is unknown"):
                async with database.transaction() as transaction:
                    await transaction.execute("UPDATE counters SET total = 1")
                    pid = await transaction.fetch_value("SELECT pg_backend_pid()")
                    os.kill(pid, signal.SIGSTOP)
        finally:
            os.kill(pid, signal.SIGCONT)
        assert await database.fetch_value("SELECT sum(total) FROM counters") in (0, 2)
