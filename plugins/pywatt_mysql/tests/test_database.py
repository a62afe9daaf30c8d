"""What MariaDB has beyond the contract: its types, prepared statements that grow old, texts that are not prepared, slow statements."""

from __future__ import annotations

import asyncio
import logging
import struct
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import IntEnum
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from asyncmy.constants.COMMAND import COM_STMT_CLOSE
from asyncmy.errors import ProgrammingError

from pywatt_core.errors import StorageError
from pywatt_core.sql.options import PoolOptions
from pywatt_mysql.values import sendable
from tools.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from pywatt_mysql.database import MySqlDatabase

    Opened = Callable[..., AbstractAsyncContextManager[MySqlDatabase]]


@dataclass
class Order:
    id: UUID
    placed: datetime
    stamped: datetime
    day: date
    total: Decimal
    weight: float
    paid: bool
    waited: timedelta
    raw: bytes


class Colour(IntEnum):
    RED = 7


async def test_its_types_come_back_as_python_s_and_through_into(opened: Opened) -> None:
    placed = datetime(2024, 2, 29, 23, 59, 59, 123456)
    order = Order(uuid4(), placed, placed, date(2024, 2, 29), Decimal("10.10"), 0.1, True, timedelta(days=-1, seconds=3), b"\x00\xff")
    async with opened() as database:
        await database.execute(
            "CREATE TABLE orders (id CHAR(36), placed DATETIME(6), stamped TIMESTAMP(6), day DATE, total DECIMAL(10, 2), "
            "weight DOUBLE, paid BOOLEAN, waited TIME, raw BLOB)"
        )
        values = tuple(vars(order).values())
        assert await database.execute("INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", values) == 1
        assert await database.fetch_one("SELECT * FROM orders", into=Order) == order
        assert await database.fetch_all("SELECT * FROM orders WHERE id = ?", (order.id,)) == [{**vars(order), "id": str(order.id)}]
        assert await database.fetch_value("SELECT CAST(? AS TIME)", (time(1, 2, 3),)) == timedelta(hours=1, minutes=2, seconds=3)
        assert await database.fetch_value("SELECT CAST(? AS UNSIGNED)", (2**64 - 1,)) == 2**64 - 1


async def test_moments_are_in_utc_wherever_the_server_and_the_value_are(opened: Opened) -> None:
    async with opened() as database:
        await database.execute("CREATE TABLE moments (at DATETIME(6))")
        await database.execute("INSERT INTO moments VALUES (?)", (datetime(2024, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))),))
        assert await database.fetch_value("SELECT at FROM moments") == datetime(2024, 1, 1)
        now = await database.fetch_value("SELECT NOW(6)")
        assert abs(now - datetime.now(UTC).replace(tzinfo=None)) < timedelta(minutes=5)
    async with opened(time_zone="+05:00") as database:
        ahead = await database.fetch_value("SELECT NOW(6)")
        assert timedelta(hours=4, minutes=50) < ahead - now < timedelta(hours=5, minutes=10)


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        ({"a": [1, None, "ü"]}, '{"a":[1,null,"ü"]}'),
        ([1, 2], "[1,2]"),
        (bytearray(b"x"), b"x"),
        (memoryview(b"x"), b"x"),
        (Colour.RED, 7),
        (UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        (1.5, 1.5),
    ],
)
def test_values_that_the_server_has_no_type_for_are_written_as_one_it_has(value: Any, sent: Any) -> None:
    assert sendable((None, value)) == (None, sent)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (float("nan"), "neither infinity nor"),
        (float("-inf"), "neither infinity nor"),
        (Decimal("NaN"), "neither infinity nor"),
        (time(1, tzinfo=UTC), "a time of day with a zone"),
        ({"a": object()}, "cannot be written as JSON"),
        (object(), "there is no type for a object"),
        ({1, 2}, "there is no type for a set"),
    ],
)
def test_values_that_would_become_something_else_are_refused_by_their_place(value: Any, reason: str) -> None:
    with pytest.raises(StorageError, match=f"parameter 2 cannot be sent to the server: .*{reason}"):
        sendable(("x", value))


