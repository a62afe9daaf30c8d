"""Transactions whose task or connection comes to an end at the wrong moment."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, ClassVar

import pytest

from pywatt_core.errors import StorageError
from pywatt_core.interfaces import Database
from pywatt_core.sql.options import PoolOptions

Opened = Callable[..., AbstractAsyncContextManager[Any]]


async def make_counters(database: Database) -> None:
    await database.execute("CREATE TABLE counters (id BIGINT PRIMARY KEY, total BIGINT NOT NULL)")
    await database.execute("INSERT INTO counters VALUES (1, 0), (2, 0)")


class TransactionSuite(ABC):
    """The fixture is `opened`."""

    connection: ClassVar[str]
    """A statement that tells the number of the connection that it runs on."""

    @abstractmethod
    async def kill(self, watcher: Any, connection: int) -> None:
        """Have the server end this connection."""

    async def test_a_commit_that_has_begun_is_carried_through(self, opened: Opened) -> None:
        async with opened() as database:
            await make_counters(database)
            leaving = asyncio.Event()

            async def work() -> None:
                async with database.transaction() as transaction:
                    await transaction.execute("UPDATE counters SET total = 1")
                    leaving.set()

            task = asyncio.create_task(work())
            await leaving.wait()  # the next that the task does is to commit
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert task.cancelled()
            assert await database.fetch_value("SELECT sum(total) FROM counters") == 2

    async def test_a_transaction_whose_connection_was_killed_says_so_and_its_place_is_free_again(self, opened: Opened) -> None:
        async with opened() as watcher, opened(pool=PoolOptions(max_connections=1)) as database:
            await make_counters(watcher)
            with pytest.raises(StorageError):
                async with database.transaction() as transaction:
                    await transaction.execute("UPDATE counters SET total = 1")
                    await self.kill(watcher, await transaction.fetch_value(self.connection))
                    await transaction.execute("UPDATE counters SET total = 2")
            assert await database.fetch_value("SELECT sum(total) FROM counters") == 0
