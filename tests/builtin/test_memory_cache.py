"""The memory cache: the contract under each policy, its bounds, its clock, its options."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywatt_core.builtin.memory_cache import MemoryCache, open_memory
from pywatt_core.builtin.memory_options import MemoryOptions
from pywatt_core.errors import NotFound, StorageError
from pywatt_core.interfaces import Cache, Context
from pywatt_core.testing.contracts import CacheContract

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from typing import Any

CONTEXT = Context(module_id="test", section="caches.main")


@pytest.mark.parametrize("policy", ["lru", "lfu", "fifo", "mru", "random", "none"])
class TestContract(CacheContract):
    @pytest.fixture
    def backend(self, policy: Any) -> AbstractAsyncContextManager[Cache]:
        return open_memory(MemoryOptions(policy=policy), CONTEXT)


class Clock:
    """A clock that a test moves."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


async def keys_of(cache: MemoryCache, names: str) -> str:
    return "".join([name for name in names if await cache.exists(name)])


@pytest.mark.parametrize(
    ("policy", "kept"),
    [("lru", "bde"), ("fifo", "cde"), ("mru", "ace"), ("lfu", "bce")],
)
async def test_a_full_cache_gives_up_what_its_policy_says(policy: Any, kept: str) -> None:
    cache = MemoryCache(MemoryOptions(max_items=3, policy=policy))
    for name in "abc":
        await cache.set(name, b"")
    for name in "acbcb":
        await cache.get(name)  # uses: a 1, b 2, c 2; b was used last
    await cache.set("d", b"")
    await cache.set("e", b"")
    assert await keys_of(cache, "abcde") == kept


async def test_a_random_policy_gives_up_some_key_and_never_the_new_one() -> None:
    given_up = set()
    for _ in range(200):
        cache = MemoryCache(MemoryOptions(max_items=3, policy="random"))
        for name in "abcd":
            await cache.set(name, b"")
        kept = await keys_of(cache, "abcd")
        assert len(kept) == 3
        assert "d" in kept
        given_up |= set("abc") - set(kept)
    assert given_up == set("abc")


async def test_without_a_policy_what_does_not_fit_is_refused_and_nothing_is_lost() -> None:
    clock = Clock()
    cache = MemoryCache(MemoryOptions(max_items=2, max_bytes=100, policy="none"), clock)
    await cache.set("a", b"1")
    await cache.set("b", b"2", ttl=10)
    for attempt in (
        cache.set("c", b"3"),
        cache.set("a", b"x" * 99),
        cache.increment("c"),
        cache.set_nx("c", b"3"),
        cache.get_set("c", b"3"),
    ):
        with pytest.raises(StorageError, match="full"):
            await attempt
    assert await cache.get_many(["a", "b", "c"]) == {"a": b"1", "b": b"2"}
    clock.now += 10
    await cache.set("c", b"3")
    assert await cache.get_many(["a", "b", "c"]) == {"a": b"1", "c": b"3"}


async def test_bytes_are_bounded_and_counted() -> None:
    cache = MemoryCache(MemoryOptions(max_bytes=100))
    await cache.set("a", b"x" * 49)
    await cache.set("b", b"x" * 49)
    assert (await cache.stats()).memory_used_bytes == 100
    await cache.set("c", b"")
    assert await keys_of(cache, "abc") == "bc"
    await cache.set("b", b"x" * 98)
    assert await keys_of(cache, "abc") == "bc"
    assert (await cache.stats()).memory_used_bytes == 100
    with pytest.raises(StorageError, match="'d' has 101 bytes with its key, and the whole cache 100"):
        await cache.set("d", b"x" * 100)
    assert await keys_of(cache, "abcd") == "bc"
    await cache.clear()
    stats = await cache.stats()
    assert (stats.item_count, stats.memory_used_bytes) == (0, 0)


async def test_time_limits_follow_the_clock_that_was_given() -> None:
    clock = Clock()
    cache = MemoryCache(MemoryOptions(default_ttl=100), clock)
    await cache.set("default", b"1")
    await cache.set("own", b"1", ttl=50)
    await cache.increment("counter")
    clock.now += 40
    assert await cache.ttl("default") == pytest.approx(60)
    assert await cache.ttl("own") == pytest.approx(10)
    assert await cache.increment("counter") == 2
    assert await cache.ttl("counter") == pytest.approx(60)
    assert await cache.get_set("own", b"2") == b"1"
    assert await cache.ttl("own") == pytest.approx(100)
    clock.now += 60
    for key in ("default", "counter"):
        assert await cache.get(key) is None
        assert await cache.set_nx(key, b"again") is True
        with pytest.raises(NotFound):
            await cache.ttl("gone")
    clock.now += 100
    assert (await cache.stats()).item_count == 0


