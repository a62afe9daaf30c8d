"""TLS on the TCP channel fails closed, and says which of the many things is wrong."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pywatt_core.builtin.channel_options import TcpOptions
from pywatt_core.builtin.channels import open_tcp_channel
from pywatt_core.errors import ChannelClosed, ConfigError
from pywatt_core.interfaces import ChannelContext, ChannelState
from pywatt_core.protocol.messages import Init, TcpChannel
from pywatt_core.protocol.session import Facts, Role, Session, Wire
from pywatt_core.transports import tcp
from pywatt_core.transports.channel import ReconnectingChannel
from pywatt_core.transports.link import Link, new_id
from pywatt_core.transports.tcp import bind_tcp
from pywatt_core.transports.tls import server_context
from tools.certificates import encrypted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tools.certificates import Authority, Issued


@pytest.fixture
def ours(authorities: Callable[[str], Authority]) -> Authority:
    return authorities("ours")


@pytest.fixture
def theirs(authorities: Callable[[str], Authority]) -> Authority:
    return authorities("theirs")


class Server:
    """An orchestrator's end on a port of the loopback; `heard` is what came in, whoever sent it."""

    def __init__(self) -> None:
        self.port = 0
        self.links: list[Link] = []
        self.heard = b""

    def link(self) -> Link:
        session = Session(Role.ORCHESTRATOR, Wire.CHANNEL, new_id=new_id)
        self.links.append(Link(session, on_message=lambda message, link: None))
        return self.links[-1]


@asynccontextmanager
async def serving(
    context: ssl.SSLContext | None, protocol: Callable[[Server], asyncio.BaseProtocol] = Server.link
) -> AsyncIterator[Server]:
    server = Server()
    listener = bind_tcp("127.0.0.1", 0)
    server.port = listener.getsockname()[1]
    listening = await asyncio.get_running_loop().create_server(lambda: protocol(server), sock=listener, ssl=context)
    try:
        yield server
    finally:
        listening.close()
        for link in server.links:
            if not link.closed.done():
                link.abort(ConnectionError("the test is over"))


@asynccontextmanager
async def channel_to(
    server: Server | Alerting,
    *,
    tls_enabled: bool = True,
    required: bool = True,
    level: Any = "None",
    folder: Path = Path(),
    **options: Any,
) -> AsyncIterator[ReconnectingChannel]:
    init = Init(
        orchestrator_api="",
        module_id="m",
        env={},
        listen="/x",
        tcp_channel=TcpChannel(address=f"127.0.0.1:{server.port}", tls_enabled=tls_enabled, required=required),
        security_level=level,
    )
    context = ChannelContext(
        module_id="m",
        section="channels.tcp",
        init=init,
        facts=Facts(complete=True),
        on_message=lambda message, link: None,
        on_problem=lambda problem: None,
        on_state=lambda state: None,
        folder=folder,
    )
    async with open_tcp_channel(TcpOptions(initial_delay=0.01, **options), context) as channel:
        assert isinstance(channel, ReconnectingChannel)
        yield channel


