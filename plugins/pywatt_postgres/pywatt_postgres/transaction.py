"""A transaction on one connection, and savepoints inside it."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from pywatt_core import statements
from pywatt_core.errors import StorageError, Unavailable
from pywatt_core.sql.transactions import NestableTransaction, isolation_level
from pywatt_core.sql.turns import finished

from .failures import BACKEND_ERRORS, translated
from .pool import cut_off
from .queries import PostgresQueries
from .running import Reading, run

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from pywatt_core.interfaces import Params, Row
    from pywatt_core.sql.slow import SlowLog
    from pywatt_core.statements import Statement

log = logging.getLogger("pywatt.postgres")

CLEANING_TIMEOUT = 5.0
"""Seconds that rolling back, or closing a cursor, may take before the connection is cut off."""

ENDING_TIMEOUT = 60.0
"""Seconds that a commit, or beginning or ending a savepoint, may take: no cancellation stops those."""


class Transaction(NestableTransaction, PostgresQueries):
    """Statements inside a transaction. Of no use after its ``async with`` block, and says so."""

    def __init__(self, connection: Any, slow: SlowLog, *, timeout: float, outer: Transaction | None = None) -> None:
        super().__init__(outer, timeout)
        self._connection = connection
        self._slow = slow
        self._ended = False
        """The server has committed, or let go of the savepoint: there is nothing to undo."""

    def _inside(self) -> Transaction:
        return Transaction(self._connection, self._slow, timeout=self._timeout, outer=self)

    async def begin(self, statement: str) -> None:
        """Begin; a savepoint whatever happens to the caller meanwhile, so that it is there to be rolled back to."""
        beginning = self._connection.execute(statement, timeout=ENDING_TIMEOUT)
        try:
            await (beginning if self._outer is None else finished(beginning))
        except BACKEND_ERRORS as error:
            raise translated(error, statement) from error

    async def end(self, statement: str) -> None:
        """Commit, or release the savepoint: to its end, whatever happens to the caller meanwhile."""
        async with self._turn:
            self.check()
            self._left = True
            try:
                status = await finished(self._end(statement))
            except TimeoutError as error:
                raise Unavailable(f"{statement} had no answer within {ENDING_TIMEOUT:g} s: whether it was done is unknown") from error
            except BACKEND_ERRORS as error:
                raise translated(error, statement) from error
            if status == "ROLLBACK":  # PostgreSQL's answer to COMMIT where a statement had failed
                raise StorageError(
                    "a statement of the transaction had failed, so PostgreSQL has rolled it back: nothing of it was kept; "
                    "let the error leave the block, or run what may fail in a savepoint (transaction.transaction())"
                )

    async def _end(self, statement: str) -> str:
        status: str = await self._connection.execute(statement, timeout=ENDING_TIMEOUT)
        self._ended = True
        return status

    async def undo(self) -> None:
        """Roll back, or back to the savepoint; a connection on which that fails is cut off, which rolls back too."""
        self._left = True
        if self._ended or (self._outer is not None and self._outer.over):
            return
        undoing = "ROLLBACK" if self._outer is None else f"ROLLBACK TO {self._savepoint}; RELEASE {self._savepoint}"
        await finished(clean(self._connection, undoing))

    async def _run(self, call: str, statement: Statement, values: Sequence[Any]) -> Any:
        async with self._turn:
            self.check()
            return await run(self._connection, call, statement, values, self._slow)

    async def iterate(self, sql: str, params: Params = ()) -> AsyncGenerator[Row, None]:
        """Rows one after the other; other statements of the transaction may run meanwhile."""
        statement = statements.read(sql, "postgresql")
        reading = Reading(self._connection, statement, statement.arrange(params), self._slow)
        try:
            while True:
                async with self._turn:
                    self.check()
                    found = await reading.chunk()
                if not found:
                    return
                for row in found:
                    yield row
        finally:
            if not self.over:  # then the server has closed it with the transaction
                await finished(self._close_cursor(lambda: reading.close(CLEANING_TIMEOUT), BACKEND_ERRORS, log))


async def clean(connection: Any, statement: str) -> None:
    """Run a statement that brings a connection back to order, or cut the connection off."""
    try:
        async with asyncio.timeout(CLEANING_TIMEOUT):
            if not connection.is_closed():
                await connection.execute(statement)
    except BACKEND_ERRORS as error:
        log.debug("%s failed (%s); the connection is cut off", statement, type(error).__name__)
        cut_off(connection)


def beginning(isolation: str | None, read_only: bool) -> str:
    """The statement that begins a transaction. Raises `StorageError` for an isolation that PostgreSQL does not have."""
    begin = "BEGIN"
    if isolation is not None:
        begin += f" ISOLATION LEVEL {isolation_level(isolation, 'PostgreSQL')}"
    return f"{begin} READ ONLY" if read_only else begin
