"""The ends that link_latency and link_throughput compare: ours, grpcio aio, nats-py, a raw Protocol, and blocking sockets.

An end is a pair: a server that answers each request with the request's own bytes, in a process of its own, and a client in the
process that measures. All of them run on uvloop where it is installed, save gRPC, which has its own I/O beneath whichever loop.

* ``link``: `Link.request()` of a typed message with an opaque payload, MessagePack frames: encode, session tables, correlation,
  deadline and decode, on both ends.
* ``raw``: the least that a correct asyncio program can do: a length, a number and the bytes, an `asyncio.Protocol` that collects
  what one loop tick wrote, and a future for each number. It checks nothing, bounds nothing and has no deadline.
* ``grpc``: a unary call of grpcio's asyncio API. Its messages are bytes, so that no time for protobuf is counted.
* ``nats``: request and reply over a real nats-server, which has a processor that the two ends do not use.
* ``blocking``: a frame there and back over blocking sockets, no loop at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import multiprocessing
import os
import resource
import signal
import socket
import struct
import subprocess
from collections.abc import Awaitable, Callable, Generator
from pathlib import Path
from typing import Any, NamedTuple

HEADER = struct.Struct(">IQ")
PATIENCE = 30.0
"""Seconds that a server may take until it answers, and that a request may take."""

Call = Callable[[], Awaitable[object]]
Close = Callable[[], Awaitable[object]]


class Address(NamedTuple):
    """Where a server listens; `path` is for ``unix``, `port` for ``tcp``."""

    transport: str
    path: str
    port: int


def missing(kind: str, transport: str) -> str:
    """Why this end cannot be measured here; empty where it can."""
    if kind == "nats":
        if transport != "tcp":
            return "nats-py speaks TCP only"
        if importlib.util.find_spec("nats") is None:
            return "nats-py is not installed"
        return "" if nats_server() else "nats-server is not on this machine: python -m tools.test_servers fetch nats-server"
    if kind == "grpc" and importlib.util.find_spec("grpc") is None:
        return "grpcio is not installed"
    return ""


def nats_server() -> str | None:
    """The binary, from PYWATT_NATS_SERVER, PATH, or the private cache of the servers for tests."""
    from tools.test_servers import Missing, find

    try:
        found = find("nats-server")
    except Missing:
        return None
    return str(found) if found else None


def pin(processor: int | None, process: int = 0) -> None:
    """Keep a process, this one without a number, on one processor where the system lets us choose; None leaves it alone."""
    if processor is None:
        return
    with contextlib.suppress(AttributeError, OSError):
        os.sched_setaffinity(process, {processor % (os.cpu_count() or 1)})


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


# ── servers ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class Server:
    """One server in a process of its own, on one processor or, with None, on all; nats-server, where there is one, on `broker`."""

    def __init__(self, kind: str, transport: str, folder: str, processor: int | None, *, broker: int | None) -> None:
        self.address = Address(transport, f"{folder}/{kind}", free_port())
        self.broker: subprocess.Popen[bytes] | None = None
        if kind == "nats":
            command = [nats_server() or "nats-server", "-a", "127.0.0.1", "-p", str(self.address.port)]
            self.broker = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            pin(broker, self.broker.pid)  # before it has started its threads, which inherit this
        context = multiprocessing.get_context("spawn")
        ready, theirs = context.Pipe(duplex=False)
        self.process = context.Process(target=serve, args=(kind, self.address, processor, theirs), daemon=True)
        try:
            self.process.start()
            theirs.close()
            if not ready.poll(PATIENCE) or ready.recv() != "ready":
                raise SystemExit(f"the {kind} server did not start within {PATIENCE:g} s")
        except BaseException:
            self.stop()
            raise

    def cpu_seconds(self) -> float:
        """What the server's own process has used so far, from its account in /proc; 0 where there is none."""
        try:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        if self.process.pid is not None:
            self.process.terminate()
            self.process.join(10)
        if self.broker is not None:
            self.broker.send_signal(signal.SIGTERM)
            self.broker.wait(10)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def serve(kind: str, address: Address, processor: int | None, ready: Any) -> None:
    """The body of the server's process."""
    pin(processor)
    if kind == "blocking":
        serve_blocking(address, ready)
    else:
        run({"link": serve_link, "raw": serve_raw, "grpc": serve_grpc, "nats": serve_nats}[kind](address, ready))


