"""A process's connection to a cache that we host: the operations of protocol 11.2, and between PyWatt peers `ttl` and `extend_lock`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct, field

from pywatt_core.errors import Conflict, NotFound, RequestTimeout, StorageError
from pywatt_core.held import Held
from pywatt_core.protocol.hosted import from_base64, to_base64
from pywatt_core.sql.turns import finished

from .hosted import Connection, Kept, RolledBack, read_params

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pywatt_core.interfaces import Cache, CacheLock

MOST_LOCKS: Final = 1000
"""Locks that one connection may hold at once."""

LAPSED_AFTER: Final = 1.0
"""Seconds after its end at which a lock that nobody gave up is forgotten."""


class Asked(Struct):
    """What any operation may be asked with."""

    key: str = ""
    value: Any = None
    ttl_seconds: float | None = None
    delta: int = 1
    keys: list[str] = field(default_factory=list)
    items: dict[str, Any] = field(default_factory=dict)
    namespace: str | None = None
    lock_token: str = ""


class CacheConnection(Connection):
    """`Connection` to a cache."""

    _cache: Cache

    async def open(self) -> None:
        self._cache = await self.hosted.open()

    async def perform(self, operation: str, params: Any, asked: str | None) -> Any:
        if operation == "lock":
            return await self._lock(read_params(operation, params, Asked), asked)
        function = _OPERATIONS.get(operation)
        if function is None:
            raise StorageError(f"a cache has no operation {operation!r}")
        return await function(self, read_params(operation, {} if params is None else params, Asked))

    # ── values ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _get(self, asked: Asked) -> Any:
        return _or_none(await self._cache.get(asked.key))

    async def _set(self, asked: Asked) -> None:
        await self._cache.set(asked.key, from_base64(asked.value, "value"), ttl=asked.ttl_seconds)

    async def _delete(self, asked: Asked) -> bool:
        return await self._cache.delete(asked.key)

    async def _exists(self, asked: Asked) -> bool:
        return await self._cache.exists(asked.key)

    async def _set_nx(self, asked: Asked) -> bool:
        return await self._cache.set_nx(asked.key, from_base64(asked.value, "value"), ttl=asked.ttl_seconds)

    async def _get_set(self, asked: Asked) -> Any:
        return _or_none(await self._cache.get_set(asked.key, from_base64(asked.value, "value")))

    async def _increment(self, asked: Asked) -> int:
        return await self._cache.increment(asked.key, asked.delta)

    async def _set_many(self, asked: Asked) -> None:
        items = {key: from_base64(value, "items") for key, value in asked.items.items()}
        await self._cache.set_many(items, ttl=asked.ttl_seconds)

    async def _get_many(self, asked: Asked) -> dict[str, str]:
        return {key: to_base64(value) for key, value in (await self._cache.get_many(asked.keys)).items()}

    async def _delete_many(self, asked: Asked) -> int:
        return await self._cache.delete_many(asked.keys)

    async def _clear(self, asked: Asked) -> None:
        await self._cache.clear(asked.namespace)

    async def _ttl(self, asked: Asked) -> Any:
        try:
            return {"ttl_seconds": await self._cache.ttl(asked.key)}
        except NotFound:
            return None

    async def _stats(self, _asked: Asked) -> Any:
        stats = await self._cache.stats()
        return {
            "hits": stats.hits,
            "misses": stats.misses,
            "sets": stats.sets,
            "deletes": stats.deletes,
            "item_count": stats.item_count,
            "memory_used_bytes": stats.memory_used_bytes,
            "additional_metrics": {},
        }

    async def _nothing(self, _asked: Asked) -> None:
        """Nothing waits to be flushed here."""

    async def _ping(self, _asked: Asked) -> None:
        await self._cache.exists("ping")

    # ── locks ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _lock(self, asked: Asked, id: str | None) -> str | None:
        """Take it at once, or not at all: who waits asks again."""
        ttl = 30.0 if asked.ttl_seconds is None else asked.ttl_seconds
        self.room_for("lock", MOST_LOCKS)
        held: Held[CacheLock] = Held(lambda: self._cache.lock(asked.key, ttl=ttl, wait=0), f"a lock of {self.module}")
        try:
            lock = await held.value()
        except RequestTimeout:
            return None
        except asyncio.CancelledError:
            held.abandon()
            raise
        kept = Kept("lock", lock, lambda: held.close(RolledBack()), outer=None, asked=id)
        kept.commit = held.close
        kept.id = f"{lock.token}.{kept.id}"
        kept.key, kept.ttl = asked.key, ttl
        return self.keep(kept, ttl + LAPSED_AFTER).id

    async def _extend(self, asked: Asked) -> bool:
        kept = self._held(asked)
        if kept is None:
            return False
        ttl = kept.ttl if asked.ttl_seconds is None else asked.ttl_seconds
        try:
            await kept.value.extend(ttl)
        except Conflict:
            return False
        if kept.id in self.kept:
            self.keep(kept, ttl + LAPSED_AFTER)
        return True

    async def _unlock(self, asked: Asked) -> bool:
        kept = self._held(asked)
        if kept is None:
            return False
        assert kept.commit is not None
        self.forget(kept)
        try:
            await finished(kept.commit())
        except Conflict:  # it had lapsed
            return False
        return True

    def _held(self, asked: Asked) -> Kept | None:
        kept = self.kept.get(asked.lock_token)
        if kept is None or kept.what != "lock" or kept.key != asked.key:
            return None
        if kept.gone:
            self.forget(kept)
            return None
        return kept


def _or_none(value: bytes | None) -> str | None:
    return None if value is None else to_base64(value)


_OPERATIONS: Final[dict[str, Callable[[CacheConnection, Asked], Awaitable[Any]]]] = {
    "get": CacheConnection._get,
    "set": CacheConnection._set,
    "delete": CacheConnection._delete,
    "exists": CacheConnection._exists,
    "set_nx": CacheConnection._set_nx,
    "get_set": CacheConnection._get_set,
    "increment": CacheConnection._increment,
    "set_many": CacheConnection._set_many,
    "get_many": CacheConnection._get_many,
    "delete_many": CacheConnection._delete_many,
    "clear": CacheConnection._clear,
    "ttl": CacheConnection._ttl,
    "stats": CacheConnection._stats,
    "flush": CacheConnection._nothing,
    "ping": CacheConnection._ping,
    "extend_lock": CacheConnection._extend,
    "unlock": CacheConnection._unlock,
}
