"""One child process: its group, its end, its environment, and what is said where it cannot be started."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pywatt_core.errors import BootstrapError
from pywatt_orchestrator.process import Child, Spawn, describe_exit, environment, spawn
from pywatt_orchestrator.reaper import zombie_children


@contextlib.contextmanager
def child_of(program: str, tmp_path: Path, seen: list[tuple[str, int]] | None = None) -> Iterator[Child]:
    """A Python child that is gone at the end, with its pipes closed."""
    noted = seen if seen is not None else []
    what = Spawn(argv=[sys.executable, "-c", program], cwd=str(tmp_path), env=dict(os.environ))
    child = spawn(what, on_started=lambda pid: noted.append(("started", pid)), on_gone=lambda pid: noted.append(("gone", pid)))
    try:
        yield child
    finally:
        child.signal(signal.SIGKILL)
        for fd in (child.stdin, child.stdout, child.stderr):
            os.close(fd)


async def test_a_child_leads_its_own_session_and_its_exit_code_is_known(tmp_path: Path) -> None:
    seen: list[tuple[str, int]] = []
    with child_of("import sys; sys.stdin.read(1); sys.exit(7)", tmp_path, seen) as child:
        assert (os.getsid(child.pid), os.getpgid(child.pid)) == (child.pid, child.pid)
        os.write(child.stdin, b"x")
        assert await child.exited == 7
    assert seen == [("started", child.pid), ("gone", child.pid)]
    assert not list(zombie_children(os.getpid()))


async def test_its_end_is_noticed_although_a_grandchild_holds_its_pipes_and_that_one_is_ended_too(tmp_path: Path) -> None:
    program = (
        "import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); print(p.pid, flush=True)"
    )
    with child_of(program, tmp_path) as child:
        grandchild = int(os.read(child.stdout, 100))
        assert await child.exited == 0
        while is_running(grandchild):
            await asyncio.sleep(0.01)


def is_running(pid: int) -> bool:
    """A zombie, whose parent has yet to reap it, runs no more."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_a_signal_reaches_the_whole_group(tmp_path: Path) -> None:
    program = (
        "import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(p.pid, flush=True); p.wait()"
    )
    with child_of(program, tmp_path) as child:
        grandchild = int(os.read(child.stdout, 100))
        child.signal(signal.SIGTERM)
        assert await child.exited == -signal.SIGTERM
        while is_running(grandchild):
            await asyncio.sleep(0.01)
        child.signal(signal.SIGTERM)  # To nobody: its number may belong to another process by now.


async def test_without_pidfd_a_thread_waits_for_the_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(pid: int) -> int:
        raise OSError("this kernel has none")

    monkeypatch.setattr(os, "pidfd_open", refused)
    with child_of("raise SystemExit(3)", tmp_path) as child:
        assert await child.exited == 3


@pytest.mark.parametrize(
    ("argv", "cwd", "words"),
    [
        (["./not-there"], ".", "the program './not-there' was not found: correct `command`"),
        ([sys.executable], "nowhere", "its working folder .*nowhere does not exist"),
        (["./plain"], ".", "may not be executed: chmod \\+x it"),
        (["a\0b"], ".", "could not be started"),
    ],
)
async def test_what_cannot_be_started_is_explained_and_leaves_no_descriptor(tmp_path: Path, argv: list[str], cwd: str, words: str) -> None:
    (tmp_path / "plain").write_text("no program")
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(BootstrapError, match=words):
        spawn(Spawn(argv=argv, cwd=str(tmp_path / cwd), env={}), on_started=lambda pid: None, on_gone=lambda pid: None)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_childs_environment_is_what_every_program_needs_and_what_was_chosen() -> None:
    parent = {"PATH": "/bin", "LC_ALL": "C", "SSL_CERT_FILE": "c", "PYTHONPATH": "p", "AWS_SECRET": "s", "EXTRA": "e", "PYWATT_X": "x"}
    chosen = environment(parent, inherit=["EXTRA", "MISSING"], extra={"PATH": "/mine", "NEW": "n"})
    assert chosen == {"PATH": "/mine", "LC_ALL": "C", "SSL_CERT_FILE": "c", "PYTHONPATH": "p", "EXTRA": "e", "NEW": "n"}


@pytest.mark.parametrize(
    ("code", "text"), [(0, "exit code 0"), (3, "exit code 3"), (-9, "signal SIGKILL"), (-64, "signal SIGRTMAX"), (-99, "signal 99")]
)
def test_an_exit_is_described_for_a_person(code: int, text: str) -> None:
    assert describe_exit(code) == text


async def test_a_zombie_is_found_by_its_parent() -> None:
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    while process.pid not in zombie_children(os.getpid()):
        await asyncio.sleep(0.01)
    assert process.pid not in zombie_children(1)
    process.wait()
    assert process.pid not in zombie_children(os.getpid())
