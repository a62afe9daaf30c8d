"""A gateway, the modules behind it and the clients before it: all of them real sockets on the loopback."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from pywatt_core.protocol.messages import AnnouncedEndpoint
from pywatt_core.protocol.values import TcpAddress, UnixAddress
from pywatt_orchestrator.gateway import Gateway, GatewayOptions, Instance, ModuleRoutes, RouteTable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator
    from pathlib import Path

PATIENCE = 20.0
"""Seconds after which a test gives up waiting for an event."""


@dataclass
class Response:
    """A response as it came over the wire, its body unframed."""

    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: bytes = b""

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name]

    def __getitem__(self, name: str) -> str:
        values = self.all(name)
        assert len(values) == 1, f"{name} is there {len(values)} times in {self.headers}"
        return values[0]

    def __contains__(self, name: str) -> bool:
        return bool(self.all(name))

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Request:
    """A request as a module saw it, its body unframed."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes = b""

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name]

    def __getitem__(self, name: str) -> str:
        values = self.all(name)
        assert len(values) == 1, f"{name} is there {len(values)} times in {self.headers}"
        return values[0]


async def read_head(reader: asyncio.StreamReader) -> tuple[str, list[tuple[str, str]]]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head[:-4].split("\r\n")
    return first, [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]


async def read_body(reader: asyncio.StreamReader, headers: list[tuple[str, str]], *, to_end: bool) -> bytes:
    fields = {name.lower(): value for name, value in headers}
    if fields.get("transfer-encoding") == "chunked":
        body = b""
        while size := int((await reader.readuntil(b"\r\n")).strip(), 16):
            body += await reader.readexactly(size)
            assert await reader.readexactly(2) == b"\r\n"
        assert await reader.readexactly(2) == b"\r\n"
        return body
    if "content-length" in fields:
        return await reader.readexactly(int(fields["content-length"]))
    return await reader.read() if to_end else b""


