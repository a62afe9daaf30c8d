"""One SQLite connection and the thread that all its work runs in: waiting for locks, being interrupted, being closed.

SQLite blocks, so aiosqlite gives each connection a thread with a queue. A cancelled ``await`` does not stop that thread;
what this file adds is that the work of a cancelled ``await`` is interrupted, that work and no other, and that the
cancellation goes on only when it is over.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import aiosqlite

from pywatt_core.errors import StorageError, Unavailable
from pywatt_core.sql.slow import SlowLog
from pywatt_core.sql.turns import finished

from .failures import BACKEND_ERRORS, code, primary, translated

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

log = logging.getLogger("pywatt.sqlite")

LOCK_SLICE = 0.05
"""Seconds that SQLite itself waits for a lock. It cannot be interrupted then, so a longer wait is made of many short ones."""
FIRST_PAUSE, LONGEST_PAUSE = 0.001, 0.02
"""Seconds between two of them."""
INTERRUPT_EVERY = 0.02
"""Seconds between two interrupts: one that comes before SQLite has begun to work has no effect."""
INTERRUPT_PATIENCE = 5.0
"""Seconds after which a thread that does not react to interrupts, because of a disk that does not answer, is given up."""

CLOSED = "the database is closed"


class Interrupted(Exception):
    """Raised in the thread where work has been given up."""


class Work(Generic[T]):
    """One job for a connection's thread, which can be given up from the loop."""

    result: T

    def __init__(self, connection: Connection, job: Callable[[sqlite3.Connection], T], *, retry: bool) -> None:
        self.over = False
        """True once the thread has nothing to do with it any more."""
        self.given_up = False
        self._connection = connection
        self._job = job
        self._retry = retry

    def __call__(self) -> None:
        with self._connection.lock:
            if self.given_up:
                self.over = True
                raise Interrupted
            self._connection.working = self
        try:
            self.result = self._connection.patiently(self._job, self) if self._retry else self._job(self._connection.sqlite)
        finally:
            with self._connection.lock:
                self._connection.working = None
                self.over = True

    def forget(self) -> None:
        """Let go of values and rows, which may be large: the thread remembers its last work."""
        vars(self).pop("result", None)
        del self._job