async def test_a_statement_that_is_prepared_already_survives_a_change_of_its_table(opened: Opened) -> None:
    async with opened() as database:
        await database.execute("CREATE TABLE items (id INT)")
        await database.execute("INSERT INTO items VALUES (1)")
        for _ in range(3):
            assert await database.fetch_one("SELECT * FROM items") == {"id": 1}
        await database.execute("ALTER TABLE items ADD COLUMN name VARCHAR(10) DEFAULT 'x'")
        assert await database.fetch_one("SELECT * FROM items") == {"id": 1, "name": "x"}
        await database.execute("ALTER TABLE items MODIFY COLUMN id VARCHAR(10)")
        assert await database.fetch_one("SELECT * FROM items") == {"id": "1", "name": "x"}
        await database.execute("ALTER TABLE items RENAME COLUMN id TO number")
        assert await database.fetch_one("SELECT * FROM items") == {"number": "1", "name": "x"}


@pytest.mark.parametrize("cached", [0, 3])
async def test_only_so_many_prepared_statements_are_kept(opened: Opened, cached: int) -> None:
    status = "SELECT VARIABLE_VALUE FROM information_schema.session_status WHERE VARIABLE_NAME = ?"
    async with opened(cached_statements=cached) as database, database.transaction() as transaction:
        for number in range(10):
            assert await transaction.fetch_value(f"SELECT ? + {number}", (1,)) == 1 + number
        for _ in range(5):
            async with aclosing(transaction.iterate("SELECT seq FROM seq_1_to_100")) as rows:
                assert await anext(rows) == {"seq": 1}
        made = int(await transaction.fetch_value(status, ("Com_stmt_prepare",)))
        closed = int(await transaction.fetch_value(status, ("Com_stmt_close",)))
        assert made >= 15
        assert made - closed <= cached + 2  # the one that asks is there too


async def test_statements_that_fail_are_not_collected_at_the_server(opened: Opened) -> None:
    status = "SELECT VARIABLE_VALUE FROM information_schema.global_status WHERE VARIABLE_NAME = 'Prepared_stmt_count'"
    failing = "SELECT id - 5 AS less FROM small FOR UPDATE"
    async with opened(cached_statements=0, pool=PoolOptions(max_connections=1)) as database:
        await database.execute("CREATE TABLE small (id INT UNSIGNED)")
        await database.execute("INSERT INTO small VALUES (1)")
        before = int(await database.fetch_value(status))
        for _ in range(20):
            with pytest.raises(StorageError, match="a number is out of range"):
                await database.fetch_all(failing)
            with pytest.raises(StorageError, match="a number is out of range"):
                async for _row in database.iterate(failing):
                    pass
            with pytest.raises(StorageError, match="two columns are called 'a'"):
                async for _row in database.iterate("SELECT 1 AS a, 2 AS a"):
                    pass
        assert int(await database.fetch_value(status)) == before


async def test_a_statement_that_the_server_has_forgotten_is_prepared_again(opened: Opened) -> None:
    async with opened(pool=PoolOptions(max_connections=1)) as database:
        await database.execute("CREATE TABLE t (id INT PRIMARY KEY)")
        insert = "INSERT INTO t VALUES (?)"
        assert await database.execute(insert, (1,)) == 1
        (session,) = database._pool._idle
        await session._execute_command(COM_STMT_CLOSE, struct.pack("<I", session._prepared[insert]._statement_id))
        assert await database.execute(insert, (2,)) == 1
        assert await database.execute(insert, (3,)) == 1
        assert await database.fetch_value("SELECT count(*) FROM t") == 3


async def test_what_code_for_databases_gives_up_is_ended_at_the_server(opened: Opened, endless: str, how_many_endless: str) -> None:
    async with opened() as watcher, opened() as database:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await database.databases.fetch_one(endless)

        async def has_ended() -> bool:
            return bool(await watcher.fetch_value(how_many_endless) == 0)

        await until(has_ended)
        assert (await database.databases.fetch_one("SELECT 5 AS five"))["five"] == 5  # type: ignore[index]


