"""What `ServerContract` needs: a gate inside the application, sockets, a count of what is left behind, and its subject."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import struct
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from ...interfaces import Server, ServerOptions
from ...protocol.messages import HttpRequest
from ..client import connect

DEADLINE = 20.0
"""Seconds that anything may take before the test fails."""

STEP = 0.002


class Probe:
    """The application's end of a test: it waits here until the test lets it go on. For threads and coroutines alike."""

    def __init__(self) -> None:
        self.lifespan: list[str] = []
        """An application with a lifespan appends ``"entered"`` and ``"left"``."""
        self.cancelled = 0
        """How often a waiting coroutine was cancelled."""
        self.waiting = 0
        self._passes = threading.Semaphore(0)
        self._count = threading.Lock()

    def wait(self) -> None:
        """For threads: wait for one `let_on`."""
        with self._count:
            self.waiting += 1
        if not self._passes.acquire(timeout=DEADLINE):
            raise TimeoutError("the test never let the application go on")

    async def wait_here(self) -> None:
        """For coroutines: wait for one `let_on`."""
        with self._count:
            self.waiting += 1
        try:
            while not self._passes.acquire(blocking=False):  # noqa: ASYNC110  shared with threads
                await asyncio.sleep(STEP)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    def let_on(self, times: int = 1) -> None:
        self._passes.release(times)

    async def until_waiting(self, times: int = 1) -> None:
        """Return once the application has begun to wait `times` times."""
        await until(lambda: self.waiting >= times, "the application never came to the point where it waits")


async def until(condition: Callable[[], bool], complaint: str) -> None:
    """Return once `condition` holds; fail with `complaint` where it does not in time."""
    try:
        async with asyncio.timeout(DEADLINE):
            while not condition():  # noqa: ASYNC110  anything may make it true
                await asyncio.sleep(STEP)
    except TimeoutError:
        raise AssertionError(complaint) from None


@dataclass
class Place:
    """A bound socket, and how clients reach it."""

    listener: socket.socket
    address: str

    def stream(self) -> socket.socket:
        """A blocking client socket, connected."""
        if self.listener.family == socket.AF_UNIX:
            client = socket.socket(socket.AF_UNIX)
            client.connect(self.address)
            return client
        host, _, port = self.address.rpartition(":")
        return socket.create_connection((host, int(port)))

    async def until_refused(self) -> None:
        """Return once nobody accepts here any more."""

        def refused() -> bool:
            try:
                self.stream().close()
            except OSError:
                return True
            return False

        await until(refused, "connections are still accepted")


@contextmanager
def bound(kind: str) -> Iterator[Place]:
    """A socket to serve on: ``"unix"`` or ``"tcp"``, listening, as the life cycle hands it over."""
    with tempfile.TemporaryDirectory(prefix="pywatt-") as folder:
        if kind == "unix":
            path = str(Path(folder) / "s")
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(path)
            address = path
        else:
            listener = socket.socket()
            listener.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{listener.getsockname()[1]}"
        listener.listen(128)
        listener.setblocking(False)
        try:
            yield Place(listener, address)
        finally:
            listener.close()


@dataclass
class Stream:
    """One open connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def ask(self, path: str, *, method: str = "GET", headers: str = "") -> None:
        """Send a request without waiting for anything."""
        self.writer.write(f"{method} {path} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n".encode("latin-1"))

    async def until(self, mark: bytes) -> bytes:
        return await asyncio.wait_for(self.reader.readuntil(mark), DEADLINE)

    async def rest(self) -> bytes:
        """Everything up to the end of the stream; a connection that is dropped ends as well."""
        try:
            return await asyncio.wait_for(self.reader.read(), DEADLINE)
        except ConnectionError:
            return b""

    async def say(self, text: str) -> None:
        """Send a WebSocket text frame (RFC 6455 5.2; masked with zeros)."""
        payload = text.encode()
        self.writer.write(bytes([0x81, 0x80 | len(payload)]) + bytes(4) + payload)
        await self.writer.drain()

    async def frame(self) -> tuple[int, bytes]:
        """Opcode and payload of the next short WebSocket frame."""
        first, length = struct.unpack("BB", await asyncio.wait_for(self.reader.readexactly(2), DEADLINE))
        return first & 0x0F, await asyncio.wait_for(self.reader.readexactly(length & 0x7F), DEADLINE)


@asynccontextmanager
async def streaming(address: str) -> AsyncIterator[Stream]:
    """A connection that the test speaks on by itself."""
    reader, writer = await asyncio.wait_for(connect(address), DEADLINE)
    try:
        yield Stream(reader, writer)
    finally:
        writer.close()


UPGRADE = (
    "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
    f"sec-websocket-key: {base64.b64encode(bytes(16)).decode()}\r\n"
)


def request(method: str, uri: str, body: bytes | None = None, **headers: str) -> HttpRequest:
    """A request as it comes over a link; underscores in header names become dashes."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return HttpRequest(request_id=f"{method} {uri}", method=method, uri=uri, headers=named, body=body)


def state() -> SimpleNamespace:
    """Stands for an `AppState`: servers hand it on and never look inside."""
    return SimpleNamespace(module_id="contract")


def left_behind() -> tuple[set[str], int]:
    """The threads that run and the number of descriptors that are open now."""
    threads = {f"{thread.name} {thread.ident}" for thread in threading.enumerate()}
    proc = Path("/proc/self/fd")
    return threads, len(os.listdir(proc if proc.exists() else "/dev/fd"))  # noqa: PTH208  one descriptor for the listing itself


class ServerSubject:
    """What a subclass gives, and how the tests use it."""

    lifespan: ClassVar[bool]
    """The framework's applications have a lifespan, which the server enters and leaves."""
    websockets: ClassVar[bool]
    streaming: ClassVar[bool] = True
    """Pieces of a response leave as they are made."""
    cancellation: ClassVar[bool]
    """A request over a link that is cancelled is cancelled in the application (a thread cannot be)."""

    def application(self, probe: Probe) -> object:
        """The application described above."""
        raise NotImplementedError

    def make_server(self, app: object, options: ServerOptions) -> Server | None:
        """The plugin's hook: ``return my_plugin.pywatt_make_server(app, options)``."""
        raise NotImplementedError

    @pytest.fixture(params=["unix", "tcp"])
    def place(self, request: pytest.FixtureRequest) -> Iterator[Place]:
        with bound(request.param) as place:
            yield place

    def server(self, probe: Probe | None = None, **options: Any) -> Server:
        """A server for a new application; `options` are those of `ServerOptions`."""
        server = self.make_server(self.application(probe or Probe()), ServerOptions(**{"state": state(), **options}))
        assert server is not None, "the plugin does not recognise its own application"
        return server

    @asynccontextmanager
    async def served(self, place: Place | None, probe: Probe | None = None, **options: Any) -> AsyncIterator[Server]:
        """A server that has started; at the end nobody is left waiting, and it is closed."""
        probe = probe or Probe()
        server = self.server(probe, **options)
        try:
            await server.start(place.listener if place else None)
            yield server
        finally:
            probe.let_on(100)
            await server.close()
