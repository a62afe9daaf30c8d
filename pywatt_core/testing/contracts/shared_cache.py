"""The contract of a cache that several processes use at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from pywatt_core.errors import Conflict, RequestTimeout
from pywatt_core.interfaces import Cache

from .cache_backend import Backend


class SharedCacheContract:
    """What two openings of one storage have to promise beside `CacheContract`. A plugin's test file holds::

    class TestMySharedCache(SharedCacheContract):
        @pytest.fixture
        def backends(self):
            return open_mine(Options(…), context), open_mine(Options(…), context)
    """

    concurrency = 30
    """Tasks that use the two at once."""
    short = 0.05
    """The shortest time limit that the backend keeps to, in seconds."""

    @pytest.fixture
    def backends(self) -> tuple[Backend, Backend]:
        """Two async context managers that open the same cache, empty at first."""
        pytest.fail(f"{type(self).__name__} needs a fixture `backends` that gives two async context managers")

    async def test_each_sees_what_the_other_does(self, backends: tuple[Backend, Backend]) -> None:
        async with both(backends) as (one, other):
            await one.set("key", b"1")
            assert await other.get("key") == b"1"
            assert await other.get_set("key", b"2") == b"1"
            assert await one.get_many(["key"]) == {"key": b"2"}
            assert await one.delete("key") is True
            assert await other.exists("key") is False
            await one.set_many({"a": b"1", "b": b"2"})
            await other.clear()
            assert await one.get_many(["a", "b"]) == {}

    async def test_counting_in_both_loses_nothing(self, backends: tuple[Backend, Backend]) -> None:
        async with both(backends) as caches:
            seen = await asyncio.gather(*[caches[number % 2].increment("counter") for number in range(self.concurrency)])
            assert sorted(seen) == list(range(1, self.concurrency + 1))

    async def test_one_of_both_stores_where_nothing_was(self, backends: tuple[Backend, Backend]) -> None:
        async with both(backends) as caches:
            for race in range(5):
                stored = await asyncio.gather(
                    *[caches[number % 2].set_nx(f"race{race}", b"%d" % number) for number in range(self.concurrency)]
                )
                assert stored.count(True) == 1

    async def test_a_lock_excludes_the_other_and_tokens_grow_across_both(self, backends: tuple[Backend, Backend]) -> None:
        async with both(backends) as caches:
            inside, tokens = 0, []

            async def work(cache: Cache) -> None:
                nonlocal inside
                async with cache.lock("lock", wait=60) as lock:
                    inside += 1
                    assert inside == 1
                    tokens.append(lock.token)
                    await asyncio.sleep(0)
                    inside -= 1

            await asyncio.gather(*[work(caches[number % 2]) for number in range(self.concurrency)])
            assert tokens == sorted(set(tokens))

    async def test_a_lapsed_lock_goes_to_the_other_and_stays_there(self, backends: tuple[Backend, Backend]) -> None:
        async with both(backends) as (one, other), AsyncExitStack() as second:
            with pytest.raises(Conflict, match="lock"):
                async with one.lock("lock", ttl=self.short, wait=0) as first:
                    taken = await second.enter_async_context(other.lock("lock", wait=30))
                    assert taken.token > first.token
                    with pytest.raises(Conflict):
                        await first.extend(60)
            with pytest.raises(RequestTimeout):
                async with one.lock("lock", wait=0):
                    pytest.fail("the former owner freed a lock that was not its own any more")

    async def test_one_of_both_computes(self, backends: tuple[Backend, Backend]) -> None:
        async with both(backends) as caches:
            calls = 0

            async def make() -> bytes:
                nonlocal calls
                calls += 1
                await asyncio.sleep(0.02)
                return b"computed"

            found = await asyncio.gather(*[caches[number % 2].get_or_set("key", make) for number in range(self.concurrency)])
            assert found == [b"computed"] * self.concurrency
            assert calls == 1


@asynccontextmanager
async def both(backends: tuple[Backend, Backend]) -> AsyncIterator[tuple[Cache, Cache]]:
    """The two caches, opened."""
    async with backends[0] as one, backends[1] as other:
        yield one, other


__all__ = ["SharedCacheContract"]
