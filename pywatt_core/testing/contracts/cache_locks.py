"""The part of a cache's contract about locks: exclusion, owners, fencing tokens, extension, lapse."""

from __future__ import annotations

import asyncio

import pytest

from pywatt_core.errors import Conflict, RequestTimeout, StorageError

from .cache_backend import Backend, CacheBackend, gone


class CacheLocks(CacheBackend):
    async def test_a_lock_excludes_all_others(self, backend: Backend) -> None:
        async with backend as cache:
            inside = 0

            async def work() -> None:
                nonlocal inside
                async with cache.lock("lock", wait=50):
                    inside += 1
                    assert inside == 1
                    await asyncio.sleep(0)
                    inside -= 1

            await asyncio.gather(*[work() for _ in range(self.concurrency)])

    async def test_a_lock_that_is_not_free_in_time_is_a_timeout(self, backend: Backend) -> None:
        async with backend as cache:
            async with cache.lock("held"):
                for wait in (0, 0.05):
                    with pytest.raises(RequestTimeout, match="held"):
                        async with cache.lock("held", wait=wait):
                            pytest.fail("two tasks were in one lock")
                async with cache.lock("another", wait=0):
                    pass
            async with cache.lock("held", wait=0):
                pass

    async def test_a_lock_is_freed_by_an_exception_and_by_a_cancellation(self, backend: Backend) -> None:
        async with backend as cache:
            with pytest.raises(ZeroDivisionError):
                async with cache.lock("lock"):
                    raise ZeroDivisionError
            inside = asyncio.Event()

            async def stay() -> None:
                async with cache.lock("lock"):
                    inside.set()
                    await asyncio.Event().wait()

            holder = asyncio.create_task(stay())
            await inside.wait()
            waiter = asyncio.create_task(stay())
            await asyncio.sleep(0)
            for task in (waiter, holder):
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            async with cache.lock("lock", wait=1):
                pass

    async def test_a_lock_lapses_and_its_former_owner_does_not_free_the_next(self, backend: Backend) -> None:
        async with backend as cache:
            second_in, first_out = asyncio.Event(), asyncio.Event()

            async def second() -> None:
                async with cache.lock("lock", wait=30):
                    second_in.set()
                    await first_out.wait()
                    with pytest.raises(RequestTimeout):
                        async with cache.lock("lock", wait=0):
                            pytest.fail("the former owner freed a lock that was not its own any more")

            task = asyncio.create_task(second())
            with pytest.raises(Conflict, match="lock"):
                async with cache.lock("lock", ttl=self.short, wait=0):
                    await second_in.wait()
            first_out.set()
            await task

    async def test_the_token_of_each_holder_is_greater_than_that_of_the_one_before(self, backend: Backend) -> None:
        async with backend as cache:
            tokens: list[int] = []

            async def work() -> None:
                async with cache.lock("lock", wait=50) as lock:
                    tokens.append(lock.token)
                    await asyncio.sleep(0)

            for _ in range(3):
                await work()
            await asyncio.gather(*[work() for _ in range(self.concurrency)])
            assert all(type(token) is int for token in tokens)
            assert tokens == sorted(set(tokens)), "a token did not grow"

    async def test_an_extended_lock_is_held_longer(self, backend: Backend) -> None:
        async with backend as cache:
            async with cache.lock("lock", ttl=self.soon, wait=0) as lock:
                await lock.extend(60)
                await cache.set("probe", b"1", ttl=self.soon)  # set after the lock: it outlives the lock's first limit
                await gone(cache, "probe")
                with pytest.raises(RequestTimeout):
                    async with cache.lock("lock", wait=0):
                        pytest.fail("an extended lock was given to another")
                await lock.extend()
            async with cache.lock("lock", wait=0):
                pass

    async def test_what_is_not_held_any_more_cannot_be_extended(self, backend: Backend) -> None:
        async with backend as cache:
            async with cache.lock("lock") as left:
                pass
            with pytest.raises(Conflict, match="lock"):
                await left.extend(60)
            second_in, first_out = asyncio.Event(), asyncio.Event()

            async def second() -> None:
                async with cache.lock("lock", wait=30):
                    second_in.set()
                    await first_out.wait()

            with pytest.raises(Conflict, match="lock"):
                async with cache.lock("lock", ttl=self.short, wait=0) as lock:
                    task = asyncio.create_task(second())
                    await second_in.wait()
                    with pytest.raises(Conflict, match="lock"):
                        await lock.extend(60)
            first_out.set()
            await task

    @pytest.mark.parametrize("ttl", [0, -1, float("inf"), float("nan")])
    async def test_a_lock_without_an_end_is_refused(self, backend: Backend, ttl: float) -> None:
        async with backend as cache:
            with pytest.raises(StorageError, match="ttl"):
                async with cache.lock("lock", ttl=ttl):
                    pytest.fail("a lock without an end was given")
            async with cache.lock("lock", wait=0) as lock:
                with pytest.raises(StorageError, match="ttl"):
                    await lock.extend(ttl)

    async def test_a_lock_and_the_value_of_the_same_name_are_two_things(self, backend: Backend) -> None:
        async with backend as cache:
            await cache.set("name", b"value")
            async with cache.lock("name", wait=0):
                assert await cache.get("name") == b"value"
                await cache.delete("name")
                assert await cache.exists("name") is False
                with pytest.raises(RequestTimeout):
                    async with cache.lock("name", wait=0):
                        pytest.fail("deleting a value freed a lock")
