"""A transaction on one connection, and savepoints inside it."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from pywatt_core import statements
from pywatt_core.errors import StorageError, Unavailable
from pywatt_core.sql.turns import Turn, finished

from .failures import BACKEND_ERRORS, translated
from .pool import cut_off
from .queries import PostgresQueries
from .running import Reading, run

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence

    from pywatt_core.interfaces import Params, Row
    from pywatt_core.sql.slow import SlowLog
    from pywatt_core.statements import Statement

log = logging.getLogger("pywatt.postgres")

ISOLATIONS = ("read uncommitted", "read committed", "repeatable read", "serializable")

CLEANING_TIMEOUT = 5.0
"""Seconds that rolling back, or closing a cursor, may take before the connection is cut off."""

ENDING_TIMEOUT = 60.0
"""Seconds that a commit, or beginning or ending a savepoint, may take: no cancellation stops those."""


class Transaction(PostgresQueries):
    """Statements inside a transaction. Of no use after its ``async with`` block, and says so."""

    def __init__(self, connection: Any, slow: SlowLog, *, timeout: float, outer: Transaction | None = None) -> None:
        self._connection = connection
        self._slow = slow
        self._timeout = timeout
        self._outer = outer
        self._savepoint: str = "pywatt" if outer is None else f"{outer._savepoint}_in"
        self._turn = Turn(timeout)
        self._left = False
        self._ended = False
        """The server has committed, or let go of the savepoint: there is nothing to undo."""

    @property
    def over(self) -> bool:
        """True once its block, or that of a transaction around it, has been left: its connection is somebody else's."""
        return self._left or (self._outer is not None and self._outer.over)

    def check(self) -> None:
        """Raise `StorageError` where the transaction is over."""
        if self.over:
            raise StorageError("the transaction is over: its block has been left")

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
                await finished(self._close(reading))

    async def _close(self, reading: Reading) -> None:
        try:
            async with self._turn:
                if not self.over:
                    await reading.close(CLEANING_TIMEOUT)
        except (*BACKEND_ERRORS, StorageError) as error:  # the transaction goes on without, or tells by itself what is wrong
            log.debug("a cursor could not be closed: %s", type(error).__name__)

    @asynccontextmanager
    async def transaction(self, *, isolation: str | None = None, read_only: bool = False) -> AsyncIterator[Transaction]:
        """A savepoint. It takes the isolation of the transaction that it is in."""
        if isolation is not None or read_only:
            raise StorageError("a transaction inside another takes its isolation and read_only from that one")
        async with self._turn:
            self.check()
            inner = Transaction(self._connection, self._slow, timeout=self._timeout, outer=self)
            try:
                await inner.begin(f"SAVEPOINT {inner._savepoint}")
                yield inner
                await inner.end(f"RELEASE {inner._savepoint}")
            except BaseException:
                await inner.undo()
                raise


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
        chosen = str(isolation).lower().replace("_", " ")
        if chosen not in ISOLATIONS:
            raise StorageError(f"isolation {isolation!r} is not one of PostgreSQL's: {', '.join(ISOLATIONS)}")
        begin += f" ISOLATION LEVEL {chosen.upper()}"
    return f"{begin} READ ONLY" if read_only else begin
