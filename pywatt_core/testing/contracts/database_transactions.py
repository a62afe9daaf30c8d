"""The contract's third group: transactions and savepoints, alone and among many tasks."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager

import pytest

from pywatt_core.errors import Conflict, StorageError
from pywatt_core.interfaces import Database, Queries

from .database_backend import DatabaseBackend, count_items, make_items

Backend = AbstractAsyncContextManager[Database]

INSERT = "INSERT INTO items (id, name) VALUES (?, ?)"


class Stop(Exception):
    """Raised by a test inside a transaction."""


class DatabaseTransactions(DatabaseBackend):
    async def test_a_transaction_is_committed_when_its_block_ends(self, backend: Backend) -> None:
        async with backend as database:
            await make_items(database)
            async with database.transaction() as transaction:
                assert await transaction.execute(INSERT, (1, "a")) == 1
                assert await transaction.fetch_value("SELECT name FROM items WHERE id = 1") == "a"
                assert await transaction.fetch_all("SELECT id FROM items") == [{"id": 1}]
            assert await count_items(database) == 1

    async def test_an_exception_rolls_back_and_goes_on(self, backend: Backend) -> None:
        async with backend as database:
            await make_items(database)
            error = Stop()
            with pytest.raises(Stop) as caught:
                async with database.transaction() as transaction:
                    await transaction.execute(INSERT, (1, "a"))
                    raise error
            assert caught.value is error
            assert await count_items(database) == 0

    async def test_a_statement_that_fails_rolls_everything_back(self, backend: Backend) -> None:
        async with backend as database:
            await make_items(database, 1)
            with pytest.raises(Conflict):
                async with database.transaction() as transaction:
                    await transaction.execute(INSERT, (2, "b"))
                    await transaction.execute(INSERT, (1, "again"))
            assert await count_items(database) == 1

    async def test_a_savepoint_is_undone_alone(self, backend: Backend) -> None:
        async with backend as database:
            await make_items(database)
            async with database.transaction() as outer:
                await outer.execute(INSERT, (1, "outer"))
                with pytest.raises(Stop):
                    async with outer.transaction() as inner:
                        await inner.execute(INSERT, (2, "undone"))
                        raise Stop
                with pytest.raises(Conflict):
                    async with outer.transaction() as inner:
                        await inner.execute(INSERT, (1, "exists already"))
                async with outer.transaction() as inner:
                    await inner.execute(INSERT, (3, "kept"))
                    with pytest.raises(Stop):
                        async with inner.transaction() as innermost:
                            await innermost.execute(INSERT, (4, "undone"))
                            raise Stop
            assert [row.id for row in await database.fetch_all("SELECT id FROM items ORDER BY id")] == [1, 3]

    async def test_a_savepoint_goes_with_its_transaction(self, backend: Backend) -> None:
        async with backend as database:
            await make_items(database)
            with pytest.raises(Stop):
                async with database.transaction() as outer:
                    async with outer.transaction() as inner:
                        await inner.execute(INSERT, (1, "a"))
                    raise Stop
            assert await count_items(database) == 0

    async def test_a_cancelled_transaction_is_rolled_back(self, backend: Backend) -> None:
        async with backend as database:
            await make_items(database)
            inside = asyncio.Event()

            async def work() -> None:
                async with database.transaction() as transaction:
                    await transaction.execute(INSERT, (1, "a"))
                    async with transaction.transaction() as inner:
                        await inner.execute(INSERT, (2, "b"))
                        inside.set()
                        await asyncio.Event().wait()

            for _ in range(5):
                inside.clear()
                task = asyncio.create_task(work())
                await inside.wait()
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert await count_items(database) == 0

    async def test_a_cancelled_savepoint_leaves_its_transaction_usable(self, backend: Backend) -> None:
        async with backend as database:
            await make_items(database)
            async with database.transaction() as outer:
                await outer.execute(INSERT, (1, "before"))
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.05), outer.transaction() as inner:
                        await inner.execute(INSERT, (2, "undone"))
                        await asyncio.Event().wait()
                await outer.execute(INSERT, (3, "after"))
            assert [row.id for row in await database.fetch_all("SELECT id FROM items ORDER BY id")] == [1, 3]

    async def test_others_see_only_what_was_committed(self, backend: Backend) -> None:
        async with backend as database:
            await make_items(database, 1)
            async with database.transaction() as transaction:
                await transaction.execute(INSERT, (2, "b"))
                if self.readers_beside_writer:
                    assert await asyncio.create_task(count_items(database)) == 1
                others = asyncio.create_task(count_items(database)) if not self.readers_beside_writer else None
            if others is not None:
                assert await others == 2
            assert await count_items(database) == 2

    async def test_a_transaction_is_of_no_use_after_its_block(self, backend: Backend) -> None:
        async with backend as database:
            await make_items(database)
            async with database.transaction() as outer:
                async with outer.transaction() as inner:
                    await inner.execute(INSERT, (1, "a"))
                with pytest.raises(StorageError):
                    await inner.execute(INSERT, (2, "too late"))
            with pytest.raises(StorageError):
                await outer.execute(INSERT, (3, "too late"))
            with pytest.raises(StorageError):
                async with outer.transaction():
                    pass
            with pytest.raises(StorageError):
                async for _ in outer.iterate("SELECT id FROM items"):
                    pass
            assert await count_items(database) == 1

    async def test_an_isolation_that_does_not_exist_is_refused_by_its_name(self, backend: Backend) -> None:
        async with backend as database:
            with pytest.raises(StorageError, match="splendid"):
                async with database.transaction(isolation="splendid"):
                    pass
            await database.ping()

    async def test_every_declared_isolation_works(self, backend: Backend) -> None:
        async with backend as database:
            await make_items(database)
            for number, isolation in enumerate(self.isolations):
                async with database.transaction(isolation=isolation) as transaction:
                    await transaction.execute(INSERT, (number, isolation))
            assert await count_items(database) == len(self.isolations)

    async def test_a_read_only_transaction_refuses_changes(self, backend: Backend) -> None:
        async with backend as database:
            await make_items(database, 1)
            if not self.read_only_transactions:
                with pytest.raises(StorageError):
                    async with database.transaction(read_only=True):
                        pass
                return
            with pytest.raises(StorageError):
                async with database.transaction(read_only=True) as transaction:
                    assert await count_items(transaction) == 1
                    await transaction.execute(INSERT, (2, "b"))
            assert await count_items(database) == 1
            async with database.transaction() as transaction:
                await transaction.execute(INSERT, (2, "b"))
            assert await count_items(database) == 2

    async def test_tasks_that_share_a_transaction_do_not_disturb_each_other(self, backend: Backend) -> None:
        async with backend as database:
            await make_items(database)

            async def insert(transaction: Queries, number: int) -> None:
                async with transaction.transaction() as inner:
                    await inner.execute(INSERT, (number, f"item {number}"))
                    if number % 3 == 0:
                        raise Stop

            async with database.transaction() as transaction:
                outcomes = await asyncio.gather(*[insert(transaction, number) for number in range(12)], return_exceptions=True)
            assert [type(outcome) for outcome in outcomes].count(Stop) == 4
            assert await count_items(database) == 8

    async def test_counting_in_many_transactions_loses_nothing(self, backend: Backend) -> None:
        async with backend as database:
            await database.execute("CREATE TABLE counters (id BIGINT PRIMARY KEY, total BIGINT NOT NULL)")
            await database.execute("INSERT INTO counters (id, total) VALUES (1, 0)")

            async def count() -> None:
                async with database.transaction() as transaction:
                    await transaction.execute("UPDATE counters SET total = total + 1 WHERE id = 1")
                    await transaction.fetch_value("SELECT total FROM counters")

            await asyncio.gather(*[count() for _ in range(2 * self.concurrency)])
            assert await database.fetch_value("SELECT total FROM counters") == 2 * self.concurrency
