"""What the contract does not ask: Memcached's own limits, a server that ends and returns, cancellation, connections."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING

import pytest

from pywatt_core.config import Section
from pywatt_core.errors import Conflict, StorageError, Unavailable
from pywatt_core.interfaces import Context
from pywatt_core.registry import Registry
from pywatt_memcached import Options, open_memcached
from pywatt_memcached.cache import until
from tools.running_servers import MemcachedServer

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from pywatt_memcached import MemcachedCache

CONTEXT = Context(module_id="test", section="caches.main")


def opening(server: MemcachedServer, **options: object) -> AbstractAsyncContextManager[MemcachedCache]:
    return open_memcached(Options(port=server.port, **options), CONTEXT)  # type: ignore[arg-type]


async def connections(cache: MemcachedCache) -> int:
    return int((await cache._client.stats())[b"curr_connections"] or 0)


def test_times_are_whole_seconds_and_long_ones_are_dates() -> None:
    assert [until(seconds) for seconds in (None, 0.001, 1, 1.2, 30 * 86400)] == [0, 1, 1, 2, 30 * 86400]
    assert until(31 * 86400) == pytest.approx(time.time() + 31 * 86400, abs=2)
    assert until(2**31) == until(1e300) == 0, "such a date is before 1970 to the server, which would drop the value at once"


async def test_a_limit_of_more_than_a_month_is_kept(memcached_server: MemcachedServer) -> None:
    async with opening(memcached_server, default_ttl=1.5) as cache:
        await cache.set("long", b"1", ttl=40 * 86400)
        assert 39 * 86400 < (await cache.ttl("long") or 0) <= 40 * 86400 + 1  # the server counts whole seconds
        await cache.set("default", b"1")
        assert 0 < (await cache.ttl("default") or 0) <= 2


async def test_a_counter_keeps_its_limit_whichever_way_it_goes(memcached_server: MemcachedServer) -> None:
    async with opening(memcached_server) as cache:
        await cache.set("counter", b"100", ttl=1000)
        for delta, total in ((1, 101), (-92, 9), (-10, -1), (1, 0), (5, 5)):
            assert await cache.increment("counter", delta) == total
            assert await cache.get("counter") == b"%d" % total
            assert 900 < (await cache.ttl("counter") or 0) <= 1000
        await cache.set("long", b"10", ttl=40 * 86400)
        for total in range(9, -101, -1):
            assert await cache.decrement("long") == total
        assert await cache.get("long") == b"-100"
        assert abs((await cache.ttl("long") or 0) - 40 * 86400) < 60, "no count moves it"
        await cache.set("for ever", b"1", ttl=1e10)
        assert await cache.get("for ever") == b"1"
        with pytest.raises(StorageError, match="a counter counts in whole numbers, not by 1.5"):
            await cache.increment("long", 1.5)  # type: ignore[arg-type]
        await cache.set("full", b"%d" % (2**63 - 1))
        with pytest.raises(StorageError, match="64 bits"):
            await cache.increment("full")
        assert await cache.get("full") == b"%d" % (2**63 - 1)


async def test_a_value_that_is_too_large_is_refused_and_leaves_what_was_there(memcached_server: MemcachedServer) -> None:
    async with opening(memcached_server) as cache:
        await cache.set("key", b"before")
        for attempt in (cache.set("key", bytes(1_000_001)), cache.set_many({"other": b"", "key": bytes(1_000_001)})):
            with pytest.raises(StorageError, match=r"'key' has 1000001 bytes, and max_value_bytes is 1000000"):
                await attempt
        assert await cache.get("key") == b"before"
    async with opening(memcached_server, max_value_bytes=10_000_000) as cache:
        with pytest.raises(StorageError, match="SERVER_ERROR object too large"):
            await cache.set("key", bytes(2_000_000))
        with pytest.raises(StorageError, match="1 of 2 values: SERVER_ERROR object too large"):
            await cache.set_many({"a": b"1", "key": bytes(2_000_000)})
        assert await cache.get("a") == b"1"


async def test_namespaces_keep_users_of_one_server_apart(memcached_server: MemcachedServer) -> None:
    async with opening(memcached_server, namespace="shop") as shop, opening(memcached_server, namespace="users") as users:
        long = "k" * 240 + "ü "
        for key in ("key", long):
            await shop.set(key, b"of the shop")
            assert await users.get(key) is None
            assert await users.set_nx(key, b"of the users")
            assert await shop.get_many([key]) == {key: b"of the shop"}
        async with shop.lock("lock", wait=0), users.lock("lock", wait=0):
            pass
        with pytest.raises(StorageError, match="everything that is on the server"):
            await shop.clear()
        stats = await shop.stats()
        assert (stats.sets, stats.hits, stats.item_count, stats.memory_used_bytes) == (2, 2, None, None)


async def test_a_server_that_returns_is_used_again_and_its_locks_are_lost(start_server: Callable[..., MemcachedServer]) -> None:
    with start_server(MemcachedServer) as server:
        async with opening(server) as cache:
            await asyncio.gather(*[cache.set(f"key{number}", b"1") for number in range(20)])
            with pytest.raises(Conflict, match="'lock' lapsed"):
                async with cache.lock("lock") as lock:
                    server.kill()
                    for attempt in (
                        cache.get("key1"),
                        cache.set("key1", b"2"),
                        cache.get_many(["key1", "key2"]),
                        cache.increment("counter"),
                        cache.stats(),
                    ):
                        with pytest.raises(Unavailable, match="Memcached at 127.0.0.1"):
                            await attempt
                    server.start()
                    assert await cache.get("key1") is None
                    with pytest.raises(Conflict):
                        await lock.extend()
            async with cache.lock("lock", wait=0) as again:
                assert again.token > lock.token
            assert await cache.increment("counter") == 1


async def test_reading_survives_connections_that_the_server_closed(memcached_server: MemcachedServer) -> None:
    async with opening(memcached_server) as cache:
        await cache.set("key", b"1")
        (idle,) = cache._pool._idle
        idle.writer.write(b"quit\r\n")  # the server hangs up, and this side has not heard of it yet
        assert await cache.get("key") == b"1"


async def test_a_server_under_load_that_is_restarted_leaves_no_connection_behind(start_server: Callable[..., MemcachedServer]) -> None:
    with start_server(MemcachedServer) as server:
        async with opening(server, max_connections=5) as cache:
            stop = asyncio.Event()
            outcomes: dict[str, int] = {}

            async def work(number: int) -> None:
                while not stop.is_set():
                    try:
                        await cache.set(f"key{number}", b"%d" % number)
                        assert await cache.get(f"key{number}") in (b"%d" % number, None)
                        outcome = "served"
                    except Unavailable:
                        outcome = "unavailable"
                        await asyncio.sleep(0.001)
                    outcomes[outcome] = outcomes.get(outcome, 0) + 1

            async def until_served(more: int) -> None:
                wanted = outcomes.get("served", 0) + more
                while outcomes.get("served", 0) < wanted:
                    await asyncio.sleep(0.001)

            tasks = [asyncio.create_task(work(number)) for number in range(20)]
            for _ in range(3):
                await until_served(100)
                await asyncio.to_thread(server.restart)
            await until_served(100)
            stop.set()
            await asyncio.gather(*tasks)
            assert outcomes["unavailable"]
            assert await connections(cache) <= 5 + 1  # Memcached counts the socket that it listens on


async def test_a_thousand_cancellations_mix_up_no_answers_and_leak_no_connection(memcached_server: MemcachedServer) -> None:
    chance = random.Random(seed := random.randrange(2**32))
    async with opening(memcached_server, max_connections=4) as cache:
        values = {f"key{number}": bytes([number]) * 3000 for number in range(20)}
        await cache.set_many(values)

        async def work(key: str) -> None:
            assert await cache.get(key) == values[key]
            assert await cache.get_many([key, "key0"]) == {key: values[key], "key0": values["key0"]}
            await cache.set(key, values[key])
            assert await cache.get_set(key, values[key]) == values[key]

        for _ in range(125):
            tasks = [asyncio.create_task(work(chance.choice(list(values)))) for _ in range(8)]
            for task in tasks:
                await asyncio.sleep(chance.random() * 0.001)
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            assert not [outcome for outcome in outcomes if isinstance(outcome, Exception)], f"seed {seed}"
        await asyncio.gather(*[work(key) for key in values])
        assert not cache._pool._used
        assert len(cache._pool._idle) <= 4
        async with asyncio.timeout(30):
            while await connections(cache) > 4 + 1:  # the server hears of closed ones a moment later
                await asyncio.sleep(0.01)


async def test_a_server_that_does_not_answer_is_unavailable_within_the_deadline() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(Unavailable, match=r"Memcached at 127.0.0.1:\d+ did not answer within 0\.05 s"):
        async with open_memcached(Options(port=port, operation_timeout=0.05, acquire_timeout=0.05), CONTEXT):
            pytest.fail("opened a cache that does not answer")
    server.close()
    await server.wait_closed()
    with pytest.raises(Unavailable, match="cannot be reached"):
        async with open_memcached(Options(port=port), CONTEXT):
            pytest.fail("opened a cache that is not there")


async def test_answers_that_make_no_sense_are_errors_without_their_text() -> None:
    async def strange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(b"VERSION 1.6.9\r\n" if line == b"version\r\n" else b"the-secret-value VALUE x y z\r\n")
        writer.close()

    server = await asyncio.start_server(strange, "127.0.0.1", 0)
    async with open_memcached(Options(port=server.sockets[0].getsockname()[1]), CONTEXT) as cache:
        counting = (cache.increment("k"), cache.decrement("k"))
        for attempt in (cache.get("k"), cache.set("k", b""), *counting, cache.set_many({"k": b""}), cache.stats()):
            with pytest.raises(StorageError, match="no sense") as caught:
                await attempt
            assert "the-secret-value" not in str(caught.value)
    server.close()


async def test_an_old_server_is_refused() -> None:
    async def old(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"VERSION 1.4.15\r\n")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(old, "127.0.0.1", 0)
    with pytest.raises(Unavailable, match=r"is version 1\.4\.15: 1\.6 or newer is needed"):
        async with open_memcached(Options(port=server.sockets[0].getsockname()[1]), CONTEXT):
            pytest.fail("opened a cache that cannot do what is needed")
    server.close()


async def test_all_connections_in_use_is_an_error_that_says_so(memcached_server: MemcachedServer) -> None:
    async with opening(memcached_server, max_connections=1, acquire_timeout=0.05) as cache:
        held = await cache._pool.acquire()
        with pytest.raises(Unavailable, match=r"all 1 connections .* were in use for 0\.05 s: raise max_connections"):
            await cache.get("key")
        cache._pool.release(held)
        assert await cache.get("nothing") is None


async def test_other_clients_and_the_facade_of_aiocache_share_the_values(memcached_server: MemcachedServer) -> None:
    async with opening(memcached_server) as cache:
        await cache.set("plain", b"\x00\xff")
        assert await cache.aiocache.get("plain") == b"\x00\xff"
        await cache.aiocache.set("theirs", b"1")
        assert await cache.get("theirs") == b"1"
        await cache._client.lines([b"set flagged 7 0 1\r\n1\r\n"])
        assert await cache.get("flagged") == b"1"


async def test_it_is_opened_by_its_name(memcached_server: MemcachedServer) -> None:
    section = Section("memcached", {"url": f"memcached://127.0.0.1:{memcached_server.port}"}, "caches.main")
    async with Registry().open("caches", section, CONTEXT) as cache:
        await cache.set("key", b"1")
        assert await cache.get("key") == b"1"
