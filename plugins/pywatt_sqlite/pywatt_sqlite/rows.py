"""What runs in a connection's thread to get rows out of a cursor, and rows turned into the caller's own types."""

from __future__ import annotations

import dataclasses
import re
import sqlite3
from collections.abc import Callable, Hashable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar, cast, get_type_hints, is_typeddict

import msgspec

from pywatt_core.errors import StorageError
from pywatt_core.interfaces import Row

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
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise StorageError(f"two columns are called {twice!r}: give one of them another name with AS")
    return names


def converted(rows: Sequence[Row], into: type[T]) -> list[T]:
    """Rows as `into`, checked by its annotations. Raises `StorageError` that names the row and the column that do not fit."""
    flags = _flags(cast("Hashable", into))
    for row in rows if flags else ():
        for name in flags:
            if row.get(name) in (0, 1):  # SQLite has no truth values of its own
                row[name] = bool(row[name])
    try:
        return msgspec.convert(rows, list[into])  # type: ignore[valid-type]
    except msgspec.ValidationError as error:
        raise StorageError(f"a row does not fit {into.__name__}: {_in_columns(str(error))}") from error


@lru_cache(maxsize=256)
def _flags(into: Hashable) -> frozenset[str]:
    """The fields of `into` that are truth values."""
    if not (dataclasses.is_dataclass(into) or is_typeddict(into) or (isinstance(into, type) and issubclass(into, msgspec.Struct))):
        raise StorageError(f"into={into!r}: rows become a dataclass, a msgspec Struct or a TypedDict")
    return frozenset(name for name, hint in get_type_hints(into).items() if hint in (bool, bool | None))


def _in_columns(text: str) -> str:
    """msgspec's error with its path in the words of a table: ``$[2].age`` is column 'age' of row 3."""
    text = re.sub(r"Object missing required field `(\w+)`", r"column '\1' is missing", text)
    text = re.sub(r"`\$\[(\d+)\]\.(\w+)`", lambda found: f"column '{found[2]}' of row {int(found[1]) + 1}", text)
    return re.sub(r"`\$\[(\d+)\]`", lambda found: f"row {int(found[1]) + 1}", text)


Job = Callable[[sqlite3.Connection], T]
"""Work for a connection's thread."""
