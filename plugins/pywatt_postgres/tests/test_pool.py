"""The pool: bounded, fair, with deadlines; what it lends out comes back in order, and the server sees how many there are."""

from __future__ import annotations

import asyncio
import random
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any

import pytest

from pywatt_core.errors import StorageError, Unavailable
from pywatt_core.redaction import Secret
from pywatt_core.sql.options import PoolOptions

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from pywatt_postgres.database import PostgresDatabase
    from tools.running_servers import PostgresServer

    Opened = Callable[..., AbstractAsyncContextManager[PostgresDatabase]]

SLOW = "SELECT pg_sleep(600)"


async def ask_other(database: PostgresDatabase, name: str) -> list[Any]:
    """The states of the connections that the server calls `name`, seen through a connection with another name."""
    found = await database.fetch_all("SELECT state FROM pg_stat_activity WHERE application_name = ?", (name,))
    return [row.state for row in found]


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(30):
        while not await condition():
            await asyncio.sleep(0.01)


async def test_there_are_never_more_connections_than_the_pool_has(opened: Opened) -> None:
    async with opened() as watcher, opened(application_name="crowd", pool=PoolOptions(max_connections=3)) as database:
        seen: list[int] = []

        async def work() -> None:
            for _ in range(5):
                await database.fetch_value("SELECT pg_sleep(0.001)")
                seen.append(len(await ask_other(watcher, "crowd")))

        await asyncio.gather(*[work() for _ in range(12)])
        assert max(seen) == 3


async def test_a_thousand_random_cancellations_leave_no_connection_behind_at_the_server(opened: Opened) -> None:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    pool = PoolOptions(min_connections=0, max_connections=5)
    async with opened() as watcher, opened(application_name="cancelled", pool=pool) as database:
        await database.execute("CREATE TABLE items (id BIGINT PRIMARY KEY, name TEXT)")

        async def transaction(number: int) -> None:
            async with database.transaction() as transaction:
                await transaction.execute("INSERT INTO items VALUES (?, 'x')", (number,))
                async with transaction.transaction() as inner, aclosing(inner.iterate("SELECT * FROM items")) as rows:
                    async for _ in rows:
                        break

        async def statement(_: int) -> None:
            await database.fetch_value(
                chance.choice(("SELECT pg_sleep(0.002)", "SELECT 1", "SET work_mem = '1MB'", "SELECT count(*) FROM items"))
            )

        async def iteration(_: int) -> None:
            async with aclosing(database.iterate("SELECT * FROM items, generate_series(1, 100)")) as rows:
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
            states = await ask_other(watcher, "cancelled")
            return len(states) <= 5 and all(state == "idle" for state in states)

        await until(at_rest)
        async with asyncio.timeout(30):
            await asyncio.gather(*[database.ping() for _ in range(20)])
        assert database._pool.asyncpg.get_size() == len(await ask_other(watcher, "cancelled"))
    assert not database._pool._holders


async def test_nobody_waits_longer_than_the_deadline(opened: Opened) -> None:
    async with opened(pool=PoolOptions(max_connections=1, acquire_timeout=0.05)) as database, database.transaction():

        async def other() -> None:
            await database.fetch_value("SELECT 1")

        with pytest.raises(Unavailable, match=r"no connection became free within 0\.05 s: .*acquire_timeout"):
            await asyncio.create_task(other())


async def test_a_task_is_told_that_it_would_wait_for_itself(opened: Opened) -> None:
    async with opened(pool=PoolOptions(max_connections=1, acquire_timeout=60)) as database:
        async with database.transaction() as transaction:
            with pytest.raises(StorageError, match="this task itself holds every connection"):
                await database.fetch_value("SELECT 1")
            assert await transaction.fetch_value("SELECT 1") == 1
        async with aclosing(database.iterate("SELECT generate_series(1, 3) AS n")) as rows:
            assert (await anext(rows)).n == 1
            with pytest.raises(StorageError, match="would wait for ever"):
                await database.execute("SELECT 1")
        async for _ in database.iterate("SELECT generate_series(1, 3) AS n"):
            break
        assert await database.fetch_value("SELECT 1") == 1


async def test_who_waits_is_served_before_who_comes_back(opened: Opened) -> None:
    async with opened(pool=PoolOptions(min_connections=2, max_connections=2, acquire_timeout=30)) as database:
        served: list[int] = []

        async def work(name: int) -> None:
            for _ in range(20):
                await database.fetch_value("SELECT 1")
                served.append(name)

        await asyncio.gather(*[work(name) for name in range(6)])
        assert set(served[:30]) == set(range(6)), served


async def test_a_session_that_was_changed_comes_back_as_it_began(opened: Opened) -> None:
    async with opened(pool=PoolOptions(max_connections=1)) as database:
        beginning = await database.fetch_value("SHOW work_mem")
        for change in (
            "SET work_mem = '1234kB'",
            "SELECT set_config('work_mem', '1234kB', false)",
            "DO $$ BEGIN PERFORM set_config('work_mem', '1234kB', false); END $$",
        ):
            await database.execute(change)
            assert await database.fetch_value("SHOW work_mem") == beginning, change
        async with database.transaction() as transaction:
            await transaction.execute("SET work_mem = '1234kB'")
            assert await transaction.fetch_value("SHOW work_mem") == "1234kB"
        assert await database.fetch_value("SHOW work_mem") == beginning
        await database.fetch_value("SELECT pg_advisory_lock(4711)")
        assert await database.fetch_value("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()") == 0


