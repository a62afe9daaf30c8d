"""The channels of the init line: the contract over Unix sockets, TCP and TLS, and everything that has to fail closed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import struct
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pywatt_core.builtin.channel_options import TcpOptions, UnixOptions
from pywatt_core.builtin.channels import open_tcp_channel, open_unix_channel
from pywatt_core.errors import ChannelClosed, ConfigError, LocalProtocolError
from pywatt_core.interfaces import ChannelContext, ChannelState
from pywatt_core.policies import ExponentialBackoff, FixedInterval, NoReconnect
from pywatt_core.protocol.messages import (
    EncodedMessage,
    Extension,
    Heartbeat,
    HeartbeatAck,
    Init,
    IpcChannel,
    RouteToModule,
    TcpChannel,
)
from pywatt_core.protocol.session import Facts
from pywatt_core.testing.contracts import ChannelContract
from pywatt_core.transports.tcp import bind_tcp
from pywatt_core.transports.tls import server_context
from pywatt_core.transports.unix import bind_unix

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable

    from pywatt_core.interfaces import Channel
    from pywatt_core.transports.link import Link
    from tools.certificates import Authority

    Context = Callable[[Init], ChannelContext]


class UnixBench:
    """An orchestrator that listens on a socket file."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    @asynccontextmanager
    async def listen(self, make_link: Callable[[], Link]) -> AsyncIterator[None]:
        server = await asyncio.get_running_loop().create_unix_server(make_link, sock=bind_unix(self.path))
        try:
            yield
        finally:
            server.close()
            Path(self.path).unlink(missing_ok=True)

    @asynccontextmanager
    async def open(self, init: Callable[..., Init], context: Context) -> AsyncIterator[Channel]:
        options = UnixOptions(initial_delay=0.001, max_delay=0.01)
        async with open_unix_channel(options, context(init(ipc_channel=IpcChannel(socket_path=self.path, required=False)))) as channel:
            yield channel


class TcpBench:
    """An orchestrator that listens on a port, with TLS where there is a context for it."""

    def __init__(self, tls: ssl.SSLContext | None = None, **options: Any) -> None:
        self._tls, self._options = tls, options
        with bind_tcp("127.0.0.1", 0) as listener:
            self.port = listener.getsockname()[1]

    @asynccontextmanager
    async def listen(self, make_link: Callable[[], Link]) -> AsyncIterator[None]:
        server = await asyncio.get_running_loop().create_server(make_link, sock=bind_tcp("127.0.0.1", self.port), ssl=self._tls)
        try:
            yield
        finally:
            server.close()

    @asynccontextmanager
    async def open(self, init: Callable[..., Init], context: Context) -> AsyncIterator[Channel]:
        options = TcpOptions(initial_delay=0.001, max_delay=0.01, **self._options)
        offer = TcpChannel(address=f"127.0.0.1:{self.port}", tls_enabled=self._tls is not None, required=False)
        async with open_tcp_channel(options, context(init(tcp_channel=offer))) as channel:
            yield channel


class TestUnix(ChannelContract):
    @pytest.fixture
    def bench(self, tmp_path_factory: pytest.TempPathFactory) -> UnixBench:
        return UnixBench(tmp_path_factory.mktemp("c") / "c.sock")


class TestTcp(ChannelContract):
    @pytest.fixture
    def bench(self) -> TcpBench:
        return TcpBench()


class TestTls(ChannelContract):
    @pytest.fixture
    def bench(self, authorities: Callable[[str], Authority]) -> TcpBench:
        authority = authorities("ours")
        server = authority.issue("server")
        return TcpBench(server_context(server.cert, server.key, None), ca_cert=authority.cert)


# ── what the options do ─────────────────────────────────────────────────────────────────────────────────────────────


class Raw:
    """An orchestrator that keeps the frames of each connection as they came."""

    def __init__(self) -> None:
        self.frames: list[list[dict[str, Any]]] = []
        self.writers: list[asyncio.StreamWriter] = []

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        frames: list[dict[str, Any]] = []
        self.frames.append(frames)
        self.writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                size, code = struct.unpack(">IB", await reader.readexactly(5))
                assert code == 1
                frames.append(json.loads(await reader.readexactly(size)))
        writer.close()

    def send(self, text: bytes, connection: int = -1) -> None:
        self.writers[connection].write(struct.pack(">IB", len(text), 1) + text)

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(30):
            while not condition():
                await asyncio.sleep(0.001)


