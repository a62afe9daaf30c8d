"""Files, folders, pragmas, and which connection a statement runs on."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pywatt_core.errors import Conflict, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from pywatt_sqlite.database import SqliteDatabase

    Opened = Callable[..., AbstractAsyncContextManager[SqliteDatabase]]


OPEN_AND_WRITE = """
import asyncio, sys
from pathlib import Path
from pywatt_core.interfaces import Context
from pywatt_sqlite import Options, open_sqlite

async def main():
    sys.stdin.readline()
    context = Context(module_id="test", section="databases.main", folder=Path(sys.argv[1]))
    async with open_sqlite(Options(path="shared.db", synchronous="off", busy_timeout=50), context) as database:
        await database.execute("CREATE TABLE IF NOT EXISTS t (writer, number)")
        for number in range(20):
            await database.execute("INSERT INTO t VALUES (?, ?)", (sys.argv[2], number))

asyncio.run(main())
"""


async def test_a_relative_path_belongs_to_the_configurations_folder(opened: Opened, tmp_path: Path) -> None:
    async with opened(path="data/with space & ?#%41/é.db") as database:
        await database.execute("CREATE TABLE t (x)")
    assert (tmp_path / "data" / "with space & ?#%41" / "é.db").is_file()


async def test_an_absolute_path_is_taken_as_it_is(opened: Opened, tmp_path: Path) -> None:
    async with opened(path=str(tmp_path / "elsewhere" / "a.db")):
        pass
    assert (tmp_path / "elsewhere" / "a.db").is_file()


async def test_what_was_written_is_there_when_the_file_is_opened_again(opened: Opened) -> None:
    async with opened() as database:
        await database.execute("CREATE TABLE t AS SELECT 1 AS x")
    async with opened(read_only=True) as database:
        assert await database.fetch_all("SELECT * FROM t") == [{"x": 1}]


async def test_memory_keeps_its_tables_and_forgets_them_when_it_is_closed(opened: Opened, tmp_path: Path) -> None:
    async with opened(path=":memory:") as database:
        await database.execute("CREATE TABLE t AS SELECT 1 AS x")
        assert await asyncio.gather(*[database.fetch_value("SELECT x FROM t") for _ in range(10)]) == [1] * 10
    async with opened(path=":memory:") as database:
        assert await database.fetch_all("SELECT name FROM sqlite_schema") == []
    assert list(tmp_path.iterdir()) == []


async def test_a_read_only_database_refuses_every_change(opened: Opened) -> None:
    async with opened() as database:
        await database.execute("CREATE TABLE t AS SELECT 1 AS x")
    async with opened(read_only=True) as database:
        await database.ping()
        for statement in ("INSERT INTO t VALUES (2)", "CREATE TABLE u (x)", "PRAGMA user_version = 2", "DELETE FROM t RETURNING x"):
            with pytest.raises(StorageError, match="only be read"):
                await database.execute(statement)
            with pytest.raises(StorageError, match="only be read"):
                await database.fetch_all(statement)
        async with database.transaction() as transaction:
            assert await transaction.fetch_value("SELECT x FROM t") == 1
            with pytest.raises(StorageError, match="only be read"):
                await transaction.execute("DELETE FROM t")
        assert [row async for row in database.iterate("SELECT x FROM t")] == [{"x": 1}]


@pytest.mark.parametrize(("synchronous", "level"), [("off", 0), ("normal", 1), ("full", 2), ("extra", 3)])
async def test_every_connection_has_the_options(opened: Opened, synchronous: str, level: int) -> None:
    async with (
        opened(synchronous=synchronous, foreign_keys=False) as database,
        database.transaction() as writer,
        database.transaction(read_only=True) as reader,
    ):
        for connection in (writer, reader):
            assert await connection.fetch_value("PRAGMA synchronous") == level
            assert await connection.fetch_value("PRAGMA foreign_keys") == 0
            assert await connection.fetch_value("PRAGMA journal_mode") == "wal"


async def test_foreign_keys_are_enforced_unless_switched_off(opened: Opened) -> None:
    async with opened(foreign_keys=False) as database:
        await database.execute("CREATE TABLE parents (id INTEGER PRIMARY KEY)")
        await database.execute("CREATE TABLE children (parent REFERENCES parents)")
        assert await database.execute("INSERT INTO children VALUES (1)") == 1
    async with opened() as database:
        with pytest.raises(Conflict, match="foreign key"):
            await database.execute("INSERT INTO children VALUES (2)")


@pytest.mark.parametrize("mode", ["delete", "truncate", "persist", "memory", "off"])
async def test_other_journals_work_too(opened: Opened, mode: str) -> None:
    async with opened(journal_mode=mode) as database:
        assert await database.fetch_value("PRAGMA journal_mode") in (mode, "delete")
        await database.execute("CREATE TABLE t AS SELECT 1 AS x")
        assert await database.fetch_value("SELECT x FROM t") == 1


async def test_a_journal_that_is_not_possible_is_an_error_and_not_replaced(opened: Opened, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "test.db") as other:
        other.execute("PRAGMA journal_mode = WAL")
        other.execute("CREATE TABLE t (x)")
        reading = other.execute("SELECT * FROM sqlite_schema")
        assert reading.fetchone()
        with pytest.raises(StorageError):
            async with opened(journal_mode="delete", busy_timeout=0.05):
                pass
        reading.close()
    other.close()


async def test_what_only_looks_like_reading_goes_to_the_writer(opened: Opened) -> None:
    async with opened() as database:
        await database.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, x)")
        insert = "WITH v(x) AS (VALUES (?)) INSERT INTO t (x) SELECT x FROM v RETURNING id"
        assert await database.fetch_one(insert, ("a",)) == {"id": 1}
        assert [row async for row in database.iterate(insert, ("b",))] == [{"id": 2}]
        assert await database.fetch_all("PRAGMA user_version = 5") == []
        assert await database.fetch_value("PRAGMA user_version") == 5
        assert await database.fetch_value("SELECT count(*) FROM t") == 2


async def test_a_reader_sees_what_was_written_a_moment_ago(opened: Opened) -> None:
    async with opened() as database:
        await database.execute("CREATE TABLE t (x)")
        for number in range(200):
            await database.execute("INSERT INTO t VALUES (?)", (number,))
            assert await database.fetch_value("SELECT max(x) FROM t") == number


async def test_an_iteration_that_is_cancelled_while_it_begins_leaves_no_old_state_behind(opened: Opened) -> None:
    async with opened(readers=1) as database:
        await database.execute("CREATE TABLE t AS SELECT 1 AS x UNION SELECT 2")
        kept = []  # an exception that is kept keeps what it went through
        for number in range(20):
            await database.fetch_value("SELECT 1")  # opens the reader
            rows = database.iterate("SELECT x FROM t")
            task = asyncio.create_task(anext(rows))
            while not (users := list(database._readers._users)):
                await asyncio.sleep(0)
            while users[0]._latest is None or not users[0]._latest.over:
                pass  # in its thread
            task.cancel()  # the statement has begun, and nobody has heard of it yet
            with pytest.raises(asyncio.CancelledError) as caught:
                await task
            kept.append(caught)
            await database.execute("INSERT INTO t VALUES (?)", (number + 10,))
            assert await database.fetch_value("SELECT max(x) FROM t") == number + 10


async def test_a_database_in_memory_that_was_given_up_says_so_and_is_not_replaced(opened: Opened) -> None:
    async with opened(path=":memory:") as database:
        await database.execute("CREATE TABLE t (x)")
        connection = await database._readers.acquire()
        waiting = asyncio.create_task(database.execute("INSERT INTO t VALUES (1)"))
        await asyncio.sleep(0)
        connection.lost = True
        database._readers.release(connection)
        await connection._ended()
        with pytest.raises(StorageError, match="the database in memory is gone"):
            await waiting
        with pytest.raises(StorageError, match="the database in memory is gone"):
            await database.fetch_all("SELECT * FROM t")


async def test_processes_that_open_one_new_file_at_once_share_it(opened: Opened, tmp_path: Path) -> None:
    command = (sys.executable, "-c", OPEN_AND_WRITE, str(tmp_path))
    processes = [await asyncio.create_subprocess_exec(*command, str(number), stdin=asyncio.subprocess.PIPE) for number in range(3)]
    try:
        for process in processes:
            assert process.stdin is not None
            process.stdin.write(b"go\n")
        assert await asyncio.gather(*[process.wait() for process in processes]) == [0, 0, 0]
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
            await process.communicate()
    async with opened(path="shared.db") as database:
        assert await database.fetch_value("SELECT count(*) FROM (SELECT DISTINCT writer, number FROM t)") == 60


SLOWLY = "WITH RECURSIVE c(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM c WHERE n < 400000) SELECT count(*) FROM c WHERE n <> ?"


async def test_a_slow_statement_is_logged_without_its_values(opened: Opened, caplog: pytest.LogCaptureFixture) -> None:
    async with opened(slow_statement=0.02) as database:
        with caplog.at_level("WARNING", "pywatt.sqlite"):
            await database.fetch_value(SLOWLY, ("canary-1188",))
            async with database.transaction() as transaction:
                await transaction.fetch_value(SLOWLY.replace("count(*)", "max(n)"), ("canary-1188",))
    texts = [message.partition("SELECT ")[2][-40:] for message in caplog.messages if message.startswith("slow statement")]
    assert any("count(" in text for text in texts) and any("max(" in text for text in texts)
    assert "canary-1188" not in caplog.text


async def test_no_statement_is_slow_where_nothing_is_set(opened: Opened, caplog: pytest.LogCaptureFixture) -> None:
    async with opened(slow_statement=0) as database:
        await database.fetch_value(SLOWLY, (0,))
    assert "slow statement" not in caplog.text
