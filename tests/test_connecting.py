"""The channels of a module's life: real processes under a fake orchestrator that offers them."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pywatt_core import connecting
from pywatt_core.config import Settings
from pywatt_core.connecting import open_channels, sections_of
from pywatt_core.errors import ChannelClosed, ConfigError
from pywatt_core.interfaces import ChannelState
from pywatt_core.protocol.messages import (
    Heartbeat,
    HeartbeatAck,
    HttpRequest,
    HttpResponse,
    Init,
    IpcChannel,
    Message,
    Shutdown,
    TcpChannel,
)
from pywatt_core.protocol.session import Role, Session, Wire
from pywatt_core.registry import Registry
from pywatt_core.testing import ModuleRunner
from pywatt_core.transports.link import Link, new_id
from pywatt_core.transports.unix import bind_unix

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SMALL = Path(__file__).parent / "modules" / "small.py"


class Orchestrator:
    """Listens on a socket file; what comes over the channel is kept beside what the runner's own wire brings."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.links: list[Link] = []
        self.arrived: list[Message] = []
        self.facts: Any = None

    def offer(self, *, required: bool = False) -> dict[str, Any]:
        return {"ipc_channel": IpcChannel(socket_path=self.path, required=required)}

    def link(self) -> Link:
        session = Session(Role.ORCHESTRATOR, Wire.CHANNEL, facts=self.facts, new_id=new_id)
        self.links.append(Link(session, on_message=lambda message, link: self.arrived.append(message)))
        return self.links[-1]

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        server = await asyncio.get_running_loop().create_unix_server(self.link, sock=bind_unix(self.path))
        try:
            yield
        finally:
            server.close()
            for link in self.links:
                if not link.closed.done():
                    link.abort(ConnectionError("the test is over"))

    async def until(self, condition: Any) -> None:
        async with asyncio.timeout(30):
            while not condition():
                await asyncio.sleep(0.001)


@pytest.fixture
def end(tmp_path_factory: pytest.TempPathFactory) -> Orchestrator:
    return Orchestrator(tmp_path_factory.mktemp("c") / "c.sock")


ONE_ATTEMPT = {"channels": {"unix": {"reconnect": "none"}}}


async def test_messages_over_a_channel_are_acted_on_like_those_over_standard_input(end: Orchestrator) -> None:
    runner = ModuleRunner(SMALL, config={}, init={**end.offer(), "formats": ("msgpack",)})
    async with end.listening(), runner as module:
        await end.until(lambda: end.links)
        channel = end.links[0]
        channel.post(Heartbeat())
        await end.until(lambda: any(isinstance(message, HeartbeatAck) for message in end.arrived))
        answer = await channel.request(HttpRequest(request_id="1", method="GET", uri="/hello?name=ada"), timeout=30)
        assert isinstance(answer, HttpResponse)
        assert (answer.status_code, answer.body) == (200, b"hello ada")
        channel.post(Shutdown())
        assert await module.ended() == 0


async def test_an_optional_channel_never_delays_the_announce_and_connects_when_it_can(end: Orchestrator) -> None:
    config = {"channels": {"unix": {"initial_delay": 0.01, "max_delay": 0.05}}}
    async with ModuleRunner(SMALL, config=config, init=end.offer()) as module:
        assert (await module.http("GET", "/hello")).status == 200
        await module.until(lambda: f"nobody listens on {end.path}" in module.stderr)
        async with end.listening():
            await end.until(lambda: end.links)
            await module.assert_clean_exit()


async def test_a_required_channel_is_connected_before_the_announce(end: Orchestrator) -> None:
    async with end.listening(), ModuleRunner(SMALL, config={}, init=end.offer(required=True)) as module:
        assert len(end.links) == 1
        await module.assert_clean_exit()


async def test_a_required_channel_that_cannot_be_connected_ends_the_module_with_5(end: Orchestrator) -> None:
    async with ModuleRunner(SMALL, config=ONE_ATTEMPT, init=end.offer(required=True), announce=False) as module:
        assert await module.ended() == 5
        await module.until(lambda: f"the required channel unix failed: nobody listens on {end.path}" in module.stderr)


async def test_a_required_channel_that_is_lost_for_good_ends_the_module_with_5_after_its_drain(end: Orchestrator) -> None:
    async with end.listening(), ModuleRunner(SMALL, config=ONE_ATTEMPT, init=end.offer(required=True)) as module:
        end.links[0].abort(ConnectionError("cut"))
        assert await module.ended() == 5
        await module.until(lambda: "the channel 'unix', which the orchestrator requires, is lost" in module.stderr)


