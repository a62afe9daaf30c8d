"""A server that goes away and comes back: errors are typed meanwhile, and nobody has to start again."""

from __future__ import annotations

import asyncio
import signal
from abc import ABC, abstractmethod
from contextlib import AbstractAsyncContextManager
from typing import Any, ClassVar

import pytest

from pywatt_core.errors import StorageError, Unavailable
from pywatt_core.sql.options import PoolOptions
from tools.running_servers import RunningServer
from tools.waiting import until


class RestartSuite(ABC):
    """The fixture is `own_server`, a server that the test may stop."""

    connections: ClassVar[str]
    """A statement that counts the connections of the database under test, as the server sees them."""
    unreachable: ClassVar[str]
    """What is said where the server is gone."""

    @abstractmethod
    def opened(self, server: RunningServer, **options: Any) -> AbstractAsyncContextManager[Any]:
        """A database on the server, with these options."""

    @pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
    async def test_under_load_a_restart_is_a_gap_and_nothing_more(self, own_server: RunningServer, how: signal.Signals) -> None:
        async with self.opened(own_server, pool=PoolOptions(max_connections=5, acquire_timeout=5)) as database:
            await database.execute("CREATE TABLE counters (id INT PRIMARY KEY, total INT NOT NULL)")
            await database.execute(f"INSERT INTO counters VALUES {', '.join(f'({number}, 0)' for number in range(10))}")
            stop = asyncio.Event()
            kept, unclear = [0] * 10, [0] * 10
            refused: list[StorageError] = []
            wrong: list[Exception] = []

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
            if how is signal.SIGTERM:  # a killed server may lose what it had promised, because those of tests do not wait for the disk
                assert all(kept[row.id] <= row.total <= kept[row.id] + unclear[row.id] for row in rows), (kept, unclear, rows)
            assert await database.fetch_value(self.connections) <= 5
            assert not [error for error in refused if "Traceback" in str(error) or "object at" in str(error)]

    async def test_an_idle_database_notices_nothing_of_a_restart(self, own_server: RunningServer) -> None:
        async with self.opened(own_server) as database:
            await database.ping()
            await asyncio.to_thread(own_server.restart)
            async with asyncio.timeout(60):
                while True:
                    try:
                        assert await database.fetch_value("SELECT 1") == 1
                        break
                    except Unavailable:  # its end has not been heard of yet
                        continue

    async def test_without_a_server_every_call_is_unavailable(self, own_server: RunningServer) -> None:
        async with self.opened(own_server, pool=PoolOptions(min_connections=0)) as database:
            await asyncio.to_thread(own_server.stop)
            async with asyncio.timeout(30):
                while True:
                    with pytest.raises(Unavailable) as caught:
                        await database.ping()
                    if "cannot be reached" in str(caught.value):
                        break
            with pytest.raises(Unavailable, match=self.unreachable):
                await database.execute("DELETE FROM items")
            with pytest.raises(Unavailable):
                async with database.transaction():
                    pass
            with pytest.raises(Unavailable):
                async for _ in database.iterate("SELECT 1"):
                    pass
