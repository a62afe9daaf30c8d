"""Rows as the caller's own types."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Hashable, Sequence
from functools import lru_cache
from typing import Any, TypeVar, cast, get_type_hints, is_typeddict

import msgspec

from ..errors import StorageError

T = TypeVar("T")


def converted(rows: Sequence[dict[str, Any]], into: type[T], *, numeric_truth: bool = False) -> list[T]:
    """Rows as `into` (a dataclass, a msgspec Struct or a TypedDict), checked by its annotations.

    With `numeric_truth`, for databases without truth values of their own, 0 and 1 become False and True where `into` asks
    for them. Raises `StorageError` that names the row and the column that do not fit, and never shows a value.
    """
    flags = _flags(cast("Hashable", into))
    if numeric_truth and flags:
        for row in rows:
            for name in flags:
                if row.get(name) in (0, 1):
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
    text = re.sub(r"Invalid enum value .+?(?= - at |$)", "a value that it does not list", text, flags=re.DOTALL)
    text = re.sub(r"Object missing required field `(\w+)`", r"column '\1' is missing", text)
    text = re.sub(r"`\$\[(\d+)\]\.(\w+)`", lambda found: f"column '{found[2]}' of row {int(found[1]) + 1}", text)
    return re.sub(r"`\$\[(\d+)\]`", lambda found: f"row {int(found[1]) + 1}", text)


def twice(names: Sequence[str]) -> str | None:
    """The first name that stands for two columns, which a mapping would lose one of; None where there is none."""
    return None if len(set(names)) == len(names) else next(name for name in names if names.count(name) > 1)


def refuse_twice(names: Sequence[str]) -> None:
    """Raise `StorageError` where two columns have one name."""
    name = twice(names)
    if name is not None:
        raise StorageError(f"two columns are called {name!r}: give one of them another name with AS")
