"""The contract's second group: what is stored comes back as it was, and text from outside never becomes a statement."""

from __future__ import annotations

import math
from contextlib import AbstractAsyncContextManager

import pytest

from pywatt_core.errors import StorageError
from pywatt_core.interfaces import Database

from .database_backend import DatabaseBackend, count_items, make_items, types

Backend = AbstractAsyncContextManager[Database]

INTEGERS = [None, 0, 1, -1, 2**31, -(2**31) - 1, 2**53 + 1, 2**63 - 1, -(2**63)]
FLOATS = [None, 0.0, -1.5, 0.1, 1e308, 2.5e-308, 123456789.123456789, math.pi]
TEXTS = [
    None,
    "",
    " ",
    "plain",
    "Grüße, 世界",
    "😀👩‍👩‍👧 \U0001f1e9",
    "'\"`\\;--%_",
    "line\r\nline\ttab",
    "\u202eright to left",
    "null",
    "x" * 70_000,
]
BYTES = [None, b"", b"\x00", bytes(range(256)), b"\xff\xfe\xc3\x28 not UTF-8", b"'; DROP TABLE items; --"]

HOSTILE = [
    "'; DROP TABLE items; --",
    "' OR '1'='1",
    '" OR ""="',
    "\\'; DELETE FROM items; --",
    "1; DELETE FROM items",
    "Robert'); DROP TABLE items;--",
    "?",
    ":name",
    "$1",
    "%s %(name)s {}",
    "\\",
    "/*",
    "*/ --",
]


async def round_trip(database: Database, column: str, values: list[object]) -> list[object]:
    await database.execute(f"CREATE TABLE kept (id BIGINT PRIMARY KEY, value {column})")
    for number, value in enumerate(values):
        assert await database.execute("INSERT INTO kept (id, value) VALUES (?, ?)", (number, value)) == 1
    return [row["value"] for row in await database.fetch_all("SELECT value FROM kept ORDER BY id")]


class DatabaseValues(DatabaseBackend):
    async def test_integers_of_64_bits_come_back(self, backend: Backend) -> None:
        async with backend as database:
            assert await round_trip(database, "BIGINT", list(INTEGERS)) == INTEGERS

    async def test_floats_come_back_to_the_last_bit(self, backend: Backend) -> None:
        async with backend as database:
            assert await round_trip(database, "DOUBLE PRECISION", list(FLOATS)) == FLOATS

    async def test_truth_values_come_back(self, backend: Backend) -> None:
        async with backend as database:
            assert await round_trip(database, "BOOLEAN", [None, True, False]) == [None, True, False]

    async def test_text_comes_back_character_for_character(self, backend: Backend) -> None:
        async with backend as database:
            assert await round_trip(database, types(database)[0], list(TEXTS)) == TEXTS

    async def test_bytes_come_back_as_bytes(self, backend: Backend) -> None:
        async with backend as database:
            values = await round_trip(database, types(database)[1], list(BYTES))
            assert values == BYTES
            assert {type(value) for value in values} == {bytes, type(None)}

    async def test_large_values_come_back(self, backend: Backend) -> None:
        async with backend as database:
            text, blob = types(database)
            await database.execute(f"CREATE TABLE large (id BIGINT PRIMARY KEY, body {text}, raw {blob})")
            body, raw = "ab€d" * (self.large // 4), b"\x00\xff\x80\xfe" * (self.large // 4)
            await database.execute("INSERT INTO large (id, body, raw) VALUES (:id, :body, :raw)", {"id": 1, "body": body, "raw": raw})
            row = await database.fetch_one("SELECT body, raw FROM large")
            assert row is not None
            assert row.body == body
            assert row.raw == raw

    async def test_text_with_a_nul_comes_back_or_is_refused(self, backend: Backend) -> None:
        async with backend as database:
            column = types(database)[0]
            if self.text_with_nul:
                assert await round_trip(database, column, ["a\x00b", "\x00"]) == ["a\x00b", "\x00"]
            else:
                with pytest.raises(StorageError):
                    await round_trip(database, column, ["a\x00b"])

    async def test_what_cannot_be_stored_is_refused_without_showing_it(self, backend: Backend) -> None:
        async with backend as database:
            await make_items(database)
            for number, name in ((2**63, "canary-64218"), (-(2**63) - 1, "canary-64218"), (1, "canary-64218 \ud800"), (1, object())):
                with pytest.raises(StorageError) as caught:
                    await database.execute("INSERT INTO items (id, name) VALUES (?, ?)", (number, name))
                assert "canary-64218" not in str(caught.value)
            assert await count_items(database) == 0

    async def test_text_from_outside_stays_data(self, backend: Backend) -> None:
        async with backend as database:
            await make_items(database)
            for number, text in enumerate(HOSTILE):
                await database.execute("INSERT INTO items (id, name) VALUES (:id, :name)", {"id": number, "name": text})
                assert await database.fetch_all("SELECT id FROM items WHERE name = ?", (text,)) == [{"id": number}]
            assert await count_items(database) == len(HOSTILE)
