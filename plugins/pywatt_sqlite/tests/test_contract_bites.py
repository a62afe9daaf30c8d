"""The contract of a database fails for databases that break it: ours, broken on purpose."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pywatt_core.errors import StorageError
from pywatt_core.testing.contracts import DatabaseContract
from pywatt_sqlite import rows
from pywatt_sqlite.connection import Connection
from pywatt_sqlite.database import SqliteDatabase
from pywatt_sqlite.pool import Pool
from pywatt_sqlite.queries import SqliteQueries
from pywatt_sqlite.transaction import Transaction

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    Opened = Callable[..., AbstractAsyncContextManager[SqliteDatabase]]

contract = DatabaseContract()


async def test_a_connection_that_is_not_given_back_is_seen(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    given_back = Pool.release
    calls = iter(range(10**9))

    def forgetful(pool: Pool, connection: Connection) -> None:
        if next(calls) % 50:
            given_back(pool, connection)

    monkeypatch.setattr(Pool, "release", forgetful)
    with pytest.raises((StorageError, AssertionError)):
        await contract.test_random_cancellations_leak_nothing_and_leave_no_half_transaction(opened(acquire_timeout=0.2, close_timeout=0))


async def test_a_transaction_that_is_kept_half_is_seen(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    async def commit_instead(transaction: Transaction) -> None:
        transaction._left = True
        await transaction._connection.clean(lambda connection: connection.commit())

    monkeypatch.setattr(Transaction, "undo", commit_instead)
    with pytest.raises(AssertionError):
        await contract.test_an_exception_rolls_back_and_goes_on(opened(path="first.db"))
    with pytest.raises(AssertionError):
        await contract.test_a_cancelled_transaction_is_rolled_back(opened(path="second.db"))


async def test_an_iteration_that_reads_everything_at_once_is_seen(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "CHUNK_BYTES", 10**9)
    with pytest.raises(AssertionError):
        await contract.test_iteration_keeps_memory_bounded(opened())


async def test_an_error_that_shows_a_value_is_seen(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    async def telling(database: SqliteDatabase, sql: str, params: Any = ()) -> int:
        try:
            return await SqliteQueries.execute(database, sql, params)
        except StorageError as error:
            raise type(error)(f"{error} {params}") from error

    monkeypatch.setattr(SqliteDatabase, "execute", telling)
    insert = "INSERT INTO parents (id, name, age) VALUES (?, ?, ?)"
    with pytest.raises(AssertionError):
        await contract.test_a_violated_constraint_is_a_conflict_that_names_its_kind(opened(), "unique", insert, (1, "canary-71934", 1))
