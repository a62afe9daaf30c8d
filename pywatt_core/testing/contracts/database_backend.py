"""The backend under test: how a contract gets at it, and what it declares about itself."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any, cast

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from contextlib import AbstractAsyncContextManager

    from pywatt_core.interfaces import Database, Params, Queries, Row

TYPES = {"sqlite": ("TEXT", "BLOB"), "postgresql": ("TEXT", "BYTEA"), "mysql": ("LONGTEXT", "LONGBLOB")}
"""By dialect: the column types of unlimited text and bytes."""

SLOW = {
    "sqlite": "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers) SELECT count(*) FROM numbers",
    "postgresql": "SELECT pg_sleep(600)",
    "mysql": "SELECT SLEEP(600)",
}
"""By dialect: a statement that ends only when it is interrupted."""


class DatabaseBackend:
    """Subclasses give `backend`, and declare what differs from these attributes."""

    returning = True
    """``INSERT … RETURNING`` gives rows."""
    text_with_nul = True
    """Text may hold the character U+0000."""
    readers_beside_writer = True
    """While one task is inside a transaction, another reads what was committed, without waiting."""
    isolations: tuple[str, ...] = ()
    """Names that `transaction(isolation=…)` takes."""
    read_only_transactions = True
    """`transaction(read_only=True)` exists, and refuses changes."""
    large = 10 * 1024 * 1024
    """Characters of text, and bytes, that one value may have."""
    cancellations = 200
    """How many random cancellations to try."""
    concurrency = 24
    """Tasks that use the database at once: more than the pool has connections."""

    @pytest.fixture
    def backend(self) -> AbstractAsyncContextManager[Database]:
        """An async context manager that opens a database without tables. Each test enters it once."""
        pytest.fail(f"{type(self).__name__} needs a fixture `backend` that gives an async context manager")


def types(database: Database) -> tuple[str, str]:
    """The column types of unlimited text and bytes."""
    return TYPES[database.dialect]


def rows_of(queries: Queries, sql: str, params: Params = ()) -> aclosing[AsyncGenerator[Row, None]]:
    """``async with rows_of(…) as rows``: an iteration that is closed for certain."""
    return aclosing(cast("Any", queries.iterate(sql, params)))


async def make_items(queries: Queries, count: int = 0) -> None:
    """A table ``items`` with a number, a unique name and `count` rows: (1, 'item 1') …"""
    await queries.execute("CREATE TABLE items (id BIGINT PRIMARY KEY, name VARCHAR(100) NOT NULL UNIQUE)")
    for number in range(1, count + 1):
        await queries.execute("INSERT INTO items (id, name) VALUES (?, ?)", (number, f"item {number}"))


async def count_items(queries: Queries) -> int:
    count: int = await queries.fetch_value("SELECT count(*) FROM items")
    return count
