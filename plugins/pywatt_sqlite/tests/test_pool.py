"""Tasks that share connections: deadlines, and nobody waits for themselves."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, aclosing
from typing import TYPE_CHECKING

import pytest

from pywatt_core.errors import StorageError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from pywatt_sqlite.database import SqliteDatabase

    Opened = Callable[..., AbstractAsyncContextManager[SqliteDatabase]]


async def hold(database: SqliteDatabase, held: asyncio.Event, release: asyncio.Event) -> None:
    async with database.transaction():
        held.set()
        await release.wait()


async def test_who_waits_too_long_for_the_writer_is_told_why(opened: Opened) -> None:
    async with opened(acquire_timeout=0.05) as database:
        held, release = asyncio.Event(), asyncio.Event()
        holder = asyncio.create_task(hold(database, held, release))
        await held.wait()
        with pytest.raises(Unavailable, match=r"no connection for writing became free within 0\.05 s"):
            await database.execute("CREATE TABLE t (x)")
        release.set()
        await holder
        assert await database.execute("CREATE TABLE t (x)") == 0


async def test_the_writer_goes_to_those_who_wait_in_their_order(opened: Opened) -> None:
    async with opened() as database:
        held, release = asyncio.Event(), asyncio.Event()
        holder = asyncio.create_task(hold(database, held, release))
        await held.wait()
        order: list[int] = []

        async def write(number: int) -> None:
            async with database.transaction():
                order.append(number)

        tasks = []
        for number in range(10):
            tasks.append(asyncio.create_task(write(number)))
            await asyncio.sleep(0)
        tasks[4].cancel()
        release.set()
        await asyncio.gather(holder, *tasks, return_exceptions=True)
        assert order == [0, 1, 2, 3, 5, 6, 7, 8, 9]


async def test_a_statement_beside_its_own_transaction_is_refused_at_once(opened: Opened) -> None:
    async with opened() as database:
        await database.execute("CREATE TABLE t (x)")
        async with database.transaction() as transaction:
            await transaction.execute("INSERT INTO t VALUES (1)")
            with pytest.raises(StorageError, match="wait for ever"):
                await database.execute("INSERT INTO t VALUES (2)")
            with pytest.raises(StorageError, match="wait for ever"):
                async with database.transaction():
                    pass
            assert await database.fetch_all("SELECT * FROM t") == []
        assert await database.fetch_all("SELECT * FROM t") == [{"x": 1}]


async def test_a_statement_beside_its_own_iteration_in_memory_is_refused_at_once(opened: Opened) -> None:
    async with opened(path=":memory:") as database:
        await database.execute("CREATE TABLE t AS SELECT 1 AS x")
        async with aclosing(database.iterate("SELECT * FROM t")) as rows:
            async for _ in rows:
                with pytest.raises(StorageError, match="end an iteration"):
                    await database.execute("DELETE FROM t")
        async for _ in database.iterate("SELECT * FROM t"):
            break
        assert await database.execute("DELETE FROM t") == 1


async def test_a_task_that_holds_all_readers_is_refused_another(opened: Opened) -> None:
    async with opened(readers=2) as database:
        await database.execute("CREATE TABLE t AS SELECT 1 AS x UNION SELECT 2")
        async with AsyncExitStack() as stack:
            for _ in range(2):
                rows = await stack.enter_async_context(aclosing(database.iterate("SELECT * FROM t")))
                assert (await anext(rows)).x == 1
            with pytest.raises(StorageError, match="every connection for reading"):
                await database.fetch_all("SELECT * FROM t")
            assert await database.execute("INSERT INTO t VALUES (3)") == 1
        assert len(await database.fetch_all("SELECT * FROM t")) == 3


async def test_cancelling_those_who_wait_loses_no_connection(opened: Opened) -> None:
    async with opened(readers=1) as database:
        for rounds in range(100):
            tasks = [asyncio.create_task(database.fetch_value("SELECT 1")) for _ in range(6)]
            for _ in range(rounds % 9):
                await asyncio.sleep(0)
            for task in tasks[rounds % 3 :: 2]:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        assert await database.fetch_value("SELECT 1") == 1


async def test_closing_tells_those_who_wait(opened: Opened) -> None:
    async with opened(close_timeout=0) as database:
        held, release = asyncio.Event(), asyncio.Event()
        holder = asyncio.create_task(hold(database, held, release))
        await held.wait()
        waiting = asyncio.create_task(database.execute("CREATE TABLE t (x)"))
        await asyncio.sleep(0)
    with pytest.raises(StorageError, match="closed"):
        await waiting
    release.set()
    with pytest.raises(StorageError, match="closed"):
        await holder


async def test_a_database_closes_under_an_iteration_of_the_same_task(opened: Opened) -> None:
    async with opened(close_timeout=3600) as database:
        rows = database.iterate("SELECT 1 AS x UNION SELECT 2")
        assert (await anext(rows)).x == 1
    assert (await anext(rows)).x == 2
    with pytest.raises(StorageError, match="closed"):
        await anext(rows)