@asynccontextmanager
async def over_tcp(*, members: dict[str, Any] | None = None, **options: Any) -> AsyncIterator[tuple[Raw, Channel]]:
    """A channel to an orchestrator that speaks JSON alone and takes down what it hears."""
    raw = Raw()
    server = await asyncio.start_server(raw.talk, sock=bind_tcp("127.0.0.1", 0))
    host, port = server.sockets[0].getsockname()
    offer = TcpChannel(address=f"{host}:{port}", required=False)
    init = Init(orchestrator_api="", module_id="m", env={}, listen="/x", tcp_channel=offer, **(members or {}))
    facts = Facts()
    facts.note(init)
    context = ChannelContext(
        module_id="m",
        section="channels.tcp",
        init=init,
        facts=facts,
        on_message=lambda message, link: link.post(HeartbeatAck()) if isinstance(message, Heartbeat) else None,
        on_problem=lambda problem: None,
        on_state=lambda state: None,
    )
    try:
        async with open_tcp_channel(TcpOptions(initial_delay=0.001, max_delay=0.01, **options), context) as channel:
            await raw.until(lambda: channel.state is ChannelState.CONNECTED and raw.writers)
            yield raw, channel
    finally:
        server.close()


HEARTBEAT = b'{"op":"heartbeat"}'
TOKEN = {"auth_token": "channel-canary-token", "security_level": "Token"}


async def test_nothing_is_sent_before_there_is_something_to_say() -> None:
    async with over_tcp() as (raw, _channel):
        raw.send(HEARTBEAT)
        await raw.until(lambda: raw.frames[0])
        (frame,) = raw.frames[0]
        assert (frame["content"], frame["metadata"]) == ({"op": "heartbeat_ack"}, {"source": "m"})


@pytest.mark.parametrize(("identify", "first"), [("module_id", {"module_id": "m"}), ("identify", {"identify": "m"})])
async def test_who_asks_for_it_is_told_who_this_is_first_on_each_connection(identify: str, first: dict[str, str]) -> None:
    async with over_tcp(identify=identify) as (raw, _channel):
        await raw.until(lambda: raw.frames[0])
        raw.writers[0].transport.abort()
        await raw.until(lambda: len(raw.frames) == 2 and raw.frames[1])
        assert [frames[0]["content"] for frames in raw.frames] == [{"op": "identify", **first}] * 2


@pytest.mark.parametrize(
    ("members", "option", "shown"),
    [
        ({}, "auto", False),
        ({}, "metadata", True),
        ({"pywatt": Extension(features=("channel_token",))}, "auto", True),
        ({"pywatt": Extension(features=("channel_token",))}, "no", False),
    ],
)
async def test_the_token_goes_into_the_first_envelope_of_each_connection_where_it_is_wanted(
    members: dict[str, Any], option: str, shown: bool
) -> None:
    async with over_tcp(members={**TOKEN, **members}, send_auth_token=option) as (raw, _channel):
        for connection in (0, 1):
            await raw.until(lambda connection=connection: len(raw.writers) > connection)  # type: ignore[misc]
            raw.send(HEARTBEAT, connection)
            raw.send(HEARTBEAT, connection)
            await raw.until(lambda connection=connection: len(raw.frames[connection]) == 2)  # type: ignore[misc]
            if connection == 0:
                raw.writers[0].transport.abort()
        for frames in raw.frames:
            assert (frames[0]["metadata"].get("properties") == {"auth_token": "channel-canary-token"}) is shown
            assert frames[0]["metadata"]["source"] == "m"
            assert "properties" not in frames[1]["metadata"]


async def test_a_token_that_is_asked_for_and_was_not_sent_is_an_error() -> None:
    with pytest.raises(ChannelClosed, match='asks for the security level "Token" and has sent no auth_token'):
        async with over_tcp(members={"security_level": "Token"}):
            pass


