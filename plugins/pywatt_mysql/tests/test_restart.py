"""A server that goes away and comes back: errors are typed meanwhile, and nobody has to start again."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pywatt_core.errors import Unavailable
from pywatt_core.interfaces import Context
from pywatt_core.redaction import Secret
from pywatt_core.sql.options import PoolOptions
from pywatt_mysql import Options, open_mysql, running
from tools.running_servers import MariadbServer
from tools.server_databases.restart import RestartSuite

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractAsyncContextManager

    from pywatt_mysql.database import MySqlDatabase
    from tools.running_servers import RunningServer


@pytest.fixture
def own_server(start_server: Callable[..., Any]) -> Iterator[MariadbServer]:
    """A server that the test may stop."""
    with start_server(MariadbServer) as server:
        yield server


def opened(server: RunningServer, **options: Any) -> AbstractAsyncContextManager[MySqlDatabase]:
    where = {
        "host": "127.0.0.1",
        "port": server.port,
        "user": "pywatt",
        "password": Secret("let-me-in"),
        "database": "test",
        "close_timeout": 0.5,
    }
    return open_mysql(Options(**{**where, **options}), Context(module_id="test", section="databases.main"))


class TestRestart(RestartSuite):
    connections = "SELECT count(*) FROM information_schema.processlist WHERE DB = 'test'"
    unreachable = r"connecting to mysql://pywatt@127.0.0.1:\d+/test: the server cannot be reached"

    def opened(self, server: RunningServer, **options: Any) -> AbstractAsyncContextManager[MySqlDatabase]:
        return opened(server, **options)


def freeze(server: MariadbServer) -> None:
    """Stop every thread of the server, and wait until they have stopped."""
    process = server._process
    assert process is not None
    os.kill(process.pid, signal.SIGSTOP)
    give_up = time.monotonic() + 30
    threads = Path(f"/proc/{process.pid}/task")
    while any((thread / "stat").read_text().rpartition(")")[2].split()[0] != "T" for thread in threads.iterdir()):
        assert time.monotonic() < give_up, "it does not stop"


def thaw(server: MariadbServer) -> None:
    """Have it go on."""
    assert server._process is not None
    os.kill(server._process.pid, signal.SIGCONT)


async def test_a_server_that_hangs_is_told_within_the_deadline(own_server: MariadbServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "ENDING_TIMEOUT", 0.2)
    async with opened(own_server, connect_timeout=0.2, statement_timeout=0.3, pool=PoolOptions(max_connections=2)) as database:
        await database.execute("CREATE TABLE t (id INT)")
        freeze(own_server)
        try:
            with pytest.raises(Unavailable, match=r"does not answer within 0\.2 s"):
                await database.ping()
            with pytest.raises(Unavailable, match="did not answer in time"):
                await database.execute("INSERT INTO t VALUES (1)")
        finally:
            thaw(own_server)
        async with asyncio.timeout(30):
            while True:
                try:
                    await database.ping()
                    break
                except Unavailable:
                    continue
        with pytest.raises(Unavailable, match=r"COMMIT had no answer within 0\.2 s: whether it was done is unknown"):
            try:
                async with database.transaction() as transaction:
                    await transaction.execute("INSERT INTO t VALUES (1)")
                    freeze(own_server)
            finally:
                thaw(own_server)
        async with asyncio.timeout(30):
            assert await database.fetch_value("SELECT count(*) FROM t") in (0, 1)
