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

    from pywatt_mysql.database import MySqlDatabase
    from tools.running_servers import MariadbServer

    Opened = Callable[..., AbstractAsyncContextManager[MySqlDatabase]]

SLOW = "SELECT SLEEP(600)"


async def seen_by_server(watcher: MySqlDatabase, schema: str) -> list[str]:
    """What the connections to the database `schema` do, `watcher` left out."""
    found = await watcher.fetch_all("SELECT COMMAND FROM information_schema.processlist WHERE DB = ? AND ID <> CONNECTION_ID()", (schema,))
    return [row.COMMAND for row in found]


async def test_there_are_never_more_connections_than_the_pool_has(opened: Opened, schema: str) -> None:
    pool = PoolOptions(max_connections=1)
    async with opened(pool=pool) as watcher, opened(pool=PoolOptions(max_connections=3)) as database:
        seen: list[int] = []

        async def work() -> None:
            for _ in range(5):
                await database.fetch_value("SELECT SLEEP(0.001)")
                seen.append(len(await seen_by_server(watcher, schema)))

        await asyncio.gather(*[work() for _ in range(12)])
        assert max(seen) == 3


async def test_a_thousand_random_cancellations_leave_no_connection_behind_at_the_server(
    opened: Opened, schema: str, until: Callable[..., Any]
) -> None:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    one = PoolOptions(max_connections=1)
    async with opened(pool=one) as watcher, opened(pool=PoolOptions(min_connections=0, max_connections=5)) as database:
        await database.execute("CREATE TABLE items (id BIGINT PRIMARY KEY, name TEXT)")

        async def transaction(number: int) -> None:
            async with database.transaction() as transaction:
                await transaction.execute("INSERT INTO items VALUES (?, 'x')", (number,))
                async with transaction.transaction() as inner, aclosing(inner.iterate("SELECT * FROM items")) as rows:
                    async for _ in rows:
                        break

        async def statement(_: int) -> None:
            await database.fetch_value(
                chance.choice(("SELECT SLEEP(0.002)", "SELECT 1", "SET net_read_timeout = 7", "SELECT count(*) FROM items"))
            )

        async def iteration(_: int) -> None:
            async with aclosing(database.iterate("SELECT * FROM items, seq_1_to_100")) as rows:
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
            doing = await seen_by_server(watcher, schema)
            return len(doing) <= 5 and set(doing) <= {"Sleep"} and not database._pool._ending

        await until(at_rest)
        open_ones = "SELECT count(*) FROM information_schema.innodb_trx"
        assert await watcher.fetch_value(open_ones) == 0
        async with asyncio.timeout(30):
            await asyncio.gather(*[database.ping() for _ in range(20)])
        assert database._pool.size() == len(await seen_by_server(watcher, schema))
    assert not database._pool._holders
    assert not database._pool._used


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
        async with aclosing(database.iterate("SELECT seq AS n FROM seq_1_to_3")) as rows:
            assert (await anext(rows)).n == 1
            with pytest.raises(StorageError, match="would wait for ever"):
                await database.execute("SELECT 1")
        async for _ in database.iterate("SELECT seq AS n FROM seq_1_to_3"):
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
        assert set(served[:12]) == set(range(6)), served


async def test_who_gives_up_waiting_hands_on_what_came_for_it_meanwhile(opened: Opened) -> None:
    async with opened(pool=PoolOptions(max_connections=1)) as database:
        for steps in range(12):
            holding = await database._pool.acquire()
            giving_up = asyncio.create_task(database.fetch_value("SELECT 1"))
            waiting = asyncio.create_task(database.fetch_value("SELECT 2"))
            for _ in range(3):
                await asyncio.sleep(0)
            await database._pool.release(holding)
            for _ in range(steps):
                await asyncio.sleep(0)
            giving_up.cancel()
            await asyncio.gather(giving_up, return_exceptions=True)
            async with asyncio.timeout(30):
                assert await waiting == 2
        assert database._pool.size() == 1


async def test_a_session_that_was_changed_comes_back_as_it_began(opened: Opened, schema: str) -> None:
    async with opened(pool=PoolOptions(max_connections=1)) as database:
        beginning = await database.fetch_value("SELECT @@net_read_timeout")
        await database.execute("SET SESSION net_read_timeout = 77")
        assert await database.fetch_value("SELECT @@net_read_timeout") == beginning
        await database.fetch_value("SELECT @mine := 5")
        assert await database.fetch_value("SELECT @mine") is None
        assert await database.fetch_value("SELECT GET_LOCK(?, 0)", (f"{schema} lock",)) == 1
        assert await database.fetch_value("SELECT IS_FREE_LOCK(?)", (f"{schema} lock",)) == 1
        await database.execute("SET autocommit = 0")
        assert await database.fetch_value("SELECT @@autocommit") == 1
        await database.execute("SET NAMES latin1")
        assert await database.fetch_value("SELECT ?", ("世界",)) == "世界"
        await database.execute("USE information_schema")
        assert await database.fetch_value("SELECT DATABASE()") == schema
        async with database.transaction() as transaction:
            await transaction.execute("SET @mine = 6")
            assert await transaction.fetch_value("SELECT @mine") == 6
        assert await database.fetch_value("SELECT @mine") is None


async def test_reset_always_undoes_what_no_text_shows(opened: Opened) -> None:
    pool = PoolOptions(max_connections=1)
    async with opened(pool=pool, reset="always") as database:
        await database.execute("CREATE FUNCTION sly() RETURNS INT BEGIN SET @mine = 5; RETURN 1; END")
        assert await database.fetch_value("SELECT sly()") == 1
        assert await database.fetch_value("SELECT @mine") is None
    async with opened(pool=pool) as database:
        assert await database.fetch_value("SELECT sly()") == 1
        async with database.transaction() as transaction:
            assert await transaction.fetch_value("SELECT @mine") == 5  # what the page about MySQL says of `needed`


