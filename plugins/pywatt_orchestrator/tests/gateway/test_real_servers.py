"""The gateway before real servers in processes of their own: uvicorn with both of its parsers, and waitress."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
import websockets

from pywatt_core.protocol.values import UnixAddress
from pywatt_orchestrator.gateway import Instance

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ASGI = """
import asyncio, hashlib, json, os, sys
seen = []
turns = asyncio.Queue()

async def body(receive):
    data = b""
    while True:
        message = await receive()
        data += message.get("body", b"")
        if not message.get("more_body"):
            return data

async def answer(send, data, status=200, *headers):
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"%d" % len(data)), *headers]})
    await send({"type": "http.response.body", "body": data})

async def app(scope, receive, send):
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept", "subprotocol": (scope["subprotocols"] or [None])[0]})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", **{k: v for k, v in message.items() if k in ("bytes", "text")}})
        return
    path = scope["path"]
    data = await body(receive)
    if path == "/seen":
        await answer(send, json.dumps(seen).encode())
    elif path == "/events":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        for number in range(5):
            await send({"type": "http.response.body", "body": b"data: %d\\n\\n" % number, "more_body": True})
            await turns.get()
        await send({"type": "http.response.body", "body": b""})
    elif path == "/more":
        turns.put_nowait(None)
        await answer(send, b"")
    elif path == "/forever":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-pid", b"%d" % os.getpid())]})
        while True:
            await send({"type": "http.response.body", "body": b"tick" * 100, "more_body": True})
            await asyncio.sleep(0.01)
    elif path == "/digest":
        await answer(send, hashlib.sha256(data).hexdigest().encode())
    elif path == "/nothing":
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})
    else:
        seen.append([scope["method"], path, data.decode("latin-1")])
        await answer(send, data)

if __name__ == "__main__":
    import uvicorn
    uvicorn.run(app, uds=sys.argv[1], http=sys.argv[2], log_level="critical", lifespan="off")
"""

WSGI = """
import hashlib, json, os, sys, time
seen = []

def app(environ, start_response):
    path, data = environ["PATH_INFO"], environ["wsgi.input"].read()
    if path == "/forever":
        start_response("200 OK", [("X-Pid", str(os.getpid()))])
        def ticks():
            while True:
                yield b"tick" * 100
                time.sleep(0.01)
        return ticks()
    if path == "/nothing":
        start_response("204 No Content", [])
        return [b""]
    if path == "/seen":
        data = json.dumps(seen).encode()
    elif path == "/digest":
        data = hashlib.sha256(data).hexdigest().encode()
    else:
        seen.append([environ["REQUEST_METHOD"], path, data.decode("latin-1")])
    start_response("200 OK", [("Content-Length", str(len(data)))])
    return [data]

if __name__ == "__main__":
    import waitress
    waitress.serve(app, unix_socket=sys.argv[1], _quiet=True)
