"""What a server and its driver raise, in PyWatt's words and never with a value; the tables of what they refuse are each plugin's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from pywatt_core.errors import Conflict, StorageError, Unavailable

Opened = Callable[..., AbstractAsyncContextManager[Any]]

CANARY = "canary-90417"
"""A parameter's value: no error may show it."""


async def violated(opened: Opened, tables: Sequence[str], sql: str, params: Sequence[Any]) -> Conflict:
    """The error of a statement that violates a constraint of the tables: it shows the statement, and has a cause."""
    async with opened() as database:
        for table in tables:
            await database.execute(table)
        with pytest.raises(Conflict) as caught:
            await database.execute(sql, params)
    assert str(caught.value).endswith(f"(statement: {sql})")
    assert CANARY not in str(caught.value)
    return caught.value


async def refused(opened: Opened, tables: Sequence[str], sql: str, params: Sequence[Any]) -> str:
    """What is said of a statement that is refused for another reason. It has a cause, and the database works on."""
    async with opened() as database:
        for table in tables:
            await database.execute(table)
        with pytest.raises(StorageError) as caught:
            await database.execute(sql, params)
        await database.ping()
    assert not isinstance(caught.value, Conflict | Unavailable)
    assert CANARY not in str(caught.value)
    assert caught.value.__cause__ is not None
    return str(caught.value)


def has_kind(found: StorageError, kind: type[StorageError], text: str) -> None:
    """What the driver's error becomes, for the statement ``SELECT 1``."""
    assert type(found) is kind
    assert text in str(found)
    assert CANARY not in str(found)
    assert str(found).endswith("(statement: SELECT 1)")
