"""The pool: bounded, fair, with deadlines; what it lends out comes back in order, and the server sees how many there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pywatt_core.sql.options import PoolOptions
from tools.server_databases.pool import PoolSuite

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from pywatt_postgres.database import PostgresDatabase
    from tools.running_servers import PostgresServer

    Opened = Callable[..., AbstractAsyncContextManager[PostgresDatabase]]


class TestPool(PoolSuite):
    scheme = "postgresql"
    sleep = "SELECT pg_sleep({})"
    numbers = "SELECT generate_series(1, {}) AS n"
    connection = "SELECT pg_backend_pid()"
    setting = "SET work_mem = '1MB'"
    wrong_password = 'password authentication failed for user "pywatt"'
    wrong_database = 'database "nowhere" does not exist'
    served_within = 30

    def marks(self, schema: str) -> dict[str, Any]:
        return {"application_name": schema}

    async def doing(self, watcher: PostgresDatabase, schema: str) -> list[bool | None]:
        found = "SELECT state FROM pg_stat_activity WHERE application_name = ?"
        return [{"active": True, "idle": False}.get(row.state) for row in await watcher.fetch_all(found, (schema,))]

    def size(self, database: PostgresDatabase) -> int:
        size: int = database._pool.asyncpg.get_size()
        return size


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


async def test_a_url_and_a_unix_socket_lead_to_the_same_server(opened: Opened, postgres_server: PostgresServer) -> None:
    port = postgres_server.port
    async with opened(url=f"postgresql://pywatt:let-me-in@127.0.0.1:{port}/postgres?application_name=by%20url") as database:
        assert await database.fetch_value("SHOW application_name") == "by url"
    async with opened(url=f"postgres://pywatt@:{port}/postgres?host={postgres_server.folder}") as database:
        assert await database.fetch_value("SELECT inet_server_addr()") is None
    async with opened(host=str(postgres_server.folder)) as database:
        assert await database.fetch_value("SHOW application_name") == "pywatt test"
