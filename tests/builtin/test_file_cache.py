"""The file cache: the contract, its bounds and policies, what outlives a process, what a crash leaves, its options."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pywatt_core.builtin.file_cache import FileCache, open_file_cache
from pywatt_core.builtin.file_options import FileOptions
from pywatt_core.builtin.memory_cache import MemoryCache
from pywatt_core.builtin.memory_options import MemoryOptions
from pywatt_core.config import Section
from pywatt_core.errors import NotFound, StorageError, Unavailable
from pywatt_core.interfaces import Cache, Context
from pywatt_core.registry import Registry
from pywatt_core.testing.contracts import CacheContract, SharedCacheContract

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager


def opening(folder: Path, **options: Any) -> AbstractAsyncContextManager[FileCache]:
    return open_file_cache(FileOptions(**options), Context(module_id="test", section="caches.main", folder=folder))


@pytest.mark.parametrize("policy", ["lru", "none"])
class TestContract(CacheContract):
    @pytest.fixture
    def backend(self, tmp_path: Path, policy: Any) -> AbstractAsyncContextManager[Cache]:
        return opening(tmp_path, policy=policy)


class TestShared(SharedCacheContract):
    @pytest.fixture
    def backends(self, tmp_path: Path) -> tuple[AbstractAsyncContextManager[Cache], AbstractAsyncContextManager[Cache]]:
        return opening(tmp_path), opening(tmp_path)


class Clock:
    """A clock that a test moves."""

    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


async def keys_of(cache: Cache, names: str) -> str:
    return "".join([name for name in names if await cache.exists(name)])


@pytest.mark.parametrize(("policy", "kept"), [("lru", "bde"), ("fifo", "cde"), ("mru", "ace"), ("lfu", "bce")])
async def test_a_full_cache_gives_up_what_its_policy_says(tmp_path: Path, policy: Any, kept: str) -> None:
    async with opening(tmp_path, max_items=3, policy=policy) as cache:
        for name in "abc":
            await cache.set(name, b"")
        for name in "acbcb":
            await cache.get(name)  # uses: a 1, b 2, c 2; b was used last
        await cache.set("d", b"")
        await cache.set("e", b"")
        assert await keys_of(cache, "abcde") == kept


async def test_a_random_policy_gives_up_some_key_and_never_the_new_one(tmp_path: Path) -> None:
    given_up = set()
    async with opening(tmp_path, max_items=3, policy="random") as cache:
        for _ in range(60):
            await cache.clear()
            for name in "abcd":
                await cache.set(name, b"")
            kept = await keys_of(cache, "abcd")
            assert len(kept) == 3
            assert "d" in kept
            given_up |= set("abc") - set(kept)
    assert given_up == set("abc")


async def test_without_a_policy_what_does_not_fit_is_refused_and_nothing_is_lost(tmp_path: Path) -> None:
    clock = Clock()
    cache = await FileCache.open(FileOptions(max_items=2, max_bytes=100, policy="none"), tmp_path, clock)
    await cache.set("a", b"1")
    await cache.set("b", b"2", ttl=10)
    for attempt in (
        cache.set("c", b"3"),
        cache.set("a", b"x" * 99),
        cache.increment("c"),
        cache.set_nx("c", b"3"),
        cache.get_set("c", b"3"),
        cache.set_many({"a": b"new", "c": b"3"}),
    ):
        with pytest.raises(StorageError, match="full"):
            await attempt
    assert await cache.get_many(["a", "b", "c"]) == {"a": b"1", "b": b"2"}
    clock.now += 10
    await cache.set("c", b"3")
    assert await cache.get_many(["a", "b", "c"]) == {"a": b"1", "c": b"3"}
    await cache.close()


async def test_bytes_are_bounded_and_counted(tmp_path: Path) -> None:
    async with opening(tmp_path, max_bytes=100) as cache:
        await cache.set("a", b"x" * 49)
        await cache.set("b", b"x" * 49)
        assert (await cache.stats()).memory_used_bytes == 100
        await cache.set("c", b"")
        assert await keys_of(cache, "abc") == "bc"
        await cache.set("b", b"x" * 98)
        assert (await cache.stats()).memory_used_bytes == 100
        with pytest.raises(StorageError, match="'d' has 101 bytes with its key, and the whole cache 100"):
            await cache.set("d", b"x" * 100)
        await cache.clear()
        stats = await cache.stats()
        assert (stats.item_count, stats.memory_used_bytes) == (0, 0)


async def test_time_limits_follow_the_clock_and_go_on_while_nothing_runs(tmp_path: Path) -> None:
    clock = Clock()
    cache = await FileCache.open(FileOptions(default_ttl=100), tmp_path, clock)
    await cache.set("default", b"1")
    await cache.set("own", b"1", ttl=50)
    await cache.increment("counter")
    clock.now += 40
    assert await cache.ttl("default") == pytest.approx(60)
    assert await cache.increment("counter") == 2
    assert await cache.ttl("counter") == pytest.approx(60)
    assert await cache.get_set("own", b"2") == b"1"
    assert await cache.ttl("own") == pytest.approx(100)
    await cache.close()
    clock.now += 60
    cache = await FileCache.open(FileOptions(default_ttl=100), tmp_path, clock)
    assert await cache.get_many(["default", "own", "counter"]) == {"own": b"2"}
    assert await cache.delete("default") is False
    with pytest.raises(NotFound):
        await cache.ttl("default")
    assert (await cache.stats()).item_count == 1
    await cache.close()


async def test_what_was_stored_outlives_the_cache_and_its_uses_too(tmp_path: Path) -> None:
    async with opening(tmp_path, max_items=3) as cache:
        await cache.set_many({"a": b"1", "b": b"2", "c": b"3"})
        await cache.get("a")
        async with cache.lock("lock") as lock:
            token = lock.token
    async with opening(tmp_path, max_items=3) as cache:
        await cache.set("d", b"4")
        assert await keys_of(cache, "abcd") == "acd"
        async with cache.lock("lock") as lock:
            assert lock.token > token


async def test_the_file_is_its_owners_alone_and_its_folder_is_made(tmp_path: Path) -> None:
    async with opening(tmp_path, path="deep/inside/cache.db") as cache:
        await cache.set("a", b"1")
        for file in (tmp_path / "deep" / "inside").iterdir():
            assert file.stat().st_mode & 0o077 == 0, file.name


async def test_stats_count_every_call(tmp_path: Path) -> None:
    async with opening(tmp_path) as cache:
        await cache.set_many({"a": b"1", "b": b"22"})
        await cache.get_many(["a", "b", "c"])
        await cache.get("a")
        await cache.delete_many(["a", "c"])
        stats = await cache.stats()
        assert (stats.hits, stats.misses, stats.sets, stats.deletes) == (3, 1, 2, 1)
        assert (stats.item_count, stats.memory_used_bytes) == (1, 3)


async def test_reading_for_ever_remembers_little(tmp_path: Path) -> None:
    async with opening(tmp_path) as cache:
        names = [f"key{number}" for number in range(1200)]
        await cache.set_many(dict.fromkeys(names, b""))
        for name in names:
            await cache.get(name)
        assert len(cache._store._uses) <= 500


WRITER = """
import asyncio, sys
from pathlib import Path
from pywatt_core.builtin.file_cache import FileCache
from pywatt_core.builtin.file_options import FileOptions

