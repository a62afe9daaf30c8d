"""Rows as the caller's own types, with SQLite's few types as the source."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, NotRequired, TypedDict
from uuid import UUID, uuid4

import msgspec
import pytest

from pywatt_core.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from pywatt_sqlite.database import SqliteDatabase

    Opened = Callable[..., AbstractAsyncContextManager[SqliteDatabase]]


@dataclass
class Order:
    id: UUID
    placed: datetime
    day: date
    total: Decimal
    paid: bool
    sent: bool | None = None


class OrderStruct(msgspec.Struct):
    id: UUID
    paid: bool


class OrderDict(TypedDict):
    id: str
    paid: NotRequired[bool]


async def test_moments_decimals_uuids_and_flags_come_back_through_into(opened: Opened) -> None:
    order = Order(uuid4(), datetime.now(UTC), date(2024, 2, 29), Decimal("10.10"), True)
    async with opened() as database:
        await database.execute("CREATE TABLE orders (id TEXT, placed TEXT, day TEXT, total TEXT, paid BOOLEAN, sent BOOLEAN)")
        await database.execute("INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?)", (order.id, order.placed, order.day, order.total, True, None))
        assert await database.fetch_one("SELECT * FROM orders", into=Order) == order
        assert await database.fetch_one("SELECT id, paid FROM orders", into=OrderStruct) == OrderStruct(order.id, True)
        assert await database.fetch_one("SELECT id, paid FROM orders", into=OrderDict) == {"id": str(order.id), "paid": True}
        assert await database.fetch_one("SELECT * FROM orders WHERE placed = ?", (order.placed,), into=Order) == order


async def test_what_does_not_fit_is_named_by_row_and_column(opened: Opened) -> None:
    async with opened() as database:
        await database.execute("CREATE TABLE orders (id TEXT, paid BOOLEAN)")
        await database.execute("INSERT INTO orders VALUES (?, ?), (?, ?)", (uuid4(), 1, uuid4(), 2))
        with pytest.raises(StorageError, match=r"does not fit OrderStruct: .* column 'paid' of row 2"):
            await database.fetch_all("SELECT * FROM orders", into=OrderStruct)
        with pytest.raises(StorageError, match=r"column 'paid' is missing.* row 1"):
            await database.fetch_all("SELECT id FROM orders", into=OrderStruct)
        with pytest.raises(StorageError, match=r"column 'id' of row 1"):
            await database.fetch_one("SELECT 1 AS id, 1 AS paid", into=OrderStruct)


@pytest.mark.parametrize("into", [int, dict, list[int], "Order"])
async def test_rows_become_only_types_with_fields(opened: Opened, into: type) -> None:
    async with opened() as database:
        with pytest.raises(StorageError, match="a dataclass, a msgspec Struct or a TypedDict"):
            await database.fetch_all("SELECT 1 AS id", into=into)


async def test_the_count_of_a_change_is_right_whatever_the_statement_begins_with(opened: Opened) -> None:
    async with opened() as database:
        await database.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, x)")
        await database.execute("CREATE TABLE audit (x)")
        await database.execute("CREATE TRIGGER copies AFTER INSERT ON t BEGIN INSERT INTO audit VALUES (new.x), (new.x); END")
        assert await database.execute("-- first\nINSERT INTO t (x) VALUES (1), (2)") == 2
        assert await database.execute("WITH v AS (SELECT 3 AS x) INSERT INTO t (x) SELECT x FROM v") == 1
        assert await database.execute("WITH v AS (SELECT 3 AS x) SELECT * FROM v") == 0
        assert await database.execute("WITH v AS (SELECT 9 AS x) DELETE FROM t WHERE x IN (SELECT x FROM v)") == 0
        assert await database.execute("REPLACE INTO t (id, x) VALUES (1, 5)") == 1
        assert await database.execute("UPDATE t SET x = x RETURNING id") == 3
        assert await database.execute("INSERT INTO t (id, x) VALUES (1, 0) ON CONFLICT (id) DO NOTHING") == 0
        assert await database.execute("CREATE TABLE copy AS SELECT * FROM t") == 0
        assert await database.execute("ALTER TABLE copy ADD COLUMN y") == 0
        assert await database.execute("SELECT * FROM t") == 0
        assert await database.execute("DELETE FROM t") == 3


async def test_rows_that_are_not_read_to_the_end_are_changed_all_the_same(opened: Opened) -> None:
    async with opened() as database:
        await database.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
        insert = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) INSERT INTO t SELECT i FROM n RETURNING id"
        assert await database.fetch_one(insert) == {"id": 1}
        assert await database.fetch_value("SELECT count(*) FROM t") == 1000
        assert await database.fetch_value("DELETE FROM t RETURNING id") == 1
        assert await database.fetch_value("SELECT count(*) FROM t") == 0
        async with aclosing(database.iterate(insert)) as rows:
            assert await anext(rows) == {"id": 1}
        assert await database.fetch_value("SELECT count(*) FROM t") == 1000
