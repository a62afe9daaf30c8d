"""Values as the server takes them. What it has no type for, and what would silently become something else, is refused."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import msgspec

from pywatt_core.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Sequence

AS_THEY_ARE: Final = frozenset({type(None), bool, int, str, bytes, date, timedelta})
"""The types that asyncmy sends as they are, whatever the value."""

encode = msgspec.json.Encoder().encode


def sendable(values: Sequence[Any]) -> tuple[Any, ...]:
    """The values of one statement. Raises `StorageError` that tells the place of one that cannot be sent, and never shows it."""
    if AS_THEY_ARE.issuperset(map(type, values)):
        return tuple(values)
    return tuple([value if type(value) in AS_THEY_ARE else _sendable(value, place) for place, value in enumerate(values, 1)])


def _sendable(value: Any, place: int) -> Any:
    if isinstance(value, float | Decimal):
        if math.isfinite(value):
            return value
        raise _refused(place, "MySQL has neither infinity nor what is not a number")
    if isinstance(value, datetime):
        return value if value.tzinfo is None else value.astimezone(UTC).replace(tzinfo=None)
    if isinstance(value, time):
        if value.tzinfo is None:
            return value
        raise _refused(place, "a time of day with a zone has no type in MySQL")
    if isinstance(value, dict | list | tuple):
        try:
            return encode(value).decode()
        except (TypeError, ValueError, UnicodeError, RecursionError) as error:
            raise _refused(place, f"it cannot be written as JSON ({type(error).__name__})") from error
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    if isinstance(value, bool | int | str | bytes | date | timedelta):  # what is derived from them, enumerations for example
        return value
    raise _refused(place, f"there is no type for a {type(value).__name__}")


def _refused(place: int, reason: str) -> StorageError:
    return StorageError(f"parameter {place} cannot be sent to the server: {reason}")
