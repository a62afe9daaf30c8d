"""The cache: keys as they stand on the server, commands, and what their replies mean."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pywatt_core.errors import NotFound, StorageError
from pywatt_core.interfaces import CacheStats
from pywatt_core.services.caching import CLOSED, Filling, bytes_value, steps, text_key, text_keys, value_ttl
from pywatt_core.services.shared_locks import SharedLocks

from .client import Source
from .cluster import Cluster
from .failures import Lost
from .options import Server, servers
from .pipeline import Pipeline, Several
from .scripts import ACQUIRE, EXTEND, INCREMENT, RELEASE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from pywatt_core.interfaces import CacheLock, Context

    from .options import Options
    from .pipeline import Command

LOCK = "pywatt:lock:"
"""What the keys of locks begin with on the server, in front of the namespace; no value may have such a key."""
BATCH = 500
"""Keys that travel in one command, and keys that one step of `clear` looks at: so that others get their turn between."""
MEMORY_OF_TOKENS = 24 * 3600
"""Seconds, beside the time of the lock, for which the latest token of a lock is remembered."""


class Commands(Protocol):
    """A way to one server or to many: `Pipeline`, `Several`, `Cluster`."""

    async def execute(self, *command: Any, again: bool = False) -> Any: ...
    async def execute_many(self, commands: Sequence[Command], *, again: bool = False) -> list[Any]: ...
    async def each(self) -> Sequence[Commands]: ...
    async def close(self, patience: float) -> None: ...


class RedisCache:
    """Implements `pywatt_core.interfaces.Cache`, for one server, the primary that sentinels name, or a cluster."""

    def __init__(self, commands: Commands, sources: list[Source], options: Options) -> None:
        self._commands = commands
        self._sources = sources
        self._options = options
        self._prefix = f"{options.namespace}:" if options.namespace else ""
        self._cluster = isinstance(commands, Cluster)
        self._locks = SharedLocks(self)
        self._filling = Filling(self)
        self._hits = self._misses = self._sets = self._deletes = 0
        self._closed = False

    @classmethod
    async def open(cls, options: Options, context: Context) -> RedisCache:
        """Connect. Raises `Unavailable` where nobody answers, `ConfigError` where the options make no sense together."""
        named = servers(options)
        sources: list[Source] = []
        name = f"pywatt:{context.module_id}"

        def way(to: tuple[Server, ...]) -> Pipeline | Several:
            source = Source(to, options, name=name, folder=Path(context.folder))
            sources.append(source)
            shown = f"Redis service {options.sentinel or options.service!r}" if options.sentinel or options.service else to[0]
            lines = [
                Pipeline(source, shown, connect_timeout=options.connect_timeout, timeout=options.timeout, pending=options.pending)
                for _ in range(options.connections)
            ]
            return lines[0] if len(lines) == 1 else Several(lines)

        def node(place: tuple[str, int]) -> Pipeline | Several:
            return way((named[0]._replace(host=place[0], port=place[1]),))

        commands = Cluster([(server.host, server.port) for server in named], node) if options.cluster else way(named)
        cache = cls(commands, sources, options)
        try:
            for server in await commands.each():
                await server.execute("PING", again=True)
        except BaseException:
            await cache.close()
            raise
        return cache

    @property
    def aiocache(self) -> Any:
        """aiocache's own interface over the same pool, for code that was written for it. It knows nothing of `namespace`; none of
        what is promised here holds for it. Raises `StorageError` for a cluster, which aiocache cannot talk to."""
        self._check_open()
        if self._cluster:
            raise StorageError("aiocache cannot talk to a cluster: use the cache's own methods")
        return self._sources[0].facade

    # ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def get(self, key: str) -> bytes | None:
        """The value, None where there is none."""
        value: bytes | None = await self._commands.execute("GET", self._name(key), again=True)
        if value is None:
            self._misses += 1
        else:
            self._hits += 1
        return value

    async def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Only the keys that were found."""
        keys = text_keys(keys)
        names = [self._name(key) for key in keys]
        if self._cluster:
            values = checked(await self._commands.execute_many([("GET", name) for name in names], again=True))
        else:
            parts = [("MGET", *names[first : first + BATCH]) for first in range(0, len(names), BATCH)]
            values = [value for part in checked(await self._commands.execute_many(parts, again=True)) for value in part]
        found = {key: value for key, value in zip(keys, values, strict=True) if value is not None}
        self._hits += len(found)
        self._misses += len(names) - len(found)
        return found

    async def exists(self, key: str) -> bool:
        """Whether it is there."""
        return bool(await self._commands.execute("EXISTS", self._name(key), again=True))

    async def ttl(self, key: str) -> float | None:
        """Seconds that the key has left; None where it has no limit. Raises `NotFound` where there is no such key."""
        left = await self._commands.execute("PTTL", self._name(key), again=True)
        if left == -2:
            raise NotFound(f"the cache has no key {key!r}")
        return None if left == -1 else max(left, 1) / 1000

    async def stats(self) -> CacheStats:
        """What this module did. Without a namespace also what the server holds: the keys of the whole database, those of locks
        included, and the memory of the whole server."""
        self._check_open()
        count = memory = None
        if not self._prefix:
            count = memory = 0
            for server in await self._commands.each():
                count += await server.execute("DBSIZE", again=True)
                used = re.search(rb"\bused_memory:(\d+)", await server.execute("INFO", "memory", again=True))
                memory += int(used[1]) if used else 0
        return CacheStats(
            hits=self._hits, misses=self._misses, sets=self._sets, deletes=self._deletes, item_count=count, memory_used_bytes=memory
        )

    # ── writing ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def set(self, key: str, value: bytes, *, ttl: float | None = None) -> None:
        """Raises `StorageError` where the server refuses the value; what was there before stays then."""
        await self._commands.execute(*self._setting(key, value, ttl))
        self._sets += 1

    async def set_many(self, items: Mapping[str, bytes], *, ttl: float | None = None) -> None:
        """They travel together, and are not one step: where one fails, others may be stored."""
        self._check_open()
        checked(await self._commands.execute_many([self._setting(key, value, ttl) for key, value in items.items()]))
        self._sets += len(items)

    async def set_nx(self, key: str, value: bytes, *, ttl: float | None = None) -> bool:
        """Store only where the key is absent; tell whether it was stored."""
        stored = await self._commands.execute(*self._setting(key, value, ttl), "NX") is not None
        self._sets += stored
        return stored

    async def get_set(self, key: str, value: bytes) -> bytes | None:
        """Replace and return what was there. The new value has the default time limit."""
        before: bytes | None = await self._commands.execute(*self._setting(key, value, None), "GET")
        self._sets += 1
        return before

    async def increment(self, key: str, delta: int = 1) -> int:
        """Add to a decimal integer of 64 bits (0 where the key is absent), keep its time limit and return the sum."""
        name, ttl, delta = self._name(key), self._options.default_ttl, steps(delta)
        total: Any
        if ttl is None:
            total = await self._commands.execute("INCRBY", name, delta)
        else:
            total = await INCREMENT.run(self._commands, (name,), delta, milliseconds(ttl))
        self._sets += 1
        return int(total)

    async def decrement(self, key: str, delta: int = 1) -> int:
        return await self.increment(key, -steps(delta))

    async def delete(self, key: str) -> bool:
        """Tell whether it was there."""
        deleted = bool(await self._commands.execute("UNLINK", self._name(key)))
        self._deletes += deleted
        return deleted

    async def delete_many(self, keys: Sequence[str]) -> int:
        """How many of them were there."""
        self._check_open()
        deleted: int = sum(checked(await self._commands.execute_many([("UNLINK", self._name(key)) for key in text_keys(keys)])))
        self._deletes += deleted
        return deleted

    async def clear(self, namespace: str | None = None) -> None:
        """Drop everything that is this cache's, or the keys that begin with ``namespace + ":"``. Locks stay held.

        The server is asked for its keys step by step (SCAN), so that it goes on serving; what is stored meanwhile may stay.
        """
        self._check_open()
        prefix = self._prefix if namespace is None else f"{self._prefix}{text_key(namespace)}:"
        pattern = re.sub(r"([*?\[\]\\])", r"\\\1", prefix) + "*"
        for server in await self._commands.each():
            position = b"0"
            while True:
                position, names = await server.execute("SCAN", position, "MATCH", encoded(pattern), "COUNT", BATCH, again=True)
                found = [("UNLINK", name) for name in names if not name.startswith(LOCK.encode())]
                checked(await server.execute_many(found, again=True))
                if position == b"0":
                    break

    async def get_or_set(
        self, key: str, make: Callable[[], Awaitable[bytes] | bytes], *, ttl: float | None = None, timeout: float = 30.0
    ) -> bytes:
        """What is there, or what `make` gives, stored; one computes among all processes. See `Filling.get_or_set`."""
        return await self._filling.get_or_set(key, make, ttl=ttl, timeout=timeout)

    def lock(self, key: str, *, ttl: float = 30.0, wait: float | None = 10.0) -> AbstractAsyncContextManager[CacheLock]:
        """Mutual exclusion among all processes that use this server and namespace; `RequestTimeout` after `wait` seconds.

        The lock lapses after `ttl` seconds unless it is extended; a block that is left later than that raises `Conflict`.
        """
        self._check_open()
        return self._locks.lock(text_key(key), ttl=ttl, wait=wait)

    async def ping(self) -> None:
        """Raises `Unavailable` where a server does not answer."""
        self._check_open()
        for server in await self._commands.each():
            await server.execute("PING", again=True)

    async def close(self) -> None:
        """Wait for what is under way, then close every connection; every later call gets a `StorageError`."""
        if self._closed:
            return
        self._closed = True
        await self._commands.close(self._options.close_timeout)
        for source in self._sources:
            await source.close()

    # ── locks, for `SharedLocks` ────────────────────────────────────────────────────────────────────────────────────

    async def acquire_lock(self, key: str, owner: str, ttl: float) -> int | None:
        """Take the lock and return its token; None where another owner holds it."""
        memory = milliseconds(ttl + MEMORY_OF_TOKENS)
        token: int | None = await ACQUIRE.run(self._commands, self._lock_names(key), owner, milliseconds(ttl), memory, again=True)
        return token

    async def extend_lock(self, key: str, owner: str, ttl: float) -> bool:
        """Hold it for `ttl` seconds from now; False where it is not `owner`'s."""
        memory = milliseconds(ttl + MEMORY_OF_TOKENS)
        return bool(await EXTEND.run(self._commands, self._lock_names(key), owner, milliseconds(ttl), memory, again=True))

    async def release_lock(self, key: str, owner: str) -> bool:
        """Free it; False where it is not `owner`'s."""
        names = self._lock_names(key)[:1]
        try:
            return bool(await RELEASE.run(self._commands, names, owner))
        except Lost as lost:
            if lost.executed == "no":
                raise
        await RELEASE.run(self._commands, names, owner, again=True)  # the first attempt may have freed it, so its answer says nothing
        return True

    def _lock_names(self, key: str) -> tuple[bytes, bytes]:
        """The lock and its latest token. What stands in braces decides about the slot of a cluster: the same for both."""
        name = encoded(f"{LOCK}{{:{self._prefix}{key}}}")
        return name, name + b":token"

    # ── keys, values, times ─────────────────────────────────────────────────────────────────────────────────────────

    def _check_open(self) -> None:
        if self._closed:
            raise StorageError(CLOSED)

    def _name(self, key: str) -> bytes:
        """The key on the server."""
        if self._closed:
            raise StorageError(CLOSED)
        name = self._prefix + text_key(key)
        if name.startswith(LOCK):
            raise StorageError(f"the key {key!r} begins with {LOCK!r}, which is for locks")
        return encoded(name)

    def _setting(self, key: str, value: bytes, ttl: float | None) -> Command:
        name = self._name(key)
        data = bytes(bytes_value(key, value))
        seconds = value_ttl(ttl, self._options.default_ttl)
        return ("SET", name, data) if seconds is None else ("SET", name, data, "PX", milliseconds(seconds))


def milliseconds(seconds: float) -> int:
    """At least one: a time limit of nothing would be refused."""
    return max(1, round(seconds * 1000))


def encoded(name: str) -> bytes:
    """A key in the server's bytes. Raises `StorageError` for text that is none."""
    try:
        return name.encode()
    except UnicodeEncodeError as error:
        raise StorageError(f"the key {name!r} holds half a character, which has no bytes") from error


def checked(replies: list[Any]) -> list[Any]:
    """The replies. Raises the first error among them."""
    for reply in replies:
        if isinstance(reply, BaseException):
            raise reply
    return replies