async def main():
    cache = await FileCache.open(FileOptions(max_items=50), Path(sys.argv[1]))
    number = 0
    while True:
        number += 1
        value = b"%06d" % number * 2000
        await cache.set_many({f"{name}{number % 40}": value for name in "ab"})
        await cache.increment("counter")
        if number == 20:
            print("writing", flush=True)

asyncio.run(main())
"""


def test_a_process_that_is_killed_leaves_whole_values_and_true_totals(tmp_path: Path) -> None:
    for _ in range(3):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"writing\n"
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        asyncio.run(look_through(tmp_path))


async def look_through(folder: Path) -> None:
    async with opening(folder, max_items=50) as cache:
        total = 0
        items = 0
        for number in range(40):
            pair = await cache.get_many([f"a{number}", f"b{number}"])
            for value in pair.values():
                assert value == value[:6] * 2000
            if len(pair) == 2:
                assert len(set(pair.values())) == 1, "half of a change was kept"
            items += len(pair)
            total += sum(len(key) + len(value) for key, value in pair.items())
        counter = await cache.get("counter") or b""
        stats = await cache.stats()
        assert (stats.item_count, stats.memory_used_bytes) == (items + 1, total + len(counter) + len("counter"))
        assert items <= 50


async def test_many_openings_of_a_new_file_at_once(tmp_path: Path) -> None:
    caches = await asyncio.gather(*[FileCache.open(FileOptions(), tmp_path) for _ in range(12)])
    seen = await asyncio.gather(*[cache.increment("counter") for cache in caches for _ in range(5)])
    assert sorted(seen) == list(range(1, 61))
    await asyncio.gather(*[cache.close() for cache in caches])


async def test_what_is_not_a_cache_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_bytes(b"not a database at all, but long enough to look at" * 50)
    with pytest.raises(Unavailable, match=r"text.db is not a cache, or damaged"):
        async with opening(tmp_path, path="text.db"):
            pass
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE entries (id)")
    other.close()
    before = (tmp_path / "other.db").read_bytes()
    with pytest.raises(Unavailable, match=r"other.db is a database of something else"):
        async with opening(tmp_path, path="other.db"):
            pass
    assert (tmp_path / "other.db").read_bytes() == before
    (tmp_path / "folder").mkdir()
    with pytest.raises(Unavailable, match="folder cannot be opened"):
        async with opening(tmp_path, path="folder"):
            pass


async def test_a_file_that_another_process_holds_is_unavailable_and_usable_later(tmp_path: Path) -> None:
    async with opening(tmp_path, busy_timeout=0.02) as cache:
        await cache.set("key", b"1")
        other = sqlite3.connect(tmp_path / "cache.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match="locked"):
            await cache.set("key", b"2")
        assert await cache.get("key") == b"1"
        other.execute("ROLLBACK")
        other.close()
        await cache.set("key", b"3")
        assert await cache.get("key") == b"3"


async def test_it_is_opened_by_its_name(tmp_path: Path) -> None:
    where = Context(module_id="test", section="caches.x", folder=tmp_path)
    async with Registry(discover=False).open("caches", Section("file", {"path": "x.db"}, "caches.x"), where) as cache:
        await cache.set("key", b"1")
    assert (tmp_path / "x.db").exists()


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"path": ""}, "path"),
        ({"path": ":memory:"}, "path"),
        ({"max_items": 0}, "max_items"),
        ({"max_bytes": -1}, "max_bytes"),
        ({"default_ttl": 0}, "default_ttl"),
        ({"policy": "LIFO"}, "LIFO"),
        ({"busy_timeout": -1}, "busy_timeout"),
        ({"synchronous": "sometimes"}, "synchronous"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused_by_its_name(values: dict[str, object], complaint: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=complaint):
        msgspec.convert(values, FileOptions)


STEP = st.tuples(
    st.sampled_from(["set", "limited", "get", "many", "delete", "nx", "swap", "count", "wait", "space"]),
    st.sampled_from(["a", "b", "n:a", "n:b", "n", "Grüße"]),
    st.integers(0, 9),
)


@given(st.lists(STEP, max_size=40), st.sampled_from(["lru", "lfu", "fifo", "mru", "none"]), st.integers(1, 4))
@settings(max_examples=60)
def test_it_does_what_the_memory_cache_does(steps: Any, policy: Any, items: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(compare(steps, policy, items, Path(folder)))


async def compare(steps: Any, policy: Any, items: int, folder: Path) -> None:
    clock = Clock()
    memory = MemoryCache(MemoryOptions(max_items=items, policy=policy), clock)
    file = await FileCache.open(FileOptions(max_items=items, policy=policy, synchronous="off"), folder, clock)
    for step, key, number in steps:
        outcomes = [await outcome(cache, step, key, number) for cache in (memory, file)]
        assert outcomes[0] == outcomes[1], (step, key, number)
        if step == "wait":
            clock.now += number
    one, other = await memory.stats(), await file.stats()
    assert (one.item_count, one.sets, one.deletes) == (other.item_count, other.sets, other.deletes)
    assert policy == "none" or (one.hits, one.misses) == (other.hits, other.misses)
    await file.close()


async def outcome(cache: Cache, step: str, key: str, number: int) -> object:
    value = b"%d" % number
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "set": lambda: cache.set(key, value),
        "limited": lambda: cache.set(key, value, ttl=1 + number),
        "get": lambda: cache.get(key),
        "many": lambda: cache.get_many(list({"a": 1, key: 1, "n:b": 1})),
        "delete": lambda: cache.delete_many([key, "b"]),
        "nx": lambda: cache.set_nx(key, value, ttl=2),
        "swap": lambda: cache.get_set(key, value),
        "count": lambda: cache.increment(key, number),
        "wait": lambda: cache.exists(key),
        "space": lambda: cache.clear("n"),
    }
    try:
        return await calls[step]()
    except StorageError as error:
        return str(error)


SHARER = """
import asyncio, sys
from pathlib import Path
from pywatt_core.builtin.file_cache import FileCache
from pywatt_core.builtin.file_options import FileOptions

