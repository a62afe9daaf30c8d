"""The shared connection: it carries many callers at once, breaks, stalls, fills up and comes back; each caller gets one outcome."""

from __future__ import annotations

import asyncio
import random
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from plugins.pywatt_redis.tests.servers import Relay, ask
from pywatt_core.errors import StorageError, Unavailable
from pywatt_core.interfaces import Context
from pywatt_redis import Options, open_redis
from pywatt_redis.failures import Lost
from pywatt_redis.scripts import ACQUIRE, RELEASE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractAsyncContextManager

    from pywatt_redis.cache import RedisCache
    from tools.running_servers import RedisServer

    Opened = Callable[..., AbstractAsyncContextManager[RedisCache]]


@pytest.fixture
def relay(redis_server: RedisServer) -> Iterator[Relay]:
    with closing(Relay(redis_server.port)) as relay:
        yield relay


async def test_what_is_asked_at_the_same_time_travels_together(opened: Opened, relay: Relay) -> None:
    async with relay, opened(port=relay.port) as cache:
        await cache.set_many({f"key{number}": b"%d" % number for number in range(64)})
        relay.writes.clear()
        found = await asyncio.gather(*[cache.get(f"key{number}") for number in range(64)])
        assert found == [b"%d" % number for number in range(64)]
        assert len(relay.writes) == 1
        assert relay.connections == 1


async def test_replies_belong_to_their_callers_whoever_goes_away(opened: Opened) -> None:
    chance = random.Random(seed := random.randrange(2**32))
    async with opened() as cache:
        await cache.set_many({f"key{number}": b"%d" % number for number in range(100)})

        async def work(number: int) -> None:
            for _ in range(20):
                assert await cache.get(f"key{number}") == b"%d" % number, f"seed {seed}"

        tasks = [asyncio.create_task(work(number)) for number in range(100)]
        for _ in range(30):
            await asyncio.sleep(0)
            chance.choice(tasks).cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} <= {type(None), asyncio.CancelledError}, f"seed {seed}"


async def test_a_caller_who_goes_away_harms_neither_the_connection_nor_others(opened: Opened, relay: Relay) -> None:
    async with relay, opened(port=relay.port) as cache:
        for _ in range(20):
            tasks = [asyncio.create_task(cache.increment("counter")) for _ in range(10)]
            await asyncio.sleep(0)
            for task in tasks[::2]:
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            assert [type(outcome) for outcome in outcomes] == [asyncio.CancelledError, int] * 5
        assert await cache.increment("counter") == 201
        assert relay.connections == 1


async def test_a_broken_connection_costs_a_question_nothing(opened: Opened, relay: Relay) -> None:
    async with relay, opened(port=relay.port) as cache:
        await cache.set("key", b"value")
        relay.cut_when(b"GET")
        assert await cache.get("key") == b"value"
        relay.cut_when(b"MGET")
        assert await cache.get_many(["key", "other"]) == {"key": b"value"}
        assert relay.connections == 3


async def test_a_change_that_may_have_happened_is_not_repeated(opened: Opened, relay: Relay) -> None:
    async with relay, opened(port=relay.port) as cache:
        relay.cut_when(b"INCRBY")
        with pytest.raises(Lost, match="whether the command was executed is not known") as caught:
            await cache.increment("counter")
        assert caught.value.executed == "unknown"
        assert await cache.increment("counter") == 2


async def test_a_lock_whose_release_was_not_answered_is_free(opened: Opened, relay: Relay) -> None:
    async with relay, opened(port=relay.port) as cache:
        async with cache.lock("lock"):
            pass  # from now on the server knows the scripts
        async with cache.lock("lock", wait=0):
            relay.cut_when(RELEASE._digest.encode())
        async with cache.lock("lock", wait=0):
            relay.cut_when(ACQUIRE._digest.encode())
        async with cache.lock("lock", wait=0) as lock:
            assert lock.token
        assert relay.connections == 3


