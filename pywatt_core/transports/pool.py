"""A bounded pool of connections, of whatever kind: links, channels, a client's own."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Generic, NamedTuple, TypeVar

from ..errors import RequestTimeout

C = TypeVar("C")

WAIT = 30.0
"""Seconds that a caller waits for a connection, by default."""
IDLE = 60.0
"""Seconds that a connection may lie unused, by default."""
CLOSE_TIME = 5.0
"""Seconds that closing one connection may take."""
CLOSED = "the pool is closed"


class PoolStats(NamedTuple):
    """How a pool is."""

    available: int
    """Connections that lie ready."""
    max: int
    active: int
    """Connections in use, those that are being opened included."""
    waiting: int
    created: int
    destroyed: int
    lifetime: float
    """Seconds that those lived, on average, that are destroyed."""


class ConnectionPool(Generic[C]):
    """At most `maximum` connections. The one that was used last is used first; the others grow old and are closed.

    `open` makes a connection; `close` ends one; `is_healthy` looks at one that lay idle before it is used again. A
    connection idle for more than `idle` seconds is closed. Use it as a context manager, or call `close`.

        async with ConnectionPool(connect, close=Link.close, maximum=4) as pool:
            async with pool.connection() as link:
                …
    """

    def __init__(
        self,
        open: Callable[[], Awaitable[C]],
        *,
        close: Callable[[C], Awaitable[None]],
        is_healthy: Callable[[C], bool] = lambda connection: True,
        maximum: int = 10,
        wait: float = WAIT,
        idle: float = IDLE,
    ) -> None:
        """Raises `ValueError` for limits that make no sense."""
        if maximum < 1:
            raise ValueError(f"maximum must be at least 1, not {maximum}")
        if not wait > 0 or not idle > 0:
            raise ValueError(f"wait and idle must be above 0 seconds, not {wait} and {idle}")
        self._open, self._end, self._is_healthy = open, close, is_healthy
        self._maximum, self._wait, self._idle_limit = maximum, wait, idle
        self._loop = asyncio.get_running_loop()
        self._idle: list[tuple[C, float]] = []
        self._active = self._created = self._destroyed = 0
        self._born: dict[int, float] = {}
        """When each connection was made, by its identity."""
        self._lived = 0.0
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._sweep: asyncio.TimerHandle | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._closed = False

    @asynccontextmanager
    async def connection(self, *, timeout: float | None = None) -> AsyncIterator[C]:
        """A connection for the time of the block. One whose block raises is closed instead of used again.

        Raises `RequestTimeout` where none is free, or made, within `timeout` seconds (the pool's own by default), what
        `open` raises, and `RuntimeError` once the pool is closed.
        """
        connection = await self._take(self._wait if timeout is None else timeout)
        try:
            yield connection
        except BaseException:
            self._put(connection, usable=False)
            raise
        self._put(connection, usable=True)

    @property
    def stats(self) -> PoolStats:
        """How it is now."""
        return PoolStats(
            len(self._idle),
            self._maximum,
            self._active,
            len(self._waiters),
            self._created,
            self._destroyed,
            self._lived / max(1, self._destroyed),
        )

    async def close(self) -> None:
        """Close what lies idle, and what is in use when it comes back; who waits is told. May be called twice."""
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        idle, self._idle = self._idle, []
        for connection, _since in idle:
            self._destroy(connection)
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_exception(RuntimeError(CLOSED))
        if self._ending:
            await asyncio.wait(self._ending)

    async def __aenter__(self) -> ConnectionPool[C]:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    # ── inside ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _take(self, timeout: float) -> C:
        try:
            async with asyncio.timeout(timeout) as limit:
                await self._turn()
                return await self._ready()
        except TimeoutError:
            if not limit.expired():
                raise
            reason = f"all {self._maximum} are in use" if self._active >= self._maximum else "the other end does not answer"
            raise RequestTimeout(f"no connection within {timeout:g} s: {reason}") from None

    async def _turn(self) -> None:
        """Wait for a place, in the order of asking; the place is taken when this returns."""
        if self._closed:
            raise RuntimeError(CLOSED)
        if self._active < self._maximum and not self._waiters:
            self._active += 1
            return
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._leave()  # the place came together with the cancellation
            elif waiter in self._waiters:
                self._waiters.remove(waiter)
            raise

    async def _ready(self) -> C:
        """A connection for a place that is taken: one that lies ready and is well, else a new one."""
        try:
            while self._idle:
                connection, _since = self._idle.pop()
                if self._is_healthy(connection):
                    return connection
                self._destroy(connection)
            connection = await self._open()
        except BaseException:
            self._leave()
            raise
        self._created += 1
        self._born[id(connection)] = self._loop.time()
        return connection

    def _put(self, connection: C, *, usable: bool) -> None:
        if usable and not self._closed and self._is_healthy(connection):
            self._idle.append((connection, self._loop.time()))
            self._schedule_sweep()
        else:
            self._destroy(connection)
        self._leave()

    def _leave(self) -> None:
        """Give up a place; who waits longest gets it."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._active -= 1

    def _destroy(self, connection: C) -> None:
        async def end() -> None:
            async with asyncio.timeout(CLOSE_TIME):
                await self._end(connection)

        self._destroyed += 1
        now = self._loop.time()
        self._lived += now - self._born.pop(id(connection), now)
        task = self._loop.create_task(end())
        self._ending.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._ending.discard(task)
        if not task.cancelled():
            task.exception()  # a connection that cannot be closed well is gone all the same

    def _schedule_sweep(self) -> None:
        if self._sweep is None and self._idle:
            self._sweep = self._loop.call_at(self._idle[0][1] + self._idle_limit, self._close_old)

    def _close_old(self) -> None:
        """Those that were put back first lie at the front."""
        self._sweep = None
        limit = self._loop.time() - self._idle_limit
        while self._idle and self._idle[0][1] <= limit:
            self._destroy(self._idle.pop(0)[0])
        self._schedule_sweep()
