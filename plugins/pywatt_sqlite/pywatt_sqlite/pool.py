"""Connections shared by tasks: one user at a time, first come first served; nobody waits for ever, or for themselves."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from pywatt_core.errors import StorageError, Unavailable
from pywatt_core.sql.turns import finished

from .connection import CLOSED, Connection, log

if TYPE_CHECKING:
    from collections.abc import Callable


class Pool:
    """At most `size` connections, each opened when it is first needed."""

    def __init__(self, use: str, size: int, make: Callable[[], Connection], *, timeout: float, replaces: bool = True) -> None:
        self._use = use
        self._replaces = replaces
        self._size = size
        self._make = make
        self._timeout = timeout
        self._opening = 0
        self._connections: set[Connection] = set()
        self._free: list[Connection] = []
        self._users: dict[Connection, asyncio.Task[Any] | None] = {}
        self._waiting: deque[tuple[asyncio.Future[Connection | None], float]] = deque()
        """Who waits, in order, and until when, by the loop's clock."""
        self._alarm: asyncio.TimerHandle | None = None
        self._closer: asyncio.Task[Any] | None = None
        self._all_back = asyncio.Event()
        self._closed = ""
        """Why nobody gets a connection any more; empty where everybody does."""

    async def acquire(self) -> Connection:
        """A connection for the calling task alone, to be given back to `release`.

        Raises `Unavailable` where none becomes free in time, and `StorageError` where the pool is closed, or where the
        task itself holds what it would wait for.
        """
        connection: Connection | None = None
        while connection is None:
            if self._closed:
                raise StorageError(self._closed)
            if self._free:
                connection = self._free.pop()
            elif len(self._connections) + self._opening < self._size:
                self._opening += 1  # before anything is awaited: others count it
                await finished(self._grow())
            else:
                connection = await self._turn()
        self._users[connection] = asyncio.current_task()
        return connection

    def leaving(self, connection: Connection) -> None:
        """The connection is about to be released, whatever its user does meanwhile."""
        self._users[connection] = None

    def release(self, connection: Connection) -> None:
        """Give a connection back, with nothing running on it and no transaction open."""
        self._users.pop(connection, None)
        if connection.lost:
            self._connections.discard(connection)
            connection.abandon()
            if self._replaces:
                self._hand_over(None)
            else:
                self._refuse(f"{self._use} is gone: a statement could not be interrupted, and its connection was given up")
        else:
            self._hand_over(connection)

    async def drain(self, patience: float, closer: asyncio.Task[Any] | None) -> None:
        """Refuse everybody from now on, and wait `patience` seconds for those who have a connection.

        `closer` is the task that closes: what it still holds itself is not waited for.
        """
        if self._closed:
            return
        self._refuse(CLOSED)
        self._closer = closer
        self._check_back()
        try:
            async with asyncio.timeout(patience):
                await self._all_back.wait()
        except TimeoutError:
            log.warning("what was still running when the database closed is interrupted")

    async def close(self) -> None:
        """Close every connection; what still runs is interrupted."""
        await asyncio.gather(*[connection.close() for connection in self._connections])

    def _refuse(self, reason: str) -> None:
        self._closed = reason
        while self._waiting:
            turn, _ = self._waiting.popleft()
            if not turn.done():
                turn.set_exception(StorageError(reason))
        if self._alarm is not None:
            self._alarm.cancel()

    async def _grow(self) -> None:
        connection = self._make()
        try:
            await connection.open()
        except BaseException:
            self._opening -= 1
            self._hand_over(None)
            raise
        self._opening -= 1
        self._connections.add(connection)
        self._hand_over(connection)
        if self._closed:
            await connection.close()

    async def _turn(self) -> Connection | None:
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[Connection | None] = loop.create_future()
        self._waiting.append((turn, loop.time() + self._timeout))
        if self._alarm is None:
            self._alarm = loop.call_later(self._timeout, self._expire)
        try:
            if asyncio.current_task() in self._users.values():
                await self._refuse_to_wait_for_oneself(turn)
            return await turn
        except BaseException:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._hand_over(turn.result())  # it came together with the cancellation: the next one gets it
            else:
                turn.cancel()
            raise

    def _expire(self) -> None:
        """One alarm serves all who wait, because who came first has the first deadline."""
        loop = asyncio.get_running_loop()
        self._alarm = None
        while self._waiting:
            turn, deadline = self._waiting[0]
            if not turn.done() and deadline > loop.time():
                self._alarm = loop.call_at(deadline, self._expire)
                return
            self._waiting.popleft()
            if not turn.done():
                turn.set_exception(
                    Unavailable(
                        f"no connection for {self._use} became free within {self._timeout:g} s: shorten the transactions and "
                        "iterations that hold them, or raise acquire_timeout"
                    )
                )

    async def _refuse_to_wait_for_oneself(self, turn: asyncio.Future[Connection | None]) -> None:
        for _ in range(2):  # an iteration that was left a moment ago gets to say that it is leaving
            await asyncio.sleep(0)
        users = self._users.values()
        task = asyncio.current_task()
        if not turn.done() and not self._opening and len(users) == len(self._connections) and all(user is task for user in users):
            raise StorageError(
                f"this task itself holds every connection for {self._use} and would wait for ever: inside a transaction use the "
                "object that it gave you; end an iteration, or take fetch_all, before the next statement"
            )

    def _hand_over(self, connection: Connection | None) -> None:
        """To the first that waits, else to the free ones; None tells it that there is room for a new connection."""
        while self._waiting:
            turn, _ = self._waiting.popleft()
            if not turn.done():
                turn.set_result(connection)
                return
        if connection is not None:
            self._free.append(connection)
        self._check_back()

    def _check_back(self) -> None:
        if self._closed and not self._opening:
            held = len(self._connections) - len(self._free)
            if held == sum(user is self._closer for user in self._users.values()):  # the task that closes waits not for itself
                self._all_back.set()
