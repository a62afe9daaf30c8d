"""A cache on a Memcached server: every operation of `Cache`, atomic on the server, each within a deadline."""

from __future__ import annotations

import asyncio
import math
import re
import time
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from pywatt_core.errors import NotFound, PyWattError, StorageError, Unavailable
from pywatt_core.interfaces import CacheStats
from pywatt_core.services.caching import LARGEST, Filling, bytes_value, counted, steps, text_keys, value_ttl
from pywatt_core.services.shared_locks import SharedLocks

from .client import Client, ClientException, batches, facade
from .keys import lock_name, token_name, value_name
from .pool import Pool

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

    from pywatt_core.interfaces import CacheLock

    from .client import Item
    from .options import Options

T = TypeVar("T")
P = ParamSpec("P")

MONTH = 30 * 24 * 3600
"""Seconds: a longer time is a date to Memcached, counted from 1970."""
LAST = 2**31 - 1
"""The last date that it knows, in 2038: what is stored until a later one would be gone at once."""
PAST = MONTH + 1
"""A date long ago: what is stored until then is gone at once."""


class MemcachedCache:
    """Implements `pywatt_core.interfaces.Cache`; made by `open`, ended by `close`.

    The server drops what it likes when it is full, locks included: `max_connections`, memory and eviction are its own. Time
    limits are whole seconds, rounded up.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        host, port = options.address
        timeouts = {"connect_timeout": options.connect_timeout, "acquire_timeout": options.acquire_timeout}
        self._pool = Pool(host, port, size=options.max_connections, **timeouts)
        self._client = Client(host, port, self._pool)
        self.aiocache = facade(self._client, host, port, options.max_connections)
        """aiocache's own interface over the same connections. It knows nothing of `namespace`, nor of the keys' other form."""
        self._prefix = f"{options.namespace}:".encode() if options.namespace else b""
        self._locks = SharedLocks(self)
        self._filling = Filling(self)
        self._hits = self._misses = self._sets = self._deletes = 0

    @classmethod
    async def open(cls, options: Options) -> MemcachedCache:
        """Connect. Raises `Unavailable` where the server cannot be reached, or is too old."""
        cache = cls(options)
        try:
            await cache.ping()
        except BaseException:
            await cache.close()
            raise
        return cache

    async def close(self) -> None:
        """Close every connection. May be called twice."""
        await self._client.close()

    async def ping(self) -> None:
        """Ask the server for its version. Raises `Unavailable` where it does not answer."""
        async with self._asking():
            version = await self._client.version()
        if tuple(int(part) for part in version.split(b".")[:2] if part.isdigit()) < (1, 6):
            raise Unavailable(f"{self._pool.place} is version {version.decode(errors='replace')}: 1.6 or newer is needed")

    # ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def get(self, key: str) -> bytes | None:
        """The value, None where there is none."""
        name = self._name(key)
        value = await self._read(self._client.get, name)
        if value is None:
            self._misses += 1
        else:
            self._hits += 1
        return value

    async def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Only the keys that were found."""
        names = {key: self._name(key) for key in text_keys(keys)}
        wanted = list(dict.fromkeys(names.values()))
        found: dict[bytes, bytes] = {}
        for start in range(0, len(wanted), 100):
            some = wanted[start : start + 100]
            values = await self._read(self._client.multi_get, *some)
            found.update({name: value for name, value in zip(some, values, strict=True) if value is not None})
        self._count_reads(len(names), len(found))
        return {key: found[name] for key, name in names.items() if name in found}

    async def exists(self, key: str) -> bool:
        """Whether the server has it; its value is not fetched."""
        request = b"mg %b\r\n" % self._name(key)
        (answer,) = await self._read(self._client.lines, [request])
        return answer.startswith(b"HD")

    async def ttl(self, key: str) -> float | None:
        """Whole seconds that the key has left; None where it has no limit. Raises `NotFound` where there is no such key."""
        request = b"mg %b t\r\n" % self._name(key)
        (answer,) = await self._read(self._client.lines, [request])
        if not answer.startswith(b"HD t"):
            raise NotFound(f"the cache has no key {key!r}")
        left = int(answer[4:])
        return None if left < 0 else float(max(left, 1))

    async def stats(self) -> CacheStats:
        """Calls are those of this process. Without a namespace also what the server holds, with what has expired or was cleared."""
        told = await self._read(self._client.stats)
        figures: dict[str, Any] = {"hits": self._hits, "misses": self._misses, "sets": self._sets, "deletes": self._deletes}
        if not self._prefix:
            figures |= {"item_count": int(told[b"curr_items"] or 0), "memory_used_bytes": int(told[b"bytes"] or 0)}
        return CacheStats(**figures)

    # ── writing ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def set(self, key: str, value: bytes, *, ttl: float | None = None) -> None:
        """Raises `StorageError` for a value of more than `max_value_bytes`; what was there before stays then."""
        name, data, seconds = self._name(key), self._value(key, value), self._ttl(ttl)
        async with self._asking():
            await self._client.set(name, data, exptime=until(seconds))
        self._sets += 1

    async def set_many(self, items: Mapping[str, bytes], *, ttl: float | None = None) -> None:
        """All of them, or none where one is refused for itself; where the server fails in between, some."""
        end = until(self._ttl(ttl))
        checked = [(self._name(key), self._value(key, value)) for key, value in items.items()]
        requests = [b"set %b 0 %d %d\r\n%b\r\n" % (name, end, len(value), value) for name, value in checked]
        answers = await self._send_all(requests)
        if refused := [answer for answer in answers if answer != b"STORED"]:
            raise StorageError(f"{self._pool.place} did not store {len(refused)} of {len(requests)} values: {complaint(repr(refused[0]))}")
        self._sets += len(requests)

    async def set_nx(self, key: str, value: bytes, *, ttl: float | None = None) -> bool:
        """Store only where the key is absent; tell whether it was stored."""
        name, data, seconds = self._name(key), self._value(key, value), self._ttl(ttl)
        async with self._asking():
            stored = await self._client.add(name, data, exptime=until(seconds))
        self._sets += stored
        return stored

    async def get_set(self, key: str, value: bytes) -> bytes | None:
        """Replace and return what was there. The new value has the default time limit."""
        name, data, end = self._name(key), self._value(key, value), until(self._ttl(None))
        async with self._asking():
            while True:
                before, cas = await self._client.gets(name)
                if cas is None:
                    done = await self._client.add(name, data, exptime=end)
                else:
                    done = await self._client.cas(name, data, cas, exptime=end)
                if done:
                    break
        self._count_reads(1, before is not None)
        self._sets += 1
        return before

    async def increment(self, key: str, delta: int = 1) -> int:
        """Add to a decimal integer of 64 bits (0 where the key is absent), keep its time limit and return the sum."""
        name, end = self._name(key), until(self._ttl(None))
        delta = steps(delta)
        async with self._asking():
            total = await self._add_up(name, key, delta) if 0 < delta <= LARGEST else None
            while total is None:
                item = await self._client.item(name)
                total = counted(key, None if item is None else item.value, delta)
                digits = b"%d" % total
                if item is None:
                    request = b"add %b 0 %d %d\r\n%b\r\n" % (name, end, len(digits), digits)
                else:
                    request = await self._replacing(name, item, digits)
                (answer,) = await self._client.lines([request])
                if answer[:2] not in (b"ST", b"HD"):  # another changed it meanwhile
                    total = None
        self._sets += 1
        return total

    async def decrement(self, key: str, delta: int = 1) -> int:
        return await self.increment(key, -steps(delta))

    async def delete(self, key: str) -> bool:
        """Tell whether it was there."""
        return await self.delete_many([key]) == 1

    async def delete_many(self, keys: Sequence[str]) -> int:
        """How many of them were there."""
        requests = [b"delete %b\r\n" % self._name(key) for key in text_keys(keys)]
        answers = await self._send_all(requests)
        deleted = answers.count(b"DELETED")
        self._deletes += deleted
        return deleted

    async def clear(self, namespace: str | None = None) -> None:
        """Drop everything on the server, for all its users, locks included. A namespace alone cannot be dropped: `StorageError`."""
        if namespace is not None or self._prefix:
            raise StorageError(
                "Memcached can only drop everything that is on the server, not one namespace: let its values expire with a ttl"
            )
        async with self._asking():
            await self._client.flush_all()

    async def get_or_set(
        self, key: str, make: Callable[[], Awaitable[bytes] | bytes], *, ttl: float | None = None, timeout: float = 30.0
    ) -> bytes:
        """What is there, or what `make` gives, stored; see `Filling.get_or_set`."""
        return await self._filling.get_or_set(key, make, ttl=ttl, timeout=timeout)

    # ── locks ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def lock(self, key: str, *, ttl: float = 30.0, wait: float | None = 10.0) -> AbstractAsyncContextManager[CacheLock]:
        """Mutual exclusion among all users of the server; `RequestTimeout` after `wait` seconds.

        The lock lapses after `ttl` seconds unless it is extended; a block that is left later than that raises `Conflict`. It
        lapses too where the server is restarted, cleared, or so full that it drops what is in use.
        """
        return self._locks.lock(key, ttl=ttl, wait=wait)

    async def acquire_lock(self, key: str, owner: str, ttl: float) -> int | None:
        """A step of `lock`, as `LockStore` says; likewise the next two."""
        name = lock_name(self._prefix, key)
        async with self._asking():
            if not await self._client.add(name, owner.encode(), exptime=until(ttl + 1)):  # its clock ticks once a second
                return None
            return await self._next_token()

    async def extend_lock(self, key: str, owner: str, ttl: float) -> bool:
        return await self._change_lock(key, owner, until(ttl + 1))

    async def release_lock(self, key: str, owner: str) -> bool:
        return await self._change_lock(key, owner, PAST)

    async def _change_lock(self, key: str, owner: str, end: int) -> bool:
        name = lock_name(self._prefix, key)
        async with self._asking():
            held, cas = await self._client.gets(name)
            return cas is not None and held == owner.encode() and await self._client.cas(name, held, cas, exptime=end)

    async def _next_token(self) -> int:
        """One more than the last. Where the server has lost count, the time stands in: it is later than any count before."""
        name = token_name(self._prefix)
        while True:
            (answer,) = await self._client.lines([b"incr %b 1\r\n" % name])
            if answer.isdigit():
                return int(answer)
            await self._client.add(name, b"%d" % (time.time_ns() // 1000))

    # ── the steps ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def _add_up(self, name: bytes, key: str, delta: int) -> int | None:
        """The short way to count up; None where there is nothing to count up from, or something that Memcached does not count with.

        It counts with more than we do, ``01`` and `` 1`` for example, and further: then what was there is put back.
        """
        before, answer = await self._client.item_and_incr(name, delta)
        if not answer.isdigit():
            return None
        total = int(answer)
        try:
            counted(key, None if before is None else before.value, delta)
            counted(key, b"%d" % (total - delta), delta)  # another may have counted in between
        except StorageError:
            after = await self._client.item(name)
            if after is not None and after.value.rstrip() == answer:
                old = b"%d" % (total - delta) if before is None else before.value
                await self._client.lines([await self._replacing(name, after, old)])
            raise
        return total

    async def _replacing(self, name: bytes, item: Item, value: bytes) -> bytes:
        """The request that puts `value` in the place of `item` where it is still there, with the time that it has left."""
        left = 0 if item.ttl < 0 else max(item.ttl, 1)
        if left > MONTH:  # a date then, by the server's clock: by ours, each count would move it
            left += int((await self._client.stats())[b"time"] or 0)
        return b"ms %b %d C%d T%d\r\n%b\r\n" % (name, len(value), item.cas, left, value)

    async def _send_all(self, requests: Sequence[bytes]) -> list[bytes]:
        """The answers to any number of requests, each batch of them with the deadline of an operation."""
        answers: list[bytes] = []
        for batch in batches(requests):
            async with self._asking():
                answers += await self._client.lines(batch)
        return answers

    async def _read(self, step: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """A step that changes nothing is taken again where its connection had been closed by the server meanwhile."""
        async with self._asking():
            try:
                return await step(*args, **kwargs)
            except (ConnectionError, asyncio.IncompleteReadError):
                return await step(*args, **kwargs)

    def _asking(self) -> Asking:
        """One operation: its deadline, and errors as ours."""
        return Asking(self._pool, self._options)

    def _name(self, key: str) -> bytes:
        return value_name(self._prefix, key)

    def _ttl(self, ttl: float | None) -> float | None:
        return value_ttl(ttl, self._options.default_ttl)

    def _value(self, key: str, value: bytes) -> bytes:
        checked = bytes(bytes_value(key, value))
        if len(checked) > self._options.max_value_bytes:
            raise StorageError(
                f"the value of {key!r} has {len(checked)} bytes, and max_value_bytes is {self._options.max_value_bytes}: "
                "raise it together with the server's option -I"
            )
        return checked

    def _count_reads(self, asked: int, found: int) -> None:
        self._hits += found
        self._misses += asked - found


class Asking:
    """What stands around an operation. Texts of the server are not copied into errors, because they may hold values."""

    __slots__ = ("_deadline", "_options", "_pool")

    def __init__(self, pool: Pool, options: Options) -> None:
        self._pool = pool
        self._options = options
        self._deadline = asyncio.timeout(options.acquire_timeout + options.operation_timeout)

    async def __aenter__(self) -> None:
        await self._deadline.__aenter__()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        try:
            await self._deadline.__aexit__(kind, error, traceback)
        except TimeoutError as late:
            raise Unavailable(f"{self._pool.place} did not answer within {self._options.operation_timeout:g} s") from late
        if error is None or isinstance(error, TimeoutError | PyWattError):
            return
        place = self._pool.place
        if isinstance(error, OSError | asyncio.IncompleteReadError):
            raise Unavailable(f"the connection to {place} was lost: the change may have been made or not") from error
        if isinstance(error, ClientException | ValueError | LookupError):
            raise StorageError(f"{place} refused an operation: {complaint(str(error))}") from error


def until(seconds: float | None) -> int:
    """A time limit as Memcached wants it: whole seconds, or a date where they are many, or 0 for none and for what it cannot count."""
    if seconds is None:
        return 0
    whole = math.ceil(seconds)
    if whole <= MONTH:
        return whole
    date = int(time.time()) + whole
    return date if date <= LAST else 0


def complaint(text: str) -> str:
    """The server's own words in a text, and nothing else of it."""
    said = re.search(r"(SERVER|CLIENT)_ERROR [\w ,.-]{1,80}", text)
    return said.group() if said else "it gave an answer that makes no sense"
