"""Taking turns in a transaction, and cleaning up that a cancellation does not leave half done."""

from __future__ import annotations

import asyncio
import logging

import pytest

from pywatt_core.errors import StorageError, Unavailable
from pywatt_core.sql.turns import Turn, finished


async def test_cleaning_up_is_finished_before_a_cancellation_goes_on() -> None:
    going, may_end, cleaned = asyncio.Event(), asyncio.Event(), []

    async def clean_up() -> str:
        going.set()
        await may_end.wait()
        cleaned.append(True)
        return "clean"

    task = asyncio.create_task(finished(clean_up()))
    await going.wait()
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cleaned
    assert await finished(clean_up()) == "clean"


async def test_what_fails_is_raised_or_logged_where_a_cancellation_is_raised_instead(caplog: pytest.LogCaptureFixture) -> None:
    may_fail = asyncio.Event()

    async def fail() -> None:
        await may_fail.wait()
        raise StorageError("the disk is gone")

    task = asyncio.create_task(finished(fail()))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    may_fail.set()
    with caplog.at_level(logging.WARNING, "pywatt.sql"), pytest.raises(asyncio.CancelledError):
        await task
    assert "the disk is gone" in caplog.text
    with pytest.raises(StorageError, match="disk"):
        await finished(fail())


async def test_tasks_take_turns_in_the_order_in_which_they_came() -> None:
    turn, seen = Turn(30), []

    async def work(name: int) -> None:
        async with turn:
            seen.append(name)
            await asyncio.sleep(0)
            seen.append(name)

    await asyncio.gather(*[work(name) for name in range(5)])
    assert seen == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


async def test_nobody_waits_longer_than_the_deadline() -> None:
    turn = Turn(0.01)
    async with turn:
        with pytest.raises(Unavailable, match=r"longer than 0\.01 s"):
            await asyncio.create_task(enter(turn))
    await enter(turn)


async def test_who_comes_back_while_the_turn_is_promised_to_another_has_a_deadline_too() -> None:
    turn, may_end = Turn(0.01), asyncio.Event()

    async def greedy() -> None:
        await enter(turn)
        await enter(turn)  # the turn is free at this moment, and the next who waits has not been woken yet

    async def hold() -> None:
        async with turn:
            await may_end.wait()

    first, second = asyncio.create_task(greedy()), asyncio.create_task(hold())
    with pytest.raises(Unavailable):
        await first
    may_end.set()
    await second


async def test_a_task_does_not_wait_for_itself() -> None:
    turn = Turn(30)
    async with turn:
        with pytest.raises(StorageError, match="open in the same task"):
            await enter(turn)


async def test_a_cancelled_wait_leaves_the_turn_to_others() -> None:
    turn = Turn(30)
    async with turn:
        waiting = asyncio.create_task(enter(turn))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    await enter(turn)


async def enter(turn: Turn) -> None:
    async with turn:
        await asyncio.sleep(0)
