"""Hostile peers of HTTP over framed TCP: a server in a process of its own, and an honest client beside."""

from __future__ import annotations

import asyncio
import json
import struct
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from .material import FATAL, LITTLE, MIB, Bad, Memory, frame, large

PROGRAM = """
import asyncio, sys
from pywatt_core.http import tcp_server
from pywatt_core.http.tcp_router import HttpTcpRouter

router = HttpTcpRouter()

@router.get("/big")
async def big():
    return "x" * 10_000

@router.get("/hello")
async def hello():
    return "hello"

async def main():
    tcp_server.CONNECTIONS = 20
    async with tcp_server.HttpTcpServer(router) as server:
        print(server.port, flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""


def request(**changes: object) -> bytes:
    asked = {"request_id": "r", "method": "GET", "uri": "/hello", "headers": {}, **changes}
    return json.dumps({name: value for name, value in asked.items() if value is not ...}).encode()


UNREADABLE = [
    Bad("nothing", b""),
    Bad("text", b"hello"),
    Bad("NUL", b"\0" * 100),
    Bad("a byte order mark", b"\xef\xbb\xbf" + request()),
    Bad("bad UTF-8", b'{"method":"\xff"}', "not UTF-8"),
    Bad("depth", b"[" * 100_000, "nested deeper than 127"),
    Bad("a bomb", large(b'{"a":[', b"{},", b"0]}"), "more than 500000 values"),
    Bad("headers", large(b'{"headers":{', b'"a":"",', b'"b":""}}'), "more than 500000 values"),
    Bad("a member missing", request(uri=...), "uri"),
    Bad("a member of another type", request(method=5), "method"),
    Bad("a body of large numbers", request(body=[256]), "body"),
]


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[Memory, int, asyncio.subprocess.Process]]:
    """The server's memory, its port and its process; what it wrote is read in the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        port = int(await process.stdout.readline())
        await asks(*await connect(port))
        yield Memory(process.pid), port, process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", port)


async def asks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An honest request on this connection is answered."""
    writer.write(frame(request(request_id="honest")))
    async with asyncio.timeout(30):
        while True:
            size, _code = struct.unpack(">IB", await reader.readexactly(5))
            answer = json.loads(await reader.readexactly(size))
            answer = answer.get("content", answer)
            if answer["request_id"] == "honest":
                assert answer["status_code"] == 200
                return


async def test_hostile_frames_are_refused_by_name_and_the_next_request_is_answered() -> None:
    async with serving() as (memory, port, process):
        honest, hostile = await connect(port), await connect(port)
        for bad in UNREADABLE:
            hostile[1].write(frame(bad.data))
            await asks(*hostile)
        hostile[1].write(frame(b"x" * 1000, 99) + frame(b"!", 3))
        await asks(*hostile)
        for bad in FATAL:
            reader, writer = await connect(port)
            writer.write(bad.data)
            async with asyncio.timeout(30):
                assert await reader.read() == b""
            writer.close()
            await asks(*honest)
        print(f"the server grew by {memory.growth / MIB:.1f} MiB")
        assert memory.growth < 96 * MIB
        _, errors = await process.communicate(b"")
        told = errors.decode()
        for bad in (*UNREADABLE, *FATAL, Bad("format", b"", "a frame of format 99"), Bad("Base64", b"", "not Base64")):
            assert bad.words in told, bad.name
        assert "Traceback" not in told
        assert process.returncode == 0


async def test_who_says_nothing_does_not_keep_out_who_does_and_who_does_not_read_has_to_wait() -> None:
    async with serving() as (memory, port, _process):
        deaf = await connect(port)
        deaf[1].write(frame(request(uri="/big")) * 5_000)
        silent = [await connect(port) for _ in range(60)]
        for _ in range(5):
            reader, writer = await connect(port)
            await asks(reader, writer)
            writer.close()
        print(f"the server grew by {memory.growth / MIB:.1f} MiB")
        assert memory.growth < LITTLE
        for _, writer in (deaf, *silent):
            writer.transport.abort()
