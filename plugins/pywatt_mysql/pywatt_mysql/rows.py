"""Rows out of asyncmy's tuples."""

from __future__ import annotations

from itertools import repeat
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pywatt_core.sql.rows import refuse_twice

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pywatt_core.statements import Statement

T = TypeVar("T")

DEFINING: Final = frozenset({"CREATE", "ALTER", "DROP", "TRUNCATE", "RENAME", "ANALYZE", "OPTIMIZE", "REPAIR"})
"""First words of statements that define or tend tables. What the server counts for them are no changes."""


def names_of(result: Any) -> list[str]:
    """The columns' names. Raises `StorageError` where two are the same: a mapping would lose one of them."""
    names = [column[0] for column in result.description or ()]
    refuse_twice(names)
    return names


def rows(names: Sequence[str], found: Iterable[tuple[Any, ...]], make: Callable[[Any], T]) -> list[T]:
    """The tuples of one statement, each made into a row of the type `make`; no step of Python's own for each."""
    return list(map(make, map(zip, repeat(names), found)))


def size(found: Sequence[tuple[Any, ...]]) -> int:
    """About how much memory the rows take: their text and bytes, in characters and bytes."""
    return sum([len(value) for one in found for value in one if isinstance(value, str | bytes)])


def changed(statement: Statement, result: Any) -> int:
    """How many rows a statement inserted, changed or deleted; 0 for what changes none."""
    if result.description is not None:  # rows that were read, or that RETURNING gives back
        return len(result.rows) if statement.word in ("INSERT", "DELETE", "REPLACE") else 0
    return 0 if statement.word in DEFINING else int(result.affected_rows)
