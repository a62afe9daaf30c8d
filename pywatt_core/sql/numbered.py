"""Statements whose parameters are numbered, ``$1``, as the Rust SDK's driver of PostgreSQL wants them, in PyWatt's own spelling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import StorageError
from ..statements import _TOKENS, _end_of_comment, shortened


def with_names(sql: str, values: Sequence[Any]) -> tuple[str, Any]:
    """``$1`` becomes ``:p1``, and the values a mapping, outside text and comments; a statement without numbers stays as it is.

    Raises `StorageError` where a number has no value.
    """
    pieces: list[str] = []
    position = start = 0
    while (token := _TOKENS["postgresql"].search(sql, position)) is not None:
        position = token.end()
        if token.lastgroup == "nesting":
            position = _end_of_comment(sql, position)
        elif token.lastgroup == "foreign":
            number = int(token[0][1:]) if len(token[0]) < 8 else 0
            if not 1 <= number <= len(values):
                raise StorageError(f"{token[0]} has no value: {len(values)} were given (statement: {shortened(sql)})")
            pieces += [sql[start : token.start()], f" :p{number} "]
            start = position
    if not pieces:
        return sql, values
    return "".join(pieces) + sql[start:], {f"p{number}": value for number, value in enumerate(values, 1)}
