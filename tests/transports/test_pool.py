"""A pool of connections: bounded, the last used first, the ill and the old closed, nobody kept waiting for ever."""

from __future__ import annotations

import asyncio
import random
import socket
from typing import Any

import pytest

from pywatt_core.errors import RequestTimeout
from pywatt_core.protocol.session import Role, Session, Wire
from pywatt_core.telemetry.channel_metrics import PoolMetrics
from pywatt_core.transports.link import Link
from pywatt_core.transports.pool import ConnectionPool


class Made:
    """Connections that remember what became of them."""

    def __init__(self) -> None:
        self.all: list[Made.One] = []

    class One:
        def __init__(self) -> None:
            self.closed = False
            self.healthy = True

    async def open(self) -> One:
        await asyncio.sleep(0)
        self.all.append(self.One())
        return self.all[-1]

    async def close(self, one: One) -> None:
        one.closed = True

    def pool(self, **options: Any) -> ConnectionPool[One]:
        return ConnectionPool(self.open, close=self.close, is_healthy=lambda one: one.healthy, **options)


@pytest.fixture
def made() -> Made:
    return Made()


async def test_a_pool_tells_how_long_its_connections_live(made: Made) -> None:
    async with made.pool(maximum=3) as pool:
        async with pool.connection(), pool.connection() as ill:
            ill.healthy = False
        metrics = PoolMetrics.of(pool)
        assert (metrics.active_connections, metrics.idle_connections, metrics.max_pool_size) == (0, 1, 3)
        assert (metrics.total_connections_created, metrics.total_connections_destroyed) == (2, 1)
        assert metrics.avg_connection_lifetime.seconds > 0
        assert pool._born.keys() == {id(made.all[0])}


async def test_a_connection_is_used_again_and_the_one_used_last_first(made: Made) -> None:
    async with made.pool() as pool:
        async with pool.connection() as first, pool.connection() as second:
            assert pool.stats[:3] == (0, 10, 2)
        # the inner block ended first: `first` was put back last
        async with pool.connection() as again:
            assert again is first
        assert pool.stats._asdict() == {"available": 2, "max": 10, "active": 0, "waiting": 0, "created": 2, "destroyed": 0, "lifetime": 0.0}
    assert [one.closed for one in (first, second)] == [True, True]


async def test_no_more_than_the_limit_are_open_and_who_waits_longest_is_served_first(made: Made) -> None:
    order: list[int] = []

    async def use(pool: Any, number: int) -> None:
        async with pool.connection():
            order.append(number)
            assert pool.stats.active <= 2
            await asyncio.sleep(0)

    async with made.pool(maximum=2) as pool:
        await asyncio.gather(*(use(pool, number) for number in range(20)))
    assert order == list(range(20))
    assert len(made.all) == 2


async def test_who_waits_in_vain_is_told_why(made: Made) -> None:
    async with made.pool(maximum=1) as pool, pool.connection():
        with pytest.raises(RequestTimeout, match=r"no connection within 0\.01 s: all 1 are in use"):
            async with pool.connection(timeout=0.01):
                pass
        assert pool.stats.waiting == 0


async def test_a_peer_that_does_not_answer_is_not_waited_for(made: Made) -> None:
    async def never() -> Made.One:
        await asyncio.Event().wait()
        raise AssertionError

    async with ConnectionPool(never, close=made.close, wait=0.01) as pool:
        with pytest.raises(RequestTimeout, match=r"the other end does not answer"):
            async with pool.connection():
                pass
        assert pool.stats.active == 0


async def test_one_that_fell_ill_while_it_lay_idle_is_closed_and_replaced(made: Made) -> None:
    async with made.pool() as pool:
        async with pool.connection() as first:
            pass
        first.healthy = False
        async with pool.connection() as second:
            assert second is not first
        assert pool.stats.destroyed == 1
    assert first.closed


async def test_one_whose_use_failed_is_not_used_again(made: Made) -> None:
    async with made.pool() as pool:
        with pytest.raises(ValueError):
            async with pool.connection() as first:
                raise ValueError
        async with pool.connection() as second:
            assert second is not first
    assert first.closed


async def test_a_failed_attempt_gives_its_place_back(made: Made) -> None:
    async def refuse() -> Made.One:
        raise ConnectionRefusedError("nobody there")

    async with ConnectionPool(refuse, close=made.close, maximum=1) as pool:
        for _ in range(3):
            with pytest.raises(ConnectionRefusedError):
                async with pool.connection():
                    pass
        assert pool.stats.active == 0


async def test_those_that_lie_idle_for_too_long_are_closed(made: Made) -> None:
    async with made.pool(idle=0.01) as pool:
        async with pool.connection(), pool.connection():
            pass
        async with asyncio.timeout(20):
            while not all(one.closed for one in made.all):
                await asyncio.sleep(0.001)
        assert pool.stats[:3] == (0, 10, 0)


async def test_closing_tells_those_who_wait_and_closes_what_comes_back(made: Made) -> None:
    pool = made.pool(maximum=1)
    async with pool.connection() as held:
        waiting = asyncio.create_task(pool.connection().__aenter__())
        await asyncio.sleep(0)
        await pool.close()
        with pytest.raises(RuntimeError, match="the pool is closed"):
            await waiting
        assert not held.closed
    with pytest.raises(RuntimeError, match="the pool is closed"):
        async with pool.connection():
            pass
    await pool.close()
    assert held.closed


async def test_a_place_that_comes_together_with_a_cancellation_goes_to_the_next(made: Made) -> None:
    async with made.pool(maximum=1, wait=5) as pool:
        async with pool.connection():
            late, next_ = (asyncio.create_task(pool.connection().__aenter__()) for _ in range(2))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert pool.stats.waiting == 2
        late.cancel()  # it has been given the place and has not run since
        await next_
        assert (pool.stats.active, pool.stats.waiting) == (1, 0)


async def test_a_thousand_cancellations_lose_no_place(made: Made) -> None:
    chance = random.Random(1)

    async def use(pool: Any) -> None:
        async with pool.connection():
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(0)

    async with made.pool(maximum=3) as pool:
        tasks = []
        for number in range(1000):
            tasks.append(asyncio.create_task(use(pool)))
            await asyncio.sleep(0)
            tasks[chance.randrange(number + 1)].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert (pool.stats.active, pool.stats.waiting) == (0, 0)
        async with pool.connection(), pool.connection(), pool.connection():
            pass
    assert all(one.closed for one in made.all)


async def test_links_in_a_pool_are_replaced_when_their_peer_is_gone() -> None:
    loop = asyncio.get_running_loop()
    peers: list[socket.socket] = []

    async def connect() -> Link:
        ours, theirs = socket.socketpair()
        peers.append(theirs)
        make = lambda: Link(Session(Role.MODULE, Wire.CHANNEL), on_message=lambda message, link: None)  # noqa: E731
        _, link = await loop.create_unix_connection(make, sock=ours)
        return link

    async with ConnectionPool(connect, close=Link.close, is_healthy=lambda link: not link.closed.done()) as pool:
        async with pool.connection() as first:
            pass
        peers[0].close()
        await first.closed
        async with pool.connection() as second:
            assert second is not first
    peers[1].close()


@pytest.mark.parametrize("options", [{"maximum": 0}, {"wait": 0}, {"idle": -1}])
async def test_limits_that_make_no_sense_are_refused(made: Made, options: Any) -> None:
    with pytest.raises(ValueError, match="must be"):
        made.pool(**options)
