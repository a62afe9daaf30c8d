"""A SQLite database: one connection that writes, several that read, and the rule which statement goes where."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pywatt_core.errors import StorageError, Unavailable
from pywatt_core.sql.slow import SlowLog
from pywatt_core.sql.turns import finished

from .connection import Connection, log
from .failures import primary
from .pool import Pool
from .queries import SqliteQueries, run
from .rows import Job, Reading
from .statements import bound, read, reads
from .transaction import Transaction

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

    from pywatt_core.interfaces import Params, Row
    from pywatt_core.statements import Statement

    from .options import Options

T = TypeVar("T")

ISOLATIONS = ("deferred", "immediate", "exclusive")


class SqliteDatabase(SqliteQueries):
    """Implements `pywatt_core.interfaces.Database`; made by `open`, ended by `close`.

    Statements that read run on readers, which see what was committed before they began. Every other statement runs on
    the writer. What looks like reading and writes (``WITH … INSERT … RETURNING``) is refused by the reader, which SQLite
    does before anything has happened, and goes to the writer.
    """

    dialect = "sqlite"

    def __init__(self, options: Options, target: str) -> None:
        self._options = options
        make = partial(
            Connection,
            target,
            busy_timeout=options.busy_timeout,
            cached_statements=options.cached_statements,
            slow=SlowLog(log, options.slow_statement),
        )
        self._readers = Pool("reading", options.readers, partial(make, reader_pragmas(options)), timeout=options.acquire_timeout)
        self._writer: Pool | None = None
        if not options.read_only:
            self._writer = Pool("writing", 1, partial(make, writer_pragmas(options)), timeout=options.acquire_timeout)
            if options.path == ":memory:":  # a second connection would have a memory of its own
                self._readers = self._writer = Pool(
                    "the database in memory", 1, partial(make, writer_pragmas(options)), timeout=options.acquire_timeout, replaces=False
                )

    @classmethod
    async def open(cls, options: Options, folder: Path) -> SqliteDatabase:
        """Open the database; a relative path belongs to `folder`. Raises `Unavailable` where the file cannot be opened."""
        database = cls(options, location(options, folder))
        try:
            await database._on(database._writer or database._readers, setup(options), "opening " + options.path)
        except BaseException:
            await database.close()
            raise
        return database

    async def close(self) -> None:
        """Wait for what is running, ``close_timeout`` seconds at most, interrupt the rest and close. May be called twice."""
        closer, patience = asyncio.current_task(), self._options.close_timeout

        async def close_pools() -> None:
            writer = self._writer or self._readers
            await asyncio.gather(self._readers.drain(patience, closer), writer.drain(patience, closer))
            await self._readers.close()
            await writer.close()  # last, and alone: then SQLite folds the write-ahead log into the file

        await finished(close_pools())

    async def ping(self) -> None:
        """Read the file's header. Raises `Unavailable` where that fails."""
        await self.fetch_value("PRAGMA schema_version")

    async def iterate(self, sql: str, params: Params = ()) -> AsyncGenerator[Row, None]:
        """Rows one after the other, some hundred at a time in memory. Holds one connection until it is exhausted or closed."""
        statement = read(sql)
        values = bound(statement, params)
        reading = Reading(statement, values)
        pool, connection = await self._where(statement, False, lambda pool: self._open(pool, reading, sql))
        try:
            while rows := await run(connection, reading.chunk, sql, retry=False):
                for row in rows:
                    yield row
        finally:
            await self._close(pool, connection, reading)

    @asynccontextmanager
    async def transaction(self, *, isolation: str | None = None, read_only: bool = False) -> AsyncIterator[Transaction]:
        """A transaction. `isolation` says when the lock for writing is taken: ``immediate`` (the default), ``deferred``, ``exclusive``.

        SQLite's transactions are serializable whatever `isolation` says. With `read_only` it reads one state of the
        database on a reader, beside whoever writes.
        """
        begin = beginning(isolation, read_only or self._writer is None)
        pool = self._readers if read_only or self._writer is None else self._writer
        shared = read_only and pool is self._writer
        connection = await pool.acquire()
        try:
            transaction = Transaction(connection, timeout=self._options.acquire_timeout)
            try:
                if shared:
                    await run(connection, lambda connection: connection.execute("PRAGMA query_only = ON"), begin)
                await transaction.begin(begin)
                yield transaction
                await transaction.end("COMMIT")
            except BaseException:
                await transaction.undo()
                raise
            finally:
                if shared:
                    await finished(connection.clean(lambda connection: connection.execute("PRAGMA query_only = OFF")))
        finally:
            pool.release(connection)

    async def _run(self, job: Job[T], statement: Statement, *, changes: bool) -> T:
        return await self._where(statement, changes, lambda pool: self._on(pool, job, statement.sql))

    async def _where(self, statement: Statement, changes: bool, use: Callable[[Pool], Awaitable[T]]) -> T:
        """`use` the pool that the statement belongs to."""
        if self._writer is None:
            return await use(self._readers)
        if reads(statement) and not changes and self._readers is not self._writer:
            try:
                return await use(self._readers)
            except StorageError as error:
                if not refused(error):
                    raise
        return await use(self._writer)

    async def _on(self, pool: Pool, job: Job[T], sql: str) -> T:
        connection = await pool.acquire()
        try:
            return await run(connection, job, sql)
        finally:
            pool.release(connection)

    async def _open(self, pool: Pool, reading: Reading, sql: str) -> tuple[Pool, Connection]:
        connection = await pool.acquire()
        try:
            await run(connection, reading.open, sql)
        except BaseException:
            await self._close(pool, connection, reading)
            raise
        return pool, connection

    async def _close(self, pool: Pool, connection: Connection, reading: Reading) -> None:
        pool.leaving(connection)
        try:
            await finished(connection.clean(reading.close))
        finally:
            pool.release(connection)