async def test_a_message_over_the_limit_is_refused_and_one_that_comes_ends_the_connection() -> None:
    async with over_tcp(frame_limit=2048) as (raw, channel):
        payload = EncodedMessage(data=b"x" * 4096, format="Binary")
        large = RouteToModule(target_module_id="b", target_endpoint="e", request_id="aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee", payload=payload)
        with pytest.raises(LocalProtocolError, match="at most 2048"):
            await channel.send(large)
        assert channel.state is ChannelState.CONNECTED
        raw.writers[0].write(struct.pack(">IB", 2049, 1))
        await raw.until(lambda: len(raw.writers) == 2)


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "127.0.0.1:", ":80", "127.0.0.1:0", "127.0.0.1:99999", "127.0.0.1:x", "127.0.0.1:\N{ARABIC-INDIC DIGIT ONE}"]
)
async def test_an_address_that_is_none_is_named(address: str) -> None:
    offer = TcpChannel(address=address)
    with pytest.raises(ConfigError, match="which is no HOST:PORT"):
        async with open_tcp_channel(TcpOptions(), bare_context("tcp", tcp_channel=offer)):
            pass


async def test_a_host_name_is_looked_up_and_brackets_are_taken_off() -> None:
    raw = Raw()
    with bind_tcp("127.0.0.1", 0) as listener:
        server = await asyncio.start_server(raw.talk, sock=listener)
        offer = TcpChannel(address=f"localhost:{listener.getsockname()[1]}")
        async with open_tcp_channel(TcpOptions(), bare_context("tcp", tcp_channel=offer)):
            await raw.until(lambda: raw.writers)
        server.close()
    async with open_tcp_channel(TcpOptions(reconnect="none"), bare_context("tcp", tcp_channel=TcpChannel(address="[::1]:1"))) as channel:
        async with asyncio.timeout(30):
            while channel.state is not ChannelState.FAILED:
                await asyncio.sleep(0.001)
        assert "[::1]:1" in channel.error  # type: ignore[attr-defined]


def bare_context(name: str, **members: Any) -> ChannelContext:
    return ChannelContext(
        module_id="m",
        section=f"channels.{name}",
        init=Init(orchestrator_api="", module_id="m", env={}, listen="/x", **members),
        facts=Facts(complete=True),
        on_message=lambda message, link: None,
        on_problem=lambda problem: None,
        on_state=lambda state: None,
    )


@pytest.mark.parametrize(("open_channel", "options"), [(open_tcp_channel, TcpOptions()), (open_unix_channel, UnixOptions())])
async def test_a_channel_that_the_init_line_does_not_offer_cannot_be_opened(open_channel: Any, options: Any) -> None:
    with pytest.raises(ConfigError, match="the init line has no (tcp|ipc)_channel"):
        async with open_channel(options, bare_context("extra")):
            pass


async def test_where_nobody_listens_the_path_is_named(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = str(tmp_path_factory.mktemp("c") / "none.sock")
    offer = IpcChannel(socket_path=path)
    async with open_unix_channel(UnixOptions(reconnect="none"), bare_context("unix", ipc_channel=offer)) as channel, asyncio.timeout(30):
        while channel.state is not ChannelState.FAILED:
            await asyncio.sleep(0.001)
        assert channel.error == f"nobody listens on {path}"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"reconnect": "none"}, NoReconnect),
        ({"reconnect": "fixed", "delay": 2, "max_attempts": 3}, FixedInterval),
        ({"initial_delay": 0.5, "max_delay": 4, "multiplier": 3}, ExponentialBackoff),
    ],
)
def test_the_options_choose_the_policy(options: dict[str, Any], kind: type[Any]) -> None:
    policy = UnixOptions(**options).policy()
    assert isinstance(policy, kind)
    assert all(getattr(policy, name) == value for name, value in options.items() if name != "reconnect")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"reconnect": "fixed", "delay": 0}, "delay must be"),
        ({"reconnect": "exponential", "delay": -1}, "delay must be"),
        ({"reconnect": "none", "multiplier": 0}, "multiplier must be"),
        ({"max_attempts": 0}, "max_attempts must be"),
        ({"initial_delay": 60}, "initial_delay must be"),
        ({"connect_timeout": 0}, "connect_timeout is 0"),
        ({"idle_timeout": -1}, "idle_timeout is -1"),
        ({"frame_limit": 10}, "frame_limit is 10; it is between 1024 and"),
        ({"client_key": Path("key.pem")}, "client_key is there without client_cert"),
        ({"server_name": ""}, "server_name is empty"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        TcpOptions(**options)
