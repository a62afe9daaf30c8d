"""What is Redis's own about the cache: names on the server, time limits, restarts, locks among processes, what it refuses."""

from __future__ import annotations

import asyncio
import random
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from plugins.pywatt_redis.tests.servers import ask
from pywatt_core.errors import Conflict, RequestTimeout, StorageError, Unavailable
from pywatt_core.interfaces import Context
from pywatt_core.redaction import Secret
from pywatt_redis import Options, RedisCache, open_redis
from tools.running_servers import RedisServer

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from plugins.pywatt_redis.tests.servers import RedisCluster

    Opened = Callable[..., AbstractAsyncContextManager[RedisCache]]


# ── names on the server ─────────────────────────────────────────────────────────────────────────────────────────────


async def test_keys_stand_on_the_server_as_they_are_behind_the_namespace(opened: Opened, redis_server: RedisServer) -> None:
    async with opened(namespace="shop") as cache, opened(namespace="", database=6) as plain:
        await cache.set("session:ada", b"here")
        await plain.set("session:ada", b"there")
        assert "here" in ask(redis_server.port, "GET", "shop:session:ada")
        assert await plain.get("session:ada") == b"there"


async def test_clearing_leaves_others_keys_and_locks_alone_and_never_blocks_the_server(opened: Opened, redis_server: RedisServer) -> None:
    async with opened(namespace="", database=6) as cache, opened(namespace="other", database=6) as other:  # noqa: SIM117
        async with cache.lock("held", wait=0), other.lock("held", wait=0):
            await other.set("key", b"1")
            await cache.set_many({f"key{number}": b"1" for number in range(3000)})
            await other.clear()
            assert len(await cache.get_many([f"key{number}" for number in range(3000)])) == 3000
            await other.set("key", b"1")
            await cache.clear()
            assert await cache.get_many([f"key{number}" for number in range(3000)]) == {}
            assert await other.get("key") is None, "without a namespace the whole database is the cache's"
            for one in (cache, other):
                with pytest.raises(RequestTimeout):
                    async with one.lock("held", wait=0):
                        pytest.fail("clearing freed a lock")
    assert "cmdstat_keys:" not in ask(redis_server.port, "INFO", "commandstats")
    assert "cmdstat_flushall:" not in ask(redis_server.port, "INFO", "commandstats")


async def test_no_value_can_stand_where_a_lock_stands(opened: Opened) -> None:
    async with opened(namespace="", database=6) as cache:
        with pytest.raises(StorageError, match="which is for locks"):
            await cache.set("pywatt:lock:{:held}", b"1")
        with pytest.raises(StorageError, match="half a character"):
            await cache.get("\ud800")


# ── time limits and counters ────────────────────────────────────────────────────────────────────────────────────────


async def test_the_default_time_limit_holds_for_everything_that_is_stored(opened: Opened) -> None:
    async with opened(default_ttl=100) as cache:
        await cache.set("set", b"1")
        await cache.set_many({"many": b"1"})
        await cache.set_nx("nx", b"1")
        await cache.get_set("get_set", b"1")
        await cache.increment("counter")
        await cache.get_or_set("computed", lambda: b"1")
        for key in ("set", "many", "nx", "get_set", "counter", "computed"):
            assert 0 < (await cache.ttl(key) or 0) <= 100, key
        await cache.set("own", b"1", ttl=1000)
        await cache.increment("own")
        assert (await cache.ttl("own") or 0) > 100
        with pytest.raises(StorageError, match="not a decimal integer"):
            await cache.set("text", b"text")
            await cache.increment("text")


async def test_the_shortest_and_the_longest_time_limit(opened: Opened) -> None:
    async with opened() as cache:
        await cache.set("short", b"1", ttl=0.0000001)
        await cache.set("long", b"1", ttl=10**9)
        assert (await cache.ttl("long") or 0) > 10**8
        with pytest.raises(StorageError, match="ttl is too large|decimal integer"):
            await cache.set("long", b"2", ttl=1e300)
        assert await cache.get("long") == b"1"


# ── what the server refuses ─────────────────────────────────────────────────────────────────────────────────────────


async def test_a_key_that_holds_something_else_says_so(opened: Opened, redis_server: RedisServer) -> None:
    async with opened(namespace="foreign") as cache:
        ask(redis_server.port, "RPUSH", "foreign:list", "canary-value")
        for work in (cache.get("list"), cache.increment("list"), cache.get_set("list", b"1")):
            with pytest.raises(StorageError, match="a list, a set, a hash or a stream") as caught:
                await work
            assert "canary" not in str(caught.value)
        assert await cache.get_many(["list"]) == {}
        await cache.set("list", b"1")
        assert await cache.get("list") == b"1"


