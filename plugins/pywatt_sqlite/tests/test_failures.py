"""SQLite's own errors in PyWatt's words."""

from __future__ import annotations

import logging
import sqlite3
from typing import TYPE_CHECKING

import pytest

from pywatt_core.errors import Conflict, StorageError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from pywatt_sqlite.database import SqliteDatabase

    Opened = Callable[..., AbstractAsyncContextManager[SqliteDatabase]]


async def test_a_trigger_that_refuses_is_a_conflict_with_its_words(opened: Opened) -> None:
    async with opened() as database:
        await database.execute("CREATE TABLE t (x)")
        await database.execute("CREATE TRIGGER never BEFORE INSERT ON t BEGIN SELECT raise(ABORT, 'closed on Sundays'); END")
        with pytest.raises(Conflict, match="trigger violated: closed on Sundays"):
            await database.execute("INSERT INTO t VALUES (1)")


async def test_text_that_is_not_utf8_is_refused_without_quoting_it(opened: Opened) -> None:
    async with opened() as database:
        with pytest.raises(StorageError, match="not UTF-8") as caught:
            await database.fetch_all("SELECT CAST(? AS TEXT) AS body", (b"canary-5512\xff",))
        assert "canary" not in str(caught.value)
        assert await database.fetch_value("SELECT CAST(CAST(? AS TEXT) AS BLOB)", (b"canary-5512\xff",)) == b"canary-5512\xff"


@pytest.mark.parametrize(
    ("sql", "value", "text"),
    [
        ("SELECT json_extract('{}', ?)", "canary-5512", "JSON path error (statement: SELECT json_extract('{}', ?))"),
        ("SELECT * FROM words WHERE words MATCH ?", "canary5512:a", "no such column (statement: SELECT * FROM words WHERE words MATCH ?)"),
        (
            "SELECT * FROM words WHERE words MATCH ?",
            '"canary5512',
            "unterminated string (statement: SELECT * FROM words WHERE words MATCH ?)",
        ),
        ("ATTACH ? AS other", "/nowhere/canary-5512", "unable to open database (statement: ATTACH ? AS other)"),
        ("SELEC x", None, 'near "SELEC": syntax error (statement: SELEC x)'),
        ("SELECT y FROM words", None, "no such column: y (statement: SELECT y FROM words)"),
    ],
)
async def test_what_is_quoted_is_told_where_it_stands_in_the_statement_alone(
    opened: Opened, sql: str, value: str | None, text: str
) -> None:
    async with opened() as database:
        await database.execute("CREATE VIRTUAL TABLE words USING fts5 (x)")
        with pytest.raises(StorageError) as caught:
            await database.fetch_all(sql, () if value is None else (value,))
        assert str(caught.value).endswith(text)
        assert "canary" not in str(caught.value)


async def test_two_statements_in_one_text_are_refused(opened: Opened) -> None:
    async with opened() as database:
        await database.execute("CREATE TABLE t (x)")
        with pytest.raises(StorageError, match="one statement at a time"):
            await database.execute("INSERT INTO t VALUES (1); DROP TABLE t")
        assert await database.fetch_all("SELECT * FROM t") == []


async def test_a_file_that_is_no_database_is_refused_at_opening(opened: Opened, tmp_path: Path) -> None:
    (tmp_path / "test.db").write_bytes(b"something else entirely" * 100)
    with pytest.raises(StorageError, match=r"not a database.*test\.db"):
        async with opened():
            pass


async def test_a_file_that_cannot_be_opened_is_unavailable_with_its_path(opened: Opened, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="folder"):
        async with opened(path="folder"):
            pass
    with pytest.raises(Unavailable, match=r"file/below.*cannot be made"):
        async with opened(path="file/below/test.db"):
            pass
    with pytest.raises(Unavailable, match=r"missing\.db"):
        async with opened(path="missing.db", read_only=True):
            pass
    assert not (tmp_path / "missing.db").exists()


async def test_a_full_database_is_unavailable(opened: Opened) -> None:
    async with opened() as database:
        await database.execute("CREATE TABLE t (x)")
        await database.execute("PRAGMA max_page_count = 4")
        with pytest.raises(Unavailable, match="full"):
            await database.execute("INSERT INTO t VALUES (zeroblob(100000))")
        await database.execute("INSERT INTO t VALUES (1)")


async def test_nothing_logs_the_values_of_a_statement(opened: Opened, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        async with opened() as database:
            await database.execute("CREATE TABLE t (x UNIQUE)")
            await database.execute("INSERT INTO t VALUES (?)", ("canary-8171",))
            await database.fetch_all("SELECT * FROM t WHERE x = :x", {"x": "canary-8171"})
            with pytest.raises(Conflict) as caught:
                await database.execute("INSERT INTO t VALUES (?)", ("canary-8171",))
    assert caplog.records, "the driver was expected to log"
    assert "canary-8171" not in caplog.text
    assert isinstance(caught.value.__cause__, sqlite3.IntegrityError)
    assert "canary-8171" not in str(caught.value.__cause__)
