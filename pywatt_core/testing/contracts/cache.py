"""The contract of a cache: `CacheContract`, made of the three groups of tests beside this file, and of all together."""

from __future__ import annotations

import asyncio
import random

import pytest

from pywatt_core.errors import StorageError
from pywatt_core.interfaces import CacheStats

from .cache_backend import Backend
from .cache_filling import CacheFilling
from .cache_locks import CacheLocks
from .cache_values import CacheValues


class CacheContract(CacheValues, CacheLocks, CacheFilling):
    """Everything that `pywatt_core.interfaces.Cache` promises. A plugin's test file holds::

        class TestMyCache(CacheContract):
            longest_key = 250

            @pytest.fixture
            def backend(self):
                return open_mine(Options(…), Context(module_id="test", section="caches.main"))

    `backend` gives an async context manager that opens an empty cache without a default time limit. The attributes that
    say what the backend can do are those of `CacheBackend`.
    """

    async def test_stats_count_or_say_that_they_cannot(self, backend: Backend) -> None:
        async with backend as cache:
            await cache.set_many({"a": b"1", "b": b"2"})
            await cache.get("a")
            await cache.get("nothing")
            stats = await cache.stats()
            assert isinstance(stats, CacheStats)
            for figure in (stats.hits, stats.misses, stats.sets):
                assert figure is None or figure >= 1
            if self.counts_items:
                assert stats.item_count == 2

    async def test_random_cancellations_leave_the_cache_usable(self, backend: Backend) -> None:
        chance = random.Random(seed := random.randrange(2**32))
        async with backend as cache:

            async def work(number: int) -> None:
                async with cache.lock(f"lock{number % 3}", wait=50):
                    await cache.set(f"key{number % 7}", b"%d" % number)
                    assert await cache.get(f"key{number % 7}") is not None
                    await cache.increment("counter")
                    await asyncio.sleep(0)

            for number in range(0, self.cancellations, 8):
                tasks = [asyncio.create_task(work(number + one)) for one in range(8)]
                for task in tasks:
                    for _ in range(chance.randrange(6)):
                        await asyncio.sleep(0)
                    task.cancel()
                outcomes = await asyncio.gather(*tasks, return_exceptions=True)
                assert not [outcome for outcome in outcomes if isinstance(outcome, Exception)], f"seed {seed}"
            await asyncio.gather(*[work(number) for number in range(self.concurrency)])

    async def test_after_leaving_every_call_says_that_the_cache_is_closed(self, backend: Backend) -> None:
        async with backend as cache:
            await cache.set("key", b"1")
        with pytest.raises(StorageError, match="closed"):
            await cache.get("key")
        with pytest.raises(StorageError, match="closed"):
            await cache.set("key", b"1")
        with pytest.raises(StorageError, match="closed"):
            await cache.increment("key")
        with pytest.raises(StorageError, match="closed"):
            async with cache.lock("key"):
                pass


__all__ = ["CacheContract"]
