"""A transaction on one connection, and savepoints inside it."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

from pywatt_core import statements
from pywatt_core.errors import StorageError
from pywatt_core.sql.transactions import NestableTransaction, isolation_level
from pywatt_core.sql.turns import finished

from .failures import BACKEND_ERRORS, rolled_back
from .queries import MySqlQueries

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable

    from pywatt_core.interfaces import Params, Row
    from pywatt_core.statements import Statement

    from .running import Running
    from .session import Session

log = logging.getLogger("pywatt.mysql")

COMMITTING: Final = frozenset(
    {"ALTER", "ANALYZE", "CACHE", "CREATE", "DROP", "FLUSH", "GRANT", "INSTALL", "LOCK", "OPTIMIZE", "RENAME", "REPAIR", "RESET", "REVOKE"}
    | {"TRUNCATE", "UNINSTALL", "UNLOCK", "XA"}
)
"""First words of statements before which MySQL commits a transaction that is open, whether anybody wants that or not."""

CLEANING_TIMEOUT = 5.0
"""Seconds that rolling back may take before the connection is cut off."""


class Transaction(NestableTransaction, MySqlQueries):
    """Statements inside a transaction. Of no use after its ``async with`` block, and says so."""

    _release = "RELEASE SAVEPOINT"

    def __init__(self, session: Session, running: Running, *, timeout: float, outer: Transaction | None = None) -> None:
        super().__init__(outer, timeout)
        self._session = session
        self._running = running
        self._ended = False
        """The server has committed, or let go of the savepoint: there is nothing to undo."""
        self._lost = ""
        """Why the server has ended the transaction by itself; said of the outermost one."""

    @property
    def _outermost(self) -> Transaction:
        return self if self._outer is None else self._outer._outermost

    def check(self) -> None:
        """Raise `StorageError` where the transaction is over."""
        super().check()
        if lost := self._outermost._lost:
            raise StorageError(f"the transaction is over: {lost}")

    def _inside(self) -> Transaction:
        return Transaction(self._session, self._running, timeout=self._timeout, outer=self)

    async def begin(self, *begins: str) -> None:
        """Begin; a savepoint whatever happens to the caller meanwhile, so that it is there to be rolled back to."""
        touched, self._session.touched = self._session.touched, True  # an isolation alone would stay for the next transaction
        for statement in begins:
            beginning = self._running.command(self._session, statement)
            await (beginning if self._outer is None else finished(beginning))
        self._session.touched = touched

    async def end(self, statement: str) -> None:
        """Commit, or release the savepoint: to its end, whatever happens to the caller meanwhile."""
        async with self._turn:
            self.check()
            self._left = True
            await finished(self._end(statement))

    async def _end(self, statement: str) -> None:
        await self._running.command(self._session, statement)
        self._ended = True

    async def undo(self) -> None:
        """Roll back, or back to the savepoint; a connection on which that fails is cut off, which rolls back too."""
        self._left = True
        if self._ended or (self._outer is not None and (self._outer.over or self._outermost._lost)):
            return
        if self._outer is None:
            await finished(clean(self._session, "ROLLBACK"))
        else:
            await finished(clean(self._session, f"ROLLBACK TO SAVEPOINT {self._savepoint}", f"{self._release} {self._savepoint}"))

    async def _run(self, statement: Statement, values: tuple[Any, ...]) -> Any:
        async with self._turn:
            return await self._watched(statement, self._running.run(self._session, statement, values))

    async def _watched(self, statement: Statement, work: Awaitable[Any]) -> Any:
        """Run what `statement` needs, and notice where the server ends the transaction with it: what follows would be kept at once."""
        try:
            self.check()
            refuse_to_commit(statement)
        except BaseException:
            work.close()  # type: ignore[attr-defined]
            raise
        try:
            result = await work
        except StorageError as error:
            if error.__cause__ is not None and rolled_back(error.__cause__):
                self._outermost._lost = "the server has rolled it back; run it again"
            raise
        if not self._session.in_transaction:
            self._outermost._lost = f"{statement.word} has committed it"
            raise StorageError(
                f"{statement.word} has committed the transaction: MySQL does that, and nothing of it can be undone "
                f"(statement: {statements.shortened(statement.source)})"
            )
        return result

    async def iterate(self, sql: str, params: Params = ()) -> AsyncGenerator[Row, None]:
        """Rows one after the other; other statements of the transaction may run meanwhile."""
        statement, values = self._read(sql, params)
        reading = self._running.reading(self._session, statement, values)
        try:
            while True:
                async with self._turn:
                    found = await self._watched(statement, reading.chunk())
                if not found:
                    return
                for row in found:
                    yield row
        finally:
            if not self.over:  # otherwise the connection is somebody else's, or has been put in order
                await finished(self._close_cursor(reading.close, BACKEND_ERRORS, log))


async def clean(session: Session, *commands: str) -> None:
    """Run statements that bring a connection back to order, or cut the connection off."""
    try:
        async with asyncio.timeout(CLEANING_TIMEOUT):
            for command in commands:
                if session.broken:
                    return
                await session.command(command)
    except BACKEND_ERRORS as error:
        log.debug("%s failed (%s); the connection is cut off", commands[0], type(error).__name__)
        session.abort()


def refuse_to_commit(statement: Statement) -> None:
    """Raise `StorageError` for a statement that would commit the transaction around it."""
    if statement.word in COMMITTING and " TEMPORARY " not in f" {statement.source.upper()} ":
        raise StorageError(
            f"{statement.word} cannot be undone in MySQL, and commits the transaction that it is in: run it outside "
            f"(statement: {statements.shortened(statement.source)})"
        )


def beginning(isolation: str | None, read_only: bool) -> list[str]:
    """The statements that begin a transaction. Raises `StorageError` for an isolation that MySQL does not have."""
    begin = ["START TRANSACTION READ ONLY" if read_only else "START TRANSACTION"]
    if isolation is not None:
        begin.insert(0, f"SET TRANSACTION ISOLATION LEVEL {isolation_level(isolation, 'MySQL')}")
    return begin