async def test_types_that_are_rarer_come_back_as_what_they_are(opened: Opened) -> None:
    async with opened() as database:
        await database.execute(
            "CREATE TABLE rare (bits BIT(10), year YEAR, small ENUM('a', 'b'), many SET('x', 'y'), id UUID, where_from INET6, doc JSON, "
            "big BIGINT UNSIGNED, tiny TINYINT, middle MEDIUMINT, real_one FLOAT, fixed BINARY(4), never DATETIME)"
        )
        await database.execute(
            "INSERT INTO rare VALUES (b'1000000001', 2024, 'b', 'x,y', ?, '::1', ?, ?, -5, -70000, 0.5, 'ab', NULL)",
            (UUID(int=7), {"a": [1]}, 2**64 - 1),
        )
        expected = {
            "bits": b"\x02\x01", "year": 2024, "small": "b", "many": "x,y", "id": str(UUID(int=7)), "where_from": "::1", "doc": '{"a":[1]}',
            "big": 2**64 - 1, "tiny": -5, "middle": -70000, "real_one": 0.5, "fixed": b"ab\0\0", "never": None,
        }  # fmt: skip
        assert await database.fetch_one("SELECT * FROM rare") == expected
        async with aclosing(database.iterate("SELECT * FROM rare")) as rows:
            assert [row async for row in rows] == [expected]


async def test_the_count_of_a_change_is_right_whatever_the_statement_begins_with(opened: Opened) -> None:
    async with opened() as database:
        assert await database.execute("CREATE TABLE t (id INT PRIMARY KEY, x INT)") == 0
        assert await database.execute("-- first\nINSERT INTO t VALUES (1, 1), (2, 2)") == 2
        assert await database.execute("INSERT INTO t SELECT 3, 3") == 1
        assert await database.execute("UPDATE t SET x = x") == 3  # found and not changed
        assert await database.execute("INSERT IGNORE INTO t VALUES (1, 0)") == 0
        assert await database.execute("CREATE TABLE copy AS SELECT * FROM t") == 0
        assert await database.execute("ALTER TABLE copy ADD COLUMN y INT") == 0
        assert await database.execute("SELECT * FROM t") == 0
        assert await database.execute("TRUNCATE copy") == 0
        assert await database.execute("DELETE FROM t WHERE id < 3 RETURNING id") == 2
        assert await database.execute("DELETE FROM t") == 1


async def test_what_the_server_cannot_prepare_is_run_as_one_statement_of_text(opened: Opened) -> None:
    async with opened() as database, database.transaction() as transaction:
        assert await transaction.execute("PREPARE mine FROM 'SELECT 5 AS five'") == 0
        assert await transaction.fetch_all("EXECUTE mine") == [{"five": 5}]
        with pytest.raises(StorageError, match="cannot run that with parameters"):
            await transaction.execute("PREPARE mine FROM ?", ("SELECT 1",))
        with pytest.raises(StorageError, match="cannot be understood"):
            await transaction.execute("PREPARE mine FROM 'SELECT 6'; SELECT 7")
        assert await transaction.fetch_all("EXECUTE mine") == [{"five": 5}]


async def test_procedures_give_their_first_rows_and_leave_nothing_behind(opened: Opened) -> None:
    async with opened() as database:
        await database.execute("CREATE PROCEDURE two() BEGIN SELECT 1 AS a; SELECT 2 AS b; END")
        for _ in range(3):
            assert await database.fetch_all("CALL two()") == [{"a": 1}]
            assert await database.fetch_value("SELECT 3") == 3
        await database.execute("CREATE PROCEDURE opens() BEGIN START TRANSACTION; CREATE TEMPORARY TABLE x (id INT); END")
        with pytest.raises(StorageError, match="CALL left a transaction open, which is rolled back"):
            await database.execute("CALL opens()")
        await database.ping()


