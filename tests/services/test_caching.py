"""What every cache does alike."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from pywatt_core.builtin.memory_cache import MemoryCache
from pywatt_core.builtin.memory_options import MemoryOptions
from pywatt_core.errors import Conflict, RequestTimeout, StorageError
from pywatt_core.services import caching
from pywatt_core.services.caching import FILLING, Filling, bytes_value, called, counted, lock_ttl, text_key, text_keys, value_ttl


def memory() -> MemoryCache:
    return MemoryCache(MemoryOptions())


async def hang() -> bytes:
    await asyncio.Event().wait()
    return b"never"


async def value() -> bytes:
    return b"value"


def test_keys_are_text_and_values_bytes() -> None:
    assert text_key("key") == "key"
    assert bytes_value("key", b"1") == b"1"
    with pytest.raises(StorageError, match="a key is text, not int"):
        text_key(1)  # type: ignore[arg-type]
    assert text_keys(("a", "b")) == ["a", "b"]
    with pytest.raises(StorageError, match="a key is text, not int"):
        text_keys(["a", 1])  # type: ignore[list-item]
    with pytest.raises(StorageError, match=r"several keys are a list or tuple of text, not one text: pass \['abc'\]"):
        text_keys("abc")
    with pytest.raises(StorageError, match="'key' is an int, and a cache keeps bytes"):
        bytes_value("key", 1)  # type: ignore[arg-type]
    with pytest.raises(StorageError, match="'key' is a dict, and a cache keeps bytes"):
        bytes_value("key", {})  # type: ignore[arg-type]


def test_what_is_no_number_is_no_time_and_no_step() -> None:
    for ttl in ("5", [5], 1j):
        with pytest.raises(StorageError, match="more than 0 seconds are needed, or None"):
            value_ttl(ttl, None)  # type: ignore[arg-type]
        with pytest.raises(StorageError, match="a lock needs more than 0 seconds, and an end"):
            lock_ttl(ttl)  # type: ignore[arg-type]
    for delta in (1.5, "1", None):
        with pytest.raises(StorageError, match="a counter counts in whole numbers, not by"):
            counted("key", b"1", delta)  # type: ignore[arg-type]


async def test_functions_are_called_as_they_are() -> None:
    async def with_argument(argument: bytes) -> bytes:
        return argument

    assert await called(value) == b"value"
    assert await called(partial(with_argument, b"1")) == b"1"
    assert await called(lambda: value()) == b"value"
    assert await called(lambda: b"plain") == b"plain"


async def test_while_another_process_computes_its_value_is_waited_for() -> None:
    cache = memory()
    async with cache.lock(FILLING + "key"):  # as another process would
        waiting = asyncio.create_task(Filling(cache).get_or_set("key", hang))
        await asyncio.sleep(0)
        await cache.set("key", b"of the other")
    assert await waiting == b"of the other"


async def test_the_lock_of_the_application_is_another_one() -> None:
    cache = memory()
    async with cache.lock("key"):
        assert await cache.get_or_set("key", value, timeout=5) == b"value"


async def test_a_value_whose_lock_has_lapsed_is_a_value_all_the_same() -> None:
    class Lapsing(MemoryCache):
        async def set(self, key: str, value: bytes, *, ttl: float | None = None) -> None:
            await super().set(key, value, ttl=ttl)
            self._locks._held.clear()

    assert await Lapsing(MemoryOptions()).get_or_set("key", value) == b"value"

    async def collide() -> bytes:
        raise Conflict("of its own")

    with pytest.raises(Conflict, match="of its own"):
        await memory().get_or_set("key", collide)


async def test_each_caller_has_a_deadline_of_its_own() -> None:
    cache = memory()
    patient = asyncio.create_task(cache.get_or_set("key", hang, timeout=60))
    await asyncio.sleep(0)
    with pytest.raises(RequestTimeout, match=r"'key' was not computed within 0\.01 s: raise timeout"):
        await cache.get_or_set("key", value, timeout=0.01)
    assert not patient.done()
    patient.cancel()


async def test_nothing_is_kept_of_what_was_computed() -> None:
    cache = memory()
    filling = Filling(cache)
    for number in range(20):
        await filling.get_or_set(f"key{number}", value)
        with pytest.raises(RequestTimeout):
            await filling.get_or_set(f"other{number}", hang, timeout=0.001)
    assert not filling._computing


async def test_a_process_that_computes_for_long_keeps_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caching, "HELD", 0.3)
    cache = memory()

    async def slow() -> bytes:
        await cache.set("probe", b"", ttl=0.9)  # three times as long as the lock is held
        while await cache.exists("probe"):
            await asyncio.sleep(0.005)
        return b"of the first"

    first = asyncio.create_task(Filling(cache).get_or_set("key", slow))
    await asyncio.sleep(0)
    second = asyncio.create_task(Filling(cache).get_or_set("key", value))  # another process
    assert list(await asyncio.gather(first, second)) == [b"of the first"] * 2


async def test_a_process_that_dies_while_it_computes_does_not_hold_up_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caching, "HELD", 0.3)
    cache = memory()
    await cache.lock(FILLING + "key", ttl=caching.HELD).__aenter__()  # and is never heard of again
    assert await cache.get_or_set("key", value, timeout=30) == b"value"
