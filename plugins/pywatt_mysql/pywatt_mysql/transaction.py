"""A transaction on one connection, and savepoints inside it."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from pywatt_core import statements
from pywatt_core.errors import StorageError
from pywatt_core.sql.turns import Turn, finished

from .failures import BACKEND_ERRORS, rolled_back
from .queries import MySqlQueries

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable

    from pywatt_core.interfaces import Params, Row
    from pywatt_core.statements import Statement

    from .running import Reading, Running
    from .session import Session

log = logging.getLogger("pywatt.mysql")

ISOLATIONS = ("read uncommitted", "read committed", "repeatable read", "serializable")

COMMITTING: Final = frozenset(
    {"ALTER", "ANALYZE", "CACHE", "CREATE", "DROP", "FLUSH", "GRANT", "INSTALL", "LOCK", "OPTIMIZE", "RENAME", "REPAIR", "RESET", "REVOKE"}
    | {"TRUNCATE", "UNINSTALL", "UNLOCK", "XA"}
)
"""First words of statements before which MySQL commits a transaction that is open, whether anybody wants that or not."""

CLEANING_TIMEOUT = 5.0
"""Seconds that rolling back may take before the connection is cut off."""


class Transaction(MySqlQueries):
    """Statements inside a transaction. Of no use after its ``async with`` block, and says so."""

    def __init__(self, session: Session, running: Running, *, timeout: float, outer: Transaction | None = None) -> None:
        self._session = session
        self._running = running
        self._timeout = timeout
        self._outer = outer
        self._savepoint: str = "pywatt" if outer is None else f"{outer._savepoint}_in"
        self._turn = Turn(timeout)
        self._left = False
        self._ended = False
        """The server has committed, or let go of the savepoint: there is nothing to undo."""
        self._lost = ""
        """Why the server has ended the transaction by itself; said of the outermost one."""

    @property
    def over(self) -> bool:
        """True once its block, or that of a transaction around it, has been left: its connection is somebody else's."""
        return self._left or (self._outer is not None and self._outer.over)

    @property
    def _outermost(self) -> Transaction:
        return self if self._outer is None else self._outer._outermost

    def check(self) -> None:
        """Raise `StorageError` where the transaction is over."""
        if self.over:
            raise StorageError("the transaction is over: its block has been left")
        if lost := self._outermost._lost:
            raise StorageError(f"the transaction is over: {lost}")

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
            await finished(clean(self._session, f"ROLLBACK TO SAVEPOINT {self._savepoint}", f"RELEASE SAVEPOINT {self._savepoint}"))

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
                await finished(self._close(reading))

    async def _close(self, reading: Reading) -> None:
        try:
            async with self._turn:
                if not self.over:
                    await reading.close()
        except (*BACKEND_ERRORS, StorageError) as error:  # the transaction goes on without, or tells by itself what is wrong
            log.debug("a cursor could not be closed: %s", type(error).__name__)

    @asynccontextmanager
    async def transaction(self, *, isolation: str | None = None, read_only: bool = False) -> AsyncIterator[Transaction]:
        """A savepoint. It takes the isolation of the transaction that it is in."""
        if isolation is not None or read_only:
            raise StorageError("a transaction inside another takes its isolation and read_only from that one")
        async with self._turn:
            self.check()
            inner = Transaction(self._session, self._running, timeout=self._timeout, outer=self)
            try:
                await inner.begin(f"SAVEPOINT {inner._savepoint}")
                yield inner
                await inner.end(f"RELEASE SAVEPOINT {inner._savepoint}")
            except BaseException:
                await inner.undo()
                raise


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
        chosen = isolation.lower().replace("_", " ")
        if chosen not in ISOLATIONS:
            raise StorageError(f"isolation {isolation!r} is not one of MySQL's: {', '.join(ISOLATIONS)}")
        begin.insert(0, f"SET TRANSACTION ISOLATION LEVEL {chosen.upper()}")
    return begin