async def test_reset_always_undoes_what_no_text_shows(opened: Opened, schema: str) -> None:
    pool = PoolOptions(max_connections=1)
    sly = "CREATE FUNCTION sly() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM set_config('work_mem', '1234kB', false); RETURN 1; END $$"
    async with opened(pool=pool, reset="always") as database:
        await database.execute(sly)
        beginning = await database.fetch_value("SHOW work_mem")
        assert await database.fetch_value("SELECT sly()") == 1
        assert await database.fetch_value("SHOW work_mem") == beginning
    async with opened(pool=pool) as database:
        assert await database.fetch_value("SELECT sly()") == 1
        assert await database.fetch_value("SHOW work_mem") == "1234kB"  # what the page about PostgreSQL says of `needed`


async def test_an_old_connection_is_replaced_when_it_is_given_back(opened: Opened) -> None:
    async with opened(pool=PoolOptions(max_connections=1, max_lifetime=0.001)) as database:
        pids = set()
        for _ in range(3):
            pids.add(await database.fetch_value("SELECT pg_backend_pid()"))
            await asyncio.sleep(0.002)
        async with database.transaction() as transaction:
            pids.add(await transaction.fetch_value("SELECT pg_backend_pid()"))
        assert len(pids) > 1
    async with opened(pool=PoolOptions(max_connections=1, max_lifetime=0)) as database:
        assert len({await database.fetch_value("SELECT pg_backend_pid()") for _ in range(5)}) == 1


async def test_idle_connections_are_closed_down_to_the_least(opened: Opened) -> None:
    pool = PoolOptions(min_connections=1, max_connections=4, idle_timeout=0.05)
    async with opened() as watcher, opened(application_name="idle", pool=pool) as database:
        await asyncio.gather(*[database.fetch_value("SELECT pg_sleep(0.02)") for _ in range(4)])

        async def one_is_left() -> bool:
            return len(await ask_other(watcher, "idle")) == 1

        await until(one_is_left)
        await database.ping()


async def test_closing_leaves_nothing_at_the_server(opened: Opened) -> None:
    async with opened() as watcher:
        async with opened(application_name="closed", pool=PoolOptions(min_connections=3)) as database:
            slow = asyncio.create_task(database.fetch_value(SLOW))
            waiting = [asyncio.create_task(database.fetch_value(SLOW)) for _ in range(20)]

            async def they_run() -> bool:
                return (await ask_other(watcher, "closed")).count("active") == 10

            await until(they_run)
        outcomes = await asyncio.gather(slow, *waiting, return_exceptions=True)
        assert all(isinstance(outcome, StorageError) for outcome in outcomes), outcomes

        async def none_is_left() -> bool:
            return await ask_other(watcher, "closed") == []

        await until(none_is_left)


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"password": Secret("wrong-word-7731")}, StorageError, 'password authentication failed for user "pywatt"'),
        ({"database": "nowhere"}, StorageError, 'database "nowhere" does not exist'),
        ({"host": "127.0.0.1", "port": 1}, Unavailable, "cannot be reached"),
        ({"host": "no-such-host.invalid"}, Unavailable, "cannot be reached"),
    ],
)
async def test_what_keeps_a_database_from_opening_is_said_without_the_password(
    opened: Opened, options: dict[str, Any], kind: type[Exception], text: str
) -> None:
    with pytest.raises(kind, match=text) as caught:
        async with opened(**options):
            pass
    assert "wrong-word-7731" not in str(caught.value)


async def test_a_server_that_takes_connections_and_says_nothing_is_given_up(opened: Opened) -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            await reader.read()
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(Unavailable, match=f"connecting to postgresql://pywatt@127.0.0.1:{port}/postgres: .*did not answer in time"):
            async with opened(port=port, connect_timeout=0.1):
                pass


async def test_the_first_host_that_answers_is_taken(opened: Opened, postgres_server: PostgresServer) -> None:
    async with opened(host="", hosts=("127.0.0.1:1", f"127.0.0.1:{postgres_server.port}"), port=None) as database:
        await database.ping()


async def test_a_url_and_a_unix_socket_lead_to_the_same_server(opened: Opened, postgres_server: PostgresServer) -> None:
    port = postgres_server.port
    async with opened(url=f"postgresql://pywatt:let-me-in@127.0.0.1:{port}/postgres?application_name=by%20url") as database:
        assert await database.fetch_value("SHOW application_name") == "by url"
    async with opened(url=f"postgres://pywatt@:{port}/postgres?host={postgres_server.folder}") as database:
        assert await database.fetch_value("SELECT inet_server_addr()") is None
    async with opened(host=str(postgres_server.folder)) as database:
        assert await database.fetch_value("SHOW application_name") == "pywatt test"
