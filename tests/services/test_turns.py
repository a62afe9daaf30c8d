"""Work that runs at once, and work that waits for its turn."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pywatt_core.services.turns import DEPTHS, Full, Levels, Turns, depth

STEPS = st.lists(st.tuples(st.sampled_from(["enter", "leave", "cancel", "leave and cancel"]), st.integers(0, 5)), max_size=60)


@settings(max_examples=200, deadline=None)
@given(at_once=st.integers(1, 3), waiting=st.integers(0, 3), steps=STEPS)
def test_no_turn_is_lost_and_none_is_given_twice(at_once: int, waiting: int, steps: list[tuple[str, int]]) -> None:
    async def scene() -> None:
        turns = Turns(at_once, waiting)
        inside: list[asyncio.Event] = []
        tasks: list[asyncio.Task[None]] = []
        refused: list[bool] = []

        async def work() -> None:
            try:
                async with turns:
                    event = asyncio.Event()
                    inside.append(event)
                    try:
                        await event.wait()
                    finally:
                        inside.remove(event)
            except Full:
                refused.append(True)

        for step, number in steps:
            if step == "enter":
                before, full = len(refused), turns.running == at_once and turns.queued == waiting
                tasks.append(asyncio.create_task(work()))
                await settle()
                assert (len(refused) > before) is full
            if step.startswith("leave") and inside:
                inside[number % len(inside)].set()
            if step.endswith("cancel") and tasks:
                tasks[number % len(tasks)].cancel()
            await settle()
            assert len(inside) == turns.running <= at_once
            assert turns.queued == sum(not task.done() for task in tasks) - len(inside) <= waiting
            assert not turns.queued or turns.running == at_once, "nobody waits beside a free place"
        while inside:
            inside[0].set()
            await settle()
        assert (turns.running, turns.queued) == (0, 0)
        assert all(task.done() for task in tasks)

    asyncio.run(scene())


async def settle() -> None:
    """Let everything happen that can."""
    for _ in range(6):
        await asyncio.sleep(0)


async def test_whose_turn_comes_as_it_is_cancelled_passes_it_on() -> None:
    turns = Turns(1, 2)
    await turns.__aenter__()
    entered: list[str] = []

    async def work(name: str) -> None:
        async with turns:
            entered.append(name)

    first, second = asyncio.create_task(work("first")), asyncio.create_task(work("second"))
    await settle()
    await turns.__aexit__()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    await second
    assert (entered, turns.running) == (["second"], 0)


async def test_each_depth_has_turns_of_its_own_and_the_deepest_share_theirs() -> None:
    levels = Levels(1, 0)
    held = []
    for level in (*range(DEPTHS), DEPTHS, 10**9):
        depth.set(level)
        held.append(levels.here())
    assert len(set(held)) == DEPTHS and held[-1] is held[-2] is held[-3]
    for turns in held[:DEPTHS]:
        await turns.__aenter__()
    assert (levels.running, levels.queued) == (DEPTHS, 0)
    depth.set(-1)
    assert levels.here() is held[0], "as the outermost"
    with pytest.raises(Full):
        await levels.here().__aenter__()