class Connection:
    """A connection for one user at a time. `run` executes work in its thread."""

    sqlite: sqlite3.Connection
    """SQLite's own connection, for the thread alone."""

    def __init__(
        self,
        target: str,
        pragmas: tuple[str, ...],
        *,
        busy_timeout: float,
        cached_statements: int,
        patience: float = INTERRUPT_PATIENCE,
        slow: SlowLog | None = None,
    ) -> None:
        self.slow = slow or SlowLog(log, 0)
        """Told of statements that take long."""
        self.lost = False
        """True once some work could not even be interrupted: the connection is of no use any more."""
        self.lock = threading.Lock()
        """Held while work begins, ends or is interrupted, so that an interrupt never hits other work."""
        self.working: Work[Any] | None = None
        """What the thread does."""
        self._target = target
        self._pragmas = pragmas
        self._busy_timeout = busy_timeout
        self._cached_statements = cached_statements
        self._patience = patience
        self._closed = False
        self._latest: Work[Any] | None = None
        self._worker = aiosqlite.Connection(self._connect, iter_chunk_size=64)
        self._worker._thread.daemon = True  # a disk that never answers must not keep the process from ending

    async def open(self) -> None:
        """Connect. Raises `Unavailable` or another `StorageError` where that fails."""
        try:
            await self._worker
        except BACKEND_ERRORS as error:
            await self._ended()
            raise translated(error, f"opening {self._target}") from error

    def _connect(self) -> sqlite3.Connection:
        cached = self._cached_statements
        self.sqlite = sqlite3.connect(self._target, uri=True, timeout=LOCK_SLICE, isolation_level=None, cached_statements=cached)
        try:
            self.patiently(self._prepare)
        except BaseException:
            self.sqlite.close()
            raise
        return self.sqlite

    def _prepare(self, connection: sqlite3.Connection) -> None:
        for pragma in self._pragmas:
            connection.execute(pragma).fetchall()

    async def run(self, job: Callable[[sqlite3.Connection], T], *, retry: bool = True) -> T:
        """Run `job` in the thread and return what it returns.

        Where another process holds a lock, `job` is run again until it succeeds or ``busy_timeout`` is over; with
        ``retry=False`` it is run once. A cancellation interrupts it, and is raised when it is over.
        """
        if self._closed:
            raise StorageError(CLOSED)
        if self.lost:
            raise Unavailable("the connection was given up after a statement that could not be interrupted")
        work = Work(self, job, retry=retry)
        self._latest = work
        try:
            await self._submit(work)
            return work.result
        except asyncio.CancelledError:
            await finished(self._stop(work))
            raise
        except sqlite3.ProgrammingError as error:
            if self._closed:
                raise StorageError(CLOSED) from error
            raise
        finally:
            work.forget()

    async def clean(self, job: Callable[[sqlite3.Connection], object], *, still: Callable[[], bool] = lambda: True) -> None:
        """Interrupt what is running and run `job`, which tidies up; where that fails, the connection is lost.

        Nothing is done where the connection is closed or lost already (SQLite rolls back what such a one had begun), or
        where `still` says that it belongs to somebody else by now.
        """
        if not still():
            return
        if self._latest is not None:
            await self._stop(self._latest)
        if self._closed or self.lost or not still():
            return
        try:
            await self._submit(lambda: job(self.sqlite))
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
        if self._latest is not None:
            await self._stop(self._latest)
        if self.lost:
            self._worker.stop()
            return
        try:
            await self._worker.close()
        except sqlite3.Error as error:
            log.error("a connection could not be closed: %s", error)
        await self._ended()

    async def _submit(self, work: Callable[[], T]) -> T:
        # The one use of an inner name of aiosqlite: its public methods need two or three changes of thread for a row.
        # The work has no arguments, because aiosqlite writes them to its log, and statements' values are nobody's business.
        result: T = await self._worker._execute(work)  # type: ignore[no-untyped-call]
        return result

    async def _stop(self, work: Work[Any]) -> None:
        """Interrupt `work` and wait until it is over; the connection is lost where that does not help."""
        with self.lock:
            work.given_up = True
            if work.over or self.lost:
                return
        deadline = monotonic() + self._patience
        over = asyncio.ensure_future(self._submit(lambda: None))  # the queue comes to it when `work` is over
        while not over.done():
            with self.lock:
                if self.working is work:
                    self.sqlite.interrupt()
            await asyncio.wait({over}, timeout=INTERRUPT_EVERY)
            if monotonic() >= deadline and not over.done():
                self.lost = True
                log.error("a statement could not be interrupted within %g s; its connection is given up", self._patience)
                return

    async def _ended(self) -> None:
        """Wait for the thread, which has been told to end and has nothing left to do."""
        while self._worker._thread.is_alive():  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(FIRST_PAUSE)

    def patiently(self, job: Callable[[sqlite3.Connection], T], work: Work[T] | None = None) -> T:
        """In the thread: run `job` again while another process holds a lock that it needs, until `work` is given up."""
        deadline = 0.0
        pause = FIRST_PAUSE
        while True:
            try:
                return job(self.sqlite)
            except sqlite3.OperationalError as error:
                if primary(error) != sqlite3.SQLITE_BUSY or code(error) == sqlite3.SQLITE_BUSY_SNAPSHOT:
                    raise
                deadline = deadline or monotonic() + self._busy_timeout
                if monotonic() >= deadline:
                    raise
            sleep(pause)
            if work is not None and work.given_up:
                raise Interrupted
            pause = min(2 * pause, LONGEST_PAUSE)