class Client:
    """Speaks to the gateway in bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def receive(self, *, head_only: bool = False) -> Response:
        """The next response; raises `IncompleteReadError` where the connection ends before it does."""
        async with asyncio.timeout(PATIENCE):
            first, headers = await read_head(self.reader)
            _, status, reason = first.split(" ", 2)
            bodiless = head_only or status[0] == "1" or status in ("204", "304")
            body = b"" if bodiless else await read_body(self.reader, headers, to_end=True)
            return Response(int(status), reason, headers, body)

    async def ask(self, data: bytes) -> Response:
        await self.send(data)
        return await self.receive(head_only=data.startswith(b"HEAD "))

    async def get(self, path: str, *lines: str, method: str = "GET") -> Response:
        return await self.ask("\r\n".join((f"{method} {path} HTTP/1.1", "Host: front.test", *lines, "", "")).encode())

    async def ended_after(self, answers: list[Response]) -> bool:
        """Whether the last answer said that it is the last."""
        return answers[-1].all("connection") == ["close"] and await self.ended()

    async def ended(self) -> bool:
        """Whether the gateway has closed the connection, and sent nothing more."""
        try:
            async with asyncio.timeout(PATIENCE):
                return await self.reader.read(1) == b""
        except ConnectionError:
            return True


def reply(body: bytes, *lines: str, status: str = "200 OK") -> bytes:
    return "\r\n".join((f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *lines, "", "")).encode() + body


async def echo(request: Request, writer: asyncio.StreamWriter) -> None:
    """Answers with what it was asked."""
    seen = {"method": request.method, "target": request.target, "headers": request.headers, "body": request.body.decode("latin-1")}
    writer.write(reply(b"" if request.method == "HEAD" else json.dumps(seen).encode(), "Content-Type: application/json"))


@dataclass
class Module:
    """A server that plays a module: reads requests by the book, answers with `handler`, keeps connections alive."""

    handler: Any = echo
    name: str = "users"
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    lost: int = 0
    writers: set[asyncio.StreamWriter] = field(default_factory=set)
    address: TcpAddress | UnixAddress | None = None
    reads_bodies: bool = True

    async def start(self, path: Path | None = None) -> None:
        if path is not None:
            self._server = await asyncio.start_unix_server(self._serve, path)
            self.address = UnixAddress(str(path))
        else:
            self._server = await asyncio.start_server(
                self._serve, "127.0.0.1", self.address.port if isinstance(self.address, TcpAddress) else 0
            )
            self.address = TcpAddress("127.0.0.1", self._server.sockets[0].getsockname()[1])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.add(writer)
        self.reader = reader
        try:
            while True:
                first, headers = await read_head(reader)
                method, target, version = first.split(" ")
                assert version == "HTTP/1.1"
                body = await read_body(reader, headers, to_end=False) if self.reads_bodies else b""
                request = Request(method, target, headers, body)
                self.requests.append(request)
                await self.handler(request, writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            self.lost += 1
        finally:
            self.writers.discard(writer)
            writer.close()

    def kill(self) -> None:
        """Close every connection at once, as the end of a process does."""
        for writer in list(self.writers):
            writer.transport.abort()

    async def stop(self) -> None:
        self.kill()
        self._server.close()

    def instance(self, **more: Any) -> Instance:
        assert self.address is not None
        return Instance(**({"id": self.name, "address": self.address, "trusted": True, "ready": True} | more))


class Front:
    """A gateway in front of modules, on a loop that is running."""

    def __init__(self, gateway: Gateway, stack: contextlib.AsyncExitStack) -> None:
        self.gateway = gateway
        self._stack = stack

    async def client(self) -> Client:
        assert self.gateway.address is not None
        reader, writer = await asyncio.open_connection(*self.gateway.address, limit=2**24)
        self._stack.callback(writer.transport.abort)
        return Client(reader, writer)

    async def get(self, path: str, *lines: str, method: str = "GET") -> Response:
        """One request on a connection of its own."""
        return await (await self.client()).get(path, *lines, method=method)


def endpoint(text: str) -> AnnouncedEndpoint:
    """``"GET,POST /items/{id}"``."""
    methods, path = text.split(" ")
    return AnnouncedEndpoint(path, methods.split(","))


def routes(name: str = "users", *paths: str, mount: str | None = None, instances: Iterable[Instance] = (), **more: Any) -> ModuleRoutes:
    endpoints = [endpoint(path) for path in paths or ("* /{*rest}",)]
    return ModuleRoutes(
        **({"name": name, "mount": f"/{name}" if mount is None else mount, "endpoints": endpoints, "instances": tuple(instances)} | more)
    )


class Stage:
    """What the tests are given: opens gateways and modules, and closes them when the test's ``async with`` ends."""

    speaking = Client
    endpoint, routes, reply, echo = staticmethod(endpoint), staticmethod(routes), staticmethod(reply), staticmethod(echo)
    PATIENCE = PATIENCE

    @staticmethod
    @contextlib.asynccontextmanager
    async def gateway(
        *modules: ModuleRoutes, on_access: Any = None, metrics: Any = None, page: str = "owner", **options: Any
    ) -> AsyncIterator[Front]:
        async with contextlib.AsyncExitStack() as stack:
            gateway = Gateway(GatewayOptions(**({"port": 0, "metrics": page} | options)), on_access=on_access, metrics=metrics)
            stack.push_async_callback(gateway.close)
            await gateway.start()
            gateway.update(RouteTable(modules))
            yield Front(gateway, stack)

    @staticmethod
    @contextlib.asynccontextmanager
    async def module(handler: Any = echo, *, name: str = "users", path: Path | None = None, **more: Any) -> AsyncIterator[Module]:
        module = Module(handler, name, **more)
        await module.start(path)
        try:
            yield module
        finally:
            await module.stop()

    @staticmethod
    @contextlib.asynccontextmanager
    async def front(handler: Any = echo, *paths: str, mount: str = "/users", **options: Any) -> AsyncIterator[tuple[Front, Module]]:
        """One module behind one gateway."""
        async with (
            Stage.module(handler) as module,
            Stage.gateway(routes("users", *paths, mount=mount, instances=[module.instance()]), **options) as front,
        ):
            yield front, module

    @staticmethod
    async def until(condition: Callable[[], bool]) -> None:
        """Let others run until something is so."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await asyncio.sleep(0.001)


LOOPS = ["asyncio", "uvloop"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Coroutine tests run on either event loop: their transports are not the same."""
    if inspect.iscoroutinefunction(metafunc.function):
        metafunc.fixturenames.append("loop_kind")
        metafunc.parametrize("loop_kind", LOOPS, indirect=True)


@pytest.fixture
def loop_kind(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "uvloop":
        uvloop = pytest.importorskip("uvloop", reason="uvloop comes with the extra pywatt-orchestrator[fast]")
        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    yield request.param
    asyncio.set_event_loop_policy(None)


@pytest.fixture
def stage() -> type[Stage]:
    return Stage
