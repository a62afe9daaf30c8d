"""The contract's fourth group: errors with their kinds, cancellations at any moment, closing."""

from __future__ import annotations

import asyncio
import random
from contextlib import AbstractAsyncContextManager

import pytest

from pywatt_core.errors import Conflict, StorageError
from pywatt_core.interfaces import Database

from .database_backend import SLOW, DatabaseBackend, count_items, make_items, rows_of

Backend = AbstractAsyncContextManager[Database]

CANARY = "canary-71934"
"""A parameter's value: no error may show it."""

FAMILY = (
    "CREATE TABLE parents (id BIGINT PRIMARY KEY, name VARCHAR(100) NOT NULL UNIQUE, age BIGINT NOT NULL, CHECK (age >= 0))",
    "CREATE TABLE children (id BIGINT PRIMARY KEY, parent BIGINT, FOREIGN KEY (parent) REFERENCES parents (id))",
)


class DatabaseFaults(DatabaseBackend):
    @pytest.mark.parametrize(
        ("kind", "sql", "params"),
        [
            ("unique", "INSERT INTO parents (id, name, age) VALUES (?, ?, ?)", (1, CANARY, 1)),
            ("unique", "INSERT INTO parents (id, name, age) VALUES (?, ?, ?)", (2, "known " + CANARY, 1)),
            ("null", "INSERT INTO parents (id, name, age) VALUES (?, ?, ?)", (2, None, 1)),
            ("check", "INSERT INTO parents (id, name, age) VALUES (?, ?, ?)", (2, CANARY, -1)),
            ("foreign key", "INSERT INTO children (id, parent) VALUES (?, ?)", (1, 99)),
            ("foreign key", "DELETE FROM parents WHERE id = :id", {"id": 1}),
        ],
    )
    async def test_a_violated_constraint_is_a_conflict_that_names_its_kind(
        self, backend: Backend, kind: str, sql: str, params: tuple[object, ...]
    ) -> None:
        async with backend as database:
            for table in FAMILY:
                await database.execute(table)
            await database.execute("INSERT INTO parents (id, name, age) VALUES (?, ?, ?)", (1, "known " + CANARY, 1))
            await database.execute("INSERT INTO children (id, parent) VALUES (7, 1)")
            with pytest.raises(Conflict) as caught:
                await database.execute(sql, params)
            assert kind in str(caught.value).lower()
            assert CANARY not in str(caught.value)
            assert caught.value.__cause__ is not None

    async def test_a_statement_that_cannot_be_understood_is_shown_and_its_values_are_not(self, backend: Backend) -> None:
        async with backend as database:
            await make_items(database)
            for sql in (
                "SELEC name FROM items WHERE name = ?",
                "SELECT nothing FROM items WHERE name = ?",
                "SELECT id FROM nowhere WHERE name = ?",
            ):
                with pytest.raises(StorageError) as caught:
                    await database.fetch_all(sql, (CANARY,))
                assert not isinstance(caught.value, Conflict)
                assert sql in str(caught.value)
                assert CANARY not in str(caught.value)
            long = "SELECT nothing FROM items WHERE " + " AND ".join(["id = 1"] * 5000)
            with pytest.raises(StorageError) as caught:
                await database.fetch_all(long)
            assert len(str(caught.value)) < 2000

    async def test_a_cancelled_statement_is_stopped_and_its_connection_used_again(self, backend: Backend) -> None:
        async with backend as database:
            slow = SLOW[database.dialect]
            await make_items(database, 1)
            for _ in range(3):
                tasks = [asyncio.create_task(database.fetch_value(slow)) for _ in range(8)]
                await asyncio.wait(tasks, timeout=0.05)
                for task in tasks:
                    task.cancel()
                outcomes = await asyncio.gather(*tasks, return_exceptions=True)
                assert [type(outcome) for outcome in outcomes] == [asyncio.CancelledError] * 8
            await self.everything_works(database)

    async def test_a_statement_cancelled_inside_a_transaction_rolls_it_back(self, backend: Backend) -> None:
        async with backend as database:
            await make_items(database)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1), database.transaction() as transaction:
                    await transaction.execute("INSERT INTO items (id, name) VALUES (1, 'a')")
                    await transaction.fetch_value(SLOW[database.dialect])
            assert await count_items(database) == 0
            await self.everything_works(database)

    async def test_random_cancellations_leak_nothing_and_leave_no_half_transaction(self, backend: Backend) -> None:
        seed = random.randrange(2**32)
        chance = random.Random(seed)
        async with backend as database:
            await make_items(database, 3)
            await database.execute("CREATE TABLE first_half (id BIGINT PRIMARY KEY)")
            await database.execute("CREATE TABLE second_half (id BIGINT PRIMARY KEY)")

            async def both_halves(number: int) -> None:
                async with database.transaction() as transaction:
                    await transaction.execute("INSERT INTO first_half (id) VALUES (?)", (number,))
                    async with transaction.transaction() as inner:
                        await inner.execute("INSERT INTO second_half (id) VALUES (?)", (number,))

            async def read_some(_: int) -> None:
                await database.fetch_all("SELECT * FROM items")
                async with rows_of(database, "SELECT id FROM items") as rows:
                    async for _row in rows:
                        await asyncio.sleep(0)

            async def change(number: int) -> None:
                await database.execute("UPDATE items SET name = ? WHERE id = 1", (f"changed {number}",))

            for number in range(0, self.cancellations, 8):
                tasks = [
                    asyncio.create_task(chance.choice((both_halves, both_halves, read_some, change))(number + one)) for one in range(8)
                ]
                for task in tasks:
                    for _ in range(chance.randrange(6)):
                        await asyncio.sleep(0)
                    await asyncio.sleep(chance.choice((0, 0.0005, 0.002)))
                    task.cancel()
                outcomes = await asyncio.gather(*tasks, return_exceptions=True)
                failures = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
                assert not failures, f"seed {seed}"
            halves = [await database.fetch_all(f"SELECT id FROM {table} ORDER BY id") for table in ("first_half", "second_half")]
            assert halves[0] == halves[1], f"seed {seed}"
            await self.everything_works(database)

    async def test_after_leaving_every_call_says_that_the_database_is_closed(self, backend: Backend) -> None:
        async with backend as database:
            await make_items(database, 1)
            rows = database.iterate("SELECT id FROM items")
        with pytest.raises(StorageError, match="closed"):
            await database.ping()
        with pytest.raises(StorageError, match="closed"):
            await database.execute("DELETE FROM items")
        with pytest.raises(StorageError, match="closed"):
            await database.fetch_all("SELECT id FROM items")
        with pytest.raises(StorageError, match="closed"):
            await anext(rows)
        with pytest.raises(StorageError, match="closed"):
            async with database.transaction():
                pass

    async def test_closing_twice_is_closing_once(self, backend: Backend) -> None:
        async with backend as database:
            close = getattr(database, "close", None)
            if close is not None:
                await close()
                await close()

    async def test_closing_ends_what_is_still_running(self, backend: Backend) -> None:
        begun = asyncio.Event()

        async def stay(database: Database) -> None:
            async with database.transaction():
                begun.set()
                await asyncio.Event().wait()

        async with backend as database:
            slow = asyncio.create_task(database.fetch_value(SLOW[database.dialect]))
            staying = asyncio.create_task(stay(database))
            if self.readers_beside_writer:
                await begun.wait()
        done, _ = await asyncio.wait({slow}, timeout=30)
        assert done, "the statement survived its database"
        assert isinstance(slow.exception(), StorageError)
        staying.cancel()
        await asyncio.wait({staying})

    async def everything_works(self, database: Database) -> None:
        """As many tasks as ever, each with a transaction, an iteration and a statement of its own: nothing is missing."""
        await database.execute("CREATE TABLE proof (id BIGINT PRIMARY KEY)")

        async def work(number: int) -> None:
            async with database.transaction() as transaction:
                await transaction.execute("INSERT INTO proof (id) VALUES (?)", (number,))
            async with rows_of(database, "SELECT id FROM proof") as rows:
                assert [row async for row in rows]
            assert await database.fetch_value("SELECT id FROM proof WHERE id = ?", (number,)) == number

        await asyncio.gather(*[work(number) for number in range(self.concurrency)])
        assert await database.fetch_value("SELECT count(*) FROM proof") == self.concurrency
