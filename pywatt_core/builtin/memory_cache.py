"""The cache ``memory``: in this process, bounded by items and by bytes, with time limits, six policies and locks.

Every operation is one step of the loop, so all of them are atomic among its tasks; other threads come in through
``state.sync``, which runs them on the loop as well.
"""

from __future__ import annotations

import heapq
import math
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

from ..errors import NotFound, StorageError
from ..interfaces import CacheStats
from ..services.caching import CLOSED, Filling, bytes_value, counted, steps, text_key, text_keys, value_ttl
from .eviction import POLICIES, Eviction
from .memory_lock import MemoryLocks
from .memory_options import MemoryOptions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from ..interfaces import CacheLock, Context


class Entry(NamedTuple):
    value: bytes
    expires: float
    """When it is gone, by the cache's clock; infinity where it has no limit."""


class MemoryCache:
    """Implements `pywatt_core.interfaces.Cache`. `clock` counts seconds and never goes back."""

    def __init__(self, options: MemoryOptions, clock: Callable[[], float] = time.monotonic) -> None:
        self._options = options
        self._clock = clock
        self._entries: dict[str, Entry] = {}
        self._eviction: Eviction = POLICIES[options.policy]()
        self._bytes = 0
        self._limits: list[tuple[float, str]] = []
        """A heap of (expires, key); it may hold outdated pairs, which do not match their entry any more."""
        self._locks = MemoryLocks()
        self._filling = Filling(self)
        self._hits = self._misses = self._sets = self._deletes = 0
        self._closed = False

    # ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def get(self, key: str) -> bytes | None:
        """The value, None where there is none."""
        return self._get(key)

    async def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Only the keys that were found."""
        found = {key: self._get(key) for key in text_keys(keys)}
        return {key: value for key, value in found.items() if value is not None}

    async def exists(self, key: str) -> bool:
        """Does not count as a use."""
        return self._live(key) is not None

    async def ttl(self, key: str) -> float | None:
        """Seconds that the key has left; None where it has no limit. Raises `NotFound` where there is no such key."""
        entry = self._live(key)
        if entry is None:
            raise NotFound(f"the cache has no key {key!r}")
        return None if entry.expires == math.inf else entry.expires - self._clock()

    async def stats(self) -> CacheStats:
        self._check_open()
        self._drop_expired()
        return CacheStats(
            hits=self._hits,
            misses=self._misses,
            sets=self._sets,
            deletes=self._deletes,
            item_count=len(self._entries),
            memory_used_bytes=self._bytes,
        )

    # ── writing ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def set(self, key: str, value: bytes, *, ttl: float | None = None) -> None:
        """Raises `StorageError` where the value cannot fit; what was there before stays then."""
        self._set(key, value, self._expiry(ttl))

    async def set_many(self, items: Mapping[str, bytes], *, ttl: float | None = None) -> None:
        """All of them, or none where one is refused for itself."""
        expires = self._expiry(ttl)
        for key, value in items.items():
            self._checked(key, value)
        for key, value in items.items():
            self._set(key, value, expires)

    async def set_nx(self, key: str, value: bytes, *, ttl: float | None = None) -> bool:
        """Store only where the key is absent; tell whether it was stored."""
        expires = self._expiry(ttl)
        self._checked(key, value)
        if self._live(key) is not None:
            return False
        self._set(key, value, expires)
        return True

    async def get_set(self, key: str, value: bytes) -> bytes | None:
        """Replace and return what was there. The new value has the default time limit."""
        expires = self._expiry(None)
        self._checked(key, value)
        before = self._get(key)
        self._set(key, value, expires)
        return before

    async def increment(self, key: str, delta: int = 1) -> int:
        """Add to a decimal integer of 64 bits (0 where the key is absent), keep its time limit and return the sum."""
        entry = self._live(key)
        total = counted(key, None if entry is None else entry.value, delta)
        self._set(key, b"%d" % total, entry.expires if entry is not None else self._expiry(None))
        return total

    async def decrement(self, key: str, delta: int = 1) -> int:
        return await self.increment(key, -steps(delta))

    async def delete(self, key: str) -> bool:
        """Tell whether it was there."""
        if self._live(key) is None:
            return False
        self._remove(key)
        self._deletes += 1
        return True

    async def delete_many(self, keys: Sequence[str]) -> int:
        """How many of them were there."""
        return sum([await self.delete(key) for key in text_keys(keys)])

    async def clear(self, namespace: str | None = None) -> None:
        """Drop everything, or the keys that begin with ``namespace + ":"``. Locks stay held."""
        self._check_open()
        for key in [key for key in self._entries if namespace is None or key.startswith(namespace + ":")]:
            self._remove(key)

    async def get_or_set(
        self, key: str, make: Callable[[], Awaitable[bytes] | bytes], *, ttl: float | None = None, timeout: float = 30.0
    ) -> bytes:
        """What is there, or what `make` gives, stored; see `Filling.get_or_set`."""
        return await self._filling.get_or_set(key, make, ttl=ttl, timeout=timeout)

    def lock(self, key: str, *, ttl: float = 30.0, wait: float | None = 10.0) -> AbstractAsyncContextManager[CacheLock]:
        """Mutual exclusion among the tasks of this process, first come first served; `RequestTimeout` after `wait` seconds.

        The lock lapses after `ttl` seconds unless it is extended; a block that is left later than that raises `Conflict`,
        because it was not alone any more.
        """
        self._check_open()
        return self._locks.lock(text_key(key), ttl=ttl, wait=wait)

    def close(self) -> None:
        """Forget everything; whoever waits for a lock, and every later call, gets a `StorageError`."""
        self._closed = True
        self._entries.clear()
        self._limits.clear()
        self._locks.close()

    # ── the steps ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _check_open(self) -> None:
        if self._closed:
            raise StorageError(CLOSED)

    def _live(self, key: str) -> Entry | None:
        self._check_open()
        entry = self._entries.get(text_key(key))
        if entry is not None and entry.expires <= self._clock():
            self._remove(key)
            return None
        return entry

    def _get(self, key: str) -> bytes | None:
        entry = self._live(key)
        if entry is None:
            self._misses += 1
            return None
        self._hits += 1
        self._eviction.used(key)
        return entry.value

    def _expiry(self, ttl: float | None) -> float:
        seconds = value_ttl(ttl, self._options.default_ttl)
        return math.inf if seconds is None else self._clock() + seconds

    def _checked(self, key: str, value: bytes) -> int:
        size = len(text_key(key)) + memoryview(bytes_value(key, value)).nbytes
        if size > self._options.max_bytes:
            raise StorageError(
                f"the value of {key!r} has {size} bytes with its key, and the whole cache {self._options.max_bytes}: raise max_bytes"
            )
        return size

    def _set(self, key: str, value: bytes, expires: float) -> None:
        size = self._checked(key, value)
        self._live(key)
        self._make_room(key, size)
        if key in self._entries:
            self._bytes -= len(key) + len(self._entries[key].value)
            self._eviction.used(key)
        else:
            self._eviction.added(key)
        self._entries[key] = Entry(bytes(value), expires)
        self._bytes += size
        self._sets += 1
        if expires != math.inf:
            heapq.heappush(self._limits, (expires, key))
            if len(self._limits) > 2 * len(self._entries) + 64:
                self._limits = [(entry.expires, name) for name, entry in self._entries.items() if entry.expires != math.inf]
                heapq.heapify(self._limits)

    def _make_room(self, key: str, size: int) -> None:
        if self._fits(key, size):
            return
        self._drop_expired()
        while not self._fits(key, size):
            self._remove(self._eviction.victim())

    def _fits(self, key: str, size: int) -> bool:
        replaced = self._entries.get(key)
        used = self._bytes + size - (0 if replaced is None else len(key) + len(replaced.value))
        return len(self._entries) + (replaced is None) <= self._options.max_items and used <= self._options.max_bytes

    def _drop_expired(self) -> None:
        now = self._clock()
        while self._limits and self._limits[0][0] <= now:
            expires, key = heapq.heappop(self._limits)
            entry = self._entries.get(key)
            if entry is not None and entry.expires == expires:
                self._remove(key)

    def _remove(self, key: str) -> None:
        entry = self._entries.pop(key)
        self._eviction.removed(key)
        self._bytes -= len(key) + len(entry.value)


InMemoryCache = MemoryCache
"""Its name in the earlier API."""


@asynccontextmanager
async def open_memory(options: MemoryOptions, context: Context) -> AsyncIterator[MemoryCache]:
    """A cache of this process's own, empty; forgotten on leaving."""
    cache = MemoryCache(options)
    try:
        yield cache
    finally:
        cache.close()
