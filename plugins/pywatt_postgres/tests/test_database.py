"""What PostgreSQL has beyond the contract: its types, its operators, prepared statements that grow old, the log of slow ones."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from pywatt_core.errors import StorageError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from pywatt_postgres.database import PostgresDatabase

    Opened = Callable[..., AbstractAsyncContextManager[PostgresDatabase]]


@dataclass
class Order:
    id: UUID
    placed: datetime
    day: date
    total: Decimal
    weight: float
    tags: list[str]
    details: dict[str, Any]
    paid: bool
    waited: timedelta
    raw: bytes


async def test_its_types_come_back_as_python_s_and_through_into(opened: Opened) -> None:
    order = Order(
        uuid4(),
        datetime.now(UTC),
        date(2024, 2, 29),
        Decimal("10.10"),
        0.1,
        ["a", "b"],
        {"size": [1, 2], "note": "über"},
        True,
        timedelta(days=1, seconds=3),
        b"\x00\xff",
    )
    async with opened() as database:
        await database.execute(
            "CREATE TABLE orders (id UUID, placed TIMESTAMPTZ, day DATE, total NUMERIC(10, 2), weight FLOAT8, tags TEXT[], "
            "details JSONB, paid BOOLEAN, waited INTERVAL, raw BYTEA)"
        )
        values = tuple(vars(order).values())
        assert await database.execute("INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values) == 1
        assert await database.fetch_one("SELECT * FROM orders", into=Order) == order
        assert await database.fetch_all("SELECT * FROM orders WHERE id = ?", (order.id,)) == [vars(order)]
        assert await database.fetch_value("SELECT ?::inet", (IPv4Address("10.0.0.1"),)) == IPv4Address("10.0.0.1")


async def test_json_goes_in_and_comes_out_as_values_and_text_is_json_already(opened: Opened) -> None:
    async with opened() as database:
        await database.execute("CREATE TABLE documents (id INT, body JSONB, plain JSON)")
        await database.execute("INSERT INTO documents VALUES (1, ?, ?)", ({"a": [1, None, "ü"]}, [1, 2]))
        await database.execute("INSERT INTO documents VALUES (2, ?, ?)", ('{"a": []}', "null"))
        await database.execute("INSERT INTO documents VALUES (3, ?, ?)", (None, 5))
        rows = await database.fetch_all("SELECT body, plain FROM documents ORDER BY id")
        assert [(row.body, row.plain) for row in rows] == [({"a": [1, None, "ü"]}, [1, 2]), ({"a": []}, None), (None, 5)]
        with pytest.raises(StorageError, match="does not have the form of its type"):
            await database.execute("INSERT INTO documents VALUES (4, ?, NULL)", ("no json",))
        with pytest.raises(StorageError, match="parameter 1"):
            await database.execute("INSERT INTO documents VALUES (4, ?, NULL)", ({"a": object()},))


async def test_the_operators_of_json_and_casts_stand_beside_parameters(opened: Opened) -> None:
    async with opened() as database:
        document = {"a": 1, "b": {"c": [1, 2]}}
        assert await database.fetch_value("SELECT ?::jsonb ?? 'a'", (document,)) is True
        assert await database.fetch_value("SELECT :d::jsonb ? 'x'", {"d": document}) is False
        assert await database.fetch_value("SELECT ?::jsonb ?| array['x', 'b']", (document,)) is True
        assert await database.fetch_value("SELECT :d::jsonb #> '{b,c}'", {"d": document}) == [1, 2]
        assert await database.fetch_value("SELECT (ARRAY[1, 2, 3])[?:?]", (2, 3)) == [2, 3]
        assert await database.fetch_value("SELECT $$it's ? :name$$ || ?::text", ("!",)) == "it's ? :name!"


async def test_a_statement_that_is_prepared_already_survives_a_change_of_its_table(opened: Opened) -> None:
    async with opened() as database:
        await database.execute("CREATE TABLE items (id INT)")
        await database.execute("INSERT INTO items VALUES (1)")
        assert await database.fetch_one("SELECT * FROM items") == {"id": 1}
        await database.execute("ALTER TABLE items ADD COLUMN name TEXT DEFAULT 'x'")
        assert await database.fetch_one("SELECT * FROM items") == {"id": 1, "name": "x"}
        await database.execute("ALTER TABLE items ALTER COLUMN id TYPE TEXT")
        assert await database.fetch_one("SELECT * FROM items") == {"id": "1", "name": "x"}


@pytest.mark.parametrize("cached", [0, 3])
async def test_only_so_many_prepared_statements_are_kept(opened: Opened, cached: int) -> None:
    async with opened(cached_statements=cached) as database, database.transaction() as transaction:
        for number in range(10):
            assert await transaction.fetch_value(f"SELECT ?::int + {number}", (1,)) == 1 + number
        names = "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%::int%'"
        assert await transaction.fetch_value(names) <= cached


async def test_the_count_of_a_change_is_right_whatever_the_statement_begins_with(opened: Opened) -> None:
    async with opened() as database:
        assert await database.execute("CREATE TABLE t (id INT PRIMARY KEY, x INT)") == 0
        assert await database.execute("-- first\nINSERT INTO t VALUES (1, 1), (2, 2)") == 2
        assert await database.execute("WITH v AS (SELECT 3 AS x) INSERT INTO t SELECT x, x FROM v") == 1
        assert await database.execute("WITH v AS (INSERT INTO t VALUES (4, 4) RETURNING id) SELECT * FROM v") == 0
        assert await database.execute("UPDATE t SET x = x RETURNING id") == 4
        assert await database.execute("INSERT INTO t VALUES (1, 0) ON CONFLICT (id) DO NOTHING") == 0
        assert await database.execute("CREATE TABLE copy AS SELECT * FROM t") == 0
        assert await database.execute("SELECT * FROM t") == 0
        assert await database.execute("TRUNCATE copy") == 0
        assert await database.execute("DELETE FROM t") == 4


async def test_rows_that_are_not_read_to_the_end_are_changed_all_the_same(opened: Opened) -> None:
    async with opened() as database:
        await database.execute("CREATE TABLE t (id INT)")
        insert = "INSERT INTO t SELECT generate_series(1, 1000) RETURNING id"
        assert await database.fetch_one(insert) == {"id": 1}
        assert await database.fetch_value("SELECT count(*) FROM t") == 1000
        async with aclosing(database.iterate(insert)) as rows:
            assert await anext(rows) == {"id": 1}
        assert await database.fetch_value("SELECT count(*) FROM t") == 2000


async def test_an_iteration_that_fails_half_way_keeps_nothing_that_it_changed(opened: Opened) -> None:
    async with opened() as database:
        await database.execute("CREATE TABLE t (id INT)")
        with pytest.raises(StorageError, match="division by zero"):
            async for _ in database.iterate("SELECT 1 / (500 - n) FROM generate_series(1, 1000) AS n"):
                pass
        await database.ping()


async def test_an_empty_statement_does_nothing(opened: Opened) -> None:
    async with opened() as database, database.transaction() as transaction:
        for sql in ("", " -- no more than a comment", ";"):
            assert (await database.execute(sql), await transaction.execute(sql), await database.fetch_all(sql)) == (0, 0, [])


async def test_a_slow_statement_is_logged_without_its_values(opened: Opened, caplog: pytest.LogCaptureFixture) -> None:
    async with opened(slow_statement=0.02) as database:
        with caplog.at_level(logging.WARNING, "pywatt.postgres"):
            await database.fetch_value("SELECT pg_sleep(0.03), ?::text", ("canary-1188",))
            async with database.transaction() as transaction, aclosing(transaction.iterate("SELECT pg_sleep(0.04)")) as rows:
                assert [len(row) async for row in rows] == [1]
            await database.fetch_value("SELECT 1")
    slow = [message for message in caplog.messages if message.startswith("slow statement")]
    assert [message.rpartition(": ")[2] for message in slow] == ["SELECT pg_sleep(0.03), ?::text", "SELECT pg_sleep(0.04)"]
    assert "canary-1188" not in caplog.text


async def test_names_without_a_schema_belong_to_the_one_that_was_set(opened: Opened, schema: str) -> None:
    async with opened() as database:
        await database.execute("CREATE TABLE here (id INT)")
        assert await database.fetch_value("SELECT schemaname FROM pg_tables WHERE tablename = 'here'") == schema


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
        assert (await database.databases.fetch_one(items.select())).name == "desk"
        await database.databases.execute("SELECT set_config('work_mem', '1234kB', false)")
        assert await database.fetch_value("SHOW work_mem") != "1234kB"
        assert database.databases is database.databases
        assert await database.fetch_one("SELECT * FROM items") == {"id": 1, "name": "desk"}


async def test_a_server_that_hangs_is_told_within_the_deadline(opened: Opened) -> None:
    async with opened() as watcher, opened(connect_timeout=0.2) as database:
        pid = await database.fetch_value("SELECT pg_backend_pid()")
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(Unavailable, match=r"does not answer within 0\.2 s"):
                await database.ping()
        finally:
            os.kill(pid, signal.SIGCONT)
        await watcher.ping()
        async with asyncio.timeout(30):
            await database.ping()
