"""A transaction on one connection, and savepoints inside it."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, TypeVar

from pywatt_core.errors import StorageError
from pywatt_core.sql.transactions import NestableTransaction
from pywatt_core.sql.turns import finished

from .connection import Connection
from .queries import SqliteQueries, run
from .rows import Job, Reading
from .statements import bound, read

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from pywatt_core.interfaces import Params, Row
    from pywatt_core.statements import Statement

T = TypeVar("T")


class Transaction(NestableTransaction, SqliteQueries):
    """Statements inside a transaction. Of no use after its ``async with`` block, and says so."""

    def __init__(self, connection: Connection, *, timeout: float, outer: Transaction | None = None) -> None:
        super().__init__(outer, timeout)
        self._connection = connection
        self._readings: set[Reading] = set()

    def _inside(self) -> Transaction:
        return Transaction(self._connection, timeout=self._timeout, outer=self)

    async def begin(self, statement: str) -> None:
        await run(self._connection, lambda connection: connection.execute(statement), statement)

    async def end(self, statement: str) -> None:
        """Commit, or release the savepoint: to its end, whatever happens to the caller meanwhile."""

        def job(connection: sqlite3.Connection) -> None:
            self._close_readings(connection)
            alive(connection)
            connection.execute(statement)

        async with self._turn:
            self.check()
            self._left = True
            await finished(run(self._connection, job, statement))

    async def undo(self) -> None:
        """Roll back, or back to the savepoint; what SQLite has rolled back by itself needs no more."""

        def job(connection: sqlite3.Connection) -> None:
            self._close_readings(connection)
            if self._outer is not None and connection.in_transaction:
                try:
                    connection.execute(f"ROLLBACK TO {self._savepoint}")
                    connection.execute(f"RELEASE {self._savepoint}")
                    return
                except sqlite3.Error:
                    pass  # then the whole transaction goes, and the outer one says so at its next statement
            connection.rollback()

        self._left = True
        outer = self._outer
        await finished(self._connection.clean(job, still=lambda: outer is None or not outer.over))

    def _close_readings(self, connection: sqlite3.Connection) -> None:
        for reading in self._readings:
            reading.close(connection)

    async def _run(self, job: Job[T], statement: Statement, *, changes: bool, retry: bool = True) -> T:
        def guarded(connection: sqlite3.Connection) -> T:
            alive(connection)
            return job(connection)

        async with self._turn:
            self.check()
            return await run(self._connection, guarded, statement.sql, retry=retry)

    async def iterate(self, sql: str, params: Params = ()) -> AsyncGenerator[Row, None]:
        """Rows one after the other; other statements of the transaction may run meanwhile."""
        statement = read(sql)
        values = bound(statement, params)
        reading = Reading(statement, values)
        self._readings.add(reading)
        try:
            await self._run(reading.open, statement, changes=False)
            while rows := await self._run(reading.chunk, statement, changes=False, retry=False):
                for row in rows:
                    yield row
        finally:
            await finished(self._close(reading))

    async def _close(self, reading: Reading) -> None:
        if not self.over:  # then it was closed with all the others
            async with self._turn:
                await self._connection.clean(reading.close, still=lambda: not self.over)
        self._readings.discard(reading)


def alive(connection: sqlite3.Connection) -> None:
    """Never let a statement of a transaction that is gone run, and stay, outside one."""
    if not connection.in_transaction:
        raise StorageError(
            "SQLite has rolled the transaction back (after an interrupted statement, a full disk or ON CONFLICT ROLLBACK): "
            "nothing of it was kept; run it again"
        )