def refused(error: StorageError) -> bool:
    """True where a reader refused to write: nothing has happened, and the writer may run the statement."""
    return error.__cause__ is not None and primary(error.__cause__) == sqlite3.SQLITE_READONLY


def beginning(isolation: str | None, read_only: bool) -> str:
    """The statement that begins a transaction. Raises `StorageError` for an isolation that SQLite does not have."""
    chosen = str(isolation or ("deferred" if read_only else "immediate")).lower()
    if chosen not in ISOLATIONS:
        raise StorageError(f"isolation {isolation!r} is not one of SQLite's: {', '.join(ISOLATIONS)} (all of them are serializable)")
    if read_only and chosen != "deferred":
        raise StorageError(f"isolation {isolation!r} takes the lock for writing, which a read-only transaction never does")
    return f"BEGIN {chosen.upper()}"


def location(options: Options, folder: Path) -> str:
    """The URI to open; makes the file's folder where the file may be made."""
    if options.path == ":memory:":
        return "file::memory:"
    path = (folder / Path(options.path).expanduser()).resolve()
    if options.read_only:
        return path.as_uri() + "?mode=ro"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Unavailable(f"the folder of the database {path} cannot be made: {error.strerror}") from error
    return path.as_uri() + "?mode=rwc"


def reader_pragmas(options: Options) -> tuple[str, ...]:
    return (*writer_pragmas(options), "PRAGMA query_only = ON")


def writer_pragmas(options: Options) -> tuple[str, ...]:
    """What each connection has to be told anew."""
    return (f"PRAGMA foreign_keys = {'ON' if options.foreign_keys else 'OFF'}", f"PRAGMA synchronous = {options.synchronous}")


def setup(options: Options) -> Job[None]:
    """The job that prepares the file, once, and finds out whether it is a database at all."""

    def job(connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA schema_version").fetchone()
        if options.read_only or options.path == ":memory:":
            return
        (mode,) = connection.execute(f"PRAGMA journal_mode = {options.journal_mode}").fetchone()
        if mode != options.journal_mode:
            raise sqlite3.OperationalError(
                f"journal_mode {options.journal_mode!r} is not possible here (SQLite keeps {mode!r}): set another"
            )

    return job


SqliteConnection = SqliteDatabase
"""What the earlier SDK called it."""
