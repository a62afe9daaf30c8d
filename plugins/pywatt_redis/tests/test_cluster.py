"""A cluster: keys find their nodes, slots move while they are used, nodes go and come back."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from redis.crc import key_slot

from plugins.pywatt_redis.tests.servers import RedisCluster, ask, until
from pywatt_core.errors import StorageError, Unavailable
from pywatt_redis.cluster import Cluster
from tools.running_servers import RedisServer, free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from contextlib import AbstractAsyncContextManager

    from pywatt_redis.cache import RedisCache

    Opened = Callable[..., AbstractAsyncContextManager[RedisCache]]


@pytest.fixture
def in_cluster(opened: Opened, redis_cluster: RedisCluster) -> Opened:
    def open_it(**options: Any) -> AbstractAsyncContextManager[RedisCache]:
        return opened(**{"cluster": True, "port": redis_cluster.nodes[0].port, **options})

    return open_it


def identity(node: RedisServer) -> str:
    return ask(node.port, "CLUSTER", "MYID").split("\r\n")[1]


def home(cluster: RedisCluster, slot: int) -> RedisServer:
    """The node that has a slot, once all of them agree."""
    until(lambda: len({named(node, slot) for node in cluster.nodes}) == 1, f"the nodes agree about slot {slot}")
    return next(node for node in cluster.nodes if node.port == named(node, slot))


def settled(cluster: RedisCluster) -> bool:
    """Whether all nodes know the age of each node's claims, and no two are of the same age."""
    views = set()
    for node in cluster.nodes:
        lines = [line.split() for line in ask(node.port, "CLUSTER", "NODES").splitlines()]
        views.add(frozenset((words[0], words[6]) for words in lines if len(words) > 7))
    return len(views) == 1 and len({age for _, age in next(iter(views))}) == len(cluster.nodes)


def named(node: RedisServer, slot: int) -> int | None:
    """The port of whom a node believes to have a slot."""
    for line in ask(node.port, "CLUSTER", "NODES").splitlines():
        for part in line.split()[8:]:
            first, _, last = part.partition("-")
            if not part.startswith("[") and int(first) <= slot <= int(last or first):
                return int(line.split()[1].partition("@")[0].rpartition(":")[2])
    return None


@asynccontextmanager
async def moving(cluster: RedisCluster, slot: int) -> AsyncIterator[Callable[[str], None]]:
    """While a slot is on its way to another node; call what is given with a key of the slot to move that key."""
    # Gossip that is still on its way from the last move would undo this one.
    until(lambda: settled(cluster), "the nodes know each other's latest claims")
    source = home(cluster, slot)
    target = next(node for node in cluster.nodes if node is not source)
    ask(target.port, "CLUSTER", "SETSLOT", str(slot), "IMPORTING", identity(source))
    ask(source.port, "CLUSTER", "SETSLOT", str(slot), "MIGRATING", identity(target))

    def move(key: str) -> None:
        reply = ask(source.port, "MIGRATE", "127.0.0.1", str(target.port), key, "0", "30000")
        assert reply.startswith("+"), reply  # +NOKEY: it was made at the target at once

    yield move
    ask(target.port, "CLUSTER", "SETSLOT", str(slot), "NODE", identity(target))
    ask(target.port, "CLUSTER", "BUMPEPOCH")
    for node in cluster.nodes:
        ask(node.port, "CLUSTER", "SETSLOT", str(slot), "NODE", identity(target))


async def test_keys_are_spread_over_the_nodes_and_found_again(in_cluster: Opened, redis_cluster: RedisCluster) -> None:
    async with in_cluster() as cache:
        items = {f"key{number}": b"%d" % number for number in range(1000)}
        await cache.set_many(items)
        assert await cache.get_many([*items, "nothing"]) == items
        for node in redis_cluster.nodes:
            assert int(ask(node.port, "DBSIZE")[1:]) > 100
        await cache.clear()
        assert await cache.get_many(list(items)) == {}


async def test_any_node_leads_to_all(in_cluster: Opened, redis_cluster: RedisCluster) -> None:
    hosts = tuple(f"127.0.0.1:{port}" for port in (free_port(), redis_cluster.nodes[2].port))
    async with in_cluster(host="", port=None, hosts=hosts, connections=2) as cache:
        items = {f"key{number}": b"1" for number in range(100)}
        await cache.set_many(items)
        assert await cache.get_many(list(items)) == items


async def test_a_slot_that_moves_is_followed_without_an_error(in_cluster: Opened, redis_cluster: RedisCluster) -> None:
    async with in_cluster(namespace="moving{slot}") as cache:
        slot = key_slot(b"slot")
        await cache.set_many({"moved": b"1", "stays": b"2"})
        async with moving(redis_cluster, slot) as move:
            move("moving{slot}:moved")
            assert await cache.get("moved") == b"1"
            assert await cache.get("stays") == b"2"
            assert await cache.get("never was there") is None
            assert await cache.increment("moved") == 2
            assert await cache.get_many(["moved", "stays"]) == {"moved": b"2", "stays": b"2"}
            assert await cache.set_nx("new", b"3")
            move("moving{slot}:stays")
        assert await cache.get_many(["moved", "stays", "new"]) == {"moved": b"2", "stays": b"2", "new": b"3"}
        assert await cache.increment("moved") == 3
        assert isinstance(cache._commands, Cluster)
        assert cache._commands._slots[slot] == ("127.0.0.1", home(redis_cluster, slot).port), "the new place was not learnt"
        async with cache.lock("lock", wait=5) as lock:
            assert lock.token


