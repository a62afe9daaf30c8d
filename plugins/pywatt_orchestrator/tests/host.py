"""A process that hosts services, for tests whose own process is the module: ``python host.py SOCKET``.

Each connection to the Unix socket is one process of a module. Its first line is JSON, ``{"module", "services", "folder", "frames"}``; then
both ends speak the protocol of channels. The conversation, the hub and the services are the orchestrator's own.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from pywatt_core.config import load
from pywatt_core.interfaces import Context, Orchestrator
from pywatt_core.protocol.hosted import HOSTING
from pywatt_core.protocol.messages import Extension
from pywatt_core.protocol.session import Role, Session, Wire
from pywatt_core.registry import Registry
from pywatt_core.services.channels import Channels
from pywatt_core.transports.link import Link, new_id

DEADLINE = 30.0


# ── the orchestrator's end ──────────────────────────────────────────────────────────────────────────────────────────


class Process:
    """A process of a module, as the conversation sees it."""

    rust = hangs = False

    def __init__(self, module: str) -> None:
        self.module = self.module_id = module

    def note(self, text: str, *, level: str = "info") -> None:
        print(f"{level} {self.module}: {text}", file=sys.stderr, flush=True)

    stray = note


async def converse(connection: socket.socket) -> None:
    from pywatt_orchestrator.conversation import Conversation
    from pywatt_orchestrator.hub import Hub
    from pywatt_orchestrator.services import read_services

    loop = asyncio.get_running_loop()
    line = b""
    while not line.endswith(b"\n"):
        if not (byte := await loop.sock_recv(connection, 1)):
            return
        line += byte
    said = json.loads(line)
    settings = load(init={"services": said["services"], "folder": said["folder"]}, environ={})

    async def no_secret(_holder: object, name: str) -> str:
        raise AssertionError(name)

    services = read_services(settings, Registry(), no_secret)
    peer = Process(said["module"])
    talk = Conversation(None, peer, desk=None, hub=Hub(None, services), source=peer, on_announce=lambda _: None)  # type: ignore[arg-type]
    session = Session(Role.ORCHESTRATOR, Wire.CHANNEL, module_id=said["module"], on_problem=talk.problem, new_id=new_id)
    session.use_format(said["frames"])
    _, link = await loop.create_connection(lambda: Link(session, on_message=talk.take), sock=connection)
    await asyncio.shield(link.closed)
    talk.end()
    await services.close()


async def serve(path: str) -> None:
    loop = asyncio.get_running_loop()
    tasks = set()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(100)
        listener.setblocking(False)
        print("ready", flush=True)
        while True:
            connection, _ = await loop.sock_accept(listener)
            connection.setblocking(False)
            task = loop.create_task(converse(connection))
            tasks.add(task)
            task.add_done_callback(tasks.discard)


# ── the module's end ────────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def running(folder: Path, *installed: Path) -> Iterator[str]:
    """The path of the socket of such a process, which is ended at the end. `installed` are folders with further plugins."""
    import os
    import subprocess

    path = str(folder / "host")
    before = filter(None, [os.environ.get("PYTHONPATH")])
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([*map(str, installed), *before])} if installed else None
    with (
        (folder / "host.log").open("w") as log,
        subprocess.Popen(
            [sys.executable, __file__, path], stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL, env=environ
        ) as process,
    ):
        try:
            assert process.stdout is not None and process.stdout.readline() == b"ready\n", (folder / "host.log").read_text()
            yield path
        finally:
            process.kill()


@asynccontextmanager
async def module(
    host: str,
    services: Mapping[str, Any],
    folder: Path,
    *,
    name: str = "users",
    pywatt: bool = True,
    section: str = "databases.main",
    frames: str = "msgpack",
) -> AsyncIterator[Context]:
    """Be a process of the module `name`: the context in which its providers are opened. `pywatt`: it knows what it talks to."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(host)
    connection.sendall(json.dumps({"module": name, "services": services, "folder": str(folder), "frames": frames}).encode() + b"\n")
    connection.setblocking(False)
    session = Session(Role.MODULE, Wire.CHANNEL, module_id=name, new_id=new_id)
    session.use_format(frames)
    loop = asyncio.get_running_loop()
    _, link = await loop.create_connection(lambda: Link(session, on_message=lambda message, link: None), sock=connection)
    extension = Extension(features=(HOSTING,)) if pywatt else None
    try:
        yield Context(module_id=name, section=section, folder=folder, orchestrator=Orchestrator(Channels(link), extension))
    finally:
        await link.close()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
