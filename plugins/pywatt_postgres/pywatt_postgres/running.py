"""One statement on one connection, and a statement whose rows are taken out a piece at a time."""

from __future__ import annotations

import asyncio
import re
from functools import lru_cache
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from pywatt_core.interfaces import Row

from .failures import BACKEND_ERRORS, translated
from .pool import session_of
from .rows import rows, size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pywatt_core.sql.slow import SlowLog
    from pywatt_core.statements import Statement

FIRST_ROWS, CHUNK_ROWS = 16, 512
"""Rows that `iterate` takes at first, and at a time, at most."""
CHUNK_BYTES = 1 << 20
"""Text and bytes that it tries to take at a time, going by the rows before."""

PLAIN: Final = frozenset(
    {"SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "WITH", "VALUES", "TABLE", "SHOW", "EXPLAIN", "CREATE", "ALTER", "DROP", "TRUNCATE"}
)
"""First words of statements that leave the session as it is, unless they call a function that changes it."""
_CHANGES_SESSION = re.compile(r"set_config|advisory|dblink|\btemp", re.IGNORECASE)


@lru_cache(maxsize=512)
def touches(word: str, sql: str) -> bool:
    """Whether a statement with this first word may change the session that it runs in, going by its text."""
    return word not in PLAIN or _CHANGES_SESSION.search(sql) is not None


async def run(connection: Any, call: str, statement: Statement, values: Sequence[Any], slow: SlowLog) -> Any:
    """Run a statement through the connection's method `call`, or for its status; what it raises becomes `StorageError` and its kinds."""
    session = session_of(connection)
    if touches(statement.word, statement.source):
        session.touched = True
    begun = monotonic()
    try:
        if call == "status":
            return await session.status(statement.sql, values)
        return await getattr(session, call)(statement.sql, *values)
    except BACKEND_ERRORS as error:
        if isinstance(error, TimeoutError):
            session.touched = True
        raise translated(error, statement.source) from error
    except asyncio.CancelledError:
        session.touched = True
        raise
    finally:
        seconds = monotonic() - begun
        if seconds > slow.threshold:
            slow.slow(statement.source, seconds)


class Reading:
    """A statement inside a transaction whose rows stay at the server until they are asked for."""

    def __init__(self, connection: Any, statement: Statement, values: Sequence[Any], slow: SlowLog) -> None:
        self._connection = connection
        self._statement = statement
        self._values = values
        self._slow = slow
        self._cursor: Any = None
        self._wanted = FIRST_ROWS
        self._over = False

    async def chunk(self) -> list[Row]:
        """The next rows, none at the end."""
        if self._over:
            return []
        begun = monotonic()
        try:
            if self._cursor is None:
                session = session_of(self._connection)
                session.touched |= touches(self._statement.word, self._statement.source)
                self._cursor = await session.cursor(self._statement.sql, *self._values)
            records = await self._cursor.fetch(self._wanted)
        except BACKEND_ERRORS as error:
            raise translated(error, self._statement.source) from error
        seconds = monotonic() - begun
        if seconds > self._slow.threshold:
            self._slow.slow(self._statement.source, seconds)
        self._over = len(records) < self._wanted
        found = rows(records, Row)
        if found:
            fitting = CHUNK_BYTES * len(found) // max(size(found), 1)
            self._wanted = max(1, min(fitting, 4 * self._wanted, CHUNK_ROWS))
        return found

    async def close(self, seconds: float) -> None:
        """Let go of what the server keeps for it; a long transaction would collect that."""
        if self._cursor is not None and self._cursor._portal_name:  # asyncpg closes only those that its own iteration opened
            await self._cursor._close_portal(seconds)
