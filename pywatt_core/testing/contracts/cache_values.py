"""The part of a cache's contract about values, keys, time limits, counters and many keys at once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pywatt_core.errors import NotFound, StorageError
from pywatt_core.interfaces import Cache

from .cache_backend import Backend, CacheBackend, gone

VALUES = [b"", b"\x00", b"plain", bytes(range(256)), b"\xff\xfe\xc3\x28 not UTF-8", b"\r\n", b"12", b"x" * 70_000]
ODD_KEYS = [" ", "a b", "line\r\nline", "\x00", "Grüße", "😀", "a:b:c", "*", "a?[b]", "\\", "'; DROP", "../..", "\x7f", "END\r\n"]


class CacheValues(CacheBackend):
    # ── values and keys ─────────────────────────────────────────────────────────────────────────────────────────────

    async def test_a_value_comes_back_byte_for_byte(self, backend: Backend) -> None:
        async with backend as cache:
            assert isinstance(cache, Cache)
            for number, value in enumerate(VALUES):
                await cache.set(f"key {number}" if self.odd_keys else f"key{number}", value)
            for number, value in enumerate(VALUES):
                found = await cache.get(f"key {number}" if self.odd_keys else f"key{number}")
                assert found == value
                assert type(found) is bytes

    async def test_the_largest_value_comes_back_and_a_larger_one_harms_nothing(self, backend: Backend) -> None:
        async with backend as cache:
            value = b"\x00\xff\x80\xfe" * (self.largest // 4)
            await cache.set("large", value)
            assert await cache.get("large") == value
            await cache.set("small", b"still here")
            try:
                await cache.set("larger", bytes(100 * 1024 * 1024))
            except StorageError:
                assert await cache.get("larger") is None
            await cache.set("small", b"usable")
            assert await cache.get("small") == b"usable"

    async def test_what_is_not_there_is_none(self, backend: Backend) -> None:
        async with backend as cache:
            assert await cache.get("nothing") is None
            assert await cache.exists("nothing") is False
            assert await cache.delete("nothing") is False
            assert await cache.get_many(["nothing", "at-all"]) == {}
            assert await cache.delete_many(["nothing", "at-all"]) == 0
            if self.reads_ttl:
                with pytest.raises(NotFound, match="nothing"):
                    await cache.ttl("nothing")

    async def test_setting_again_replaces_and_deleting_removes(self, backend: Backend) -> None:
        async with backend as cache:
            await cache.set("key", b"1")
            await cache.set("key", b"2")
            assert await cache.get("key") == b"2"
            assert await cache.exists("key") is True
            assert await cache.delete("key") is True
            assert await cache.get("key") is None
            assert await cache.delete("key") is False

    async def test_odd_keys_are_kept_apart_or_refused(self, backend: Backend) -> None:
        async with backend as cache:
            kept = []
            for key in ODD_KEYS:
                try:
                    await cache.set(key, key.encode())
                    kept.append(key)
                except StorageError:
                    assert not self.odd_keys, f"the key {key!r} was refused"
            for key in kept:
                assert await cache.get(key) == key.encode()
            assert await cache.get("untouched") is None

    async def test_long_keys_are_kept_apart_or_refused(self, backend: Backend) -> None:
        async with backend as cache:
            longest = "k" * (self.longest_key - 1)
            await cache.set(longest + "1", b"1")
            await cache.set(longest + "2", b"2")
            assert (await cache.get(longest + "1"), await cache.get(longest + "2")) == (b"1", b"2")
            too_long = "k" * (10 * self.longest_key + 1)
            if self.refuses_long_keys:
                with pytest.raises(StorageError):
                    await cache.set(too_long, b"3")
            else:
                await cache.set(too_long, b"3")
                assert await cache.get(too_long) == b"3"

    @pytest.mark.parametrize("value", ["text", 1, None, ["list"]])
    async def test_only_bytes_are_values(self, backend: Backend, value: bytes) -> None:
        async with backend as cache:
            with pytest.raises(StorageError, match="bytes"):
                await cache.set("key", value)
            assert await cache.get("key") is None

    @pytest.mark.parametrize("key", [1, None, b"key", ["key"]])
    async def test_only_text_is_a_key(self, backend: Backend, key: Any) -> None:
        async with backend as cache:
            await cache.set("key", b"1")
            for call in (
                lambda: cache.get(key),
                lambda: cache.exists(key),
                lambda: cache.delete(key),
                lambda: cache.set(key, b"2"),
                lambda: cache.set_nx(key, b"2"),
                lambda: cache.get_set(key, b"2"),
                lambda: cache.increment(key),
                lambda: cache.get_many(["key", key]),
                lambda: cache.delete_many(["key", key]),
                lambda: cache.get_or_set(key, lambda: b"2"),
            ):
                with pytest.raises(StorageError, match="key is text, not"):
                    await call()
            with pytest.raises(StorageError, match="key is text, not"):
                async with cache.lock(key):
                    pass
            assert await cache.get("key") == b"1"

    async def test_one_text_is_not_many_keys(self, backend: Backend) -> None:
        async with backend as cache:
            await cache.set_many({"k": b"1", "key": b"2"})
            for call in (lambda: cache.get_many("key"), lambda: cache.delete_many("key")):
                with pytest.raises(StorageError, match=r"several keys.*\['key'\]"):
                    await call()
            assert await cache.get_many(["k", "key"]) == {"k": b"1", "key": b"2"}

    # ── time limits ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def test_a_value_is_gone_when_its_time_is_over(self, backend: Backend) -> None:
        async with backend as cache:
            await cache.set("stays", b"1")
            await cache.set("goes", b"1", ttl=self.short)
            await cache.set_many({"goes-too": b"1"}, ttl=self.short)
            assert await cache.set_nx("goes-as-well", b"1", ttl=self.short)
            for key in ("goes", "goes-too", "goes-as-well"):
                await gone(cache, key)
                assert await cache.get(key) is None
            assert await cache.set_nx("goes", b"2")
            assert await cache.get("stays") == b"1"

    async def test_setting_again_without_a_limit_removes_the_limit(self, backend: Backend) -> None:
        async with backend as cache:
            await cache.set("probe", b"1", ttl=self.short)
            await cache.set("key", b"1", ttl=self.short)
            await cache.set("key", b"2")
            await gone(cache, "probe")
            assert await cache.get("key") == b"2"

    async def test_the_time_that_is_left_can_be_asked_or_asking_is_refused(self, backend: Backend) -> None:
        async with backend as cache:
            await cache.set("limited", b"1", ttl=1000)
            await cache.set("unlimited", b"1")
            if not self.reads_ttl:
                with pytest.raises(StorageError):
                    await cache.ttl("limited")
                return
            left = await cache.ttl("limited")
            assert left is not None
            assert 0 < left <= 1000
            assert await cache.ttl("unlimited") is None

    @pytest.mark.parametrize("ttl", [0, -1, float("inf"), float("nan")])
    async def test_a_time_limit_that_is_none_is_refused(self, backend: Backend, ttl: float) -> None:
        async with backend as cache:
            with pytest.raises(StorageError, match="ttl"):
                await cache.set("key", b"1", ttl=ttl)
            assert await cache.get("key") is None

    # ── atomic operations ───────────────────────────────────────────────────────────────────────────────────────────

    async def test_only_one_of_many_stores_where_nothing_was(self, backend: Backend) -> None:
        async with backend as cache:
            for race in range(5):
                stored = await asyncio.gather(*[cache.set_nx(f"race{race}", b"%d" % one) for one in range(self.concurrency)])
                assert stored.count(True) == 1
                assert await cache.get(f"race{race}") == b"%d" % stored.index(True)

    async def test_replacing_hands_every_value_out_once(self, backend: Backend) -> None:
        async with backend as cache:
            assert await cache.get_set("key", b"first") is None
            values = [b"%d" % one for one in range(self.concurrency)]
            before = await asyncio.gather(*[cache.get_set("key", value) for value in values])
            assert {*before, await cache.get("key")} == {b"first", *values}

    async def test_counting_from_many_tasks_loses_nothing(self, backend: Backend) -> None:
        async with backend as cache:
            seen = await asyncio.gather(*[cache.increment("counter") for _ in range(self.concurrency)])
            assert sorted(seen) == list(range(1, self.concurrency + 1))
            assert await cache.increment("counter", 10) == self.concurrency + 10
            assert await cache.decrement("counter", 10) == self.concurrency
            assert await cache.decrement("counter") == self.concurrency - 1
            assert int(await cache.get("counter") or b"") == self.concurrency - 1
            await cache.set("set", b"41")
            assert await cache.increment("set") == 42

    async def test_counters_go_below_zero_or_refuse_to(self, backend: Backend) -> None:
        async with backend as cache:
            if self.negative_counters:
                assert await cache.decrement("counter", 5) == -5
                assert await cache.increment("counter", 2) == -3
            else:
                with pytest.raises(StorageError):
                    await cache.decrement("counter", 5)

    async def test_what_is_no_counter_is_left_as_it_was(self, backend: Backend) -> None:
        async with backend as cache:
            for value in (b"text", b"", b"1.5", b"\xff", b"01", b" 1", b"1 ", b"+1", b"-0", b"1_0"):
                await cache.set("key", value)
                with pytest.raises(StorageError):
                    await cache.increment("key")
                assert await cache.get("key") == value
            await cache.set("key", largest := b"%d" % (2**63 - 1))
            for delta in (1, 2**63 - 1):
                with pytest.raises(StorageError):
                    await cache.increment("key", delta)
                assert await cache.get("key") == largest

    @pytest.mark.parametrize("delta", [1.5, 1.0, "1", b"1", None])
    async def test_only_whole_numbers_are_counted(self, backend: Backend, delta: Any) -> None:
        async with backend as cache:
            await cache.set("counter", b"5")
            for call in (cache.increment, cache.decrement):
                for key in ("counter", "nothing"):
                    with pytest.raises(StorageError, match="counts in whole numbers, not by"):
                        await call(key, delta)
            assert await cache.get_many(["counter", "nothing"]) == {"counter": b"5"}
            assert (await cache.increment("counter", True), await cache.decrement("counter", True)) == (6, 5)

    async def test_counting_keeps_the_time_limit(self, backend: Backend) -> None:
        async with backend as cache:
            await cache.set("counter", b"1", ttl=self.soon)
            await cache.increment("counter")
            await gone(cache, "counter")
            assert await cache.increment("counter") == 1

    # ── many keys ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def test_many_keys_at_once(self, backend: Backend) -> None:
        async with backend as cache:
            items = {f"key{number}": b"%d" % number for number in range(300)}
            await cache.set_many(items)
            assert await cache.get_many([*items, "missing"]) == items
            assert await cache.get_many([]) == {}
            assert await cache.delete_many(["key0", "key1", "missing"]) == 2
            assert await cache.delete_many([]) == 0
            assert await cache.get_many(["key0", "key1", "key2"]) == {"key2": b"2"}
            await cache.set_many({})

    async def test_clearing_drops_everything(self, backend: Backend) -> None:
        async with backend as cache:
            await cache.set_many({"a": b"1", "space:b": b"2"})
            await cache.clear()
            assert await cache.get_many(["a", "space:b"]) == {}

    async def test_clearing_a_namespace_drops_only_its_keys_or_is_refused(self, backend: Backend) -> None:
        async with backend as cache:
            kept = {"space": b"1", "spaceship:a": b"2", "other:space:a": b"3", "*:a": b"4", "s[p]:a": b"5"}
            await cache.set_many({**kept, "space:a": b"6", "space:b:c": b"7"})
            if not self.namespaces:
                with pytest.raises(StorageError):
                    await cache.clear("space")
                assert await cache.get("space:a") == b"6"
                return
            await cache.clear("space")
            await cache.clear("*ace")
            await cache.clear("s[a-z]")
            assert await cache.get_many(["space:a", "space:b:c", *kept]) == kept
