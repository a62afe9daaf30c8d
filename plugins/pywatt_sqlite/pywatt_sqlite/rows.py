"""What runs in a connection's thread to get rows out of a cursor."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from pywatt_core.interfaces import Row
from pywatt_core.sql.rows import refuse_twice

from .statements import reads

if TYPE_CHECKING:
    from pywatt_core.statements import Statement

    from .statements import Values

T = TypeVar("T")

CHUNK_ROWS = 256
"""Rows that `iterate` takes out of the database at a time, at most."""
CHUNK_BYTES = 1 << 20
"""Text and bytes, in characters and bytes, after which a chunk ends before it has that many rows."""


def changed(connection: sqlite3.Connection, statement: Statement, values: Values) -> int:
    """Run a statement for what it changes; the number of rows that it inserted, changed or deleted itself."""
    before = connection.total_changes
    cursor = connection.execute(statement.sql, values)
    try:
        if not reads(statement) or statement.word == "WITH":
            for _ in cursor:  # RETURNING: the count is known only after the last row
                pass
        if connection.total_changes == before:
            return 0
        # cursor.rowcount knows only statements that begin with their verb, and total_changes counts triggers as well
        return cursor.rowcount if cursor.rowcount >= 0 else int(connection.execute("SELECT changes()").fetchone()[0])
    finally:
        cursor.close()


def every_row(connection: sqlite3.Connection, statement: Statement, values: Values) -> list[Row]:
    """All rows."""
    cursor = connection.execute(statement.sql, values)
    try:
        names = column_names(cursor)
        return [Row(zip(names, row, strict=True)) for row in cursor]
    finally:
        cursor.close()


def first_row(connection: sqlite3.Connection, statement: Statement, values: Values) -> Row | None:
    """The first row; the others are never read."""
    cursor = connection.execute(statement.sql, values)
    try:
        row = cursor.fetchone()
        return None if row is None else Row(zip(column_names(cursor), row, strict=True))
    finally:
        cursor.close()


def first_value(connection: sqlite3.Connection, statement: Statement, values: Values) -> Any:
    """The first column of the first row."""
    cursor = connection.execute(statement.sql, values)
    try:
        row = cursor.fetchone()
        return None if row is None else row[0]
    finally:
        cursor.close()


class Reading:
    """A statement whose rows are taken out in chunks of bounded size. Whoever opens it closes it, opened or not.

    An open cursor keeps its connection looking at an old state of the database, so none may be left to the garbage collector.
    """

    def __init__(self, statement: Statement, values: Values) -> None:
        self._statement = statement
        self._values = values
        self._cursor: sqlite3.Cursor | None = None
        self._names: list[str] = []

    def open(self, connection: sqlite3.Connection) -> None:
        self._cursor = connection.cursor()
        self._cursor.execute(self._statement.sql, self._values)
        self._names = column_names(self._cursor)

    def chunk(self, _: sqlite3.Connection) -> list[Row]:
        """The next rows, none at the end."""
        rows: list[Row] = []
        size = 0
        for row in self._cursor or ():
            rows.append(Row(zip(self._names, row, strict=True)))
            size += sum([len(value) for value in row if isinstance(value, str | bytes)])
            if len(rows) >= CHUNK_ROWS or size >= CHUNK_BYTES:
                break
        return rows

    def close(self, _: sqlite3.Connection) -> None:
        if self._cursor is not None:
            self._cursor.close()


def column_names(cursor: sqlite3.Cursor) -> list[str]:
    """The columns' names. Raises `StorageError` where two are the same: a mapping would lose one of them."""
    names = [column[0] for column in cursor.description or ()]
    refuse_twice(names)
    return names


Job = Callable[[sqlite3.Connection], T]
"""Work for a connection's thread."""