async def test_a_server_whose_memory_is_full_says_so(start_server: Callable[..., Any]) -> None:
    with start_server(RedisServer, "--maxmemory", "3mb", "--maxmemory-policy", "noeviction") as server:
        async with open_redis(Options(host="127.0.0.1", port=server.port), Context(module_id="test", section="caches.main")) as cache:
            await cache.set("small", b"1")
            with pytest.raises(StorageError, match="memory is full"):
                for number in range(100):
                    await cache.set(f"large{number}", bytes(1024 * 1024))
            assert await cache.get("small") == b"1"


async def test_a_user_who_may_not_do_that_is_told(start_server: Callable[..., Any]) -> None:
    with start_server(RedisServer) as server:
        ask(server.port, "ACL", "SETUSER", "reader", "on", ">canary", "~*", "+@read", "+@connection")
        options = Options(host="127.0.0.1", port=server.port, user="reader", password=Secret("canary"))
        async with open_redis(options, Context(module_id="test", section="caches.main")) as cache:
            assert await cache.get("key") is None
            with pytest.raises(StorageError, match="may not run this command") as caught:
                await cache.set("key", b"1")
            assert "canary" not in str(caught.value)


async def test_a_node_of_a_cluster_that_is_asked_as_if_it_were_alone_says_so(opened: Opened, redis_cluster: RedisCluster) -> None:
    async with opened(port=redis_cluster.nodes[0].port) as cache:
        with pytest.raises(StorageError, match="set cluster = true"):
            for number in range(100):
                await cache.set(f"key{number}", b"1")


# ── locks and computing among processes ─────────────────────────────────────────────────────────────────────────────

WORKER = """
import asyncio, sys
from pywatt_core.interfaces import Context
from pywatt_redis import Options, open_redis

async def main():
    port, namespace = int(sys.argv[1]), sys.argv[2]
    options = Options(host="127.0.0.1", port=port, namespace=namespace)
    async with open_redis(options, Context(module_id="worker", section="caches.main")) as cache:
        {work}

asyncio.run(main())
"""


def worker(work: str, port: int, namespace: str) -> subprocess.Popen[str]:
    code = WORKER.format(work=work)
    return subprocess.Popen([sys.executable, "-c", code, str(port), namespace], stdout=subprocess.PIPE, text=True)


def test_a_lock_excludes_other_processes_and_tokens_grow(redis_server: RedisServer) -> None:
    work = """for _ in range(20):
            async with cache.lock("lock", wait=60) as lock:
                inside = await cache.increment("inside")
                print(inside, lock.token, flush=True)
                await cache.decrement("inside")"""
    running = [worker(work, redis_server.port, "processes") for _ in range(3)]
    tokens: list[int] = []
    for one in running:
        printed, _ = one.communicate(timeout=100)
        assert one.returncode == 0
        for line in printed.splitlines():
            inside, token = map(int, line.split())
            assert inside == 1
            tokens.append(token)
    assert len(set(tokens)) == 60
    assert ask(redis_server.port, "DEL", "processes:inside") == ":1\r\n"


async def test_what_a_killed_process_held_lapses(opened: Opened, redis_server: RedisServer) -> None:
    async with opened(namespace="killed") as cache:
        work = 'async with cache.lock("lock", ttl=1):\n            print("in", flush=True)\n            await asyncio.Event().wait()'
        process = worker(work, redis_server.port, "killed")
        try:
            assert process.stdout is not None
            assert await asyncio.to_thread(process.stdout.readline) == "in\n"
            with pytest.raises(RequestTimeout):
                async with cache.lock("lock", wait=0):
                    pytest.fail("two processes were in one lock")
        finally:
            process.kill()
            process.communicate()
        async with cache.lock("lock", wait=30):
            pass


def test_of_many_processes_one_computes(redis_server: RedisServer) -> None:
    work = """async def make():
            await asyncio.sleep(0.2)
            return b"%d" % await cache.increment("calls")
        print(*await asyncio.gather(*[cache.get_or_set("key", make) for _ in range(5)]))"""
    running = [worker(work, redis_server.port, "computing") for _ in range(3)]
    assert [one.communicate(timeout=100)[0] for one in running] == ["b'1' b'1' b'1' b'1' b'1'\n"] * 3
    ask(redis_server.port, "DEL", "computing:key", "computing:calls")


async def test_tokens_grow_although_the_server_has_forgotten_the_lock(opened: Opened, redis_server: RedisServer) -> None:
    async with opened(namespace="", database=6) as cache:
        async with cache.lock("lock") as lock:
            first = lock.token
        await cache._commands.execute("FLUSHDB")
        async with cache.lock("lock") as lock:
            second = lock.token
            assert second > first
        await cache._commands.execute("SET", b"pywatt:lock:{:lock}:token", b"%d" % (second + 10**9))  # the clock was put back
        async with cache.lock("lock") as lock:
            assert lock.token == second + 10**9 + 1


async def test_a_lock_that_somebody_removed_is_not_held(opened: Opened) -> None:
    async with opened(namespace="", database=6) as cache:
        with pytest.raises(Conflict, match="lapsed"):
            async with cache.lock("lock") as lock:
                await cache._commands.execute("DEL", b"pywatt:lock:{:lock}")
                with pytest.raises(Conflict):
                    await lock.extend()


