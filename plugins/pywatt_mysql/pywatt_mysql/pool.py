"""The pool: bounded, fair, with deadlines. Whoever waits first is served first, and nobody waits for ever, or for themselves.

asyncmy's own pool is not used: it has no deadline, favours who comes last, and leaves a statement whose task was cancelled running
at the server, with its locks. Here such a connection's place stays taken until the server has been told to end it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Any

from pywatt_core.errors import StorageError, Unavailable
from pywatt_core.sql.turns import finished

from .failures import BACKEND_ERRORS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pywatt_core.sql.options import PoolOptions

    from .session import Session

log = logging.getLogger("pywatt.mysql")

CLOSED = "the database is closed"

ORDER_TIMEOUT = 5.0
"""Seconds that bringing a connection back to order may take, and ending one at the server."""

KILLED_TIMEOUT = 0.5
"""Seconds that closing gives the server to hear what it is to end."""


class Pool:
    """Connections for one user at a time, as many as `max_connections`."""

    def __init__(
        self, connect: Callable[[], Awaitable[Session]], options: PoolOptions, *, close_timeout: float, always_reset: bool
    ) -> None:
        self._connect = connect
        self._options = options
        self._close_timeout = close_timeout
        self._always_reset = always_reset
        self._lifetime = options.max_lifetime or float("inf")
        self._free = options.max_connections
        """Connections that may still be made."""
        self._idle: list[Session] = []
        """Those that nobody uses, the one that was used last at the end."""
        self._used: set[Session] = set()
        self._holders: dict[Session, asyncio.Task[Any] | None] = {}
        """Who has a connection for longer than one statement."""
        self._waiting: deque[asyncio.Future[Session | None]] = deque()
        """Each gets a connection, or None: the right to make one."""
        self._ending: set[asyncio.Task[None]] = set()
        self._sweeping: asyncio.TimerHandle | None = None
        self._all_back = asyncio.Event()
        self.closed = False

    async def open(self) -> None:
        """Connect once, so that what is wrong is told now, and then as often as `min_connections` says."""
        for _ in range(max(1, self._options.min_connections)):
            self._free -= 1
            self._put(await self._make())
        self._sweep_later()

    def size(self) -> int:
        """How many places are taken."""
        return self._options.max_connections - self._free

    async def acquire(self) -> Session:
        """A connection for the caller alone, to be given back to `release`.

        Raises `Unavailable` where none becomes free in time or the server cannot be reached, and `StorageError` where the
        pool is closed, or where the task itself holds every connection and would wait for itself.
        """
        if self.closed:
            raise StorageError(CLOSED)
        if len(self._holders) >= self._options.max_connections:
            await self._refuse_to_wait_for_oneself()
        session: Session | None = None
        while self._idle:  # where some wait there are none
            session = self._idle.pop()
            if not session.broken:
                self._used.add(session)
                return session
            self._drop(session)
        if self._free:
            self._free -= 1
        else:
            session = await self._wait()
            if session is not None:
                return session
        session = await self._make()
        if self.closed:
            self._drop(session)
            raise StorageError(CLOSED)
        self._used.add(session)
        return session

    async def release(self, session: Session) -> None:
        """Give a connection back; one that is of no more use, or has lived long enough, is closed."""
        if self._holders:
            self._holders.pop(session, None)
        if session not in self._used:
            return  # closing has cut it off
        if session.under_way:
            self._end_at_server(session)
        elif session.broken or self.closed or monotonic() - session.born > self._lifetime:
            self._drop(session)
        elif session.touched or session.in_transaction or self._always_reset:
            await finished(self._order(session))
        else:
            self._put(session)

    async def hold(self) -> Session:
        """A connection that the calling task keeps for more than one statement."""
        session = await self.acquire()
        self._holders[session] = asyncio.current_task()
        return session

    def leaving(self, session: Session) -> None:
        """The connection is about to be released, whatever its user does meanwhile."""
        if session in self._holders:
            self._holders[session] = None

    async def close(self) -> None:
        """Wait for who has a connection, `close_timeout` seconds at most, then end what still runs. May be called twice."""
        self.closed = True
        if self._sweeping is not None:
            self._sweeping.cancel()
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_exception(StorageError(CLOSED))
        while self._idle:
            self._drop(self._idle.pop())
        if self._free < self._options.max_connections:
            self._all_back.clear()
            waiting = asyncio.ensure_future(self._all_back.wait())
            try:
                await asyncio.wait({waiting}, timeout=self._close_timeout)
            finally:
                waiting.cancel()
                if self._used:
                    log.warning("what was still running when the database closed is ended")
                for session in list(self._used):
                    if session.under_way:
                        self._end_at_server(session)
                    else:
                        self._drop(session)
        if self._ending:
            _, late = await asyncio.wait(self._ending, timeout=KILLED_TIMEOUT)
            for task in late:
                task.cancel()

    async def _wait(self) -> Session | None:
        waiter: asyncio.Future[Session | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        deadline = asyncio.timeout(self._options.acquire_timeout)
        try:
            async with deadline:
                return await waiter
        except TimeoutError as error:
            self._gave_up(waiter)
            raise Unavailable(
                f"no connection became free within {self._options.acquire_timeout:g} s: shorten the transactions and iterations that hold "
                "them, or raise pool.max_connections or pool.acquire_timeout"
            ) from error
        except asyncio.CancelledError:
            self._gave_up(waiter)
            raise

    def _gave_up(self, waiter: asyncio.Future[Session | None]) -> None:
        """Who waited does not wait any more; what it was given meanwhile goes to the next."""
        if not waiter.done() or waiter.cancelled():
            if waiter in self._waiting:
                self._waiting.remove(waiter)
        elif waiter.exception() is None:
            session = waiter.result()
            if session is None:
                self._place_is_free()
            else:
                self._put(session)

    async def _make(self) -> Session:
        """A connection in a place that is taken already; where that fails the place is free again."""
        try:
            return await self._connect()
        except BaseException:
            self._place_is_free()
            raise

    def _put(self, session: Session) -> None:
        """A connection in order goes to who waits first, or to the idle ones."""
        if session.broken or self.closed:
            self._drop(session)
            return
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                self._used.add(session)
                waiter.set_result(session)
                return
        self._used.discard(session)
        session.idle_since = monotonic()
        self._idle.append(session)

    def _drop(self, session: Session) -> None:
        """Close a connection that does nothing; its place is free."""
        self._used.discard(session)
        session.leave()
        self._place_is_free()

    def _place_is_free(self) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._free += 1
        if self._free == self._options.max_connections:
            self._all_back.set()

    def _end_at_server(self, session: Session) -> None:
        """Close a connection whose statement may still run; its place is free when the server has heard so."""
        self._used.discard(session)
        session.abort()
        task = asyncio.ensure_future(self._kill(session))
        self._ending.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._ending.discard(task)
        self._place_is_free()

    async def _kill(self, session: Session) -> None:
        try:
            async with asyncio.timeout(ORDER_TIMEOUT):
                other = await self._connect()
                try:
                    await other.end(session)
                finally:
                    other.leave()
        except (*BACKEND_ERRORS, StorageError) as error:
            log.debug("the server could not be told to end a statement: %s", type(error).__name__)

    async def _order(self, session: Session) -> None:
        try:
            async with asyncio.timeout(ORDER_TIMEOUT):
                await session.reset()
        except BACKEND_ERRORS as error:
            if not self.closed:
                log.warning("a connection could not be brought back to order (%s) and was closed", type(error).__name__)
            session.abort()
        if session in self._used:
            self._put(session)

    def _sweep_later(self) -> None:
        if self._options.idle_timeout:
            self._sweeping = asyncio.get_running_loop().call_later(self._options.idle_timeout / 2, self._sweep)

    def _sweep(self) -> None:
        """Close what nobody has used for `idle_timeout`, the longest first, down to `min_connections`."""
        now = monotonic()
        while (
            self._idle
            and self.size() > self._options.min_connections
            and (self._idle[0].broken or now - self._idle[0].idle_since > self._options.idle_timeout)
        ):
            self._drop(self._idle.pop(0))
        self._sweep_later()

    async def _refuse_to_wait_for_oneself(self) -> None:
        for _ in range(2):  # an iteration that was left a moment ago gets to say that it is leaving
            await asyncio.sleep(0)
        users = self._holders.values()
        task = asyncio.current_task()
        if len(users) >= self._options.max_connections and all(user is task for user in users):
            raise StorageError(
                "this task itself holds every connection and would wait for ever: inside a transaction use the object that it gave "
                "you; end an iteration, or take fetch_all, before the next statement"
            )
