"""The control socket: private, strict, and of no harm to who serves it."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Running = Callable[[], Any]


def control_of(project: Any) -> Path:
    (found,) = project.runtime.rglob("control.sock")
    return Path(found)


async def exchange(path: Path, data: bytes) -> list[dict[str, Any]]:
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(data)
    answers = [json.loads(line) async for line in reader]
    writer.close()
    return answers


async def test_the_socket_is_private(running: Running) -> None:
    async with running() as project:
        project.peer("users", "serve")
        await project.start()
        await project.ready("users")
        path = control_of(project)
        assert stat.S_IMODE(path.lstat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.lstat().st_mode) == 0o700


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user: run the tests as root")
async def test_a_process_of_another_user_gets_no_answer_even_where_it_can_connect(running: Running) -> None:
    async with running() as project:
        project.peer("users", "serve")
        await project.start()
        await project.ready("users")
        path = control_of(project)
        for opened in (path, path.parent, path.parent.parent, project.runtime):
            opened.chmod(0o777)
        code = (
            "import os, socket, sys; os.setuid(65534); s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); got = b''\n"
            'try:\n    s.sendall(b\'{"command":"ps"}\\n\'); got = s.recv(1)\n'
            "except ConnectionError: pass\n"
            "sys.exit(7 if got == b'' else 1)"
        )
        stranger = await asyncio.create_subprocess_exec(sys.executable, "-c", code, str(path))
        assert await stranger.wait() == 7
        assert (await exchange(path, b'{"command":"ps"}\n'))[-1] == {"type": "done"}


@pytest.mark.parametrize(
    "data",
    [
        b"\n",
        b"not json\n",
        b'{"command":"dance"}\n',
        b'{"command":"restart"}\n',
        b'{"command":"ps","name":7}\n',
        b'{"command":"rotate","names":"all"}\n',
        b'{"command":"rotate","names":[null]}\n',
        b"[" * 50_000 + b"\n",
        b"x" * 200_000 + b"\n",
    ],
)
async def test_nonsense_is_refused_and_changes_nothing(running: Running, data: bytes) -> None:
    async with running() as project:
        project.peer("users", "serve")
        await project.start()
        await project.ready("users")
        try:
            (answer,) = await exchange(control_of(project), data)
            assert answer["type"] == "error"
        except ConnectionResetError:
            assert len(data) > 65_536
        assert (await project.http("/users/pid")).status == 200


async def test_a_client_that_says_nothing_or_leaves_disturbs_nobody(running: Running) -> None:
    async with running() as project:
        project.peer("users", "serve")
        await project.start()
        await project.ready("users")
        path = control_of(project)
        _, silent = await asyncio.open_unix_connection(str(path))
        _, leaving = await asyncio.open_unix_connection(str(path))
        leaving.write(b'{"command":"logs","follow":true}\n')
        leaving.close()
        assert (await project.ps())["users"]["state"] == "ready"
        assert await project.stop() == 0
        silent.close()
        await project.nothing_left()


async def test_what_a_client_goes_on_sending_is_not_kept(running: Running) -> None:
    async with running() as project:
        project.peer("users", "serve")
        await project.start()
        await project.ready("users")
        reader, writer = await asyncio.open_unix_connection(str(control_of(project)))
        writer.write(b'{"command":"logs","follow":true}\n')
        await reader.readline()
        before = memory_of(project.process.pid)
        for _ in range(100):
            writer.write(b"x" * 1_000_000)
            await writer.drain()
        assert memory_of(project.process.pid) - before < 50_000
        writer.close()


def memory_of(pid: int) -> int:
    """The most that a process has had in memory, in kB."""
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1])
