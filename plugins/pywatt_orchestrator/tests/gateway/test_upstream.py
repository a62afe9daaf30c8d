"""Instances and their connections: chosen, pooled, bounded, given up."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any

import pytest

from pywatt_core.protocol.values import TcpAddress, UnixAddress
from pywatt_orchestrator.gateway.upstream import Instance, Pool, least_busy

ADDRESS = TcpAddress("127.0.0.1", 1)


def instance(name: str, *, in_flight: int = 0, ready: bool = True) -> Instance:
    made = Instance(name, ADDRESS, ready=ready)
    made.in_flight = in_flight
    return made


def test_the_least_busy_ready_instance_is_chosen() -> None:
    a, b, c = instance("a", in_flight=2), instance("b", in_flight=1), instance("c", ready=False)
    assert all(least_busy([a, b, c]) is b for _ in range(5))


def test_equals_take_turns() -> None:
    a, b, c = instance("a"), instance("b"), instance("c")
    chosen = [least_busy([a, b, c]) for _ in range(6)]
    assert [chosen.count(one) for one in (a, b, c)] == [2, 2, 2]


def test_an_instance_to_avoid_is_chosen_only_where_it_is_alone() -> None:
    a, b = instance("a"), instance("b", in_flight=9)
    assert all(least_busy([a, b], a) is b for _ in range(5))
    b.ready = False
    assert least_busy([a, b], a) is a
    a.ready = False
    assert least_busy([a, b], a) is least_busy([a]) is least_busy([]) is None


def test_an_instance_needs_exactly_one_way_to_it() -> None:
    with pytest.raises(ValueError, match="instance x needs an address to send requests to, or a function that carries them"):
        Instance("x", None)


async def test_connections_are_kept_and_the_last_used_taken_first(stage: Any) -> None:
    async with stage.module() as module:
        pool = Pool(module.address, 10, 1.0)
        first, second = await pool.acquire(), await pool.acquire()
        pool.give_back(first, 1.0)
        pool.give_back(second, 2.0)
        assert pool.take() is second and pool.take() is first and pool.take() is None
        assert pool.size == 2
        pool.close()


async def test_a_unix_socket_is_reached_by_path_and_by_abstract_name(stage: Any, tmp_path: Any) -> None:
    async with stage.module(path=tmp_path / "s") as module:
        connection = await Pool(module.address, 1, 1.0).acquire()
        connection.discard()
    name = f"pywatt-test-{id(stage)}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"\0{name}")
        listener.listen()
        connection = await Pool(UnixAddress(f"@{name}"), 1, 1.0).acquire()
        connection.discard()


async def test_no_more_connections_than_the_limit_and_the_next_waits_its_turn(stage: Any) -> None:
    async with stage.module() as module:
        pool = Pool(module.address, 1, 1.0)
        connection = await pool.acquire()
        waiting = [asyncio.create_task(pool.acquire()) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await asyncio.sleep(0)
        pool.give_back(connection, 0.0)
        assert await waiting[1] is connection
        connection.discard()  # lost in use: the last one that waits may open another
        other = await waiting[2]
        assert other is not connection and pool.size == 1
        pool.close()
        other.discard()


async def test_a_turn_that_is_cancelled_when_it_comes_is_passed_on(stage: Any) -> None:
    async with stage.module() as module:
        pool = Pool(module.address, 1, 1.0)
        connection = await pool.acquire()
        waiting = [asyncio.create_task(pool.acquire()) for _ in range(2)]
        await asyncio.sleep(0)
        pool.give_back(connection, 0.0)
        waiting[0].cancel()
        assert await waiting[1] is connection
        connection.discard()


async def test_an_unreachable_instance_is_an_error_and_frees_its_place() -> None:
    pool = Pool(UnixAddress("/nonexistent/socket"), 1, 1.0)
    for _ in range(3):
        with pytest.raises(OSError, match=r"No such file|nonexistent"):
            await pool.acquire()
    assert pool.size == 0


async def test_a_connect_that_is_cancelled_leaves_nothing_behind(stage: Any) -> None:
    async with stage.module() as module:
        for turns in range(6):
            pool = Pool(module.address, 1, 1.0)
            task = asyncio.create_task(pool.acquire())
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                (await task).discard()
            await stage.until(lambda pool=pool: pool.size == 0)
        await stage.until(lambda: not module.writers)


async def test_idle_connections_are_closed_in_time_and_lost_ones_forgotten(stage: Any) -> None:
    async with stage.module() as module:
        pool = Pool(module.address, 10, 1.0)
        old, new = await pool.acquire(), await pool.acquire()
        pool.give_back(old, 1.0)
        pool.give_back(new, 5.0)
        pool.expire(3.0)
        await stage.until(lambda: pool.size == 1)
        module.kill()
        await stage.until(lambda: pool.size == 0)
        assert pool.take() is None


async def test_a_closed_pool_keeps_nothing(stage: Any) -> None:
    async with stage.module() as module:
        pool = Pool(module.address, 10, 1.0)
        used, idle = await pool.acquire(), await pool.acquire()
        pool.give_back(idle, 0.0)
        pool.close()
        pool.give_back(used, 0.0)
        await stage.until(lambda: pool.size == 0)
