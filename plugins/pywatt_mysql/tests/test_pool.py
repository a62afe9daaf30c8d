"""The pool: bounded, fair, with deadlines; what it lends out comes back in order, and the server sees how many there are."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from pywatt_core.errors import StorageError
from pywatt_core.sql.options import PoolOptions
from tools.server_databases.pool import PoolSuite
from tools.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from pywatt_mysql.database import MySqlDatabase
    from tools.running_servers import MariadbServer

    Opened = Callable[..., AbstractAsyncContextManager[MySqlDatabase]]


class TestPool(PoolSuite):
    scheme = "mysql"
    sleep = "SELECT SLEEP({})"
    numbers = "SELECT seq AS n FROM seq_1_to_{}"
    connection = "SELECT CONNECTION_ID()"
    setting = "SET net_read_timeout = 7"
    wrong_password = "the server does not let this user in with this password"
    wrong_database = "there is no such database"

    async def doing(self, watcher: MySqlDatabase, schema: str) -> list[bool | None]:
        found = "SELECT COMMAND FROM information_schema.processlist WHERE DB = ? AND ID <> CONNECTION_ID()"
        return [row.COMMAND != "Sleep" for row in await watcher.fetch_all(found, (schema,))]

    def size(self, database: MySqlDatabase) -> int:
        return database._pool.size()

    def lent(self, database: MySqlDatabase) -> int:
        return super().lent(database) + len(database._pool._used)

    def ending(self, database: MySqlDatabase) -> int:
        return len(database._pool._ending)

    async def transactions(self, watcher: MySqlDatabase) -> int:
        count: int = await watcher.fetch_value("SELECT count(*) FROM information_schema.innodb_trx")
        return count


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


async def test_a_connection_that_the_server_has_closed_is_not_lent_out(opened: Opened) -> None:
    async with opened() as watcher, opened(pool=PoolOptions(max_connections=1)) as database:
        number = await database.fetch_value("SELECT CONNECTION_ID()")
        await watcher.execute(f"KILL CONNECTION {int(number)}")

        await until(lambda: bool(database._pool._idle[0].broken))
        assert await database.fetch_value("SELECT CONNECTION_ID()") != number


async def test_a_zone_that_the_server_does_not_know_keeps_a_database_from_opening(opened: Opened) -> None:
    with pytest.raises(StorageError, match="unknown time zone"):
        async with opened(time_zone="+99:00"):
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
                await database.fetch_value("SELECT SLEEP(600)")
        async with asyncio.timeout(30):
            await database.ping()
    async with opened(host=str(path), user="root", password=None) as database:
        await database.ping()
