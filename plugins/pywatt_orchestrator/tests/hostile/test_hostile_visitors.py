"""Strangers of our own user at the listeners of a real orchestrator: where modules register, and at the TCP door of a module."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Callable
from typing import Any

from pywatt_core.protocol.registration import FRAME_LIMIT, ModuleInfo
from pywatt_core.services.registration import register_module
from tests.hostile.material import FATAL, MIB, Bad, Memory, frame

Running = Callable[[], Any]
LITTLE = 32 * MIB


def hostile_requests() -> list[Bad]:
    token = {"module_id": "x", "token": "t"}

    def asking(kind: str, **members: object) -> bytes:
        return json.dumps({"request_type": kind, **members}).encode()

    return [
        Bad("nothing", b""),
        Bad("text", b"hello"),
        Bad("NUL", b"\0" * 100),
        Bad("a byte order mark", b"\xef\xbb\xbf{}"),
        Bad("bad UTF-8", b'{"type":"\xff"}', "UTF-8"),
        Bad("depth", b"[" * 60_000, "nested"),
        Bad("no kind", b"{}"),
        Bad("an unknown kind", asking("format_disk")),
        Bad("no module", asking("register")),
        Bad("a name that is a number", asking("register", module_info={"name": 5, "version": "1", "description": ""}), "name"),
        Bad("nobody", asking("heartbeat", status="Healthy", details={}, **token)),
        Bad("many values", b'{"request_type":"register","x":[' + b"{}," * 20_000 + b"0]}"),
        Bad("numbers", b'{"request_type":' + b"9" * 60_000 + b"}"),
    ]


async def conversation(host: str, port: int, data: bytes) -> bytes:
    """What is answered to this until the end of the connection, or to one frame."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(data)
        async with asyncio.timeout(30):
            head = await reader.read(5)
            if len(head) < 5:
                return b""
            return await reader.readexactly(struct.unpack(">IB", head)[0])
    finally:
        writer.close()


async def test_the_listener_for_registrations_answers_hostile_requests_and_serves_on(running: Running) -> None:
    async with running() as project:
        project.write('[registration]\nlisten = "127.0.0.1:0"\n\n')
        project.peer("healthy", "serve")
        await project.start()
        await project.ready("healthy")
        line = await project.line("registrations on ", module="pywatt")
        host, port = "127.0.0.1", int(line["message"].rpartition(":")[2])
        memory = Memory(project.process.pid)
        honest = await register_module(f"{host}:{port}", ModuleInfo("honest", "1", ""))
        for bad in hostile_requests():
            answer = json.loads(await conversation(host, port, frame(bad.data)))
            text = json.dumps(answer)
            assert "false" in text, f"{bad.name}: {answer}"
            assert bad.words in text, f"{bad.name}: {answer}"
            await honest.heartbeat()
        for bad in (*FATAL, Bad("a frame over the limit", frame(b"", 1, FRAME_LIMIT + 1), "over the limit")):
            assert await conversation(host, port, bad.data) == b""
            await project.line(bad.words.replace("a frame of", "closed: a frame of"))
            await honest.heartbeat()
        # Floods: tiny requests whose answers nobody reads, frames that are skipped, connections that say nothing.
        deaf = [await asyncio.open_connection(host, port) for _ in range(20)]
        for _, writer in deaf[:10]:
            writer.write(frame(b"{}") * 20_000)
        for _, writer in deaf[10:]:
            writer.write(frame(b"", 99) * 20_000)
        silent = [await asyncio.open_connection(host, port) for _ in range(200)]
        await honest.heartbeat()
        assert (await project.http("/healthy/pid")).status == 200
        late = await register_module(f"{host}:{port}", ModuleInfo("late", "1", ""))
        await late.close()
        await honest.close()
        print(f"the orchestrator grew by {memory.growth / MIB:.1f} MiB")
        assert memory.growth < LITTLE
        for _, writer in (*deaf, *silent):
            writer.transport.abort()
        assert await project.stop() == 0


MODULE = """
from fastapi import FastAPI
from pywatt_core import pywatt_module

@pywatt_module
def users(state):
    app = FastAPI()

    @app.get("/address")
    async def address():
        return state.init.tcp_channel.address

    @app.get("/ask")
    async def ask():
        return await state.send_request("users:echo", "hello", timeout=20)

    return app

@users.on("echo")
async def echo(text: str):
    return text
"""


async def test_strangers_who_say_nothing_do_not_use_up_the_door_of_a_module(running: Running) -> None:
    async with running() as project:
        project.write(MODULE, "users.py")
        options = '[channel_listener]\ntoken = true\n\n[modules.users]\nrun = "users.py"\nmount_all = true\nchannels = ["tcp"]\n'
        project.write(options)
        await project.start()
        await project.ready("users")
        address = (await project.http("/users/address")).json()
        memory = Memory(project.process.pid)
        host, port = address.split(":")
        silent = [await asyncio.open_connection(host, int(port)) for _ in range(50)]
        hostile = [await asyncio.open_connection(host, int(port)) for _ in range(5)]
        for (_, writer), bad in zip(hostile, FATAL, strict=True):
            writer.write(bad.data)
        for _ in range(20):
            assert (await project.http("/users/ask")).json() == "hello"
        for reader, writer in hostile:
            while await reader.read(65536):
                pass
            writer.close()
        assert memory.growth < LITTLE
        for _, writer in silent:
            writer.transport.abort()
        assert await project.stop() == 0