def listen(address: Address) -> socket.socket:
    if address.transport == "unix":
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(address.path)
    else:
        listener = socket.create_server(("127.0.0.1", address.port))
    listener.listen(16)
    return listener


def serve_blocking(address: Address, ready: Any) -> None:
    listener = listen(address)
    ready.send("ready")
    while True:
        connection, _ = listener.accept()
        no_delay(connection)
        while data := connection.recv(65536):
            connection.sendall(data)


def no_delay(connection: socket.socket) -> None:
    if connection.family != socket.AF_UNIX:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class Raw(asyncio.Protocol):
    """Frames in, frames out; what one tick sends leaves in one write, and a frame that is alone at once."""

    def __init__(self) -> None:
        self.buffer = b""
        self.outgoing: list[bytes] = []
        self.loop = asyncio.get_running_loop()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        no_delay(transport.get_extra_info("socket"))

    def send(self, number: int, data: bytes, alone: bool) -> None:
        if alone:
            self.transport.write(HEADER.pack(len(data), number) + data)
            return
        if not self.outgoing:
            self.loop.call_soon(self.flush)
        self.outgoing += (HEADER.pack(len(data), number), data)

    def flush(self) -> None:
        self.transport.write(b"".join(self.outgoing))
        self.outgoing.clear()

    def data_received(self, data: bytes) -> None:
        buffer = self.buffer + data if self.buffer else data
        start, end = 0, len(buffer)
        while end - start >= HEADER.size:
            size, number = HEADER.unpack_from(buffer, start)
            following = start + HEADER.size + size
            if following > end:
                break
            self.frame(number, buffer[start + HEADER.size : following], following - start == end)
            start = following
        self.buffer = buffer[start:]

    def frame(self, number: int, data: bytes, alone: bool) -> None:
        """One frame has arrived; a server sends it back."""
        self.send(number, data, alone)


async def serve_raw(address: Address, ready: Any) -> None:
    server = await asyncio.get_running_loop().create_server(Raw, sock=listen(address))
    ready.send("ready")
    await server.serve_forever()


async def serve_link(address: Address, ready: Any) -> None:
    from pywatt_core.protocol.messages import RoutedModuleResponse, RouteToModule
    from pywatt_core.protocol.session import Role, Session, Wire
    from pywatt_core.transports.link import Link, new_id

    def answer(message: Any, link: Link) -> None:
        assert type(message) is RouteToModule
        link.post(RoutedModuleResponse("echo", message.request_id, message.payload))

    def make() -> Link:
        session = Session(Role.ORCHESTRATOR, Wire.CHANNEL, new_id=new_id)
        session.use_format("msgpack")
        return Link(session, on_message=answer)

    server = await asyncio.get_running_loop().create_server(make, sock=listen(address))
    ready.send("ready")
    await server.serve_forever()


async def serve_grpc(address: Address, ready: Any) -> None:
    import grpc.aio

    async def echo(request: bytes, context: Any) -> bytes:
        return request

    server = grpc.aio.server()
    handlers = {"Echo": grpc.unary_unary_rpc_method_handler(echo)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("Bench", handlers),))
    server.add_insecure_port(grpc_target(address))
    await server.start()
    ready.send("ready")
    await server.wait_for_termination()


def grpc_target(address: Address) -> str:
    return f"unix:{address.path}" if address.transport == "unix" else f"127.0.0.1:{address.port}"


