"""The contract's first group: statements, parameters, row counts, rows and their types, iteration."""

from __future__ import annotations

import asyncio
import tracemalloc
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from pywatt_core.errors import StorageError
from pywatt_core.interfaces import Database

from .database_backend import DatabaseBackend, count_items, make_items, rows_of, types

Backend = AbstractAsyncContextManager[Database]


@dataclass
class Item:
    id: int
    name: str


class ItemStruct(msgspec.Struct):
    id: int
    name: str


@dataclass
class MisreadItem:
    id: int
    name: int


@dataclass
class ItemAndMore:
    id: int
    colour: str


class DatabaseRows(DatabaseBackend):
    async def test_it_names_its_dialect_and_answers_a_ping(self, backend: Backend) -> None:
        async with backend as database:
            assert isinstance(database, Database)
            assert database.dialect in ("sqlite", "postgresql", "mysql")
            await database.ping()

    async def test_execute_returns_the_number_of_rows_it_changed(self, backend: Backend) -> None:
        async with backend as database:
            assert await database.execute("CREATE TABLE items (id BIGINT PRIMARY KEY, name VARCHAR(100) NOT NULL UNIQUE)") == 0
            insert = "INSERT INTO items (id, name) VALUES (?, ?), (?, ?), (?, ?)"
            assert await database.execute(insert, (1, "a", 2, "b", 3, "c")) == 3
            assert await database.execute("UPDATE items SET name = 'z' WHERE id = ?", (1,)) == 1
            assert await database.execute("UPDATE items SET name = 'y' WHERE id = ?", (99,)) == 0
            assert await database.execute("DELETE FROM items WHERE id > ?", (1,)) == 2
            assert await database.execute("DROP TABLE items") == 0

    async def test_fetching_nothing_gives_nothing(self, backend: Backend) -> None:
        async with backend as database:
            await make_items(database)
            assert await database.fetch_all("SELECT * FROM items") == []
            assert await database.fetch_one("SELECT * FROM items") is None
            missing: Item | None = await database.fetch_one("SELECT * FROM items", into=Item)
            assert missing is None
            assert await database.fetch_value("SELECT name FROM items") is None
            assert await database.fetch_all("SELECT * FROM items", into=Item) == []

    async def test_a_row_is_a_mapping_and_its_values_are_attributes(self, backend: Backend) -> None:
        async with backend as database:
            await make_items(database, 2)
            row = await database.fetch_one("SELECT id, name FROM items ORDER BY id")
            assert row is not None
            assert dict(row) == {"id": 1, "name": "item 1"}
            assert list(row) == ["id", "name"]
            assert (row["name"], row.name, row.id) == ("item 1", "item 1", 1)
            with pytest.raises(AttributeError, match=r"no column 'colour'.*id, name"):
                _ = row.colour
            assert await database.fetch_value("SELECT name, id FROM items ORDER BY id") == "item 1"

    @pytest.mark.parametrize("into", [Item, ItemStruct])
    async def test_rows_become_the_callers_own_types(self, backend: Backend, into: type[Any]) -> None:
        async with backend as database:
            await make_items(database, 2)
            assert await database.fetch_one("SELECT id, name FROM items ORDER BY id", into=into) == into(1, "item 1")
            expected = [into(1, "item 1"), into(2, "item 2")]
            assert await database.fetch_all("SELECT id, name FROM items ORDER BY id", into=into) == expected

    async def test_a_row_that_does_not_fit_is_refused_with_the_column_s_name(self, backend: Backend) -> None:
        async with backend as database:
            await make_items(database, 1)
            with pytest.raises(StorageError, match="name"):
                await database.fetch_all("SELECT id, name FROM items", into=MisreadItem)
            with pytest.raises(StorageError, match="colour"):
                await database.fetch_one("SELECT id FROM items", into=ItemAndMore)

    async def test_two_columns_of_one_name_are_refused_and_not_lost(self, backend: Backend) -> None:
        async with backend as database:
            await make_items(database, 2)
            join = "SELECT a.id, b.id FROM items a JOIN items b ON a.id < b.id"
            with pytest.raises(StorageError, match="id"):
                await database.fetch_all(join)
            with pytest.raises(StorageError, match="id"):
                await database.fetch_one(join)
            row = await database.fetch_one("SELECT a.id AS first, b.id AS second FROM items a JOIN items b ON a.id < b.id")
            assert row == {"first": 1, "second": 2}

    async def test_parameters_are_given_by_place_or_by_name(self, backend: Backend) -> None:
        async with backend as database:
            await make_items(database, 3)
            assert await database.fetch_value("SELECT name FROM items WHERE id = ? AND name <> ?", [2, "x"]) == "item 2"
            by_name = "SELECT count(*) FROM items WHERE id = :id OR id = :id + 1"
            assert await database.fetch_value(by_name, {"id": 1}) == 2
            assert await database.fetch_value(by_name, {"id": 3, "not": "used"}) == 1

    @pytest.mark.parametrize(
        ("sql", "params"),
        [
            ("SELECT id FROM items WHERE id = ?", ()),
            ("SELECT id FROM items WHERE id = ?", (1, 2)),
            ("SELECT id FROM items WHERE id = ?", {"id": 1}),
            ("SELECT id FROM items WHERE id = :id", {"other": 1}),
            ("SELECT id FROM items WHERE id = :id", (1,)),
            ("SELECT id FROM items WHERE id = :id AND id = ?", (1, 1)),
            ("SELECT id FROM items WHERE name = ?", "x"),
            ("SELECT id FROM items", (1,)),
        ],
    )
    async def test_parameters_that_do_not_fit_the_statement_are_refused(
        self, backend: Backend, sql: str, params: tuple[object, ...]
    ) -> None:
        async with backend as database:
            await make_items(database, 1)
            with pytest.raises(StorageError):
                await database.fetch_all(sql, params)
            assert await count_items(database) == 1

    async def test_what_looks_like_a_parameter_in_text_and_comments_is_none(self, backend: Backend) -> None:
        async with backend as database:
            await make_items(database, 1)
            sql = """
                SELECT 'what? :id ''and'' a::cast at 12:30:59' AS quoted, -- is this one? or :this
                       name /* ? :name */ AS name
                FROM items WHERE id = {}
            """
            expected = {"quoted": "what? :id 'and' a::cast at 12:30:59", "name": "item 1"}
            assert await database.fetch_one(sql.format("?"), (1,)) == expected
            assert await database.fetch_one(sql.format(":id"), {"id": 1}) == expected
            assert await database.fetch_one(sql.format("1")) == expected

    async def test_a_changing_statement_gives_rows_where_it_says_returning(self, backend: Backend) -> None:
        async with backend as database:
            await make_items(database)
            insert = "INSERT INTO items (id, name) VALUES (?, ?), (?, ?) RETURNING id"
            if not self.returning:
                with pytest.raises(StorageError):
                    await database.fetch_all(insert, (1, "a", 2, "b"))
                assert await count_items(database) == 0
                return
            assert await database.fetch_one(insert, (1, "a", 2, "b")) == {"id": 1}
            assert [row.id for row in await database.fetch_all(insert, (3, "c", 4, "d"))] == [3, 4]
            assert await database.fetch_value(insert, (5, "e", 6, "f")) == 5
            assert await database.execute(insert, (7, "g", 8, "h")) == 2
            async with rows_of(database, insert, (9, "i", 10, "j")) as rows:
                assert [row.id async for row in rows] == [9, 10]
            assert await count_items(database) == 10

    async def test_iteration_gives_every_row_in_order(self, backend: Backend) -> None:
        async with backend as database:
            await make_items(database)
            async with database.transaction() as transaction:
                for number in range(1000):
                    await transaction.execute("INSERT INTO items (id, name) VALUES (?, ?)", (number, str(number)))
                async with rows_of(transaction, "SELECT id FROM items ORDER BY id") as rows:
                    assert [row.id async for row in rows] == list(range(1000))
            async with rows_of(database, "SELECT id, name FROM items WHERE id >= :least ORDER BY id", {"least": 10}) as rows:
                assert [(row.id, row["name"]) async for row in rows] == [(number, str(number)) for number in range(10, 1000)]

    async def test_an_iteration_that_is_closed_early_frees_its_connection(self, backend: Backend) -> None:
        async with backend as database:
            await make_items(database, 3)
            for _ in range(2 * self.concurrency):
                async with rows_of(database, "SELECT id FROM items ORDER BY id") as rows:
                    assert (await anext(rows)).id == 1
            for _ in range(2 * self.concurrency):
                async for row in database.iterate("SELECT id FROM items ORDER BY id"):
                    assert row.id == 1
                    break
            assert await database.execute("DELETE FROM items") == 3

    async def test_an_iteration_whose_statement_fails_says_so_and_frees_its_connection(self, backend: Backend) -> None:
        async with backend as database:
            for _ in range(self.concurrency):
                with pytest.raises(StorageError):
                    async for _row in database.iterate("SELECT * FROM nowhere"):
                        pass
            await database.ping()

    async def test_iteration_keeps_memory_bounded(self, backend: Backend) -> None:
        async with backend as database:
            text, _ = types(database)
            count, size = 300, 100_000
            await database.execute(f"CREATE TABLE pages (id BIGINT PRIMARY KEY, body {text} NOT NULL)")
            async with database.transaction() as transaction:
                for number in range(count):
                    await transaction.execute("INSERT INTO pages (id, body) VALUES (?, ?)", (number, "x" * size))
            tracemalloc.start()
            try:
                seen = 0
                async with rows_of(database, "SELECT id, body FROM pages") as rows:
                    async for row in rows:
                        seen += len(row.body)
                assert seen == count * size
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            assert peak < count * size / 3

    async def test_many_tasks_read_and_write_at_once(self, backend: Backend) -> None:
        async with backend as database:
            await make_items(database)

            async def work(number: int) -> None:
                await database.execute("INSERT INTO items (id, name) VALUES (?, ?)", (number, f"item {number}"))
                assert await database.fetch_value("SELECT name FROM items WHERE id = ?", (number,)) == f"item {number}"

            await asyncio.gather(*[work(number) for number in range(4 * self.concurrency)])
            assert await count_items(database) == 4 * self.concurrency
