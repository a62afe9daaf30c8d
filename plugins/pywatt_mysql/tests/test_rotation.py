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
    from tools.running_servers import MariadbServer

_numbers = itertools.count(1)


@pytest.fixture
def user(ask: Callable[[str], Any], schema: str) -> Iterator[str]:
    """A user of the server whose password is ``password-0``."""
    name = f"rotating_{next(_numbers)}"
    ask(f"CREATE USER {name}@'127.0.0.1' IDENTIFIED BY 'password-0'")
    ask(f"GRANT ALL ON {schema}.* TO {name}@'127.0.0.1'")
    ask(f"CREATE TABLE {schema}.calls (who VARCHAR(20) NOT NULL)")
    yield name
    ask(f"DROP USER {name}@'127.0.0.1'")


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
            return str(await transaction.fetch_value("SELECT current_user()"))

    @served.get("/blocking")
    def blocking() -> int:
        value: int = state.sync.database.fetch_value("SELECT 2")
        return value

    @served.get("/rows")
    async def rows() -> int:
        return sum([row.seq async for row in state.database.iterate("SELECT seq FROM seq_1_to_200")])

    return served


PATHS = itertools.cycle(["/one", "/rows", "/blocking", "/call"])


async def request(client: Client) -> None:
    path = next(PATHS)
    answer = await client.request("POST" if path == "/call" else "GET", path)
    assert answer.status == 200, answer.text


def test_requests_go_on_while_the_password_changes_and_the_old_sessions_end(
    mariadb_server: MariadbServer, ask: Callable[[str], Any], user: str, schema: str
) -> None:
    def url(password: str) -> str:
        return f"mysql://{user}:{password}@127.0.0.1:{mariadb_server.port}/{schema}"

    def sessions() -> set[str]:
        found = ask(f"SELECT group_concat(id) FROM information_schema.processlist WHERE user = '{user}'")
        return set((found.decode() if isinstance(found, bytes) else found or "").split(",")) - {""}

    async def run() -> None:
        main = {"use": "mysql", "url": "secret:DATABASE_URL", "pool": {"min_connections": 4, "max_connections": 4}}
        async with app(counting, secrets={"DATABASE_URL": url("password-0")}, databases={"main": main}) as client:
            async with Load(lambda: request(client)) as load:
                await load.more(40)
                for number in range(1, 6):
                    before = await asyncio.to_thread(sessions)
                    assert len(before) == 4
                    await asyncio.to_thread(ask, f"ALTER USER {user}@'127.0.0.1' IDENTIFIED BY 'password-{number}'")
                    acknowledgement = await client.rotate({"DATABASE_URL": url(f"password-{number}")})
                    assert (acknowledgement.status, acknowledgement.message) == ("success", None)
                    async with asyncio.timeout(30):
                        while before & await asyncio.to_thread(sessions):
                            await asyncio.sleep(0.02)
                    await load.more(40)
                acknowledgement = await client.rotate({"DATABASE_URL": url("password-of-nobody")})
                assert acknowledgement.status == "error"
                assert (acknowledgement.message or "").startswith("databases.main: ")
                assert "does not let this user in with this password" in (acknowledgement.message or "")
                assert "password-of-nobody" not in (acknowledgement.message or "")
                await load.more(40)
            assert load.failures == []
            called = await client.state.database.fetch_value("SELECT count(*) FROM calls")
        assert called == await asyncio.to_thread(ask, f"SELECT count(*) FROM {schema}.calls")

    asyncio.run(run())


def test_the_sessions_of_the_old_password_can_be_killed_once_the_rotation_is_acknowledged(
    mariadb_server: MariadbServer, ask: Callable[[str], Any], user: str, schema: str
) -> None:
    """Whoever begins afterwards uses the new ones only."""

    def url(password: str) -> str:
        return f"mysql://{user}:{password}@127.0.0.1:{mariadb_server.port}/{schema}"

    def kill_the_old_ones() -> None:
        ids = ask(f"SELECT group_concat(id ORDER BY id) FROM information_schema.processlist WHERE user = '{user}'")
        oldest, *_ = (ids.decode() if isinstance(ids, bytes) else ids).split(",")
        ask(f"KILL CONNECTION {oldest}")

    async def run() -> None:
        main = {"use": "mysql", "url": "secret:DATABASE_URL"}
        async with app(counting, secrets={"DATABASE_URL": url("password-0")}, databases={"main": main}) as client:
            database = client.state.database
            async with database.transaction() as transaction:  # keeps the old ones open
                await transaction.execute("INSERT INTO calls (who) VALUES ('old')")
                await asyncio.to_thread(ask, f"ALTER USER {user}@'127.0.0.1' IDENTIFIED BY 'password-1'")
                assert (await client.rotate({"DATABASE_URL": url("password-1")})).status == "success"
                await transaction.execute("INSERT INTO calls (who) VALUES ('old')")
            await database.execute("INSERT INTO calls (who) VALUES ('new')")
            await asyncio.to_thread(kill_the_old_ones)
            assert await database.fetch_value("SELECT count(*) FROM calls") == 3

    asyncio.run(run())