async def main():
    folder = Path(sys.argv[1])
    cache = await FileCache.open(FileOptions(), folder)
    print("open", flush=True)
    sys.stdin.readline()

    async def make():
        with (folder / "computed").open("a") as log:
            log.write("x")
        await asyncio.sleep(0.1)
        return b"value"

    assert await cache.get_or_set("key", make) == b"value"
    for _ in range(40):
        await cache.increment("counter")
        async with cache.lock("lock", wait=60) as lock:
            tokens = (folder / "tokens").read_text().split()
            (folder / "tokens").write_text(" ".join([*tokens, str(lock.token)]))
    await cache.close()

asyncio.run(main())
"""


async def test_processes_share_values_counters_locks_and_work(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text("")
    pipes = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE}
    sharers = [await asyncio.create_subprocess_exec(sys.executable, "-c", SHARER, str(tmp_path), **pipes) for _ in range(3)]  # type: ignore[arg-type]
    for sharer in sharers:
        assert sharer.stdout is not None
        assert await sharer.stdout.readline() == b"open\n"
    assert [status for _, status in await asyncio.gather(*[ended(sharer) for sharer in sharers])] == [0, 0, 0]
    tokens = [int(token) for token in (tmp_path / "tokens").read_text().split()]
    assert len(tokens) == 120
    assert tokens == sorted(set(tokens))
    assert (tmp_path / "computed").read_text() == "x"
    async with opening(tmp_path) as cache:
        assert await cache.get_many(["key", "counter"]) == {"key": b"value", "counter": b"120"}


async def ended(sharer: asyncio.subprocess.Process) -> tuple[bytes, int | None]:
    out, _ = await sharer.communicate(b"go\n")
    return out, sharer.returncode
