"""The cache ``file``: one file that outlives the process, bounded, with time limits, policies and locks, shared by processes.

All work is done by one thread of the cache's own, one operation after the other; each is one transaction of `FileStore`.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ..errors import StorageError, Unavailable
from ..interfaces import CacheStats
from ..services.caching import CLOSED, Filling, bytes_value, steps, text_key, text_keys, value_ttl
from ..services.shared_locks import SharedLocks
from ..sql.turns import finished
from .file_store import FileStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from typing import ParamSpec

    from ..interfaces import CacheLock, Context
    from .file_options import FileOptions

    P = ParamSpec("P")

T = TypeVar("T")


class FileCache:
    """Implements `pywatt_core.interfaces.Cache`; made by `open`, ended by `close`. Processes that open one file share one cache."""

    def __init__(self, options: FileOptions, store: FileStore, thread: ThreadPoolExecutor) -> None:
        self._options = options
        self._store = store
        self._thread = thread
        self._locks = SharedLocks(self)
        self._filling = Filling(self)
        self._hits = self._misses = self._sets = self._deletes = 0
        self._closed = False

    @classmethod
    async def open(cls, options: FileOptions, folder: Path, clock: Callable[[], float] = time.time) -> FileCache:
        """Open the file; a relative path belongs to `folder`. Raises `Unavailable` where it cannot be opened or is no cache."""
        thread = ThreadPoolExecutor(1, thread_name_prefix="pywatt file cache")
        opening = thread.submit(FileStore, options, location(options, folder), clock)
        try:
            store = await asyncio.wrap_future(opening)
        except BaseException:
            opening.add_done_callback(close_late)
            thread.shutdown(wait=False)
            raise
        return cls(options, store, thread)

    async def close(self) -> None:
        """Finish what is under way, close the file and end the thread. May be called twice."""
        if self._closed:
            return
        self._closed = True
        loop = asyncio.get_running_loop()

        async def close() -> None:
            try:
                await loop.run_in_executor(self._thread, self._store.close)
            except sqlite3.Error as error:
                raise explained(error) from error
            finally:
                self._thread.shutdown(wait=False)

        await finished(close())

    # ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def get(self, key: str) -> bytes | None:
        """The value, None where there is none."""
        value = await self._do(self._store.get, name(key))
        self._count_reads(1, value is not None)
        return value

    async def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Only the keys that were found."""
        names = {key: name(key) for key in text_keys(keys)}
        found = await self._do(self._store.get_many, list(names.values()))
        self._count_reads(len(names), len(found))
        return {key: found[encoded] for key, encoded in names.items() if encoded in found}

    async def exists(self, key: str) -> bool:
        """Does not count as a use."""
        return await self._do(self._store.exists, name(key))

    async def ttl(self, key: str) -> float | None:
        """Seconds that the key has left; None where it has no limit. Raises `NotFound` where there is no such key."""
        return await self._do(self._store.ttl, name(key), key)

    async def stats(self) -> CacheStats:
        """Calls are those of this process, items and bytes those of the file."""
        items, size = await self._do(self._store.totals)
        return CacheStats(
            hits=self._hits, misses=self._misses, sets=self._sets, deletes=self._deletes, item_count=items, memory_used_bytes=size
        )

    # ── writing ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def set(self, key: str, value: bytes, *, ttl: float | None = None) -> None:
        """Raises `StorageError` where the value cannot fit; what was there before stays then."""
        await self.set_many({text_key(key): value}, ttl=ttl)

    async def set_many(self, items: Mapping[str, bytes], *, ttl: float | None = None) -> None:
        """All of them, or none."""
        seconds = value_ttl(ttl, self._options.default_ttl)
        checked = {name(key): self._value(key, value) for key, value in items.items()}
        await self._do(self._store.set_many, checked, seconds)
        self._sets += len(checked)

    async def set_nx(self, key: str, value: bytes, *, ttl: float | None = None) -> bool:
        """Store only where the key is absent; tell whether it was stored."""
        seconds = value_ttl(ttl, self._options.default_ttl)
        stored = await self._do(self._store.set_nx, name(key), self._value(key, value), seconds)
        self._sets += stored
        return stored

    async def get_set(self, key: str, value: bytes) -> bytes | None:
        """Replace and return what was there. The new value has the default time limit."""
        before = await self._do(self._store.get_set, name(key), self._value(key, value), self._options.default_ttl)
        self._count_reads(1, before is not None)
        self._sets += 1
        return before

    async def increment(self, key: str, delta: int = 1) -> int:
        """Add to a decimal integer of 64 bits (0 where the key is absent), keep its time limit and return the sum."""
        total = await self._do(self._store.increment, name(key), key, delta, self._options.default_ttl)
        self._sets += 1
        return total

    async def decrement(self, key: str, delta: int = 1) -> int:
        return await self.increment(key, -steps(delta))

    async def delete(self, key: str) -> bool:
        """Tell whether it was there."""
        return await self.delete_many([key]) == 1

    async def delete_many(self, keys: Sequence[str]) -> int:
        """How many of them were there."""
        deleted = await self._do(self._store.delete_many, [name(key) for key in text_keys(keys)])
        self._deletes += deleted
        return deleted

    async def clear(self, namespace: str | None = None) -> None:
        """Drop everything, or the keys that begin with ``namespace + ":"``. Locks stay held."""
        await self._do(self._store.clear, None if namespace is None else name(namespace + ":"))

    async def get_or_set(
        self, key: str, make: Callable[[], Awaitable[bytes] | bytes], *, ttl: float | None = None, timeout: float = 30.0
    ) -> bytes:
        """What is there, or what `make` gives, stored; see `Filling.get_or_set`."""
        return await self._filling.get_or_set(key, make, ttl=ttl, timeout=timeout)

    # ── locks ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def lock(self, key: str, *, ttl: float = 30.0, wait: float | None = 10.0) -> AbstractAsyncContextManager[CacheLock]:
        """Mutual exclusion among all processes that have the file open; `RequestTimeout` after `wait` seconds.

        The lock lapses after `ttl` seconds unless it is extended; a block that is left later than that raises `Conflict`.
        """
        return self._locks.lock(key, ttl=ttl, wait=wait)

    async def acquire_lock(self, key: str, owner: str, ttl: float) -> int | None:
        """A step of `lock`, as `LockStore` says; likewise the next two."""
        return await self._do(self._store.acquire_lock, name(key), owner, ttl)

    async def extend_lock(self, key: str, owner: str, ttl: float) -> bool:
        return await self._do(self._store.extend_lock, name(key), owner, ttl)

    async def release_lock(self, key: str, owner: str) -> bool:
        return await self._do(self._store.release_lock, name(key), owner)

    # ── the steps ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def _do(self, step: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a step of the store in the cache's thread. Whoever is cancelled leaves it to its end: it is one transaction."""
        if self._closed:
            raise StorageError(CLOSED)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: step(*args, **kwargs))
        except sqlite3.Error as error:
            raise explained(error) from error

    def _value(self, key: str, value: bytes) -> bytes:
        checked = bytes(bytes_value(key, value))
        size = len(name(key)) + len(checked)
        if size > self._options.max_bytes:
            raise StorageError(
                f"the value of {key!r} has {size} bytes with its key, and the whole cache {self._options.max_bytes}: raise max_bytes"
            )
        return checked

    def _count_reads(self, asked: int, found: int) -> None:
        self._hits += found
        self._misses += asked - found


def location(options: FileOptions, folder: Path) -> Path:
    return (folder / Path(options.path).expanduser()).absolute()


def close_late(opening: Future[FileStore]) -> None:
    """Close what was opened after the caller had gone."""
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()


def name(key: str) -> bytes:
    """A key as it stands in the file."""
    return text_key(key).encode("utf-8", "surrogatepass")


def explained(error: sqlite3.Error) -> StorageError:
    """SQLite's error as one of ours; its text names no values."""
    if isinstance(error, sqlite3.OperationalError):  # locked, no room on the disk, the disk itself
        return Unavailable(f"the file of the cache cannot be used now: {error}")
    return StorageError(f"the file of the cache failed: {error}")


@asynccontextmanager
async def open_file_cache(options: FileOptions, context: Context) -> AsyncIterator[FileCache]:
    """Open the file or fail with `Unavailable`; on leaving, it is closed, and everything in it stays."""
    cache = await FileCache.open(options, context.folder)
    try:
        yield cache
    finally:
        await cache.close()