async def serve_nats(address: Address, ready: Any) -> None:
    connection = await nats_connection(address)

    async def echo(message: Any) -> None:
        await message.respond(message.data)

    await connection.subscribe("echo", cb=echo)
    await connection.flush()
    ready.send("ready")
    await asyncio.Event().wait()


async def nats_connection(address: Address) -> Any:
    import nats

    async def quiet(_error: Exception) -> None:
        """The broker may not listen yet; nats-py tries again."""

    return await nats.connect(
        f"nats://127.0.0.1:{address.port}", error_cb=quiet, max_reconnect_attempts=300, reconnect_time_wait=0.05, connect_timeout=5
    )


# ── clients ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class RawClient(Raw):
    def __init__(self) -> None:
        super().__init__()
        self.waiting: dict[int, asyncio.Future[bytes]] = {}
        self.number = 0

    def frame(self, number: int, data: bytes, alone: bool) -> None:
        self.waiting.pop(number).set_result(data)

    async def echo(self, payload: bytes) -> bytes:
        self.number = number = self.number + 1
        self.waiting[number] = future = self.loop.create_future()
        self.send(number, payload, len(self.waiting) == 1)
        answer: bytes = await future
        return answer


async def connect(kind: str, address: Address, size: int) -> tuple[Call, Close]:
    """A function that makes one request of `size` bytes, and one that closes."""
    return await {"link": connect_link, "raw": connect_raw, "grpc": connect_grpc, "nats": connect_nats}[kind](address, os.urandom(size))


async def connect_raw(address: Address, payload: bytes) -> tuple[Call, Close]:
    loop = asyncio.get_running_loop()
    if address.transport == "unix":
        transport, client = await loop.create_unix_connection(RawClient, address.path)
    else:
        transport, client = await loop.create_connection(RawClient, "127.0.0.1", address.port)

    async def close() -> None:
        transport.close()

    return lambda: client.echo(payload), close


async def connect_link(address: Address, payload: bytes) -> tuple[Call, Close]:
    from pywatt_core.protocol.messages import EncodedMessage, RouteToModule
    from pywatt_core.protocol.session import Role, Session, Wire, id_sequence
    from pywatt_core.transports.link import Link, new_id
    from pywatt_core.transports.tcp import open_tcp
    from pywatt_core.transports.unix import open_unix

    def make() -> Link:
        session = Session(Role.MODULE, Wire.CHANNEL, new_id=new_id, module_id="bench")
        session.use_format("msgpack")
        return Link(session, on_message=lambda _message, _link: None)

    link = await (open_unix(address.path, make) if address.transport == "unix" else open_tcp("127.0.0.1", address.port, make))
    encoded = EncodedMessage(payload, "Json")
    next_id = id_sequence(int.from_bytes(os.urandom(10)))
    return lambda: link.request(RouteToModule("echo", "echo", next_id(), encoded), timeout=PATIENCE), link.close


async def connect_grpc(address: Address, payload: bytes) -> tuple[Call, Close]:
    import grpc.aio

    channel = grpc.aio.insecure_channel(grpc_target(address))
    echo = channel.unary_unary("/Bench/Echo")
    return lambda: echo(payload, timeout=PATIENCE), channel.close


async def connect_nats(address: Address, payload: bytes) -> tuple[Call, Close]:
    connection = await nats_connection(address)
    return lambda: connection.request("echo", payload, timeout=PATIENCE), connection.close


def blocking_calls(address: Address, size: int) -> Generator[None, None, None]:
    """One frame there and back for each value that is taken."""
    client = socket.socket(socket.AF_UNIX if address.transport == "unix" else socket.AF_INET)
    frame = HEADER.pack(size, 1) + os.urandom(size)
    with client:
        client.connect(address.path if address.transport == "unix" else ("127.0.0.1", address.port))
        no_delay(client)
        while True:
            client.sendall(frame)
            got = 0
            while got < len(frame):
                got += len(client.recv(65536))
            yield


def own_cpu_seconds() -> float:
    """What this process has used so far, in all its threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
