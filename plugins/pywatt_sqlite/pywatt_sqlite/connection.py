"""One SQLite connection and the thread that all its work runs in: waiting for locks, being interrupted, being closed.

SQLite blocks, so aiosqlite gives each connection a thread with a queue. A cancelled ``await`` does not stop that thread;
what this file adds is that a cancelled statement is interrupted, and that the cancellation goes on only when the thread
is idle again. Nothing else is ever waiting in the queue, because a connection has one user at a time.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

import aiosqlite

from pywatt_core.errors import StorageError, Unavailable

from .failures import BACKEND_ERRORS, code, primary, translated

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")

log = logging.getLogger("pywatt.sqlite")

FIRST_PAUSE, LONGEST_PAUSE = 0.001, 0.05
"""Seconds between two attempts to get a lock that another process holds."""
INTERRUPT_EVERY = 0.02
"""Seconds between two interrupts: one that comes before SQLite has begun to work has no effect."""
INTERRUPT_PATIENCE = 5.0
"""Seconds after which a thread that does not react to interrupts, because of a disk that does not answer, is given up."""

CLOSED = "the database is closed"


class Interrupted(Exception):
    """Raised in the thread where a statement has been given up."""


async def finished(work: Coroutine[Any, Any, T]) -> T:
    """Await `work` to its end whatever happens; a cancellation that comes meanwhile is raised afterwards.

    For cleaning up, which must not be left half done. `work` has to be bounded in time.
    """
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        if not task.cancelled() and (failure := task.exception()) is not None:
            log.warning("cleaning up after a cancellation failed: %s", failure)
        raise cancelled
    return task.result()


class Connection:
    """A connection for one user at a time. `run` executes work in its thread."""

    def __init__(
        self,
        target: str,
        pragmas: tuple[str, ...],
        *,
        busy_timeout: float,
        cached_statements: int,
        patience: float = INTERRUPT_PATIENCE,
    ) -> None:
        self.lost = False
        """True once a statement could not even be interrupted: the connection is of no use any more."""
        self._target = target
        self._pragmas = pragmas
        self._busy_timeout = busy_timeout
        self._cached_statements = cached_statements
        self._patience = patience
        self._closed = False
        self._given_up = threading.Event()
        self._lock = threading.Lock()
        self._working = False
        self._sqlite: sqlite3.Connection
        self._worker = aiosqlite.Connection(self._connect, iter_chunk_size=64)
        self._worker._thread.daemon = True  # a disk that never answers must not keep the process from ending

    async def open(self) -> None:
        """Connect. Raises `Unavailable` or another `StorageError` where that fails."""
        try:
            await self._worker
        except BACKEND_ERRORS as error:
            await self._ended()
            raise translated(error, f"opening {self._target}") from error

    async def _ended(self) -> None:
        """Wait for the thread, which has been told to end and has nothing left to do."""
        while self._worker._thread.is_alive():  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(FIRST_PAUSE)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._target, uri=True, timeout=0, isolation_level=None, cached_statements=self._cached_statements)
        try:
            self._patiently(self._prepare, connection)
        except BaseException:
            connection.close()
            raise
        self._sqlite = connection
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        for pragma in self._pragmas:
            connection.execute(pragma).fetchall()

    async def run(self, job: Callable[[sqlite3.Connection], T], *, retry: bool = True) -> T:
        """Run `job` in the thread and return what it returns.

        Where another process holds a lock, `job` is run again until it succeeds or ``busy_timeout`` is over; with
        ``retry=False`` it is run once. A cancellation interrupts it, and is raised when the thread is idle.
        """
        if self._closed:
            raise StorageError(CLOSED)
        if self.lost:
            raise Unavailable("the connection was given up after a statement that could not be interrupted")

        def work() -> T:
            with self._lock:
                if self._given_up.is_set():
                    raise Interrupted
                self._working = True
            try:
                return self._patiently(job, self._sqlite) if retry else job(self._sqlite)
            finally:
                with self._lock:
                    self._working = False

        try:
            return await self._submit(work)
        except asyncio.CancelledError:
            await finished(self.interrupt())
            raise
        except sqlite3.ProgrammingError as error:
            if self._closed:
                raise StorageError(CLOSED) from error
            raise

    async def _submit(self, work: Callable[[], T]) -> T:
        # The one use of an inner name of aiosqlite: its public methods need two or three changes of thread for a row.
        # The work has no arguments, because aiosqlite writes them to its log, and statements' values are nobody's business.
        result: T = await self._worker._execute(work)  # type: ignore[no-untyped-call]
        return result

    def _patiently(self, job: Callable[[sqlite3.Connection], T], connection: sqlite3.Connection) -> T:
        # SQLite's own waiting can be neither interrupted nor abandoned, so it is switched off (timeout=0).
        deadline = 0.0
        pause = FIRST_PAUSE
        while True:
            try:
                return job(connection)
            except sqlite3.OperationalError as error:
                if primary(error) != sqlite3.SQLITE_BUSY or code(error) == sqlite3.SQLITE_BUSY_SNAPSHOT:
                    raise
                deadline = deadline or monotonic() + self._busy_timeout
                if monotonic() >= deadline:
                    raise
            if self._given_up.wait(pause):
                raise Interrupted
            pause = min(2 * pause, LONGEST_PAUSE)

    async def interrupt(self) -> None:
        """Stop what the thread is doing and wait until it is idle; marks the connection lost where that does not help."""
        if self.lost:
            return
        deadline = monotonic() + self._patience
        self._given_up.set()
        idle = asyncio.ensure_future(self._submit(self._given_up.clear))
        while not idle.done():
            with self._lock:  # never interrupt anything but the work that was given up
                if self._working:
                    self._sqlite.interrupt()
            await asyncio.wait({idle}, timeout=INTERRUPT_EVERY)
            if monotonic() >= deadline and not idle.done():
                self.lost = True
                log.error("a statement could not be interrupted within %g s; its connection is given up", self._patience)
                return

    async def clean(self, job: Callable[[sqlite3.Connection], object]) -> None:
        """Interrupt what is running and run `job`, which tidies up; where that fails, the connection is lost.

        Nothing is done where the connection is closed or lost already: SQLite rolls back what such a one had begun.
        """
        if self._closed or self.lost:
            return
        await self.interrupt()
        if self.lost:
            return
        try:
            await self._submit(lambda: job(self._sqlite))
        except sqlite3.Error as error:
            if self._closed:
                return
            self.lost = True
            log.error("a connection could not be brought back to order (%s) and is given up", error)

    def abandon(self) -> None:
        """Let a lost connection close itself when its thread comes back, if ever."""
        self._closed = True
        self._worker.stop()

    async def close(self) -> None:
        """Interrupt what is running and close; a thread that does not answer in time is left behind."""
        if self._closed:
            return
        self._closed = True
        await self.interrupt()
        if self.lost:
            self._worker.stop()
            return
        try:
            await self._worker.close()
        except sqlite3.Error as error:
            log.error("a connection could not be closed: %s", error)
        await self._ended()