class Alerting:
    """A server of the standard library's blocking kind, which says in an alert why it refuses a handshake."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def _serve(self) -> None:
        with contextlib.suppress(OSError):  # the listener was shut down
            while True:
                connection, _ = self._listener.accept()
                connection.settimeout(20)
                with connection, contextlib.suppress(OSError), self._context.wrap_socket(connection, server_side=True) as speaking:
                    while speaking.recv(4096):
                        pass

    def __enter__(self) -> Alerting:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(20)


async def refused(server: Server | Alerting, *, level: Any = "None", tls_enabled: bool = True, **options: Any) -> str:
    """The reason for which a required channel is given up."""
    async with channel_to(server, level=level, tls_enabled=tls_enabled, **options) as channel:
        async with asyncio.timeout(30):
            while channel.state is not ChannelState.FAILED:
                await asyncio.sleep(0.001)
        with pytest.raises(ChannelClosed):
            await channel.connected()
        return channel.error


def mutual(ours: Authority, server: Issued, **limits: Any) -> ssl.SSLContext:
    context = server_context(server.cert, server.key, ours.cert)
    for name, value in limits.items():
        setattr(context, name, value)
    return context


# ── the server ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_server_of_the_authority_that_is_trusted_is_connected_to(ours: Authority) -> None:
    server = ours.issue("server")
    async with serving(server_context(server.cert, server.key, None)) as end, channel_to(end, ca_cert=ours.cert) as channel:
        await channel.connected()
        assert channel.health().connections == 1


async def test_a_server_of_another_authority_is_refused(ours: Authority, theirs: Authority) -> None:
    server = theirs.issue("server")
    async with serving(server_context(server.cert, server.key, None)) as end:
        assert "is not signed by an authority that is trusted here" in await refused(end, ca_cert=ours.cert)


async def test_without_ca_cert_the_authorities_of_the_system_count(ours: Authority) -> None:
    server = ours.issue("server")
    async with serving(server_context(server.cert, server.key, None)) as end:
        assert "is not signed by an authority that is trusted here" in await refused(end)


async def test_a_certificate_for_another_name_is_refused_unless_that_name_is_expected(ours: Authority) -> None:
    server = ours.issue("elsewhere", names=("DNS:elsewhere.example",))
    async with serving(server_context(server.cert, server.key, None)) as end:
        assert "its certificate is for another name" in await refused(end, ca_cert=ours.cert)
        async with channel_to(end, ca_cert=ours.cert, server_name="elsewhere.example") as channel:
            await channel.connected()


async def test_an_expired_certificate_is_refused(ours: Authority) -> None:
    server = ours.issue("old", expired=True)
    async with serving(server_context(server.cert, server.key, None)) as end:
        assert (await refused(end, ca_cert=ours.cert)).endswith("its certificate has expired")


async def test_only_an_explicit_word_takes_any_certificate(theirs: Authority) -> None:
    server = theirs.issue("old", expired=True)
    async with serving(server_context(server.cert, server.key, None)) as end, channel_to(end, verify_server=False) as channel:
        await channel.connected()


async def test_a_server_that_speaks_tls_1_1_at_best_is_refused(ours: Authority) -> None:
    server = ours.issue("server")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server.cert, server.key)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with Alerting(context) as end:
        assert "it speaks no TLS version that is safe: TLS 1.2 is the oldest" in await refused(end, ca_cert=ours.cert)


# ── servers that speak something else ───────────────────────────────────────────────────────────────────────────────


class Plain(asyncio.Protocol):
    """Answers whatever comes with a banner in the clear, or with nothing."""

    def __init__(self, server: Server, banner: bytes) -> None:
        self._server, self._banner = server, banner

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._server.heard += data
        if self._banner:
            self._transport.write(self._banner)


async def test_a_server_that_answers_in_the_clear_is_refused_and_hears_nothing(ours: Authority) -> None:
    async with serving(None, lambda server: Plain(server, b"220 hello\r\n")) as end:
        assert "it does not seem to speak TLS" in await refused(end, ca_cert=ours.cert)
        assert b"op" not in end.heard and b"module" not in end.heard


async def until_error(end: Server, **options: Any) -> str:
    """The reason of failures that another attempt may mend: the channel goes on trying."""
    async with channel_to(end, **options) as channel, asyncio.timeout(30):
        while channel.health().failures < 2:
            assert channel.state is not ChannelState.CONNECTED
            await asyncio.sleep(0.001)
        return channel.error


async def test_a_channel_that_speaks_frames_in_the_clear_cuts_the_handshake_off(ours: Authority) -> None:
    async with serving(None) as end:
        assert "the TLS handshake was cut off by the other end: perhaps it does not speak TLS" in await until_error(end, ca_cert=ours.cert)


async def test_a_server_that_never_answers_is_not_waited_for(ours: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp, "HANDSHAKE_TIMEOUT", 0.05)
    async with serving(None, lambda server: Plain(server, b"")) as end:
        assert "the TLS handshake was not finished within 0.05 s: the other end does not seem to speak TLS" in await until_error(
            end, ca_cert=ours.cert
        )


# ── the client's own certificate ────────────────────────────────────────────────────────────────────────────────────


async def test_both_ends_may_prove_themselves(ours: Authority) -> None:
    client = ours.issue("client")
    async with (
        serving(mutual(ours, ours.issue("server"))) as end,
        channel_to(end, level="Mtls", tls_enabled=False, ca_cert=ours.cert, client_cert=client.cert, client_key=client.key) as channel,
    ):
        await channel.connected()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_missing_client_certificate_is_named(ours: Authority, version: ssl.TLSVersion) -> None:
    with Alerting(mutual(ours, ours.issue("server"), maximum_version=version, minimum_version=version)) as end:
        assert "it requires a client certificate: set client_cert and client_key" in await refused(end, ca_cert=ours.cert)


async def test_a_client_certificate_of_another_authority_is_refused(ours: Authority, theirs: Authority) -> None:
    client = theirs.issue("client")
    with Alerting(mutual(ours, ours.issue("server"))) as end:
        reason = await refused(end, level="Mtls", ca_cert=ours.cert, client_cert=client.cert, client_key=client.key)
        assert "it does not trust the authority that signed this end's certificate" in reason


async def test_an_expired_client_certificate_is_refused(ours: Authority) -> None:
    client = ours.issue("old-client", expired=True)
    with Alerting(mutual(ours, ours.issue("server"))) as end:
        reason = await refused(end, level="Mtls", ca_cert=ours.cert, client_cert=client.cert, client_key=client.key)
        assert "it refused this end's certificate: it has expired" in reason


# ── what the init line and the options say ──────────────────────────────────────────────────────────────────────────


async def test_tls_may_be_required_whatever_the_init_line_says(ours: Authority) -> None:
    server = ours.issue("server")
    async with (
        serving(server_context(server.cert, server.key, None)) as end,
        channel_to(end, tls_enabled=False, tls="require", ca_cert=ours.cert) as channel,
    ):
        await channel.connected()


async def test_the_flag_may_be_ignored_by_an_explicit_word() -> None:
    async with serving(None) as end, channel_to(end, tls="ignore") as channel:
        await channel.connected()


@pytest.mark.parametrize(
    ("level", "options", "complaint"),
    [
        ("Mtls", {"tls": "ignore"}, 'security level "Mtls", and tls = "ignore" would speak in the clear'),
        ("Mtls", {}, 'security level "Mtls", but has no client certificate: set client_cert and client_key'),
        ("None", {"ca_cert": Path("absent.pem")}, "channels.tcp.ca_cert: .*absent.pem cannot be read: No such file or directory"),
        ("None", {"ca_cert": Path("garbage.pem")}, "channels.tcp.ca_cert: .*garbage.pem holds no certificate in PEM form"),
        ("None", {"client_cert": Path("absent.pem")}, "channels.tcp.client_cert: .*absent.pem cannot be read"),
        ("None", {"client_cert": Path("garbage.pem")}, "channels.tcp.client_cert: .*garbage.pem is no certificate in PEM form"),
    ],
)
async def test_what_would_not_be_safe_is_refused_before_anything_is_sent(
    level: Any, options: dict[str, Any], complaint: str, tmp_path: Path
) -> None:
    (tmp_path / "garbage.pem").write_text("nothing of the kind")
    server = Server()
    server.port = 1
    with pytest.raises(ConfigError, match=complaint):
        async with channel_to(server, level=level, folder=tmp_path, **options):
            pass


@pytest.mark.parametrize("tls", ["auto", "ignore"])
@pytest.mark.parametrize("option", ["ca_cert", "client_cert", "client_key"])
async def test_a_file_that_is_absent_is_told_although_nothing_reads_it_without_tls(option: str, tls: str, tmp_path: Path) -> None:
    (tmp_path / "there.pem").touch()
    files = {"client_cert": Path("there.pem"), option: Path("absent.pem")}
    with pytest.raises(ConfigError, match=rf"channels.tcp.{option}: .*absent.pem is no file"):
        async with serving(None) as end, channel_to(end, tls_enabled=False, tls=tls, folder=tmp_path, **files):
            pass


async def test_a_key_under_a_passphrase_is_refused_instead_of_asked_for(ours: Authority) -> None:
    client = ours.issue("client")
    server = Server()
    server.port = 1
    with pytest.raises(ConfigError, match="client_key: .* is encrypted; a key without a passphrase is needed"):
        async with channel_to(server, client_cert=client.cert, client_key=encrypted(client, "hunter22")):
            pass


async def test_a_key_that_belongs_to_another_certificate_is_named(ours: Authority) -> None:
    client, other = ours.issue("client"), ours.issue("other")
    server = Server()
    server.port = 1
    with pytest.raises(ConfigError, match="client_cert: .* is no certificate in PEM form with the private key that belongs to it"):
        async with channel_to(server, client_cert=client.cert, client_key=other.key):
            pass


async def test_an_optional_channel_goes_on_and_takes_a_certificate_that_was_mended(
    ours: Authority, theirs: Authority, tmp_path: Path
) -> None:
    trusted = tmp_path / "ca.pem"
    trusted.write_bytes(theirs.cert.read_bytes())
    server = ours.issue("server")
    async with (
        serving(server_context(server.cert, server.key, None)) as end,
        channel_to(end, required=False, ca_cert=Path("ca.pem"), folder=tmp_path) as channel,
    ):
        async with asyncio.timeout(30):
            while channel.health().failures < 2:
                await asyncio.sleep(0.001)
        assert channel.state is not ChannelState.FAILED
        trusted.write_bytes(ours.cert.read_bytes())
        await channel.connected()
