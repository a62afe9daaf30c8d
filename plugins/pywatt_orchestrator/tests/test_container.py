"""As PID 1 of a container: orphans are reaped, SIGTERM is passed on, and nothing outlives the orchestrator."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pywatt_orchestrator.reaper import zombie_children

Running = Callable[[], Any]


def own_pid_namespace() -> list[str]:
    """A command that runs its arguments as PID 1; empty where this machine does not let us."""
    for options in (["--pid", "--fork", "--mount-proc"], ["--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]):
        command = ["unshare", *options, "--kill-child"]
        if shutil.which("unshare") and subprocess.run([*command, "true"], capture_output=True).returncode == 0:
            return command
    return []


PREFIX = own_pid_namespace()
needs_namespaces = pytest.mark.skipif(not PREFIX, reason="needs unshare and the permission to make PID namespaces: run the tests as root")


def first_child(pid: int) -> int:
    """The process that is PID 1 in there, by its number out here."""
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


@needs_namespaces
async def test_as_pid_1_it_reaps_orphans_and_ends_gracefully_at_sigterm(running: Running) -> None:
    async with running() as project:
        project.peer("users", "orphan=0.3", "orphan=0.3", "serve", "say=users ends")
        await project.start(prefix=PREFIX)
        await project.ready("users")
        assert project.process is not None
        orchestrator = first_child(project.process.pid)
        after = project.lines.index(await project.line("orphan ends"))
        await project.line("orphan ends", after=after + 1)
        while list(zombie_children(orchestrator)):
            await asyncio.sleep(0.01)
        os.kill(orchestrator, signal.SIGTERM)
        assert await project.ended() == 0
        assert project.said("users ends")
        await project.nothing_left()


@needs_namespaces
async def test_as_pid_1_the_exit_codes_of_its_own_modules_are_not_reaped_away(running: Running) -> None:
    async with running() as project:
        project.peer("users", "greet", "orphan=0.01", "exit=2")
        await project.start(prefix=PREFIX)
        assert await project.ended() == 1
        assert project.said("users has failed: it ended with exit code 2")
