"""Rows out of asyncpg's records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from asyncpg import Record

from pywatt_core.interfaces import Row
from pywatt_core.sql.rows import refuse_twice

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")


def row(record: Any) -> Row:
    """One record as a row. Raises `StorageError` where two columns have one name."""
    found = Row(record.items())
    if len(found) != len(record):
        refuse_twice(list(record.keys()))
    return found


def rows(records: Sequence[Any], make: Callable[[Any], T]) -> list[T]:
    """The records of one statement, each made into a row of the type `make`; no step of Python's own for each."""
    if not records:
        return []
    refuse_twice(list(records[0].keys()))
    return list(map(make, map(Record.items, records)))


def size(found: Sequence[Row]) -> int:
    """About how much memory the rows take: their text and bytes, in characters and bytes."""
    return sum([len(value) for one in found for value in one.values() if isinstance(value, str | bytes)])


def changed(status: str) -> int:
    """The number in ``INSERT 0 3``, ``UPDATE 3``; 0 for what changes no rows."""
    verb, _, count = status.rpartition(" ")
    return int(count) if verb.partition(" ")[0] in CHANGING and count.isdigit() else 0


CHANGING = frozenset({"INSERT", "UPDATE", "DELETE", "MERGE", "COPY"})
"""Statuses of statements that insert, change or delete rows; ``SELECT 3`` is what was read, or ``CREATE TABLE … AS``."""
