"""A password is changed at the server while requests are served: the module reconnects, and none of them is lost."""

from __future__ import annotations

import asyncio
import itertools
from abc import ABC, abstractmethod
from typing import Any, ClassVar

from fastapi import FastAPI

from pywatt_core import AppState, pywatt_module
from pywatt_core.testing import app
from pywatt_core.testing.inprocess import Client
from tools.under_load import Load
from tools.waiting import until


def counting_in(numbers: str) -> Any:
    """A module that uses its database in every way; `numbers` is a statement that gives those from 1 to 200, in the column ``n``."""

    @pywatt_module(secrets=["DATABASE_URL"], rotate=True)
    async def module(state: AppState[None]) -> FastAPI:
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
            return sum([row.n async for row in state.database.iterate(numbers)])

        return served

    return module


PATHS = itertools.cycle(["/one", "/rows", "/blocking", "/call"])


async def request(client: Client) -> None:
    path = next(PATHS)
    answer = await client.request("POST" if path == "/call" else "GET", path)
    assert answer.status == 200, answer.text


class Account(ABC):
    """A user of the server whose password is ``password-0``, with an empty table ``calls``."""

    section: dict[str, Any]
    """What ``[databases.main]`` says; its address is the secret ``DATABASE_URL``."""
    not_let_in: ClassVar[str]
    """What is said to the user with a wrong password."""

    @abstractmethod
    def url(self, password: str) -> str:
        """The address, with the user and a password."""

    @abstractmethod
    def change(self, password: str) -> None:
        """Have the server know the user by another password."""

    @abstractmethod
    def sessions(self) -> set[str]:
        """The numbers of the connections that the server has from the user."""

    @abstractmethod
    def calls(self) -> int:
        """How many rows the table has."""


class RotationSuite:
    """The fixture is `account`."""

    module: ClassVar[Any]
    """What `counting_in` makes for this server."""

    def test_requests_go_on_while_the_password_changes_and_the_old_sessions_end(self, account: Account) -> None:
        async def ended(sessions: set[str]) -> None:
            async def they_have() -> bool:
                return not sessions & await asyncio.to_thread(account.sessions)

            await until(they_have)

        async def run() -> None:
            main = {**account.section, "pool": {"min_connections": 4, "max_connections": 4}}
            async with app(self.module, secrets={"DATABASE_URL": account.url("password-0")}, databases={"main": main}) as client:
                async with Load(lambda: request(client)) as load:
                    await load.more(40)
                    for number in range(1, 6):
                        before = await asyncio.to_thread(account.sessions)
                        assert len(before) == 4
                        await asyncio.to_thread(account.change, f"password-{number}")
                        acknowledgement = await client.rotate({"DATABASE_URL": account.url(f"password-{number}")})
                        assert (acknowledgement.status, acknowledgement.message) == ("success", None)
                        await ended(before)
                        await load.more(40)
                    # a password that the server does not know: nothing changes, and nobody notices
                    acknowledgement = await client.rotate({"DATABASE_URL": account.url("password-of-nobody")})
                    assert acknowledgement.status == "error"
                    assert (acknowledgement.message or "").startswith("databases.main: ")
                    assert account.not_let_in in (acknowledgement.message or "")
                    assert "password-of-nobody" not in (acknowledgement.message or "")
                    await load.more(40)
                assert load.failures == []
                called = await client.state.database.fetch_value("SELECT count(*) FROM calls")
                last = await asyncio.to_thread(account.sessions)
            assert called == await asyncio.to_thread(account.calls)
            await ended(last)
            assert not await asyncio.to_thread(account.sessions)

        asyncio.run(run())