async def test_every_caller_gets_one_outcome_when_the_connection_breaks(opened: Opened, relay: Relay) -> None:
    async with relay, opened(port=relay.port) as cache:
        await cache.set("key", b"value")
        relay.stall()
        changes = [asyncio.create_task(cache.increment("counter")) for _ in range(50)]
        questions = [asyncio.create_task(cache.get("key")) for _ in range(50)]
        while b"GET" not in b"".join(relay.writes):
            await asyncio.sleep(0.001)
        relay.cut()
        relay.go_on()
        outcomes = await asyncio.gather(*changes, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {Lost}
        assert await asyncio.gather(*questions) == [b"value"] * 50
        assert await cache.increment("counter") <= 51


async def test_a_connection_that_broke_while_nobody_asked_is_made_anew(opened: Opened, relay: Relay) -> None:
    async with relay, opened(port=relay.port) as cache:
        for _ in range(5):
            relay.cut()
            while cache._commands._line is not None:  # type: ignore[attr-defined]
                await asyncio.sleep(0.001)
            await asyncio.gather(*[cache.set(f"key{number}", b"1") for number in range(10)])
        assert relay.connections == 6


async def test_a_server_that_does_not_answer_in_time_is_unavailable_and_left(opened: Opened, relay: Relay) -> None:
    async with relay, opened(port=relay.port, timeout=1) as cache:
        relay.stall()
        with pytest.raises(Unavailable, match=r"did not answer within 1 s: raise timeout|the connection broke: no answer in time"):
            await cache.set("key", b"1")
        relay.go_on()
        await cache.set("key", b"2")
        assert await cache.get("key") == b"2"
        assert relay.connections == 2


async def test_a_slow_answer_is_given_up_and_harms_nobody_else() -> None:
    slowly = False

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(10_000):
            for _ in range(data.count(b"*")):
                await asyncio.sleep(0.3 if slowly else 0)
                writer.write(b"+OK\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        where = Options(host="127.0.0.1", port=server.sockets[0].getsockname()[1], timeout=1)
        async with open_redis(where, Context(module_id="test", section="caches.main")) as cache:
            slowly = True
            line: Any = cache._commands._line  # type: ignore[attr-defined]
            outcomes = await asyncio.gather(*[cache.set("key", b"1") for _ in range(6)], return_exceptions=True)
            assert outcomes[0] is None
            assert "did not answer within 1 s" in str(outcomes[5])
            assert line.failure is None, "a connection on which answers come was cut"
            while line.under_way:
                await asyncio.sleep(0.01)
            slowly = False
            await cache.set("key", b"2")


async def test_only_so_many_commands_are_under_way_and_the_others_wait(opened: Opened, relay: Relay) -> None:
    async with relay, opened(port=relay.port, pending=10, timeout=30) as cache:
        relay.stall()
        tasks = [asyncio.create_task(cache.increment("counter")) for _ in range(100)]
        for _ in range(50):
            await asyncio.sleep(0.001)
            assert cache._commands.under_way <= 10  # type: ignore[attr-defined]
        for task in tasks[50:60]:
            task.cancel()
        relay.go_on()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert sorted(outcome for outcome in done if isinstance(outcome, int)) == list(range(1, 91))


async def test_waiting_for_room_has_a_deadline(opened: Opened, relay: Relay) -> None:
    async with relay, opened(port=relay.port, pending=1, timeout=0.2, connect_timeout=2) as cache:
        relay.stall()
        outcomes = await asyncio.gather(*[cache.set("key", b"1") for _ in range(5)], return_exceptions=True)
        relay.go_on()
        assert {isinstance(outcome, Unavailable) for outcome in outcomes} == {True}


async def test_large_values_wait_for_the_connection_instead_of_filling_the_memory(opened: Opened, relay: Relay) -> None:
    async with relay, opened(port=relay.port, timeout=60) as cache:
        value = bytes(8 * 1024 * 1024)
        tasks = [asyncio.create_task(cache.set(f"key{number}", value)) for number in range(12)]
        highest = 0
        while not all(task.done() for task in tasks):
            await asyncio.sleep(0)
            line: Any = cache._commands._line  # type: ignore[attr-defined]
            highest = max(highest, line._size if line is not None else 0)
        await asyncio.gather(*tasks)
        assert highest <= 24 * 1024 * 1024 + 10_000


async def test_a_server_that_is_not_there_is_unavailable_at_once_and_by_its_name(opened: Opened) -> None:
    with pytest.raises(Unavailable, match=r"Redis at 127.0.0.1:1 cannot be reached: Connection refused"):
        async with opened(port=1):
            pytest.fail("opened nothing")


async def test_a_connection_that_cannot_be_made_has_a_deadline(opened: Opened, relay: Relay) -> None:
    async with relay, opened(port=relay.port, connect_timeout=1) as cache:
        relay.stall()
        relay.cut()
        with pytest.raises(Unavailable, match="cannot be reached: no answer in time|whether the command was executed"):
            await cache.set("key", b"1")
        relay.go_on()
        await cache.set("key", b"2")


async def test_closing_waits_for_what_is_under_way_and_then_cuts(opened: Opened, relay: Relay, redis_server: RedisServer) -> None:
    async with relay, opened(port=relay.port, namespace="closing", close_timeout=10) as cache:
        task = asyncio.create_task(cache.set("key", b"1"))
        await asyncio.sleep(0)
        await cache.close()
        await task
        await cache.close()
    assert "$1\r\n1" in ask(redis_server.port, "GET", "closing:key")
    async with relay, opened(port=relay.port, close_timeout=0.1) as cache:
        relay.stall()
        task = asyncio.create_task(cache.set("key", b"1"))
        await asyncio.sleep(0)
        await cache.close()
        with pytest.raises(StorageError, match="closed"):
            await task
        relay.go_on()


async def test_a_reply_that_nobody_asked_for_ends_the_connection() -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.read(1000):
                writer.write(b"+OK\r\n" * 5)
        finally:
            writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(Unavailable):
            async with open_redis(Options(host="127.0.0.1", port=port, timeout=1), Context(module_id="x", section="caches.main")) as cache:
                for _ in range(100):
                    await cache.set("key", b"1")
                    await asyncio.sleep(0)


@pytest.mark.parametrize("noise", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"$-7\r\n", b"*9999999999999\r\n", b"\x00\xff" * 100])
async def test_what_does_not_speak_redis_is_unavailable(noise: bytes) -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(noise)
        try:
            await reader.read(1000)
        finally:
            writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(Unavailable):
            async with open_redis(Options(host="127.0.0.1", port=port, connect_timeout=1), Context(module_id="x", section="caches.main")):
                pytest.fail("opened noise")
