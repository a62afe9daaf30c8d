"""Channels with far ends for tests: real sockets, real links in the orchestrator's role, a clock that stands still."""

from __future__ import annotations

import asyncio
import functools
import itertools
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from pywatt_core.interfaces import Channel, ChannelState
from pywatt_core.policies.reconnecting import NoReconnect, ReconnectPolicy
from pywatt_core.protocol.messages import (
    EncodedMessage,
    GetSecret,
    Message,
    Metadata,
    RoutedModuleResponse,
    RouteToModule,
    Secret,
    ServiceOperation,
    ServiceOperationResult,
)
from pywatt_core.protocol.session import Role, Session, Wire
from pywatt_core.services.channels import Channels
from pywatt_core.services.routing_options import RoutingOptions
from pywatt_core.transports.channel import ReconnectingChannel
from pywatt_core.transports.channel_session import ChannelSession
from pywatt_core.transports.link import Link, new_id
from pywatt_core.transports.unix import bind_unix, open_unix

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

SMALL, LARGE = b'"x"', b'"' + b"x" * 5000 + b'"'


class FarEnd:
    """The orchestrator's end of one way. It answers with the name of the way, or keeps silent, or ends the connection."""

    def __init__(self, name: str, path: str) -> None:
        self.name, self.path = name, path
        self.received: list[Message] = []
        self.silent = False
        self.cuts = False
        """End the connection when a message arrives, unanswered."""
        self.works: Callable[[], None] = lambda: None
        """Called before each answer."""
        self.links: set[Link] = set()
        self.arrived = asyncio.Event()
        self.server: asyncio.AbstractServer | None = None

    async def open(self) -> None:
        self.server = await asyncio.get_running_loop().create_unix_server(self._link, sock=bind_unix(self.path))

    def _link(self) -> Link:
        link = Link(Session(Role.ORCHESTRATOR, Wire.CHANNEL), on_message=self._take, on_close=lambda link, _: self.links.discard(link))
        self.links.add(link)
        return link

    def _take(self, message: Message, link: Link) -> None:
        self.received.append(message)
        self.arrived.set()
        self.works()
        if self.cuts:
            link.abort(ConnectionError("cut by the test"))
        elif isinstance(message, GetSecret) and not self.silent:
            link.post(Secret(message.name, self.name))
        elif isinstance(message, ServiceOperation) and not self.silent:
            link.post(ServiceOperationResult(success=True, result=self.name, request_id=message.request_id))
        elif isinstance(message, RouteToModule) and not self.silent:
            answer = EncodedMessage(b'"%s"' % self.name.encode(), "Json")
            link.post(RoutedModuleResponse(message.target_module_id, message.request_id, answer))

    async def close(self) -> None:
        if self.server is not None:
            self.server.close()
        for link in list(self.links):
            link.abort(ConnectionError("closed by the test"))


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Stage:
    """Channels with far ends. Sleeping is noted and costs no time."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.stack = folder, AsyncExitStack()
        self.far: dict[str, FarEnd] = {}
        self.ways: dict[str, ReconnectingChannel] = {}
        self.clock = Clock()
        self.slept: list[float] = []
        self.while_asleep: Callable[[], Any] = lambda: None
        self.channels: Channels

    async def open(self, *names: str, policy: ReconnectPolicy | None = None, **options: Any) -> Channels:
        stdio = await self._stdio() if "stdio" in names else None
        self.channels = Channels(
            stdio, RoutingOptions(**options) if options else None, clock=self.clock, chance=lambda: 0.5, sleep=self._sleep
        )
        for name in names:
            if name != "stdio":
                await self.add(name, policy or NoReconnect())
        return self.channels

    async def _stdio(self) -> Link:
        far = await self.serve("stdio")
        link = await open_unix(far.path, lambda: Link(Session(Role.MODULE, Wire.CHANNEL), on_message=lambda *_: None))
        self.stack.push_async_callback(link.close)
        return link

    async def serve(self, name: str) -> FarEnd:
        far = self.far[name] = FarEnd(name, str(self.folder / f"{name}.sock"))
        await far.open()
        self.stack.push_async_callback(far.close)
        return far

    async def add(self, name: str, policy: ReconnectPolicy) -> ReconnectingChannel:
        far = await self.serve(name)
        way = self.ways[name] = ReconnectingChannel(
            name,
            lambda make: open_unix(far.path, make),
            lambda: ChannelSession(clock=asyncio.get_running_loop().time),
            on_message=lambda *_: None,
            on_state=lambda _: self.channels.changed(name),
            policy=policy,
        )
        assert isinstance(way, Channel)
        self.channels.add(way)
        await self.stack.enter_async_context(way)
        return way

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.clock.now += seconds
        result = self.while_asleep()
        if result is not None:
            await result

    async def lose(self, name: str) -> None:
        """Close the far end of a way for good, and see the loss."""
        await self.far[name].close()
        async with asyncio.timeout(10):
            while self.ways[name].state is ChannelState.CONNECTED:
                await asyncio.sleep(0)


def staged(test: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """Close what a test has opened, in the loop in which it was opened."""

    @functools.wraps(test)
    async def run(*, stage: Stage, **others: Any) -> None:
        async with stage.stack:
            await test(stage=stage, **others)

    return run


_names = (f"KEY_{number}" for number in itertools.count())


async def ask(channels: Channels, timeout: float = 10.0) -> str:
    """Which way a request takes that the orchestrator answers."""
    answer = await channels.request(GetSecret(next(_names)), timeout=timeout)
    assert isinstance(answer, Secret)
    return answer.value or ""


async def route(
    channels: Channels, data: bytes = SMALL, *, timeout: float = 10.0, target: tuple[str, str] = ("users", "find"), **properties: Any
) -> str:
    """Which way a request to another module takes."""
    message = RouteToModule(*target, new_id(), EncodedMessage(data, "Json"))
    answer = await channels.request(message, timeout=timeout, metadata=Metadata(properties=properties) if properties else None)
    assert isinstance(answer, RoutedModuleResponse)
    return answer.payload.data.decode().strip('"')
