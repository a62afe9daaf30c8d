"""The contract of a cache fails for caches that break it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from pywatt_core.builtin.memory_cache import MemoryCache
from pywatt_core.builtin.memory_lock import Holding, MemoryLocks
from pywatt_core.builtin.memory_options import MemoryOptions
from pywatt_core.services.caching import called
from pywatt_core.testing.contracts import CacheContract

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

contract = CacheContract()


@asynccontextmanager
async def opened(cache: MemoryCache) -> AsyncIterator[MemoryCache]:
    yield cache


class Hasty(MemoryCache):
    """Looks first and acts later."""

    async def set_nx(self, key: str, value: bytes, *, ttl: float | None = None) -> bool:
        if await self.exists(key):
            return False
        await asyncio.sleep(0)
        await self.set(key, value, ttl=ttl)
        return True

    async def increment(self, key: str, delta: int = 1) -> int:
        total = int(await self.get(key) or b"0") + delta
        await asyncio.sleep(0)
        await self.set(key, b"%d" % total)
        return total


class Open(MemoryCache):
    """Locks that lock nothing."""

    @asynccontextmanager
    async def lock(self, key: str, *, ttl: float = 30.0, wait: float | None = 10.0) -> AsyncIterator[Holding]:
        yield Holding(MemoryLocks(), key, ttl)


class Greedy(MemoryCache):
    """A namespace is any beginning."""

    async def clear(self, namespace: str | None = None) -> None:
        for key in [key for key in self._entries if key.startswith(namespace or "")]:
            await self.delete(key)


class Endless(MemoryCache):
    """Works on when it is closed, and forgets limits when it counts."""

    def close(self) -> None:
        pass


async def test_races_are_seen() -> None:
    with pytest.raises(AssertionError):
        await contract.test_only_one_of_many_stores_where_nothing_was(opened(Hasty(MemoryOptions())))
    with pytest.raises(AssertionError):
        await contract.test_counting_from_many_tasks_loses_nothing(opened(Hasty(MemoryOptions())))


async def test_half_steps_are_seen() -> None:
    with pytest.raises(pytest.fail.Exception):
        await contract.test_only_whole_numbers_are_counted(opened(Hasty(MemoryOptions())), 1.5)


async def test_a_lock_that_locks_nothing_is_seen() -> None:
    with pytest.raises(AssertionError):
        await contract.test_a_lock_excludes_all_others(opened(Open(MemoryOptions())))
    with pytest.raises(pytest.fail.Exception):
        await contract.test_a_lock_that_is_not_free_in_time_is_a_timeout(opened(Open(MemoryOptions())))


async def test_a_namespace_that_takes_too_much_is_seen() -> None:
    with pytest.raises(AssertionError):
        await contract.test_clearing_a_namespace_drops_only_its_keys_or_is_refused(opened(Greedy(MemoryOptions())))


async def test_a_cache_that_works_on_when_it_is_closed_is_seen() -> None:
    with pytest.raises(pytest.fail.Exception):
        await contract.test_after_leaving_every_call_says_that_the_cache_is_closed(opened(Endless(MemoryOptions())))


async def test_a_declared_weakness_has_to_be_refused() -> None:
    class Weaker(CacheContract):
        reads_ttl = False
        namespaces = False
        negative_counters = False

    for test in ("time_that_is_left_can_be_asked_or_asking_is_refused", "clearing_a_namespace_drops_only_its_keys_or_is_refused"):
        name = next(name for name in dir(Weaker) if test in name)
        with pytest.raises(pytest.fail.Exception):
            await getattr(Weaker(), name)(opened(MemoryCache(MemoryOptions())))
    with pytest.raises(pytest.fail.Exception):
        await Weaker().test_counters_go_below_zero_or_refuse_to(opened(MemoryCache(MemoryOptions())))


class Numberless(MemoryCache):
    """Every holder has the same token, and extending does nothing."""

    @asynccontextmanager
    async def lock(self, key: str, *, ttl: float = 30.0, wait: float | None = 10.0) -> AsyncIterator[Holding]:
        async with super().lock(key, ttl=ttl, wait=wait):
            yield Forgetful(self._locks, key, ttl)


class Forgetful(Holding):
    async def extend(self, ttl: float | None = None) -> None:
        pass


class Stampede(MemoryCache):
    """Everybody computes."""

    async def get_or_set(
        self, key: str, make: Callable[[], Awaitable[bytes] | bytes], *, ttl: float | None = None, timeout: float = 30.0
    ) -> bytes:
        value = await self.get(key)
        if value is None:
            value = await called(make)
            await self.set(key, value)
        return value


async def test_tokens_that_do_not_grow_and_locks_that_are_not_extended_are_seen() -> None:
    with pytest.raises(AssertionError, match="a token did not grow"):
        await contract.test_the_token_of_each_holder_is_greater_than_that_of_the_one_before(opened(Numberless(MemoryOptions())))
    with pytest.raises(pytest.fail.Exception, match="an extended lock was given to another"):
        await contract.test_an_extended_lock_is_held_longer(opened(Numberless(MemoryOptions())))
    with pytest.raises(pytest.fail.Exception):
        await contract.test_what_is_not_held_any_more_cannot_be_extended(opened(Numberless(MemoryOptions())))
    with pytest.raises(pytest.fail.Exception):
        await contract.test_a_lock_without_an_end_is_refused(opened(Numberless(MemoryOptions())), 0)


async def test_a_stampede_is_seen() -> None:
    with pytest.raises(AssertionError):
        await contract.test_of_many_who_ask_at_once_one_computes(opened(Stampede(MemoryOptions())))
