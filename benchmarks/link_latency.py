"""P1: a typed request over a Unix socket, 1 KB, one in flight, both ends pinned: ours against a raw Protocol echo.

The peer is the least that asyncio can do (uvloop where it is installed): a length-prefixed frame echoed by an
`asyncio.Protocol`, awaited through a future. The limit is the same bytes over blocking sockets, no loop at all.
Ours is `Link.request()`: encode, session tables, correlation, deadline, decode, on both ends.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import os
import socket
import statistics
import struct
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

SIZE = 1024
ROUNDS, WARM_UP, REQUESTS = 7, 500, 4000
HEADER = struct.Struct(">IB")


def pin(cpu: int) -> None:
    """Stay on one processor where the system lets us choose."""
    with contextlib.suppress(AttributeError, OSError):
        os.sched_setaffinity(0, {cpu % (os.cpu_count() or 1)})


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def run(main: Awaitable[Any]) -> Any:
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(main)  # type: ignore[arg-type]


# ── the echo servers, each in a process of its own ──────────────────────────────────────────────────────────────────


class RawEcho(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.buffer = b""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while len(self.buffer) >= 5:
            end = 5 + HEADER.unpack_from(self.buffer)[0]
            if len(self.buffer) < end:
                return
            self.transport.write(self.buffer[:end])
            self.buffer = self.buffer[end:]


async def serve_raw(path: str) -> None:
    server = await asyncio.get_running_loop().create_unix_server(RawEcho, path)
    async with server:
        await server.serve_forever()


async def serve_link(path: str) -> None:
    from pywatt_core.protocol.messages import RoutedModuleResponse, RouteToModule
    from pywatt_core.protocol.session import Role, Session, Wire
    from pywatt_core.transports.link import Link, new_id
    from pywatt_core.transports.unix import serve_unix

    def answer(message: Any, link: Link) -> None:
        assert type(message) is RouteToModule
        link.post(RoutedModuleResponse(source_module_id="echo", request_id=message.request_id, payload=message.payload))

    def make() -> Link:
        session = Session(Role.ORCHESTRATOR, Wire.CHANNEL, new_id=new_id)
        session.use_format("msgpack")
        return Link(session, on_message=answer)

    server = await serve_unix(path, make)
    async with server:
        await server.serve_forever()


def serve_blocking(path: str) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(1)
    connection, _ = listener.accept()
    while data := connection.recv(65536):
        connection.sendall(data)


def server(kind: str, path: str) -> None:
    pin(1)
    if kind == "blocking":
        serve_blocking(path)
    else:
        run(serve_raw(path) if kind == "raw" else serve_link(path))


# ── the clients ─────────────────────────────────────────────────────────────────────────────────────────────────────


class RawClient(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.buffer = b""
        self.waiting: asyncio.Future[bytes] | None = None

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if len(self.buffer) >= 5 and len(self.buffer) >= 5 + HEADER.unpack_from(self.buffer)[0]:
            frame, self.buffer = self.buffer, b""
            assert self.waiting is not None
            self.waiting.set_result(frame)

    async def echo(self, payload: bytes) -> bytes:
        self.waiting = asyncio.get_running_loop().create_future()
        self.transport.write(HEADER.pack(len(payload), 1) + payload)
        return await self.waiting


async def measure(call: Callable[[], Awaitable[object]]) -> list[float]:
    for _ in range(WARM_UP):
        await call()
    times = []
    for _ in range(REQUESTS):
        begin = time.perf_counter()
        await call()
        times.append(time.perf_counter() - begin)
    return times


async def raw_times(path: str) -> list[float]:
    _, client = await asyncio.get_running_loop().create_unix_connection(RawClient, path)
    payload = os.urandom(SIZE)
    times = await measure(lambda: client.echo(payload))
    client.transport.close()
    return times


async def link_times(path: str) -> list[float]:
    from pywatt_core.protocol.messages import EncodedMessage, RouteToModule
    from pywatt_core.protocol.session import Role, Session, Wire
    from pywatt_core.transports.link import Link, new_id
    from pywatt_core.transports.unix import open_unix

    session = Session(Role.MODULE, Wire.CHANNEL, new_id=new_id, module_id="bench")
    session.use_format("msgpack")
    link = await open_unix(path, lambda: Link(session, on_message=lambda _message, _link: None))
    payload = EncodedMessage(data=os.urandom(SIZE), format="Json")
    ids = iter([new_id() for _ in range(WARM_UP + REQUESTS)])

    async def call() -> object:
        return await link.request(
            RouteToModule(target_module_id="echo", target_endpoint="echo", request_id=next(ids), payload=payload), timeout=5
        )

    times = await measure(call)
    await link.close()
    return times


def blocking_times(path: str) -> list[float]:
    client = socket.socket(socket.AF_UNIX)
    client.connect(path)
    frame = HEADER.pack(SIZE, 1) + os.urandom(SIZE)
    times = []
    for index in range(WARM_UP + REQUESTS):
        begin = time.perf_counter()
        client.sendall(frame)
        got = 0
        while got < len(frame):
            got += len(client.recv(65536))
        if index >= WARM_UP:
            times.append(time.perf_counter() - begin)
    client.close()
    return times


def client(kind: str, path: str) -> float:
    """The median in µs over one connection to a new server."""
    process = multiprocessing.get_context("spawn").Process(target=server, args=(kind, path), daemon=True)
    process.start()
    try:
        until = time.monotonic() + 30
        while not Path(path).exists() and time.monotonic() < until:
            time.sleep(0.01)
        times: list[float] = blocking_times(path) if kind == "blocking" else run(raw_times(path) if kind == "raw" else link_times(path))
    finally:
        process.terminate()
        process.join(10)
    return statistics.median(times) * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON array and nothing else")
    arguments = parser.parse_args()
    pin(0)
    figures: dict[str, list[float]] = {"link": [], "raw": [], "blocking": []}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(ROUNDS):
            for kind, found in figures.items():
                found.append(client(kind, str(Path(folder) / f"{kind}{number}")))
    ours, peer, limit = (statistics.median(figures[kind]) for kind in ("link", "raw", "blocking"))
    ratio = statistics.median(a / b for a, b in zip(figures["link"], figures["raw"], strict=True))
    result = {
        "claim": "P1",
        "what": "typed request over a Unix socket, 1 KB, one in flight, p50",
        "ours": round(ours, 2),
        "peer": round(peer, 2),
        "peer_name": "raw Protocol echo",
        "limit": round(limit, 2),
        "limit_name": "blocking sockets",
        "unit": "us",
        "ratio": round(ratio, 3),
        "target": "<= 1.25 x raw Protocol echo",
        "ok": ratio <= 1.25,
    }
    if arguments.json:
        print(json.dumps([result]))
    else:
        print(f"{result['what']}: ours {ours:.1f} µs, raw Protocol {peer:.1f} µs, blocking sockets {limit:.1f} µs")
        print(f"ratio {ratio:.2f}, target {result['target']}")


if __name__ == "__main__":
    main()