async def test_an_old_connection_is_replaced_when_it_is_given_back(opened: Opened) -> None:
    async with opened(pool=PoolOptions(max_connections=1, max_lifetime=0.001)) as database:
        numbers = set()
        for _ in range(3):
            numbers.add(await database.fetch_value("SELECT CONNECTION_ID()"))
            await asyncio.sleep(0.002)
        assert len(numbers) > 1
    async with opened(pool=PoolOptions(max_connections=1, max_lifetime=0)) as database:
        assert len({await database.fetch_value("SELECT CONNECTION_ID()") for _ in range(5)}) == 1


async def test_idle_connections_are_closed_down_to_the_least(opened: Opened, schema: str, until: Callable[..., Any]) -> None:
    one = PoolOptions(max_connections=1)
    pool = PoolOptions(min_connections=1, max_connections=4, idle_timeout=0.05)
    async with opened(pool=one) as watcher, opened(pool=pool) as database:
        await asyncio.gather(*[database.fetch_value("SELECT SLEEP(0.02)") for _ in range(4)])

        async def one_is_left() -> bool:
            return len(await seen_by_server(watcher, schema)) == 1

        await until(one_is_left)
        await database.ping()


async def test_a_connection_that_the_server_has_closed_is_not_lent_out(opened: Opened, until: Callable[..., Any]) -> None:
    async with opened() as watcher, opened(pool=PoolOptions(max_connections=1)) as database:
        number = await database.fetch_value("SELECT CONNECTION_ID()")
        await watcher.execute(f"KILL CONNECTION {int(number)}")

        async def has_heard() -> bool:
            return bool(database._pool._idle[0].broken)

        await until(has_heard)
        assert await database.fetch_value("SELECT CONNECTION_ID()") != number


async def test_closing_leaves_nothing_at_the_server(opened: Opened, schema: str, until: Callable[..., Any]) -> None:
    async with opened(pool=PoolOptions(max_connections=1)) as watcher:
        async with opened(pool=PoolOptions(min_connections=3)) as database:
            waiting = [asyncio.create_task(database.fetch_value(SLOW)) for _ in range(20)]

            async def they_run() -> bool:
                return len([one for one in await seen_by_server(watcher, schema) if one != "Sleep"]) == 10

            await until(they_run)
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(outcome, StorageError) for outcome in outcomes), outcomes

        async def none_is_left() -> bool:
            return await seen_by_server(watcher, schema) == []

        await until(none_is_left)


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"password": Secret("wrong-word-7731")}, StorageError, "the server does not let this user in with this password"),
        ({"database": "nowhere"}, StorageError, "there is no such database"),
        ({"host": "127.0.0.1", "port": 1}, Unavailable, "cannot be reached"),
        ({"host": "no-such-host.invalid"}, Unavailable, "cannot be reached"),
        ({"time_zone": "+99:00"}, StorageError, "unknown time zone"),
    ],
)
async def test_what_keeps_a_database_from_opening_is_said_without_the_password(
    opened: Opened, options: dict[str, Any], kind: type[Exception], text: str
) -> None:
    with pytest.raises(kind, match=text) as caught:
        async with opened(**options):
            pass
    assert "wrong-word-7731" not in str(caught.value)


async def test_a_server_that_takes_connections_and_says_nothing_is_given_up(opened: Opened, schema: str) -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            await reader.read()
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(Unavailable, match=f"connecting to mysql://pywatt@127.0.0.1:{port}/{schema}: .*did not answer in time"):
            async with opened(port=port, connect_timeout=0.1):
                pass


async def test_a_server_that_speaks_something_else_is_refused(opened: Opened) -> None:
    for greeting in (b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x01\x00\x00\x00\x0a", b"\xff\xff\xff\x00"):

        async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter, greeting: bytes = greeting) -> None:
            writer.write(greeting)
            writer.close()

        server = await asyncio.start_server(greet, "127.0.0.1", 0)
        async with server:
            with pytest.raises(StorageError, match="connecting to mysql://"):
                async with opened(port=server.sockets[0].getsockname()[1], connect_timeout=5):
                    pass


async def test_the_first_host_that_answers_is_taken(opened: Opened, mariadb_server: MariadbServer) -> None:
    async with opened(host="", hosts=("127.0.0.1:1", f"127.0.0.1:{mariadb_server.port}"), port=None) as database:
        await database.ping()


async def test_a_url_and_a_unix_socket_lead_to_the_same_server(opened: Opened, mariadb_server: MariadbServer, schema: str) -> None:
    port, path = mariadb_server.port, mariadb_server.folder / "s.sock"
    for url in (
        f"mysql://pywatt:let-me-in@127.0.0.1:{port}/{schema}?charset=utf8mb4",
        f"mariadb+aiomysql://pywatt:let-me-in@127.0.0.1:{port}/{schema}",
    ):
        async with opened(url=url) as database:
            assert await database.fetch_value("SELECT DATABASE()") == schema
    async with opened(url=f"mysql://root@/{schema}?host={path}") as database:
        assert await database.fetch_value("SELECT USER()") == "root@localhost"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await database.fetch_value(SLOW)
        async with asyncio.timeout(30):
            await database.ping()
    async with opened(host=str(path), user="root", password=None) as database:
        await database.ping()
