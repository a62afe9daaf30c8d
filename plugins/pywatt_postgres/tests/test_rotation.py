"""A password is changed at the server while requests are served: the module reconnects, and none of them is lost."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any

import pytest
from fastapi import FastAPI

from pywatt_core import AppState, pywatt_module
from pywatt_core.testing import app
from tools.under_load import Load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pywatt_core.testing.inprocess import Client
    from tools.running_servers import PostgresServer

_numbers = itertools.count(1)


@pytest.fixture
def role(postgres_server: PostgresServer, ask: Callable[[str], Any], schema: str) -> Iterator[str]:
    """A user of the server, who is asked for the password ``password-0``."""
    rules = postgres_server.folder / "data" / "pg_hba.conf"
    line = "host all +rotating 127.0.0.1/32 scram-sha-256\n"
    before = rules.read_text(encoding="utf-8")
    if line not in before:
        ask("CREATE ROLE rotating")
        rules.write_text(line + before, encoding="utf-8")
        ask("SELECT pg_reload_conf()")
    name = f"rotating_{next(_numbers)}"
    ask(f"CREATE ROLE {name} LOGIN SUPERUSER PASSWORD 'password-0' IN ROLE rotating")
    ask(f"CREATE TABLE {schema}.calls (who TEXT NOT NULL)")
    yield name
    ask(f"DROP ROLE {name}")


@pywatt_module(secrets=["DATABASE_URL"], rotate=True)
async def counting(state: AppState[None]) -> FastAPI:
    served = FastAPI()

    @served.get("/one")
    async def one() -> int:
        value: int = await state.database.fetch_value("SELECT 1")
        return value

    @served.post("/call")
    async def call() -> str:
        async with state.database.transaction() as transaction:
            await transaction.execute("INSERT INTO calls (who) VALUES (?)", ("somebody",))
            return str(await transaction.fetch_value("SELECT current_user"))

    @served.get("/blocking")
    def blocking() -> int:
        value: int = state.sync.database.fetch_value("SELECT 2")
        return value

    @served.get("/rows")
    async def rows() -> int:
        return sum([row.number async for row in state.database.iterate("SELECT number FROM generate_series(1, 200) AS number")])

    return served


PATHS = itertools.cycle(["/one", "/rows", "/blocking", "/call"])


async def request(client: Client) -> None:
    path = next(PATHS)
    answer = await client.request("POST" if path == "/call" else "GET", path)
    assert answer.status == 200, answer.text


def test_requests_go_on_while_the_password_changes_and_the_old_sessions_end(
    postgres_server: PostgresServer, ask: Callable[[str], Any], role: str, schema: str
) -> None:
    def url(password: str) -> str:
        return f"postgresql://{role}:{password}@127.0.0.1:{postgres_server.port}/postgres"

    def sessions() -> set[int]:
        return set(ask(f"SELECT array_agg(pid) FROM pg_stat_activity WHERE usename = '{role}'") or [])

    async def run() -> None:
        main = {"use": "postgres", "url": "secret:DATABASE_URL", "schema": schema, "pool": {"min_connections": 4, "max_connections": 4}}
        async with app(counting, secrets={"DATABASE_URL": url("password-0")}, databases={"main": main}) as client:
            async with Load(lambda: request(client)) as load:
                await load.more(40)
                for number in range(1, 6):
                    before = await asyncio.to_thread(sessions)
                    assert len(before) == 4
                    await asyncio.to_thread(ask, f"ALTER ROLE {role} PASSWORD 'password-{number}'")
                    acknowledgement = await client.rotate({"DATABASE_URL": url(f"password-{number}")})
                    assert (acknowledgement.status, acknowledgement.message) == ("success", None)
                    async with asyncio.timeout(30):
                        while before & await asyncio.to_thread(sessions):
                            await asyncio.sleep(0.02)
                    await load.more(40)
                # a password that the server does not know: nothing changes, and nobody notices
                acknowledgement = await client.rotate({"DATABASE_URL": url("password-of-nobody")})
                assert acknowledgement.status == "error"
                assert (acknowledgement.message or "").startswith("databases.main: ")
                assert "authentication failed" in (acknowledgement.message or "")
                assert "password-of-nobody" not in (acknowledgement.message or "")
                await load.more(40)
            assert load.failures == []
            called = await client.state.database.fetch_value("SELECT count(*) FROM calls")
        assert called == await asyncio.to_thread(ask, f"SELECT count(*) FROM {schema}.calls")
        assert not await asyncio.to_thread(sessions)

    asyncio.run(run())


async def test_a_transaction_that_lasts_longer_than_the_rotation_is_committed(
    postgres_server: PostgresServer, role: str, schema: str
) -> None:
    secrets = {"DATABASE_URL": f"postgresql://{role}:password-0@127.0.0.1:{postgres_server.port}/postgres"}
    main = {"use": "postgres", "url": "secret:DATABASE_URL", "schema": schema}
    async with app(counting, secrets=secrets, databases={"main": main}) as client:
        database = client.state.database
        async with database.transaction() as transaction:
            await transaction.execute("INSERT INTO calls (who) VALUES ('inside')")
            changed = secrets["DATABASE_URL"] + "?application_name=afterwards"
            assert (await client.rotate({"DATABASE_URL": changed})).status == "success"
            assert await database.fetch_value("SELECT current_setting('application_name')") == "afterwards"
            assert await database.fetch_value("SELECT count(*) FROM calls") == 0
            assert await transaction.fetch_value("SELECT current_setting('application_name')") != "afterwards"
            await transaction.execute("INSERT INTO calls (who) VALUES ('inside')")
        assert await database.fetch_value("SELECT count(*) FROM calls") == 2


async def test_what_is_open_is_the_plugins_own_with_everything_it_has(postgres_server: PostgresServer, role: str, schema: str) -> None:
    secrets = {"DATABASE_URL": f"postgresql://{role}:password-0@127.0.0.1:{postgres_server.port}/postgres"}
    async with app(counting, secrets=secrets, databases={"main": {"use": "postgres", "url": "secret:DATABASE_URL"}}) as client:
        database: Any = client.state.database
        assert (database.dialect, await database.databases.fetch_val("SELECT 7")) == ("postgresql", 7)