async def test_scripts_that_the_server_forgot_are_sent_again(opened: Opened) -> None:
    async with opened(default_ttl=100) as cache:
        for number in range(3):
            await cache._commands.execute("SCRIPT", "FLUSH")
            assert await cache.increment("counter") == number + 1
            async with cache.lock("lock", wait=0) as lock:
                await cache._commands.execute("SCRIPT", "FLUSH")
                await lock.extend(5)


# ── a server that is started anew, and callers that go away ─────────────────────────────────────────────────────────


async def test_a_server_that_is_killed_and_started_again_under_load(start_server: Callable[..., Any]) -> None:
    with start_server(RedisServer) as server:
        options = Options(host="127.0.0.1", port=server.port, timeout=10)
        async with open_redis(options, Context(module_id="restarts", section="caches.main")) as cache:
            stop = asyncio.Event()
            outcomes: list[str] = []

            async def work(number: int) -> None:
                while not stop.is_set():
                    try:
                        await cache.set(f"key{number}", b"%d" % number)
                        assert await cache.get(f"key{number}") in (b"%d" % number, None)
                        await cache.increment("counter")
                        outcomes.append("done")
                    except Unavailable:
                        outcomes.append("unavailable")
                        await asyncio.sleep(0.001)

            tasks = [asyncio.create_task(work(number)) for number in range(16)]
            for _ in range(3):
                await progress(outcomes, "done")
                server.kill()
                await progress(outcomes, "unavailable")
                await asyncio.to_thread(server.start)
                await progress(outcomes, "done")
            stop.set()
            await asyncio.gather(*tasks)
            assert connections(server.port, "restarts") == 1


async def progress(outcomes: list[str], wanted: str) -> None:
    """Wait until something comes out this way again."""
    outcomes.clear()
    async with asyncio.timeout(60):
        while wanted not in outcomes:
            await asyncio.sleep(0.005)


async def test_a_thousand_callers_that_go_away_leave_nothing_at_the_server(opened: Opened, redis_server: RedisServer) -> None:
    chance = random.Random(seed := random.randrange(2**32))
    async with opened(namespace="cancelled", connections=2) as cache:

        async def work(number: int) -> None:
            async with cache.lock(f"lock{number % 5}", wait=60):
                await cache.set(f"key{number % 7}", b"%d" % number)
                await cache.get_many([f"key{one}" for one in range(7)])
                await cache.get_or_set(f"computed{number % 3}", lambda: b"1", ttl=0.01)

        for number in range(0, 1000, 20):
            tasks = [asyncio.create_task(work(number + one)) for one in range(20)]
            for task in tasks:
                for _ in range(chance.randrange(8)):
                    await asyncio.sleep(0)
                task.cancel()
            found = await asyncio.gather(*tasks, return_exceptions=True)
            assert not [one for one in found if isinstance(one, Exception)], f"seed {seed}: {found}"
        for number in range(5):
            async with cache.lock(f"lock{number}", wait=60):
                pass
        left = re.findall(
            r"pywatt:lock:\{:cancelled:[^}]*\}\r", ask(redis_server.port, "EVAL", "return redis.call('KEYS', 'pywatt:lock:*')", "0")
        )
        assert left == [], f"seed {seed}: locks stayed behind"
        assert connections(redis_server.port, "test") <= 2
    assert connections(redis_server.port, "test") == 0


def connections(port: int, module_id: str) -> int:
    return ask(port, "CLIENT", "LIST").count(f"name=pywatt:{module_id} ")


async def test_figures_of_the_server_only_where_the_whole_database_is_the_caches(opened: Opened) -> None:
    async with opened(namespace="", database=6) as cache:
        await cache.set("key", b"1")
        stats = await cache.stats()
        assert stats.item_count == 1
        assert (stats.memory_used_bytes or 0) > 100_000
    async with opened() as cache:
        await cache.delete_many(["key", "other"])
        await cache.set("key", b"1")
        await cache.delete("key")
        stats = await cache.stats()
        assert (stats.sets, stats.deletes, stats.item_count, stats.memory_used_bytes) == (1, 1, None, None)


async def test_aiocaches_own_interface_is_there(opened: Opened, redis_cluster: RedisCluster) -> None:
    async with opened(namespace="", database=6) as cache:
        await cache.set("key", b"\xff")
        assert await cache.aiocache.get("key") == b"\xff"
        await asyncio.gather(*[cache.aiocache.set("other", b"1") for _ in range(5)])
        assert await cache.get("other") == b"1"
    async with opened(cluster=True, port=redis_cluster.nodes[0].port) as cache:
        with pytest.raises(StorageError, match="cluster"):
            assert cache.aiocache


async def test_ping_and_what_the_cache_looks_like(opened: Opened) -> None:
    async with opened(password=None) as cache:
        await cache.ping()
    with pytest.raises(StorageError, match="closed"):
        await cache.ping()
    assert RedisCache.__name__ == "RedisCache"