"""

SERVERS = {"uvicorn-httptools": (ASGI, ["httptools"]), "uvicorn-h11": (ASGI, ["h11"]), "waitress": (WSGI, [])}


@contextlib.contextmanager
def running(kind: str, folder: Path) -> Iterator[Instance]:
    """The server in a process, until the block ends."""
    code, arguments = SERVERS[kind]
    program, path = folder / f"{kind.replace('-', '_')}_program.py", folder / kind
    program.write_text(code)
    process = subprocess.Popen([sys.executable, program, path, *arguments])
    try:
        deadline = time.monotonic() + 20
        while True:
            with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
                probe.connect(str(path))
                break
            assert process.poll() is None and time.monotonic() < deadline, f"{kind} did not start"
            time.sleep(0.02)
        yield Instance(kind, UnixAddress(str(path)), ready=True, trusted=True)
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    with running(request.param, tmp_path_factory.mktemp("server")) as instance:
        instance.on_ready = None
        yield Instance(instance.id, instance.address, ready=True)


@pytest.fixture
def uvicorn(tmp_path: Path) -> Iterator[Instance]:
    with running("uvicorn-httptools", tmp_path) as instance:
        yield instance


def front(stage: Any, instance: Instance, **options: Any) -> Any:
    instance.pool = None
    return stage.gateway(stage.routes("users", "* /{*rest}", instances=[instance]), **options)


HOST = b"Host: x\r\n"
GOOD = [
    b"GET /users/1 HTTP/1.1\r\n" + HOST + b"\r\n",
    b"POST /users/2 HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nhello",
    b"POST /users/3 HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nA: b\r\n\r\n",
    b"POST /users/4 HTTP/1.1\r\n" + HOST + b"Content-Length: 35\r\n\r\nGET /evil HTTP/1.1\r\nHost: x\r\nA: b\r\n",
    b"POST /users/5 HTTP/1.1\r\n" + HOST + b"Content_Length: 50\r\nTransfer_Encoding: chunked\r\nContent-Length: 2\r\n\r\nab",
    b"PUT /users/6 HTTP/1.1\r\n" + HOST + b"Connection: Content-Length\r\nContent-Length: 2\r\n\r\nab",
    b"POST /users/7 HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\n\r\n",
    b"GET /users/%38?a=b HTTP/1.1\r\n" + HOST + b"Content-Length: 0\r\n\r\n",
]
BAD = [
    b"POST /users/bad HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /users/bad HTTP/1.1\r\n" + HOST + b"Content-Length: 5, 5\r\n\r\nhello",
    b"POST /users/bad HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    b"GET /users/bad HTTP/1.1\r\n" + HOST + b"A: b\n\r\n",
    b"GET /users/a//bad HTTP/1.1\r\n" + HOST + b"\r\n",
    b"GET /users/%2e%2e/bad HTTP/1.1\r\n" + HOST + b"\r\n",
]
EXPECTED = [
    ["GET", "/1", ""],
    ["POST", "/2", "hello"],
    ["POST", "/3", "hello"],
    ["POST", "/4", "GET /evil HTTP/1.1\r\nHost: x\r\nA: b\r\n"],
    ["POST", "/5", "ab"],
    ["PUT", "/6", "ab"],
    ["POST", "/7", ""],
    ["GET", "/8", ""],
]


@pytest.mark.parametrize("bad", range(len(BAD)))
async def test_gateway_and_server_agree_on_the_requests(stage: Any, server: Instance, bad: int) -> None:
    async with front(stage, server) as door:
        before = len((await door.get("/users/seen")).json())
        client = await door.client()
        await client.send(b"".join(GOOD) + BAD[bad] + b"GET /users/smuggled HTTP/1.1\r\n" + HOST + b"\r\n")
        answers = [await client.receive() for _ in range(len(GOOD) + 1)]
        assert [answer.status for answer in answers] == [200] * len(GOOD) + [400]
        assert [answer.body.decode() for answer in answers[:-1]] == [body for _, _, body in EXPECTED]
        assert await client.ended()
        assert (await door.get("/users/seen")).json()[before:] == EXPECTED


async def test_large_bodies_arrive_as_they_were(stage: Any, server: Instance) -> None:
    body = os.urandom(2**20) * 4
    digest = hashlib.sha256(body).hexdigest().encode()
    async with front(stage, server) as door:
        client = await door.client()
        client.writer.write(b"POST /users/digest HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        assert (await client.receive()).body == digest
        client.writer.write(b"POST /users/digest HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        for start in range(0, len(body), 100_000):
            part = body[start : start + 100_000]
            client.writer.write(b"%x\r\n%b\r\n" % (len(part), part))
        client.writer.write(b"0\r\n\r\n")
        assert (await client.receive()).body == digest
        client.writer.write(b"PUT /users/echo HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        assert (await client.receive()).body == body


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_responses_without_a_body_keep_the_connection(stage: Any, server: Instance, method: str) -> None:
    async with front(stage, server) as door:
        client = await door.client()
        for path, status in (("/users/nothing", 204), ("/users/1", 200), ("/users/nothing", 204)):
            assert (await client.get(path, method=method)).status == status


async def test_a_killed_server_is_never_taken_for_a_complete_answer(stage: Any, tmp_path: Path) -> None:
    for kind in SERVERS:
        with running(kind, tmp_path) as instance:
            async with front(stage, instance) as door:
                client = await door.client()
                await client.send(b"GET /users/forever HTTP/1.1\r\nHost: x\r\n\r\n")
                async with asyncio.timeout(stage.PATIENCE):
                    head = (await client.reader.readuntil(b"\r\n\r\n")).decode().lower()
                    await client.reader.readuntil(b"tick")
                    os.kill(int(head.split("x-pid: ")[1].split("\r\n")[0]), signal.SIGKILL)
                    with contextlib.suppress(ConnectionError):
                        rest = await client.reader.read()
                        assert not rest.endswith(b"0\r\n\r\n"), f"{kind}: the response looks complete"


async def test_events_arrive_while_they_are_made(stage: Any, uvicorn: Instance) -> None:
    async with front(stage, uvicorn) as door:
        client = await door.client()
        await client.send(b"GET /users/events HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(stage.PATIENCE):
            await client.reader.readuntil(b"\r\n\r\n")
            for number in range(5):
                assert await client.reader.readexactly(14) == b"9\r\ndata: %d\n\n\r\n" % number
                assert (await door.get("/users/more", method="POST")).status == 200
            assert await client.reader.readexactly(5) == b"0\r\n\r\n"
        assert (await client.get("/users/1")).status == 200


async def test_a_websocket_works_through_the_gateway(stage: Any, uvicorn: Instance) -> None:
    async with front(stage, uvicorn) as door:
        url = f"ws://{door.gateway.address}/users/ws"
        async with websockets.connect(
            url, subprotocols=[websockets.Subprotocol("chat")], max_size=2**23, compression="deflate"
        ) as websocket:
            assert websocket.subprotocol == "chat"
            for message in ("hello", b"\x00\xff", "é" * 1000, os.urandom(2**21)):
                await websocket.send(message)
                assert await websocket.recv() == message
            await (await websocket.ping())
        assert websocket.close_code == 1000
        records = json.loads((await door.get("/users/seen")).body)
        assert records == []


async def test_many_websockets_at_once(stage: Any, uvicorn: Instance) -> None:
    async with front(stage, uvicorn) as door:

        async def chat(number: int) -> list[str]:
            async with websockets.connect(f"ws://{door.gateway.address}/users/ws") as websocket:
                replies = []
                for turn in range(10):
                    await websocket.send(f"{number}.{turn}")
                    replies.append(str(await websocket.recv()))
                return replies

        answers = await asyncio.gather(*(chat(number) for number in range(20)))
        assert answers == [[f"{number}.{turn}" for turn in range(10)] for number in range(20)]
        await stage.until(lambda: uvicorn.in_flight == 0)
