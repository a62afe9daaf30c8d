"""The pool: bounded, fair, with deadlines; and the server sees how many connections there are."""

from __future__ import annotations

import asyncio
import random
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, aclosing, suppress
from typing import Any, ClassVar

import pytest

from pywatt_core.errors import StorageError, Unavailable
from pywatt_core.redaction import Secret
from pywatt_core.sql.options import PoolOptions
from tools.running_servers import RunningServer
from tools.waiting import until

Opened = Callable[..., AbstractAsyncContextManager[Any]]

ONE = PoolOptions(max_connections=1)


class PoolSuite(ABC):
    """The fixtures are `opened` and `schema`, an empty place on the server, and `server` itself."""

    scheme: ClassVar[str]
    sleep: ClassVar[str]
    """A statement that takes so many seconds."""
    numbers: ClassVar[str]
    """A statement that gives the numbers from 1 to so many, in the column ``n``."""
    connection: ClassVar[str]
    """A statement that tells the number of the connection that it runs on."""
    setting: ClassVar[str]
    """A statement that changes the session."""
    wrong_password: ClassVar[str]
    wrong_database: ClassVar[str]
    """What is said where no database is called ``nowhere``."""
    served_within: ClassVar[int] = 12
    """So many statements on two connections, each of six tasks has had one of them."""

    def marks(self, schema: str) -> dict[str, Any]:
        """Options by which the server can tell a database's connections from others."""
        return {}

    @abstractmethod
    async def doing(self, watcher: Any, schema: str) -> list[bool | None]:
        """For each connection with those marks: whether it works, or rests; None for neither."""

    @abstractmethod
    def size(self, database: Any) -> int:
        """How many connections the pool believes to have."""

    def lent(self, database: Any) -> int:
        """How many of its connections somebody has."""
        return len(database._pool._holders)

    def ending(self, database: Any) -> int:
        """How many connections are being ended at the server."""
        return 0

    async def transactions(self, watcher: Any) -> int:
        """How many transactions are open at the server, where it tells."""
        return 0

    async def test_there_are_never_more_connections_than_the_pool_has(self, opened: Opened, schema: str) -> None:
        three = PoolOptions(max_connections=3)
        async with opened(pool=ONE) as watcher, opened(pool=three, **self.marks(schema)) as database:
            seen: list[int] = []

            async def work() -> None:
                for _ in range(5):
                    await database.fetch_value(self.sleep.format(0.001))
                    seen.append(len(await self.doing(watcher, schema)))

            await asyncio.gather(*[work() for _ in range(12)])
            assert max(seen) == 3

    async def test_a_thousand_random_cancellations_leave_no_connection_behind_at_the_server(self, opened: Opened, schema: str) -> None:
        seed = random.randrange(2**32)
        chance = random.Random(seed)
        pool = PoolOptions(min_connections=0, max_connections=5)
        async with opened(pool=ONE) as watcher, opened(pool=pool, **self.marks(schema)) as database:
            await database.execute("CREATE TABLE items (id BIGINT PRIMARY KEY, name TEXT)")

            async def transaction(number: int) -> None:
                async with database.transaction() as transaction:
                    await transaction.execute("INSERT INTO items VALUES (?, 'x')", (number,))
                    async with transaction.transaction() as inner, aclosing(inner.iterate("SELECT * FROM items")) as rows:
                        async for _ in rows:
                            break

            async def statement(_: int) -> None:
                await database.fetch_value(
                    chance.choice((self.sleep.format(0.002), "SELECT 1", self.setting, "SELECT count(*) FROM items"))
                )

            async def iteration(_: int) -> None:
                async with aclosing(database.iterate(f"SELECT * FROM items, ({self.numbers.format(100)}) AS numbers")) as rows:
                    async for _row in rows:
                        await asyncio.sleep(0)

            for number in range(0, 1000, 8):
                tasks = [asyncio.create_task(chance.choice((transaction, statement, iteration))(number + one)) for one in range(8)]
                for task in tasks:
                    for _ in range(chance.randrange(8)):
                        await asyncio.sleep(0)
                    await asyncio.sleep(chance.choice((0, 0, 0.0005, 0.002)))
                    task.cancel()
                outcomes = await asyncio.gather(*tasks, return_exceptions=True)
                assert not [outcome for outcome in outcomes if isinstance(outcome, Exception)], f"seed {seed}"

            async def at_rest() -> bool:
                doing = await self.doing(watcher, schema)
                return len(doing) <= 5 and all(one is False for one in doing) and not self.ending(database)

            await until(at_rest)
            assert await self.transactions(watcher) == 0
            async with asyncio.timeout(30):
                await asyncio.gather(*[database.ping() for _ in range(20)])
            assert self.size(database) == len(await self.doing(watcher, schema))
        assert self.lent(database) == 0

    async def test_nobody_waits_longer_than_the_deadline(self, opened: Opened) -> None:
        async with opened(pool=PoolOptions(max_connections=1, acquire_timeout=0.05)) as database, database.transaction():

            async def other() -> None:
                await database.fetch_value("SELECT 1")

            with pytest.raises(Unavailable, match=r"no connection became free within 0\.05 s: .*acquire_timeout"):
                await asyncio.create_task(other())

    async def test_a_task_is_told_that_it_would_wait_for_itself(self, opened: Opened) -> None:
        three = self.numbers.format(3)
        async with opened(pool=PoolOptions(max_connections=1, acquire_timeout=60)) as database:
            async with database.transaction() as transaction:
                with pytest.raises(StorageError, match="this task itself holds every connection"):
                    await database.fetch_value("SELECT 1")
                assert await transaction.fetch_value("SELECT 1") == 1
            async with aclosing(database.iterate(three)) as rows:
                assert (await anext(rows)).n == 1
                with pytest.raises(StorageError, match="would wait for ever"):
                    await database.execute("SELECT 1")
            async for _ in database.iterate(three):
                break
            assert await database.fetch_value("SELECT 1") == 1

    async def test_who_waits_is_served_before_who_comes_back(self, opened: Opened) -> None:
        async with opened(pool=PoolOptions(min_connections=2, max_connections=2, acquire_timeout=30)) as database:
            served: list[int] = []

            async def work(name: int) -> None:
                for _ in range(20):
                    await database.fetch_value("SELECT 1")
                    served.append(name)

            await asyncio.gather(*[work(name) for name in range(6)])
            assert set(served[: self.served_within]) == set(range(6)), served

    async def test_an_old_connection_is_replaced_when_it_is_given_back(self, opened: Opened) -> None:
        async with opened(pool=PoolOptions(max_connections=1, max_lifetime=0.001)) as database:
            numbers = set()
            for _ in range(3):
                numbers.add(await database.fetch_value(self.connection))
                await asyncio.sleep(0.002)
            async with database.transaction() as transaction:
                numbers.add(await transaction.fetch_value(self.connection))
            assert len(numbers) > 1
        async with opened(pool=PoolOptions(max_connections=1, max_lifetime=0)) as database:
            assert len({await database.fetch_value(self.connection) for _ in range(5)}) == 1

    async def test_idle_connections_are_closed_down_to_the_least(self, opened: Opened, schema: str) -> None:
        pool = PoolOptions(min_connections=1, max_connections=4, idle_timeout=0.05)
        async with opened(pool=ONE) as watcher, opened(pool=pool, **self.marks(schema)) as database:
            await asyncio.gather(*[database.fetch_value(self.sleep.format(0.02)) for _ in range(4)])

            async def one_is_left() -> bool:
                return len(await self.doing(watcher, schema)) == 1

            await until(one_is_left)
            await database.ping()

    async def test_closing_leaves_nothing_at_the_server(self, opened: Opened, schema: str) -> None:
        async with opened(pool=ONE) as watcher:
            async with opened(pool=PoolOptions(min_connections=3), **self.marks(schema)) as database:
                waiting = [asyncio.create_task(database.fetch_value(self.sleep.format(600))) for _ in range(20)]

                async def they_run() -> bool:
                    return (await self.doing(watcher, schema)).count(True) == 10

                await until(they_run)
            outcomes = await asyncio.gather(*waiting, return_exceptions=True)
            assert all(isinstance(outcome, StorageError) for outcome in outcomes), outcomes

            async def none_is_left() -> bool:
                return await self.doing(watcher, schema) == []

            await until(none_is_left)

    async def test_a_wrong_password_is_not_said(self, opened: Opened) -> None:
        with pytest.raises(StorageError, match=self.wrong_password) as caught:
            async with opened(password=Secret("wrong-word-7731")):
                pass
        assert "wrong-word-7731" not in str(caught.value)

    async def test_a_database_that_is_not_there_cannot_be_opened(self, opened: Opened) -> None:
        with pytest.raises(StorageError, match=self.wrong_database):
            async with opened(database="nowhere"):
                pass

    @pytest.mark.parametrize("options", [{"host": "127.0.0.1", "port": 1}, {"host": "no-such-host.invalid"}])
    async def test_a_server_that_is_not_there_is_unavailable(self, opened: Opened, options: dict[str, Any]) -> None:
        with pytest.raises(Unavailable, match="cannot be reached"):
            async with opened(**options):
                pass

    async def test_a_server_that_takes_connections_and_says_nothing_is_given_up(self, opened: Opened) -> None:
        async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(ConnectionError):
                await reader.read()
            writer.close()

        server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            where = rf"{self.scheme}://pywatt@127\.0\.0\.1:{port}/\w+"
            with pytest.raises(Unavailable, match=f"connecting to {where}: .*did not answer in time"):
                async with opened(port=port, connect_timeout=0.1):
                    pass

    async def test_the_first_host_that_answers_is_taken(self, opened: Opened, server: RunningServer) -> None:
        async with opened(host="", hosts=("127.0.0.1:1", f"127.0.0.1:{server.port}"), port=None) as database:
            await database.ping()
