"""A password is changed at the server while requests are served: the module reconnects, and none of them is lost."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from pywatt_core.testing import app
from tools.server_databases.rotation import Account, RotationSuite, counting_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tools.running_servers import MariadbServer

_numbers = itertools.count(1)


@dataclass
class MySqlAccount(Account):
    name: str
    schema: str
    port: int
    ask: Callable[[str], Any]
    not_let_in = "does not let this user in with this password"

    def __post_init__(self) -> None:
        self.section = {"use": "mysql", "url": "secret:DATABASE_URL"}

    def url(self, password: str) -> str:
        return f"mysql://{self.name}:{password}@127.0.0.1:{self.port}/{self.schema}"

    def change(self, password: str) -> None:
        self.ask(f"ALTER USER {self.name}@'127.0.0.1' IDENTIFIED BY '{password}'")

    def sessions(self) -> set[str]:
        found = self.ask(f"SELECT group_concat(id ORDER BY id) FROM information_schema.processlist WHERE user = '{self.name}'")
        return set((found.decode() if isinstance(found, bytes) else found or "").split(",")) - {""}

    def calls(self) -> int:
        count: int = self.ask(f"SELECT count(*) FROM {self.schema}.calls")
        return count


@pytest.fixture
def account(mariadb_server: MariadbServer, ask: Callable[[str], Any], schema: str) -> Iterator[MySqlAccount]:
    made = MySqlAccount(f"rotating_{next(_numbers)}", schema, mariadb_server.port, ask)
    ask(f"CREATE USER {made.name}@'127.0.0.1' IDENTIFIED BY 'password-0'")
    ask(f"GRANT ALL ON {schema}.* TO {made.name}@'127.0.0.1'")
    ask(f"CREATE TABLE {schema}.calls (who VARCHAR(20) NOT NULL)")
    yield made
    ask(f"DROP USER {made.name}@'127.0.0.1'")


counting = counting_in("SELECT seq AS n FROM seq_1_to_200")


class TestRotation(RotationSuite):
    module = counting


def test_the_sessions_of_the_old_password_can_be_killed_once_the_rotation_is_acknowledged(account: MySqlAccount) -> None:
    """Whoever begins afterwards uses the new ones only."""

    async def run() -> None:
        async with app(counting, secrets={"DATABASE_URL": account.url("password-0")}, databases={"main": account.section}) as client:
            database = client.state.database
            async with database.transaction() as transaction:  # keeps the old ones open
                await transaction.execute("INSERT INTO calls (who) VALUES ('old')")
                await asyncio.to_thread(account.change, "password-1")
                assert (await client.rotate({"DATABASE_URL": account.url("password-1")})).status == "success"
                await transaction.execute("INSERT INTO calls (who) VALUES ('old')")
            await database.execute("INSERT INTO calls (who) VALUES ('new')")
            oldest = min(await asyncio.to_thread(account.sessions), key=int)
            await asyncio.to_thread(account.ask, f"KILL CONNECTION {oldest}")
            assert await database.fetch_value("SELECT count(*) FROM calls") == 3

    asyncio.run(run())
