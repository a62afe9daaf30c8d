"""Locks among the tasks of one loop."""

from __future__ import annotations

import asyncio

import pytest

from pywatt_core.builtin.memory_lock import MemoryLocks
from pywatt_core.errors import Conflict, RequestTimeout, StorageError


async def test_a_lock_is_given_in_the_order_of_asking() -> None:
    locks = MemoryLocks()
    order: list[int] = []

    async def work(number: int) -> None:
        async with locks.lock("lock", ttl=30, wait=30):
            order.append(number)
            await asyncio.sleep(0)

    async with locks.lock("lock", ttl=30, wait=0):
        tasks = []
        for number in range(20):
            tasks.append(asyncio.create_task(work(number)))
            await asyncio.sleep(0)
        tasks[7].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert order == [number for number in range(20) if number != 7]


async def test_nobody_overtakes_those_who_wait() -> None:
    locks = MemoryLocks()
    order: list[str] = []

    async def work(name: str) -> None:
        async with locks.lock("lock", ttl=30, wait=30):
            order.append(name)

    async with locks.lock("lock", ttl=30, wait=0):
        waiting = asyncio.create_task(work("waited"))
        await asyncio.sleep(0)
    await work("came later")
    await waiting
    assert order == ["waited", "came later"]


async def test_a_lock_that_lapses_goes_to_the_next_and_its_owner_is_told() -> None:
    locks = MemoryLocks()
    with pytest.raises(Conflict, match="'lock' lapsed before its block had ended"):
        async with locks.lock("lock", ttl=0.01, wait=0), locks.lock("lock", ttl=30, wait=30):
            pass
    async with locks.lock("lock", ttl=30, wait=0):
        pass


async def test_an_error_inside_matters_more_than_a_lock_that_has_lapsed() -> None:
    locks = MemoryLocks()
    with pytest.raises(ZeroDivisionError):
        async with locks.lock("lock", ttl=0.01, wait=0), locks.lock("lock", ttl=30, wait=30):
            raise ZeroDivisionError


@pytest.mark.parametrize("ttl", [0, -1, float("inf"), float("nan")])
async def test_a_lock_without_an_end_is_refused(ttl: float) -> None:
    with pytest.raises(StorageError, match="ttl"):
        async with MemoryLocks().lock("lock", ttl=ttl, wait=0):
            pass


async def test_closing_tells_those_who_wait() -> None:
    locks = MemoryLocks()

    async def work() -> None:
        async with locks.lock("lock", ttl=30, wait=None):
            pytest.fail("the lock was never free")

    async with locks.lock("lock", ttl=30, wait=0):
        waiting = asyncio.create_task(work())
        await asyncio.sleep(0)
        locks.close()
    with pytest.raises(StorageError, match="closed"):
        await waiting


async def test_nothing_is_kept_of_locks_that_are_free() -> None:
    locks = MemoryLocks()
    for number in range(100):
        async with locks.lock(f"lock{number}", ttl=30, wait=0):
            with pytest.raises(RequestTimeout):
                async with locks.lock(f"lock{number}", ttl=30, wait=0):
                    pass
    assert not locks._held
    assert not locks._waiting
