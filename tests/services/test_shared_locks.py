"""Locks among processes, over a store that can set a name where it is free."""

from __future__ import annotations

import asyncio

import pytest

from pywatt_core.errors import Conflict, RequestTimeout, Unavailable
from pywatt_core.services.shared_locks import SharedLocks


class Store:
    """One that counts, hesitates, and fails where it is told to."""

    def __init__(self) -> None:
        self.held: dict[str, str] = {}
        self.token = 0
        self.questions = 0
        self.under_way = 0
        self.failing = ""

    async def acquire_lock(self, key: str, owner: str, ttl: float) -> int | None:
        self.questions += 1
        if key in self.held:
            await asyncio.sleep(0)
            return None
        self.under_way += 1
        asyncio.get_running_loop().call_later(0.002, self.arrive, key, owner)  # what is sent arrives, whoever has gone
        while self.under_way:  # here a caller may be cancelled
            await asyncio.sleep(0)
        if self.failing == "acquire":
            raise Unavailable("the answer was lost")
        self.token += 1
        return self.token

    def arrive(self, key: str, owner: str) -> None:
        self.held[key] = owner
        self.under_way -= 1

    async def extend_lock(self, key: str, owner: str, ttl: float) -> bool:
        return self.held.get(key) == owner

    async def release_lock(self, key: str, owner: str) -> bool:
        await asyncio.sleep(0)
        if self.failing == "release":
            raise Unavailable("gone")
        if self.held.get(key) != owner:
            return False
        del self.held[key]
        return True


async def test_only_the_first_in_line_asks() -> None:
    store = Store()
    locks = SharedLocks(store)

    async def work() -> None:
        async with locks.lock("lock", ttl=30, wait=60):
            await asyncio.sleep(0)

    async with locks.lock("lock", ttl=30, wait=0):
        waiting = [asyncio.create_task(work()) for _ in range(50)]
        for _ in range(20):
            await asyncio.sleep(0)
        assert store.questions <= 3
    await asyncio.gather(*waiting)
    assert not store.held


async def test_a_caller_that_is_cancelled_while_it_asks_holds_nothing() -> None:
    store = Store()
    locks = SharedLocks(store)

    async def work() -> None:
        async with locks.lock("lock", ttl=30, wait=60):
            await asyncio.Event().wait()

    for steps in range(8):
        task = asyncio.create_task(work())
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while store.under_way:
            await asyncio.sleep(0)
        assert not store.held
        assert not locks._lines


async def test_an_answer_that_is_lost_frees_the_lock() -> None:
    store = Store()
    locks = SharedLocks(store)
    store.failing = "acquire"
    with pytest.raises(Unavailable, match="the answer was lost"):
        async with locks.lock("lock", ttl=30, wait=0):
            pytest.fail("entered without an answer")
    assert not store.held


async def test_an_error_inside_matters_more_than_one_of_the_store() -> None:
    store = Store()
    locks = SharedLocks(store)
    with pytest.raises(ZeroDivisionError):
        async with locks.lock("lock", ttl=30, wait=0):
            store.failing = "release"
            raise ZeroDivisionError
    store.held.clear()
    with pytest.raises(Unavailable, match="gone"):
        async with locks.lock("lock", ttl=30, wait=0):
            pass


async def test_whoever_lost_the_lock_is_told() -> None:
    store = Store()
    locks = SharedLocks(store)
    with pytest.raises(Conflict, match="'lock' lapsed"):
        async with locks.lock("lock", ttl=30, wait=0) as lock:
            await lock.extend(60)
            store.held["lock"] = "somebody else"
            with pytest.raises(Conflict, match="'lock' lapsed"):
                await lock.extend()
    assert store.held == {"lock": "somebody else"}
    with pytest.raises(RequestTimeout, match=r"the lock 'lock' was not free within 0\.05 s"):
        async with locks.lock("lock", ttl=30, wait=0.05):
            pytest.fail("entered a lock that another holds")
    assert 1 < store.questions < 30
    assert not locks._lines
