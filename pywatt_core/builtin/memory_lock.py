"""Locks by name among the tasks of one loop: fair, each with an owner, each lapsing after its time."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from ..errors import RequestTimeout, StorageError
from ..services.caching import CLOSED, lapsed, lock_ttl

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Holding:
    """Somebody's turn with a lock, a `CacheLock`. It is over when it is released, or when its time has lapsed."""

    def __init__(self, locks: MemoryLocks, key: str, ttl: float) -> None:
        self._locks = locks
        self.key = key
        self.ttl = ttl
        self.token = 0
        self.lapse: asyncio.TimerHandle | None = None

    async def extend(self, ttl: float | None = None) -> None:
        """Lapse `ttl` seconds from now. Raises `Conflict` where it has lapsed already, or was given up."""
        self._locks.extend(self, self.ttl if ttl is None else lock_ttl(ttl))


class MemoryLocks:
    """All locks of one cache."""

    def __init__(self) -> None:
        self._held: dict[str, Holding] = {}
        self._waiting: dict[str, deque[tuple[Holding, asyncio.Future[None]]]] = {}
        self._given = 0

    @asynccontextmanager
    async def lock(self, key: str, *, ttl: float, wait: float | None) -> AsyncIterator[Holding]:
        """Hold `key` during the block, for `ttl` seconds at most. `wait=None` waits as long as it takes, 0 not at all."""
        holding = Holding(self, key, lock_ttl(ttl))
        await self._acquire(key, holding, wait)
        try:
            yield holding
        except BaseException:
            self._release(key, holding)
            raise
        if not self._release(key, holding):
            raise lapsed(key)

    def extend(self, holding: Holding, ttl: float) -> None:
        """Start the time of a turn again. Raises `Conflict` where it is over."""
        if self._held.get(holding.key) is not holding:
            raise lapsed(holding.key)
        self._run_out(holding, ttl)

    def close(self) -> None:
        """Whoever waits gets an error; whoever holds a lock goes on."""
        for holding in self._held.values():
            if holding.lapse is not None:
                holding.lapse.cancel()
        for waiters in self._waiting.values():
            for _, turn in waiters:
                if not turn.done():
                    turn.set_exception(StorageError(CLOSED))
        self._waiting.clear()

    async def _acquire(self, key: str, holding: Holding, wait: float | None) -> None:
        if key not in self._held:
            self._give(key, holding)
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiters = self._waiting.setdefault(key, deque())
        waiters.append((holding, turn))
        try:
            async with asyncio.timeout(wait):
                await turn
        except BaseException as error:
            if (holding, turn) in waiters:
                waiters.remove((holding, turn))
            if not waiters and self._waiting.get(key) is waiters:
                del self._waiting[key]
            self._release(key, holding)  # it may have come together with the cancellation
            if isinstance(error, TimeoutError):
                raise RequestTimeout(f"the lock {key!r} was not free within {wait:g} s") from error
            raise

    def _give(self, key: str, holding: Holding) -> None:
        self._held[key] = holding
        self._given += 1
        holding.token = self._given
        self._run_out(holding, holding.ttl)

    def _run_out(self, holding: Holding, ttl: float) -> None:
        if holding.lapse is not None:
            holding.lapse.cancel()
        holding.lapse = asyncio.get_running_loop().call_later(ttl, self._release, holding.key, holding)

    def _release(self, key: str, holding: Holding) -> bool:
        """Pass `key` on to the first that waits; False, and nothing done, where it is not `holding`'s any more."""
        if self._held.get(key) is not holding:
            return False
        del self._held[key]
        if holding.lapse is not None:
            holding.lapse.cancel()
        waiters = self._waiting.get(key)
        while waiters:
            following, turn = waiters.popleft()
            if not turn.done():
                self._give(key, following)
                turn.set_result(None)
                break
        if not waiters:
            self._waiting.pop(key, None)
        return True
