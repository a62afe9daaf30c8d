"""What a statement's text says before it runs (which parameters it takes, whether it reads), and values made ready for it."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import UUID

from pywatt_core import statements
from pywatt_core.errors import StorageError
from pywatt_core.protocol.values import with_article
from pywatt_core.statements import Statement

if TYPE_CHECKING:
    from pywatt_core.interfaces import Params

Values: TypeAlias = "tuple[Any, ...] | dict[str, Any]"

READING = frozenset({"SELECT", "VALUES", "EXPLAIN", "PRAGMA", "WITH"})
"""First words of statements that are tried on a reader; a reader refuses to write, and the writer takes over."""

NATIVE = frozenset({type(None), bool, int, str, bytes})
"""Types that SQLite stores as they are."""


def read(sql: str) -> Statement:
    """Read a statement's text. Raises what `pywatt_core.statements.read` raises."""
    return statements.read(sql, "sqlite")


def reads(statement: Statement) -> bool:
    """True where a reader can be asked first."""
    return statement.word in READING


def bound(statement: Statement, params: Params) -> Values:
    """The values in SQLite's own types. Raises `StorageError` where they do not fit the markers."""
    given = statement.arrange(params)
    if statement.names:
        return {name: stored(value, name) for name, value in zip(statement.names, given, strict=True)}
    return tuple([value if type(value) in NATIVE else stored(value, place + 1) for place, value in enumerate(given)])


def stored(value: object, place: int | str) -> Any:
    """`value` as SQLite keeps it: moments in ISO 8601 (UTC where a zone is known), `Decimal` and `UUID` as text."""
    if value is None or isinstance(value, int | str | bytes | bytearray | memoryview):
        return value
    if isinstance(value, float):
        if math.isnan(value):
            raise StorageError(f"parameter {place} is not a number, which SQLite would store as NULL; pass None if that is meant")
        return value
    if isinstance(value, datetime):
        return (value.astimezone(UTC) if value.tzinfo else value).isoformat(" ")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, Decimal | UUID):
        return str(value)
    raise StorageError(
        f"parameter {place} is {with_article(type(value).__name__)}, which SQLite cannot store: pass text, bytes, a number or None"
    )
