"""A database that the orchestrator hosts keeps the contract of every other: the host is a process of its own, the module this one."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from pywatt_core.errors import Unavailable
from pywatt_core.interfaces import Database
from pywatt_core.services.hosted_database import open_hosted_database
from pywatt_core.services.hosted_options import HostedDatabaseOptions
from pywatt_core.testing.contracts import DatabaseContract
from tools.running_servers import MariadbServer, PostgresServer

from .host import module, running


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running(tmp_path_factory.mktemp("h")) as path:
        yield path


def service(**provider: Any) -> dict[str, Any]:
    return {"main": {"modules": ["users"], "database": {"use": "sqlite", "path": "test.db", "close_timeout": 0.5, **provider}}}


@asynccontextmanager
async def opened(host: str, folder: Path, services: dict[str, Any], frames: str) -> AsyncIterator[Database]:
    context = module(host, services, folder, frames=frames)
    async with context as here, open_hosted_database(HostedDatabaseOptions(), here) as database:
        yield database


class TestHostedSqlite(DatabaseContract):
    isolations = ("deferred", "immediate", "exclusive")
    frames = "msgpack"

    @pytest.fixture
    def backend(self, host: str, tmp_path: Path) -> AbstractAsyncContextManager[Database]:
        return opened(host, tmp_path, service(), self.frames)


class TestHostedSqliteInJson(TestHostedSqlite):
    frames = "json"


@asynccontextmanager
async def on_server(host: str, folder: Path, use: str, port: int, **usual: Any) -> AsyncIterator[Database]:
    """A hosted database of a real server, in a schema of its own that is gone in the end."""
    name = f"hosted_{uuid.uuid4().hex[:12]}"
    where = {"use": use, "host": "127.0.0.1", "port": port, "user": "pywatt", "password": "let-me-in", "close_timeout": 0.5, **usual}
    own = {"schema": name} if use == "postgres" else {"database": name}
    services = {
        "admin": {"modules": ["users"], "database": where},
        "main": {"modules": ["users"], "database": {**where, **own}},
    }
    kind = "SCHEMA" if use == "postgres" else "DATABASE"
    async with module(host, services, folder) as context, open_hosted_database(HostedDatabaseOptions(service="admin"), context) as admin:
        await admin.execute(f"CREATE {kind} {name}" if use == "postgres" else f"CREATE {kind} {name} CHARACTER SET utf8mb4")
        try:
            async with open_hosted_database(HostedDatabaseOptions(), context) as database:
                yield database
        finally:
            await admin.execute(f"DROP SCHEMA {name} CASCADE" if use == "postgres" else f"DROP DATABASE {name}")


class TestHostedPostgres(DatabaseContract):
    text_with_nul = False
    isolations = ("read committed", "repeatable read", "serializable")

    @pytest.fixture
    def backend(self, host: str, tmp_path: Path, postgres_server: PostgresServer) -> AbstractAsyncContextManager[Database]:
        return on_server(host, tmp_path, "postgres", postgres_server.port, database="postgres")


class TestHostedMySql(DatabaseContract):
    isolations = ("read committed", "repeatable read", "serializable")

    @pytest.fixture
    def backend(self, host: str, tmp_path: Path, mariadb_server: MariadbServer) -> AbstractAsyncContextManager[Database]:
        return on_server(host, tmp_path, "mysql", mariadb_server.port, database="information_schema")


# ── a server that is killed and comes back, seen through the orchestrator ───────────────────────────────────────────


@pytest.mark.parametrize(("server", "use", "name"), [(PostgresServer, "postgres", "postgres"), (MariadbServer, "mysql", "test")])
async def test_a_server_killed_under_load_is_a_gap_and_nothing_more(
    host: str, tmp_path: Path, start_server: Callable[..., Any], server: type[PostgresServer | MariadbServer], use: str, name: str
) -> None:
    with start_server(server) as running_server:
        where = {"host": "127.0.0.1", "port": running_server.port, "user": "pywatt", "password": "let-me-in", "database": name}
        services = service()
        services["main"]["database"] = {"use": use, **where, "close_timeout": 0.5, "pool": {"max_connections": 5}}
        async with opened(host, tmp_path, services, "msgpack") as database:
            for table in ("first", "second"):
                await database.execute(f"CREATE TABLE {table} (id BIGINT)")
            outcomes: list[str] = []
            stop = asyncio.Event()

            async def load(number: int) -> None:
                while not stop.is_set():
                    try:
                        async with database.transaction() as transaction:
                            await transaction.execute("INSERT INTO first (id) VALUES (?)", (number,))
                            await transaction.execute("INSERT INTO second (id) VALUES (?)", (number,))
                        assert await database.fetch_value("SELECT ?", (str(number),)) == str(number)
                        outcomes.append("done")
                    except Unavailable:
                        outcomes.append("unavailable")
                        await asyncio.sleep(0.01)

            async def until(wanted: str) -> None:
                outcomes.clear()
                async with asyncio.timeout(60):
                    while wanted not in outcomes:
                        await asyncio.sleep(0.005)

            tasks = [asyncio.create_task(load(number)) for number in range(16)]
            for _ in range(2):
                await until("done")
                await asyncio.to_thread(running_server.kill)
                await until("unavailable")
                await asyncio.to_thread(running_server.start)
                await until("done")
            stop.set()
            await asyncio.gather(*tasks)  # a failure of any other kind ends here
            count = "SELECT (SELECT count(*) FROM first) - (SELECT count(*) FROM second)"
            assert await database.fetch_value(count) == 0
            activity = "pg_stat_activity WHERE usename = 'pywatt'" if use == "postgres" else "information_schema.processlist"
            assert await database.fetch_value(f"SELECT count(*) FROM {activity}") <= 5
