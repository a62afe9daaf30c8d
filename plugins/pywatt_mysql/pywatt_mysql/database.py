"""A database of MariaDB or MySQL: a pool, statements on whatever connection is free, transactions and iterations that hold one."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pywatt_core.errors import StorageError, Unavailable
from pywatt_core.sql.slow import SlowLog
from pywatt_core.sql.turns import finished

from .connecting import Connector
from .failures import BACKEND_ERRORS, translated
from .pool import Pool
from .queries import MySqlQueries
from .running import Running
from .transaction import Transaction, beginning

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    import databases

    from pywatt_core.interfaces import Context, Params, Row
    from pywatt_core.sql.options import Address
    from pywatt_core.statements import Statement

    from .options import Options

log = logging.getLogger("pywatt.mysql")


class MySqlDatabase(MySqlQueries):
    """Implements `pywatt_core.interfaces.Database`; made by `open`, ended by `close`."""

    dialect = "mysql"

    def __init__(self, pool: Pool, options: Options, where: Address) -> None:
        self._pool = pool
        self._where = where
        self._timeout = options.pooling.acquire_timeout
        self._connect_timeout = options.connect_timeout
        self._running = Running(SlowLog(log, options.slow_statement), options.statement_timeout)

    @classmethod
    async def open(cls, options: Options, context: Context) -> MySqlDatabase:
        """Connect. Raises `ConfigError` where a file of the options cannot be used, `Unavailable` where the server does not answer."""
        there = options.address
        connect = Connector(options, there, context).connect
        pool = Pool(connect, options.pooling, close_timeout=options.close_timeout, always_reset=options.reset == "always")
        try:
            await pool.open()
        except BaseException:
            await finished(pool.close())
            raise
        return cls(pool, options, there)

    @cached_property
    def databases(self) -> databases.Database:
        """The same pool through the library `databases`, for code that is written for it, SQLAlchemy's expressions included.

        It is that library's own code: it puts values into the text itself, raises the driver's errors, tells no row counts, and loses a
        connection where one of its transactions is cancelled.
        """
        from .facade import over  # imports SQLAlchemy, which takes longer than everything else together

        return over(self._pool, self._where)

    async def close(self) -> None:
        """Wait for what is running, ``close_timeout`` seconds at most, end the rest at the server and close. May be called twice."""
        await finished(self._pool.close())

    async def ping(self) -> None:
        """Ask the server whether it is there. Raises `Unavailable` where it does not answer."""
        session = await self._pool.acquire()
        try:
            async with asyncio.timeout(self._connect_timeout):
                await session.answer()
        except TimeoutError as error:
            raise Unavailable(f"the server does not answer within {self._connect_timeout:g} s") from error
        except BACKEND_ERRORS as error:
            raise translated(error, "") from error
        finally:
            await self._pool.release(session)

    async def iterate(self, sql: str, params: Params = ()) -> AsyncGenerator[Row, None]:
        """Rows one after the other, a bounded piece at a time in memory. Holds one connection until it is exhausted or closed."""
        statement, values = self._read(sql, params)
        session = await self._pool.hold()
        reading = self._running.reading(session, statement, values)
        try:
            while found := await reading.chunk():
                for row in found:
                    yield row
        finally:
            self._pool.leaving(session)
            try:
                await reading.close()
            except BACKEND_ERRORS as error:
                log.debug("a cursor could not be closed: %s", type(error).__name__)
            finally:
                await self._pool.release(session)

    @asynccontextmanager
    async def transaction(self, *, isolation: str | None = None, read_only: bool = False) -> AsyncIterator[Transaction]:
        """A transaction. `isolation` is ``read committed``, ``repeatable read`` (the server's usual one), ``serializable``…"""
        begins = beginning(isolation, read_only)
        session = await self._pool.hold()
        try:
            transaction = Transaction(session, self._running, timeout=self._timeout)
            try:
                await transaction.begin(*begins)
                yield transaction
                await transaction.end("COMMIT")
            except BaseException:
                await transaction.undo()
                raise
        finally:
            await self._pool.release(session)

    async def _run(self, statement: Statement, values: tuple[Any, ...]) -> Any:
        session = await self._pool.acquire()
        try:
            result = await self._running.run(session, statement, values)
            if session.in_transaction:
                raise StorageError(
                    f"{statement.word} left a transaction open, which is rolled back: use `async with database.transaction()`"
                )
            return result
        finally:
            await self._pool.release(session)


MySqlConnection = MySqlDatabase
"""What the earlier SDK called it."""
