"""The part of a cache's contract about `get_or_set`: one computes, and nobody waits for what will never come."""

from __future__ import annotations

import asyncio
import threading

import pytest

from pywatt_core.errors import RequestTimeout, StorageError

from .cache_backend import Backend, CacheBackend, gone

LONG_ENOUGH = 0.02
"""Seconds that a computation takes where it has to give others the time to ask."""


class CacheFilling(CacheBackend):
    async def test_of_many_who_ask_at_once_one_computes(self, backend: Backend) -> None:
        async with backend as cache:
            calls = 0

            async def make() -> bytes:
                nonlocal calls
                calls += 1
                await asyncio.sleep(LONG_ENOUGH)
                return b"computed"

            found = await asyncio.gather(*[cache.get_or_set("key", make) for _ in range(self.concurrency)])
            assert found == [b"computed"] * self.concurrency
            assert calls == 1
            assert await cache.get("key") == b"computed"
            assert await cache.get_or_set("key", make) == b"computed"
            assert calls == 1

    async def test_keys_are_computed_beside_each_other(self, backend: Backend) -> None:
        async with backend as cache:
            first, second = asyncio.Event(), asyncio.Event()

            async def one() -> bytes:
                first.set()
                await second.wait()
                return b"1"

            async def two() -> bytes:
                second.set()
                await first.wait()
                return b"2"

            found = await asyncio.gather(cache.get_or_set("one", one), cache.get_or_set("two", two))
            assert list(found) == [b"1", b"2"]

    async def test_what_is_there_is_not_computed(self, backend: Backend) -> None:
        async with backend as cache:
            await cache.set("empty", b"")
            assert await cache.get_or_set("empty", lambda: pytest.fail("computed what was there")) == b""

    async def test_a_plain_function_computes_beside_the_loop(self, backend: Backend) -> None:
        async with backend as cache:
            threads = []

            def make() -> bytes:
                threads.append(threading.get_ident())
                return b"plain"

            assert await cache.get_or_set("key", make) == b"plain"
            assert threads != [threading.get_ident()]

    async def test_what_was_computed_has_a_time_limit(self, backend: Backend) -> None:
        async with backend as cache:

            async def make() -> bytes:
                return b"computed"

            await cache.get_or_set("key", make, ttl=self.short)
            await gone(cache, "key")
            assert await cache.get_or_set("key", make) == b"computed"

    async def test_an_error_reaches_all_who_asked_and_the_next_computes_again(self, backend: Backend) -> None:
        async with backend as cache:

            async def fail() -> bytes:
                await asyncio.sleep(LONG_ENOUGH)
                raise ZeroDivisionError("no luck")

            async def make() -> bytes:
                return b"computed"

            outcomes = await asyncio.gather(*[cache.get_or_set("key", fail) for _ in range(5)], return_exceptions=True)
            assert [type(outcome) for outcome in outcomes] == [ZeroDivisionError] * 5
            assert await cache.get("key") is None
            assert await cache.get_or_set("key", make, timeout=10) == b"computed"

    async def test_another_computes_where_the_first_is_cancelled(self, backend: Backend) -> None:
        async with backend as cache:
            begun = asyncio.Event()

            async def hang() -> bytes:
                begun.set()
                await asyncio.Event().wait()
                return b"never"

            async def make() -> bytes:
                return b"computed"

            first = asyncio.create_task(cache.get_or_set("key", hang))
            await begun.wait()
            others = [asyncio.create_task(cache.get_or_set("key", make)) for _ in range(5)]
            await asyncio.sleep(LONG_ENOUGH)
            first.cancel()
            assert await asyncio.gather(*others) == [b"computed"] * 5
            with pytest.raises(asyncio.CancelledError):
                await first

    async def test_what_takes_too_long_is_a_timeout(self, backend: Backend) -> None:
        async with backend as cache:

            async def hang() -> bytes:
                await asyncio.Event().wait()
                return b"never"

            async def make() -> bytes:
                return b"computed"

            with pytest.raises(RequestTimeout, match="key"):
                await cache.get_or_set("key", hang, timeout=0.05)
            assert await cache.get_or_set("key", make) == b"computed"

    async def test_a_timeout_of_the_function_itself_is_its_own_error(self, backend: Backend) -> None:
        async with backend as cache:

            async def make() -> bytes:
                raise TimeoutError("of its own")

            with pytest.raises(TimeoutError, match="of its own"):
                await cache.get_or_set("key", make)

    async def test_only_bytes_can_be_computed(self, backend: Backend) -> None:
        async with backend as cache:

            async def make() -> str:
                return "text"

            with pytest.raises(StorageError, match="bytes"):
                await cache.get_or_set("key", make)  # type: ignore[arg-type]
            assert await cache.get("key") is None
            for wrong in ({"ttl": 0}, {"timeout": 0}, {"timeout": float("nan")}):
                with pytest.raises(StorageError, match=next(iter(wrong))):
                    await cache.get_or_set("key", make, **wrong)  # type: ignore[arg-type]