async def test_what_has_expired_makes_room_before_anything_is_given_up() -> None:
    clock = Clock()
    cache = MemoryCache(MemoryOptions(max_items=3), clock)
    await cache.set("oldest", b"1")
    await cache.set("limited", b"1", ttl=5)
    await cache.set("a", b"1")
    clock.now += 5
    await cache.set("b", b"1")
    assert await cache.get_many(["oldest", "limited", "a", "b"]) == {"oldest": b"1", "a": b"1", "b": b"1"}


async def test_setting_one_key_for_ever_with_a_limit_does_not_grow() -> None:
    cache = MemoryCache(MemoryOptions(), Clock())
    for number in range(5000):
        await cache.set("key", b"%d" % number, ttl=1 + number)
    assert len(cache._limits) < 100


async def test_stats_count_every_call() -> None:
    cache = MemoryCache(MemoryOptions())
    await cache.set_many({"a": b"1", "b": b"22"})
    await cache.get_many(["a", "b", "c"])
    await cache.get("a")
    await cache.delete_many(["a", "c"])
    stats = await cache.stats()
    assert (stats.hits, stats.misses, stats.sets, stats.deletes) == (3, 1, 2, 1)
    assert (stats.item_count, stats.memory_used_bytes) == (1, 3)


async def test_a_value_that_its_owner_changes_afterwards_stays_as_it_was_set() -> None:
    cache = MemoryCache(MemoryOptions())
    value = bytearray(b"before")
    await cache.set("key", cast("bytes", value))
    value[:] = b"after!"
    assert await cache.get("key") == b"before"


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"max_items": 0}, "max_items"),
        ({"max_bytes": -1}, "max_bytes"),
        ({"default_ttl": 0}, "default_ttl"),
        ({"default_ttl": float("nan")}, "default_ttl"),
        ({"policy": "LIFO"}, "LIFO"),
        ({"max_items": "many"}, "max_items"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused_by_its_name(values: dict[str, object], complaint: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=complaint):
        msgspec.convert(values, MemoryOptions)


STEP = st.tuples(st.sampled_from(["set", "limited", "get", "delete", "nx", "wait"]), st.sampled_from("abcdef"), st.integers(0, 30))


@given(st.lists(STEP, max_size=60), st.sampled_from(["lru", "lfu", "fifo", "mru", "random"]), st.integers(1, 5), st.integers(31, 80))
def test_whatever_is_done_the_bounds_hold_and_no_value_is_wrong(steps: Any, policy: Any, items: int, size: int) -> None:
    asyncio.run(take_steps(steps, policy, items, size))


async def take_steps(steps: Any, policy: Any, items: int, size: int) -> None:
    clock = Clock()
    cache = MemoryCache(MemoryOptions(max_items=items, max_bytes=size, policy=policy), clock)
    model: dict[str, tuple[bytes, float]] = {}
    for step, key, number in steps:
        alive = key in model and model[key][1] > clock.now
        if step in ("set", "limited"):
            ttl = None if step == "set" else 1 + number
            await cache.set(key, b"x" * number, ttl=ttl)
            model[key] = (b"x" * number, clock.now + (ttl or 1e9))
        elif step == "get":
            found = await cache.get(key)
            assert found is None or (alive and found == model[key][0])
        elif step == "delete":
            assert await cache.delete(key) <= alive
            model.pop(key, None)
        elif step == "nx":
            if await cache.set_nx(key, b"y" * number):
                model[key] = (b"y" * number, 1e9)
            else:
                assert alive
        else:
            clock.now += number / 3
        stats = await cache.stats()
        assert stats.item_count is not None
        assert stats.item_count <= items
        kept = await cache.get_many([*"abcdef"]) if step == "wait" else {}
        assert stats.memory_used_bytes is not None
        assert sum(len(name) + len(value) for name, value in kept.items()) <= stats.memory_used_bytes <= size
        for name, value in kept.items():
            assert model[name][0] == value
