"""One statement on one connection, and a statement whose rows are taken out a piece at a time."""

from __future__ import annotations

import asyncio
import re
from functools import lru_cache
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from pywatt_core.errors import Unavailable
from pywatt_core.interfaces import Row
from pywatt_core.sql.rows import refuse_twice

from .failures import BACKEND_ERRORS, translated
from .rows import rows, size

if TYPE_CHECKING:
    from pywatt_core.sql.slow import SlowLog
    from pywatt_core.statements import Statement

    from .session import Rows, Session

FIRST_ROWS, CHUNK_ROWS = 16, 512
"""Rows that `iterate` takes at first, and at a time, at most."""
CHUNK_BYTES = 1 << 20
"""Text and bytes that it tries to take at a time, going by the rows before."""

ENDING_TIMEOUT = 60.0
"""Seconds that beginning or ending a transaction or a savepoint may take: no cancellation stops that."""

PLAIN: Final = frozenset(
    {"SELECT", "INSERT", "UPDATE", "DELETE", "REPLACE", "WITH", "VALUES", "TABLE", "SHOW", "EXPLAIN", "DESCRIBE", "DESC"}
    | {"CREATE", "ALTER", "DROP", "TRUNCATE", "RENAME", "DO", "ANALYZE", "OPTIMIZE"}
)
"""First words of statements that leave the session as it is, unless they name something of its own."""
_CHANGES_SESSION = re.compile(r"@|_lock\s*\(|\btemporary\b|last_insert_id\s*\(\s*[^\s)]", re.IGNORECASE)


@lru_cache(maxsize=512)
def touches(word: str, sql: str) -> bool:
    """Whether a statement with this first word may change the session that it runs in, going by its text."""
    return word not in PLAIN or _CHANGES_SESSION.search(sql) is not None


class Running:
    """How statements run on a connection: with a deadline, errors that are PyWatt's, and the slow ones logged."""

    def __init__(self, slow: SlowLog, statement_timeout: float) -> None:
        self._slow = slow
        self._timeout = statement_timeout or None

    async def run(self, session: Session, statement: Statement, values: tuple[Any, ...]) -> Any:
        """Run a statement to its last row; what it raises becomes `StorageError` and its kinds."""
        self._look_at(session, statement)
        begun = monotonic()
        try:
            async with asyncio.timeout(self._timeout):
                return await session.execute(statement.sql, values)
        except BACKEND_ERRORS as error:
            raise translated(error, statement.source) from error
        finally:
            self._watch(statement, begun)

    async def command(self, session: Session, sql: str) -> None:
        """Run a statement of our own: one that begins or ends a transaction or a savepoint."""
        try:
            async with asyncio.timeout(ENDING_TIMEOUT):
                await session.command(sql)
        except TimeoutError as error:
            raise Unavailable(f"{sql} had no answer within {ENDING_TIMEOUT:g} s: whether it was done is unknown") from error
        except BACKEND_ERRORS as error:
            raise translated(error, sql) from error

    def reading(self, session: Session, statement: Statement, values: tuple[Any, ...]) -> Reading:
        """Begin to read; nothing is sent yet."""
        return Reading(self, session, statement, values)

    def _look_at(self, session: Session, statement: Statement) -> None:
        if touches(statement.word, statement.source):
            session.touched = True
            if statement.word == "USE":
                session.born = float("-inf")  # no reset brings another database back, so its time is over

    def _watch(self, statement: Statement, begun: float) -> None:
        seconds = monotonic() - begun
        if seconds > self._slow.threshold:
            self._slow.slow(statement.source, seconds)


class Reading:
    """A statement whose rows stay at the server until they are asked for."""

    def __init__(self, running: Running, session: Session, statement: Statement, values: tuple[Any, ...]) -> None:
        self._running = running
        self._session = session
        self._statement = statement
        self._values = values
        self._rows: Rows | None = None
        self._wanted = FIRST_ROWS

    async def chunk(self) -> list[Row]:
        """The next rows, none at the end."""
        begun = monotonic()
        try:
            async with asyncio.timeout(self._running._timeout):
                if self._rows is None:
                    self._running._look_at(self._session, self._statement)
                    self._rows = await self._session.open(self._statement.sql, self._values)
                    refuse_twice(self._rows.names)
                found = await self._rows.fetch(self._wanted)
        except BACKEND_ERRORS as error:
            raise translated(error, self._statement.source) from error
        finally:
            self._running._watch(self._statement, begun)
        if found:
            fitting = CHUNK_BYTES * len(found) // max(size(found), 1)
            self._wanted = max(1, min(fitting, 4 * self._wanted, CHUNK_ROWS))
        return rows(self._rows.names, found, Row)

    async def close(self) -> None:
        """Let go of what the server keeps for it; a long transaction would collect that."""
        if self._rows is not None:
            await self._rows.close()
