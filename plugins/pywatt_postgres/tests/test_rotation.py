"""A password is changed at the server while requests are served: the module reconnects, and none of them is lost."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from pywatt_core.testing import app
from tools.server_databases.rotation import Account, RotationSuite, counting_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tools.running_servers import PostgresServer

_numbers = itertools.count(1)


@dataclass
class PostgresAccount(Account):
    name: str
    schema: str
    port: int
    ask: Callable[[str], Any]
    not_let_in = "authentication failed"

    def __post_init__(self) -> None:
        self.section = {"use": "postgres", "url": "secret:DATABASE_URL", "schema": self.schema}

    def url(self, password: str) -> str:
        return f"postgresql://{self.name}:{password}@127.0.0.1:{self.port}/postgres"

    def change(self, password: str) -> None:
        self.ask(f"ALTER ROLE {self.name} PASSWORD '{password}'")

    def sessions(self) -> set[str]:
        return set(self.ask(f"SELECT array_agg(pid::text) FROM pg_stat_activity WHERE usename = '{self.name}'") or [])

    def calls(self) -> int:
        count: int = self.ask(f"SELECT count(*) FROM {self.schema}.calls")
        return count


@pytest.fixture
def account(postgres_server: PostgresServer, ask: Callable[[str], Any], schema: str) -> Iterator[PostgresAccount]:
    """One who is asked for the password, unlike others."""
    rules = postgres_server.folder / "data" / "pg_hba.conf"
    line = "host all +rotating 127.0.0.1/32 scram-sha-256\n"
    before = rules.read_text(encoding="utf-8")
    if line not in before:
        ask("CREATE ROLE rotating")
        rules.write_text(line + before, encoding="utf-8")
        ask("SELECT pg_reload_conf()")
    made = PostgresAccount(f"rotating_{next(_numbers)}", schema, postgres_server.port, ask)
    ask(f"CREATE ROLE {made.name} LOGIN SUPERUSER PASSWORD 'password-0' IN ROLE rotating")
    ask(f"CREATE TABLE {schema}.calls (who TEXT NOT NULL)")
    yield made
    ask(f"DROP ROLE {made.name}")


counting = counting_in("SELECT n FROM generate_series(1, 200) AS n")


class TestRotation(RotationSuite):
    module = counting


async def test_a_transaction_that_lasts_longer_than_the_rotation_is_committed(account: PostgresAccount) -> None:
    address = account.url("password-0")
    async with app(counting, secrets={"DATABASE_URL": address}, databases={"main": account.section}) as client:
        database = client.state.database
        async with database.transaction() as transaction:
            await transaction.execute("INSERT INTO calls (who) VALUES ('inside')")
            assert (await client.rotate({"DATABASE_URL": f"{address}?application_name=afterwards"})).status == "success"
            assert await database.fetch_value("SELECT current_setting('application_name')") == "afterwards"
            assert await database.fetch_value("SELECT count(*) FROM calls") == 0
            assert await transaction.fetch_value("SELECT current_setting('application_name')") != "afterwards"
            await transaction.execute("INSERT INTO calls (who) VALUES ('inside')")
        assert await database.fetch_value("SELECT count(*) FROM calls") == 2


async def test_what_is_open_is_the_plugins_own_with_everything_it_has(account: PostgresAccount) -> None:
    async with app(counting, secrets={"DATABASE_URL": account.url("password-0")}, databases={"main": account.section}) as client:
        database: Any = client.state.database
        assert (database.dialect, await database.databases.fetch_val("SELECT 7")) == ("postgresql", 7)