async def test_slots_move_to_and_fro_under_load(in_cluster: Opened, redis_cluster: RedisCluster) -> None:
    async with in_cluster(namespace="load{load}", timeout=30) as cache:
        slot = key_slot(b"load")
        stop = asyncio.Event()

        async def count(number: int) -> int:
            done = 0
            while not stop.is_set():
                done += 1
                assert await cache.increment(f"counter{number}") == done
            return done

        tasks = [asyncio.create_task(count(number)) for number in range(8)]
        for _ in range(4):
            async with moving(redis_cluster, slot) as move:
                for number in range(8):
                    await asyncio.to_thread(move, f"load{{load}}:counter{number}")
                await asyncio.sleep(0)
        stop.set()
        assert min(await asyncio.gather(*tasks)) > 0


async def test_locks_and_their_tokens_are_in_one_slot(in_cluster: Opened) -> None:
    async with in_cluster() as cache:
        for name in ("plain", "{a}b", "}", "{}", "a}{b", "😀", ""):
            async with cache.lock(name) as first:
                pass
            async with cache.lock(name) as second:
                assert second.token > first.token


async def test_a_node_that_is_gone_is_unavailable_and_comes_back(start_server: Callable[..., Any], opened: Opened) -> None:
    with RedisCluster(start_server) as cluster:
        async with opened(cluster=True, port=cluster.nodes[0].port, timeout=2, connect_timeout=1) as cache:
            lost, kept = cluster.nodes[1], cluster.nodes[0]
            there = next(key for key in map(str, range(1000)) if home(cluster, key_slot(f"{cache._prefix}{key}".encode())) is lost)
            here = next(key for key in map(str, range(1000)) if home(cluster, key_slot(f"{cache._prefix}{key}".encode())) is kept)
            lost.kill()
            for ask_it in (cache.get, cache.increment, cache.exists):
                with pytest.raises(Unavailable):
                    await ask_it(there)
            with pytest.raises(Unavailable):
                await cache.get_many([here, there])
            await cache.set(here, b"1")
            assert await cache.get(here) == b"1"
            lost.start()
            until(lambda: all(cluster.agreed(node) for node in cluster.nodes), "the cluster is whole again")
            await cache.set(there, b"1")
            assert await cache.get_many([here, there]) == {here: b"1", there: b"1"}


async def test_a_replica_that_takes_over_is_found(start_server: Callable[..., Any], opened: Opened) -> None:
    with RedisCluster(start_server) as cluster:
        lost = cluster.nodes[1]
        options = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()), "--repl-diskless-sync-delay", "0")
        with start_server(RedisServer, *options) as replica:
            ask(replica.port, "CLUSTER", "MEET", "127.0.0.1", str(lost.port), lost._arguments[3])
            until(lambda: "+OK" in ask(replica.port, "CLUSTER", "REPLICATE", identity(lost)), "the replica knows its primary")
            until(lambda: "master_link_status:up" in ask(replica.port, "INFO", "replication"), "the replica follows")
            async with opened(cluster=True, port=cluster.nodes[0].port) as cache:
                there = next(key for key in map(str, range(1000)) if home(cluster, key_slot(f"{cache._prefix}{key}".encode())) is lost)
                await cache.set(there, b"1")
                until(lambda: int(ask(replica.port, "DBSIZE")[1:]) == 1, "the replica has the value")
                lost.kill()
                ask(replica.port, "CLUSTER", "FAILOVER", "TAKEOVER")
                until(lambda: f":{replica.port}" in owner(cluster.nodes[0], replica), "the others know the new primary")
                assert await cache.get(there) == b"1"
                assert await cache.increment(there) == 2


def owner(node: RedisServer, replica: RedisServer) -> str:
    """What a node says of another, where that is a primary with slots."""
    lines = ask(node.port, "CLUSTER", "NODES").splitlines()
    return next((line for line in lines if f":{replica.port}@" in line and " master " in line and line[-1].isdigit()), "")


async def test_a_server_that_is_no_cluster_is_refused(opened: Opened) -> None:
    with pytest.raises(StorageError, match="cluster"):
        async with opened(cluster=True):
            pytest.fail("opened a cluster that is none")


async def test_closing_while_somebody_asks_ends_every_question(in_cluster: Opened) -> None:
    async with in_cluster(close_timeout=0) as cache:
        commands = cache._commands
        assert isinstance(commands, Cluster)
        commands._slots = []  # as when nothing is known yet
        asking = [asyncio.create_task(cache.get(f"key{number}")) for number in range(20)]
        await asyncio.sleep(0)
        await cache.close()
        for outcome in await asyncio.gather(*asking, return_exceptions=True):
            assert outcome is None or (isinstance(outcome, StorageError) and "closed" in str(outcome)), outcome


@pytest.fixture(autouse=True)
def slots_are_where_they_were(redis_cluster: RedisCluster) -> Iterator[None]:
    yield
    for node in redis_cluster.nodes:
        until(lambda node=node: redis_cluster.agreed(node), "the cluster agrees")  # type: ignore[misc]
