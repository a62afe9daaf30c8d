"""An orchestrator that is killed leaves nothing behind: no process, no socket, no folder."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

Running = Callable[[], Any]


def add_all_kinds(project: Any) -> None:
    """A module that behaves, one that ends for nothing but SIGKILL and has a child, one that still starts, one with a port."""
    project.peer("users", "serve")
    project.peer("stubborn", "child=600", "ignore_sigterm", "greet", "http", "announce", "block")
    project.peer("starting", "greet", "block")
    project.peer("orders", "serve", unix=False, listen="tcp")


@pytest.mark.parametrize("round", range(4))
async def test_a_killed_orchestrator_takes_everything_with_it(running: Running, round: int) -> None:
    async with running() as project:
        add_all_kinds(project)
        await project.start()
        if round:
            await project.ready("users", "stubborn", "orders")
        else:
            await project.until(lambda: len(project.processes()) > 4, "its processes")
        assert project.process is not None
        project.process.kill()
        await project.ended()
        await project.nothing_left()


async def test_the_next_orchestrator_starts_right_after_one_that_was_killed(running: Running) -> None:
    async with running() as project:
        add_all_kinds(project)
        await project.start()
        await project.ready("users", "stubborn")
        assert project.process is not None
        project.process.kill()
        await project.ended()
        project.lines.clear()
        await project.start()
        await project.ready("users", "stubborn")
        assert (await project.http("/users/pid")).status == 200
        project.process.kill()
        await project.ended()
        await project.nothing_left()


async def test_a_guardian_that_is_killed_is_replaced_and_the_new_one_knows_everything(running: Running) -> None:
    async with running() as project:
        add_all_kinds(project)
        await project.start()
        await project.ready("users", "stubborn")
        (first,) = [pid for pid, name in project.processes() if "guardian.py" in name]
        os.kill(first, signal.SIGKILL)
        await project.line("the guardian", "was ended from outside; a new one has taken its place")
        assert project.process is not None
        project.process.kill()
        await project.ended()
        await project.nothing_left()


async def test_ctrl_c_in_the_terminal_does_not_reach_the_guardian_or_the_modules(running: Running) -> None:
    async with running() as project:
        project.peer("users", "serve")
        await project.start()
        await project.ready("users")
        assert project.process is not None
        groups = {os.getpgid(pid) for pid, _ in project.processes()}
        assert len(groups) == 3
        slow = asyncio.create_task(project.http("/users/slow"))
        await project.line("slow begun")
        os.killpg(project.process.pid, signal.SIGINT)
        assert (await slow).text == "ok"
        assert await project.ended() == 0
        await project.nothing_left()


async def test_an_orderly_end_leaves_no_guardian_behind(running: Running) -> None:
    async with running() as project:
        add_all_kinds(project)
        await project.start()
        await project.ready("users")
        assert project.process is not None
        project.process.send_signal(signal.SIGTERM)
        await project.line("once more")
        assert await project.stop(signal.SIGTERM) == 0
        assert project.left_behind() == []