async def test_an_optional_channel_that_is_lost_for_good_ends_nothing(end: Orchestrator) -> None:
    async with end.listening(), ModuleRunner(SMALL, config=ONE_ATTEMPT, init=end.offer()) as module:
        await end.until(lambda: end.links)
        end.links[0].abort(ConnectionError("cut"))
        await module.until(lambda: "channel unix lost its connection" in module.stderr)
        assert (await module.http("GET", "/hello")).status == 200
        await module.assert_clean_exit()


@pytest.mark.parametrize(("required", "code"), [(True, 2), (False, 0)])
async def test_options_that_would_not_be_safe_concern_a_module_only_where_the_channel_is_required(required: bool, code: int) -> None:
    offer = {"tcp_channel": TcpChannel(address="127.0.0.1:1", tls_enabled=True, required=required)}
    config = {"channels": {"tcp": {"ca_cert": "/nowhere/ca.pem"}}}
    async with ModuleRunner(SMALL, config=config, init=offer, announce=False) as module:
        if code == 0:
            await module.orchestrator.announced()
            await module.orchestrator.shutdown()
        assert await module.ended() == code
        await module.until(lambda: "channels.tcp.ca_cert: /nowhere/ca.pem cannot be read" in module.stderr)


async def test_a_message_is_written_in_messagepack_where_the_orchestrator_reads_it(end: Orchestrator) -> None:
    for formats, code in (((), 1), (("msgpack",), 4)):
        frames: list[int] = []

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, frames: list[int] = frames) -> None:
            writer.write(b"\x00\x00\x00\x12\x01" + b'{"op":"heartbeat"}')
            frames.append((await reader.readexactly(5))[4])
            writer.close()

        server = await asyncio.start_unix_server(talk, end.path)
        async with ModuleRunner(SMALL, config={}, init={**end.offer(), "formats": formats}) as module:
            await end.until(lambda frames=frames: frames)
            assert module.announce is not None and module.announce.pywatt is not None
            assert "msgpack" in module.announce.pywatt.formats
            await module.assert_clean_exit()
        server.close()
        Path(end.path).unlink(missing_ok=True)  # Python 3.13 removes it when the server closes
        assert frames[0] == code


# ── in this process ─────────────────────────────────────────────────────────────────────────────────────────────────


async def opened(stack: AsyncExitStack, init: Init, **settings: Any) -> Any:
    import socket

    ours, theirs = socket.socketpair()
    stack.callback(theirs.close)
    make = lambda: Link(Session(Role.MODULE, Wire.CHANNEL, new_id=new_id), on_message=lambda message, link: None)  # noqa: E731
    _, link = await asyncio.get_running_loop().create_unix_connection(make, sock=ours)
    stack.push_async_callback(link.close)
    return await open_channels(
        stack,
        Settings(**settings),
        Registry(discover=False),
        link,
        init,
        on_message=lambda message, link: None,
        on_problem=lambda problem: None,
        on_lost=lambda name: None,
    )


def init_with(**members: Any) -> Init:
    return Init(orchestrator_api="", module_id="m", env={}, listen="/x", **members)


async def test_required_channels_have_one_deadline_together(end: Orchestrator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting, "FIRST_CONNECT", 0.05)
    init = init_with(ipc_channel=IpcChannel(socket_path=end.path, required=True))
    async with AsyncExitStack() as stack:
        with pytest.raises(ChannelClosed, match=r"the required channel unix was not connected within 0\.05 s: nobody listens on") as caught:
            await opened(stack, init)
        assert caught.value.executed == "no"


async def test_channels_connect_at_the_same_time(end: Orchestrator) -> None:
    async with end.listening(), AsyncExitStack() as stack:
        tcp = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
        port = tcp.sockets[0].getsockname()[1]
        init = init_with(
            ipc_channel=IpcChannel(socket_path=end.path, required=True), tcp_channel=TcpChannel(address=f"127.0.0.1:{port}", required=True)
        )
        channels = await opened(stack, init)
        assert set(channels.states().items()) == {("tcp", ChannelState.CONNECTED), ("unix", ChannelState.CONNECTED)}
        tcp.close()


async def test_what_makes_a_required_channel_impossible_is_raised_as_it_is() -> None:
    init = init_with(tcp_channel=TcpChannel(address="127.0.0.1:1", required=True), security_level="Mtls")
    async with AsyncExitStack() as stack:
        with pytest.raises(ConfigError, match="has no client certificate"):
            await opened(stack, init)


def test_only_what_the_init_line_offers_is_opened_beside_plugins_own() -> None:
    from pywatt_core.config import Section

    configured = {"tcp": Section(use="tcp", path="channels.tcp"), "radio": Section(use="radio", path="channels.radio")}
    init = init_with(ipc_channel=IpcChannel(socket_path="/x/y"))
    assert [section.path for section in sections_of(Settings(channels=configured), init)] == ["channels.unix", "channels.radio"]
