"""Locks among processes, over any store that can set a name where it is free: owners, fencing tokens, extension, lapse.

A store has no way to call those who wait, so that they have to ask again and again. Among the tasks of one process only the
first in line asks, and it is told when another of them gives the lock up.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Protocol

from ..errors import PyWattError, RequestTimeout
from ..sql.turns import finished
from .caching import lapsed, lock_ttl, text_key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SOONEST, LATEST = 0.005, 0.1
"""Seconds between two questions whether a lock is free: the first pause, and the longest."""


class LockStore(Protocol):
    """Where locks are kept: three atomic steps, each bounded in time. `owner` is a text that no other holder has."""

    async def acquire_lock(self, key: str, owner: str, ttl: float) -> int | None:
        """Take the lock for `ttl` seconds at least and return its token; None where another owner holds it."""
        ...

    async def extend_lock(self, key: str, owner: str, ttl: float) -> bool:
        """Hold it for `ttl` seconds from now; False, and nothing done, where it is not `owner`'s."""
        ...

    async def release_lock(self, key: str, owner: str) -> bool:
        """Free it; False, and nothing done, where it is not `owner`'s."""
        ...


class SharedLock:
    """A lock that is held: a `CacheLock`."""

    def __init__(self, store: LockStore, key: str, ttl: float) -> None:
        self._store = store
        self.key = key
        self.ttl = ttl
        self.owner = secrets.token_hex(8)
        self.token = 0

    async def extend(self, ttl: float | None = None) -> None:
        """Hold it for `ttl` seconds from now, None means as many as at first. Raises `Conflict` where it is held no longer."""
        if not await self._store.extend_lock(self.key, self.owner, self.ttl if ttl is None else lock_ttl(ttl)):
            raise lapsed(self.key)


class Line:
    """Those of this process who wait for one lock, or hold it."""

    def __init__(self) -> None:
        self.users = 0
        self.first = asyncio.Lock()
        self.freed = asyncio.Event()


class SharedLocks:
    """`Cache.lock` for one cache whose backend other processes use too."""

    def __init__(self, store: LockStore) -> None:
        self._store = store
        self._lines: dict[str, Line] = {}

    @asynccontextmanager
    async def lock(self, key: str, *, ttl: float, wait: float | None) -> AsyncIterator[SharedLock]:
        """Hold `key` during the block, for `ttl` seconds unless it is extended. `wait=None` waits as long as it takes, 0 not at all."""
        lock = SharedLock(self._store, text_key(key), lock_ttl(ttl))
        line = self._lines.setdefault(key, Line())
        line.users += 1
        try:
            await self._acquire(lock, line, wait)
            try:
                yield lock
            except BaseException:
                await finished(self._give_up(lock, line))
                raise
            if not await finished(self._release(lock, line)):
                raise lapsed(key)
        finally:
            line.users -= 1
            if not line.users:
                del self._lines[key]

    async def _acquire(self, lock: SharedLock, line: Line, wait: float | None) -> None:
        loop = asyncio.get_running_loop()
        deadline = None if wait is None else loop.time() + wait
        try:
            async with asyncio.timeout_at(deadline):
                await line.first.acquire()
        except TimeoutError as error:
            raise not_free(lock.key, wait) from error
        try:
            pause = SOONEST
            while not await self._taken(lock, line):
                left = LATEST if deadline is None else deadline - loop.time()
                if left <= 0:
                    raise not_free(lock.key, wait)
                try:
                    async with asyncio.timeout(min(left, pause * random.uniform(0.5, 1.5))):
                        await line.freed.wait()
                except TimeoutError:
                    pause = min(LATEST, 2 * pause)
        finally:
            line.first.release()

    async def _taken(self, lock: SharedLock, line: Line) -> bool:
        """Ask once. Where the answer is lost, the lock may be held all the same: it is given up.

        Whoever is cancelled waits for the answer first: a question that overtook the giving up would hold the lock for nobody.
        """
        line.freed.clear()
        try:
            token = await finished(self._store.acquire_lock(lock.key, lock.owner, lock.ttl))
        except BaseException:
            await finished(self._give_up(lock, line))
            raise
        if token is None:
            return False
        lock.token = token
        return True

    async def _release(self, lock: SharedLock, line: Line) -> bool:
        try:
            return await self._store.release_lock(lock.key, lock.owner)
        finally:
            line.freed.set()

    async def _give_up(self, lock: SharedLock, line: Line) -> None:
        """Release it while something else goes wrong: what fails now lapses by itself."""
        with suppress(PyWattError):
            await self._release(lock, line)


def not_free(key: str, wait: float | None) -> RequestTimeout:
    return RequestTimeout(f"the lock {key!r} was not free within {wait or 0:g} s")