async def test_percent_signs_and_comments_that_the_server_runs_are_no_parameters(opened: Opened) -> None:
    async with opened() as database:
        assert await database.fetch_value("SELECT 'a%sb%%' LIKE ?", ("a\\%sb%",)) == 1
        assert await database.fetch_value("SELECT 5 % 3 AS rest") == 2
        with pytest.raises(StorageError, match=r"the server sees 1 parameters in the statement, and 0 values were given"):
            await database.fetch_value("SELECT 1 /*! + ? */")
        assert await database.fetch_value("SELECT 1") == 1


async def test_a_backslash_escapes_whatever_the_server_is_set_to(opened: Opened) -> None:
    async with opened() as watcher:
        usual = await watcher.fetch_value("SELECT @@GLOBAL.sql_mode")
        await watcher.execute("SET GLOBAL sql_mode = 'NO_BACKSLASH_ESCAPES'")
        try:
            async with opened() as database:
                assert await database.fetch_value("SELECT 'it\\'s ?', ?", (1,)) == "it's ?"
                assert "STRICT_ALL_TABLES" in await database.fetch_value("SELECT @@sql_mode")
        finally:
            await watcher.execute("SET GLOBAL sql_mode = ?", (usual,))
    async with opened(sql_mode="ANSI_QUOTES,STRICT_ALL_TABLES") as database:
        assert await database.fetch_value('SELECT "n" FROM (SELECT 5 AS n) AS t') == 5


async def test_an_iteration_that_fails_half_way_says_so(opened: Opened) -> None:
    async with opened() as database:
        await database.execute("CREATE TABLE big (id BIGINT UNSIGNED)")
        await database.execute("INSERT INTO big SELECT seq FROM seq_1_to_1000")
        with pytest.raises(StorageError, match="a number is out of range"):
            async for _ in database.iterate("SELECT id - 500 AS less FROM big"):
                pass
        await database.ping()


async def test_every_row_of_a_change_is_given_though_no_cursor_can_hold_them(opened: Opened) -> None:
    async with opened() as database:
        await database.execute("CREATE TABLE t (id INT)")
        async with aclosing(database.iterate("INSERT INTO t SELECT seq FROM seq_1_to_1000 RETURNING id")) as rows:
            assert [row.id async for row in rows] == list(range(1, 1001))
        assert [row async for row in database.iterate("DELETE FROM t")] == []
        assert [row async for row in database.iterate("SELECT id FROM t")] == []


async def test_a_slow_statement_is_logged_without_its_values(opened: Opened, caplog: pytest.LogCaptureFixture) -> None:
    async with opened(slow_statement=0.02) as database:
        with caplog.at_level(logging.WARNING, "pywatt.mysql"):
            await database.fetch_all("SELECT SLEEP(0.03), ?", ("canary-1188",))
            async with database.transaction() as transaction, aclosing(transaction.iterate("SELECT SLEEP(0.04) AS s")) as rows:
                assert [len(row) async for row in rows] == [1]
    slow = [message.rpartition(": ")[2] for message in caplog.messages if message.startswith("slow statement")]
    assert "SELECT SLEEP(0.03), ?" in slow
    assert "SELECT SLEEP(0.04) AS s" in slow
    assert "canary-1188" not in caplog.text


async def test_code_for_the_library_databases_uses_the_same_pool(opened: Opened) -> None:
    import sqlalchemy

    items = sqlalchemy.Table(
        "items", sqlalchemy.MetaData(), sqlalchemy.Column("id", sqlalchemy.Integer), sqlalchemy.Column("name", sqlalchemy.Text)
    )
    async with opened() as database:
        await database.execute("CREATE TABLE items (id INT, name TEXT)")
        await database.databases.execute(items.insert().values(id=1, name="lamp"))
        async with database.databases.transaction():
            await database.databases.execute("UPDATE items SET name = :name", {"name": "desk"})
        assert (await database.databases.fetch_one(items.select())).name == "desk"  # type: ignore[union-attr]
        await database.databases.execute("SET SESSION net_read_timeout = 77")
        assert await database.fetch_value("SELECT @@net_read_timeout") != 77
        with pytest.raises(ProgrammingError):
            await database.databases.execute("DELETE FROM items; DELETE FROM items")
        assert database.databases is database.databases
        assert await database.fetch_one("SELECT * FROM items") == {"id": 1, "name": "desk"}
