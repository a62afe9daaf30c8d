"""What every cache does alike: what it takes for keys, values and times, and `get_or_set` without a stampede."""

from __future__ import annotations

import asyncio
import inspect
import math
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar, overload

from ..errors import Conflict, RequestTimeout, StorageError
from ..protocol.values import with_article

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from ..interfaces import Cache, CacheLock

T = TypeVar("T")

INTEGER = re.compile(rb"(0|-?[1-9][0-9]{0,18})\Z")
SMALLEST, LARGEST = -(2**63), 2**63 - 1
"""The integers that `increment` counts with, in every cache."""

CLOSED = "the cache is closed"

FILLING = "get_or_set:"
"""What the name of a lock begins with that `get_or_set` takes: a lock that the application takes itself is another one."""


HELD = 6.0
"""Seconds that such a lock is held where nobody extends it."""


def text_key(key: str) -> str:
    """The key. Raises `StorageError` where it is not text."""
    if not isinstance(key, str):
        raise StorageError(f"a key is text, not {type(key).__name__}")
    return key


def text_keys(keys: Iterable[str]) -> list[str]:
    """The keys. Raises `StorageError` where one is not text, and for a single text, whose letters would be taken for keys."""
    if isinstance(keys, str):
        raise StorageError(f"several keys are a list or tuple of text, not one text: pass [{keys!r}]")
    return [text_key(key) for key in keys]


def bytes_value(key: str, value: bytes) -> bytes:
    """The value. Raises `StorageError` where it is not bytes."""
    if not isinstance(value, bytes | bytearray | memoryview):
        raise StorageError(
            f"the value of {key!r} is {with_article(type(value).__name__)}, and a cache keeps bytes: "
            "encode it, for example with a serializer"
        )
    return value


def steps(delta: int) -> int:
    """By how much to count. Raises `StorageError` for what is no whole number: half a step would be returned and not stored."""
    if not isinstance(delta, int):
        raise StorageError(f"a counter counts in whole numbers, not by {delta!r}")
    return int(delta)  # True is one step, wherever it is counted


def counted(key: str, stored: bytes | None, delta: int) -> int:
    """A counter after `delta`: a decimal integer of 64 bits, 0 where nothing is stored. Raises `StorageError` for what is none."""
    delta = steps(delta)
    if stored is not None and not INTEGER.match(stored):
        raise StorageError(f"the value of {key!r} is not a decimal integer")
    total = (0 if stored is None else int(stored)) + delta
    if not SMALLEST <= total <= LARGEST:
        raise StorageError(f"the value of {key!r} would leave the 64 bits that a counter has")
    return total


def value_ttl(ttl: float | None, default: float | None) -> float | None:
    """The seconds that a value is kept, None for as long as there is room. Raises `StorageError` for what is no time."""
    seconds = default if ttl is None else ttl
    if seconds is not None and not (isinstance(seconds, int | float) and 0 < seconds < math.inf):
        raise StorageError(f"ttl is {ttl!r}: more than 0 seconds are needed, or None; delete() removes a key")
    return seconds


def lock_ttl(ttl: float) -> float:
    """The seconds that a lock is held. Raises `StorageError` for what is no time."""
    if not (isinstance(ttl, int | float) and 0 < ttl < math.inf):
        raise StorageError(f"ttl is {ttl!r}: a lock needs more than 0 seconds, and an end")
    return ttl


def lapsed(key: str) -> Conflict:
    """The error of whoever leaves or extends a lock that is not his any more."""
    return Conflict(
        f"the lock {key!r} lapsed before its block had ended: others may have been in it; raise ttl, or extend the lock in time"
    )


class Filling:
    """`Cache.get_or_set` for one cache: made once, kept as long as the cache is open.

    Within this process the others wait for the one that computes and share its value, or its error. Among processes the
    cache's own lock decides who computes; it is extended while that goes on, so that a process that dies holds up the
    others for `HELD` seconds at most.
    """

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._computing: dict[str, asyncio.Future[bytes | None]] = {}
        """By key: the value that is being computed; None where whoever computed it was cancelled, and another has to."""

    async def get_or_set(
        self, key: str, make: Callable[[], Awaitable[bytes] | bytes], *, ttl: float | None = None, timeout: float = 30.0
    ) -> bytes:
        """The value under `key`, or what `make` gives, which is stored for `ttl` seconds.

        `make` is called by one of all who ask at once; a plain function runs in a worker thread. `timeout` is for everything
        together, in seconds; then `RequestTimeout` is raised. What `make` raises is raised, nothing is stored, and the next
        caller tries again.
        """
        if not 0 < timeout < math.inf:
            raise StorageError(f"timeout is {timeout}: more than 0 seconds are needed, and an end")
        text_key(key)
        value_ttl(ttl, None)
        try:
            async with asyncio.timeout(timeout) as deadline:
                while True:
                    value = await self._cache.get(key)
                    if value is not None:
                        return value
                    computing = self._computing.get(key)
                    value = await (self._lead(key, make, ttl, timeout) if computing is None else asyncio.shield(computing))
                    if value is not None:
                        return value
        except TimeoutError as error:
            if not deadline.expired():
                raise
            raise RequestTimeout(f"the value of {key!r} was not computed within {timeout:g} s: raise timeout") from error

    async def _lead(self, key: str, make: Callable[[], Awaitable[bytes] | bytes], ttl: float | None, timeout: float) -> bytes:
        computing = self._computing[key] = asyncio.get_running_loop().create_future()
        try:
            value = await self._compute(key, make, ttl, timeout)
            computing.set_result(value)
            return value
        except Exception as error:
            computing.set_exception(error)
            computing.exception()  # looked at: there may be nobody who waits
            raise
        finally:
            del self._computing[key]
            if not computing.done():
                computing.set_result(None)

    async def _compute(self, key: str, make: Callable[[], Awaitable[bytes] | bytes], ttl: float | None, timeout: float) -> bytes:
        value = None
        try:
            async with self._cache.lock(FILLING + key, ttl=HELD, wait=timeout) as lock:
                value = await self._cache.get(key)  # another process may have been faster
                if value is None:
                    keeping = asyncio.create_task(keep(lock), name=f"keeps the lock of {key!r}")
                    try:
                        made = await called(make)
                        await self._cache.set(key, made, ttl=ttl)
                        value = bytes(made)
                    finally:
                        keeping.cancel()
        except Conflict:
            if value is None:
                raise
        return value


async def keep(lock: CacheLock) -> None:
    """Extend a lock again and again, until it is lost."""
    with suppress(StorageError):
        while True:
            await asyncio.sleep(HELD / 3)
            await lock.extend(HELD)


@overload
async def called(make: Callable[[], Awaitable[T]]) -> T: ...
@overload
async def called(make: Callable[[], T | Awaitable[T]]) -> T: ...


async def called(make: Callable[[], Any]) -> Any:
    """What a function gives, whether it has to be awaited or may block."""
    made = make() if inspect.iscoroutinefunction(make) else await asyncio.to_thread(make)
    return await made if inspect.isawaitable(made) else made
