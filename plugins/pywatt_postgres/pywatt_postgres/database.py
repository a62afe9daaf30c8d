"""A PostgreSQL database: a pool, statements on whatever connection is free, transactions and iterations that hold one."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pywatt_core import statements
from pywatt_core.errors import Unavailable
from pywatt_core.sql.slow import SlowLog
from pywatt_core.sql.turns import finished

from .failures import BACKEND_ERRORS, translated
from .pool import Pool, cut_off
from .queries import PostgresQueries
from .running import Reading, run
from .transaction import ENDING_TIMEOUT, Transaction, beginning, clean

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence

    import databases

    from pywatt_core.interfaces import Context, Params, Row
    from pywatt_core.sql.options import Address
    from pywatt_core.statements import Statement

    from .options import Options

log = logging.getLogger("pywatt.postgres")


class PostgresDatabase(PostgresQueries):
    """Implements `pywatt_core.interfaces.Database`; made by `open`, ended by `close`."""

    dialect = "postgresql"

    def __init__(self, pool: Pool, options: Options, where: Address) -> None:
        self._pool = pool
        self._where = where
        self._timeout = options.pooling.acquire_timeout
        self._connect_timeout = options.connect_timeout
        self._slow = SlowLog(log, options.slow_statement)

    @classmethod
    async def open(cls, options: Options, context: Context) -> PostgresDatabase:
        """Connect. Raises `ConfigError` where a file of the options cannot be used, `Unavailable` where the server does not answer."""
        return cls(await Pool.open(options, options.address, context.module_id, context.folder), options, options.address)

    @cached_property
    def databases(self) -> databases.Database:
        """The same pool through the library `databases`, for code that is written for it, SQLAlchemy's expressions included.

        It is that library's own code: it waits for a connection without a deadline, raises the driver's errors, and loses a connection
        where one of its transactions is cancelled.
        """
        from .facade import over  # imports SQLAlchemy, which takes longer than everything else together

        return over(self._pool.asyncpg, self._where)

    async def close(self) -> None:
        """Wait for what is running, ``close_timeout`` seconds at most, cut off the rest and close. May be called twice."""
        await finished(self._pool.close())

    async def ping(self) -> None:
        """Ask the server something small. Raises `Unavailable` where it does not answer."""
        connection = await self._pool.acquire()
        try:
            async with asyncio.timeout(self._connect_timeout):
                await run(connection, "fetchval", PING, (), self._slow)
        except TimeoutError as error:
            cut_off(connection)
            raise Unavailable(f"the server does not answer within {self._connect_timeout:g} s") from error
        finally:
            await self._pool.release(connection)

    async def iterate(self, sql: str, params: Params = ()) -> AsyncGenerator[Row, None]:
        """Rows one after the other, a bounded piece at a time in memory. Holds one connection until it is exhausted or closed."""
        statement = statements.read(sql, "postgresql")
        values = statement.arrange(params)
        connection = await self._pool.hold()
        ending = "ROLLBACK"
        try:
            await run(connection, "execute", BEGIN, (), self._slow)
            reading = Reading(connection, statement, values, self._slow)
            while found := await reading.chunk():
                ending = "COMMIT"  # a statement with RETURNING is kept, however many of its rows are read
                for row in found:
                    yield row
                ending = "ROLLBACK"
            ending = "COMMIT"
        finally:
            self._pool.leaving(connection)
            try:
                await finished(self._end(connection, ending))
            finally:
                await self._pool.release(connection)

    @asynccontextmanager
    async def transaction(self, *, isolation: str | None = None, read_only: bool = False) -> AsyncIterator[Transaction]:
        """A transaction. `isolation` is ``read committed`` (the server's default), ``repeatable read`` or ``serializable``."""
        begin = beginning(isolation, read_only)
        connection = await self._pool.hold()
        try:
            transaction = Transaction(connection, self._slow, timeout=self._timeout)
            try:
                await transaction.begin(begin)
                yield transaction
                await transaction.end("COMMIT")
            except BaseException:
                await transaction.undo()
                raise
        finally:
            await self._pool.release(connection)

    async def _run(self, call: str, statement: Statement, values: Sequence[Any]) -> Any:
        connection = await self._pool.acquire()
        try:
            return await run(connection, call, statement, values, self._slow)
        finally:
            await self._pool.release(connection)

    async def _end(self, connection: Any, ending: str) -> None:
        if ending == "ROLLBACK":
            await clean(connection, ending)
            return
        try:
            await connection.execute(ending, timeout=ENDING_TIMEOUT)
        except BACKEND_ERRORS as error:
            await clean(connection, "ROLLBACK")
            raise translated(error, ending) from error


PING = statements.read("SELECT 1", "postgresql")
BEGIN = statements.Statement("BEGIN", "BEGIN", "SELECT", 0, ())
"""Begins what an iteration needs: rows can stay at the server only inside a transaction."""


PostgresConnection = PostgresDatabase
"""What the earlier SDK called it."""
