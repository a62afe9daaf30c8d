"""The channels to the orchestrator that the init line may offer: ``tcp`` and ``unix`` (protocol 5).

Opening one returns at once; it connects in the background. `connecting` waits for those that are required.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

from ..errors import ChannelClosed, ConfigError
from ..interfaces import Channel, ChannelContext, Context
from ..protocol.framing import TCP_LIMIT, UNIX_LIMIT
from ..protocol.messages import Identify
from ..transports.channel import Connect, ReconnectingChannel
from ..transports.channel_session import ChannelSession, TokenSession

if TYPE_CHECKING:
    from ..protocol.messages import Init
    from ..transports.link import Link
    from ..transports.tls import ClientTls
    from .channel_options import TcpOptions, UnixOptions

TOKEN_WANTED = "channel_token"
"""The feature of an orchestrator that wants the init line's token in the first envelope of each connection."""


GREETING = "channel_greeting"
"""The feature of an orchestrator that sends something as soon as it has accepted a TLS connection and the certificate shown."""


@asynccontextmanager
async def open_unix_channel(options: UnixOptions, context: Context) -> AsyncIterator[Channel]:
    """The Unix socket of ``init.ipc_channel``. Raises `ConfigError` where the init line offers none."""
    where = _offered(context, "ipc_channel")
    offer = where.init.ipc_channel
    assert offer is not None
    path = offer.socket_path

    async def connect(make_link: Callable[[], Link]) -> Link:
        from ..transports.unix import open_unix

        return await open_unix(path, make_link)

    def explain(error: BaseException) -> str:
        if isinstance(error, FileNotFoundError | ConnectionRefusedError):
            return f"nobody listens on {path}"
        return f"{path}: {getattr(error, 'strerror', None) or str(error) or type(error).__name__}"

    async with _kept(_channel(options, where, connect, limit=UNIX_LIMIT, explain=explain)) as channel:
        yield channel


@asynccontextmanager
async def open_tcp_channel(options: TcpOptions, context: Context) -> AsyncIterator[Channel]:
    """The TCP connection of ``init.tcp_channel``, with TLS where the init line or the options ask for it.

    Raises `ConfigError` where the init line offers none or asks for what the options do not have: a token, a certificate.
    """
    where = _offered(context, "tcp_channel")
    init, offer = where.init, where.init.tcp_channel
    assert offer is not None
    host, port = _address(offer.address, where)
    tls = _tls(options, where, wanted=offer.tls_enabled)

    async def connect(make_link: Callable[[], Link]) -> Link:
        from ..transports.tcp import open_tcp

        if tls is None:
            return await open_tcp(host, port, make_link)
        link = await open_tcp(host, port, make_link, tls=tls.context(), server_name=tls.server_name)
        if init.pywatt is not None and GREETING in init.pywatt.features:
            await _greeted(link)
        return link

    def explain(error: BaseException) -> str:
        from ..transports.tls import explain

        if isinstance(error, ConnectionRefusedError):
            return f"nobody listens on {offer.address}"
        return explain(error, offer.address)

    def never_works(error: BaseException) -> bool:
        from ..transports.tls import is_for_a_person

        return offer.required and is_for_a_person(error)

    token = _token(options, init, where.section)
    async with _kept(_channel(options, where, connect, limit=TCP_LIMIT, explain=explain, is_final=never_works, token=token)) as channel:
        yield channel


def _channel(
    options: UnixOptions,
    context: ChannelContext,
    connect: Connect,
    *,
    limit: int,
    explain: Callable[[BaseException], str],
    is_final: Callable[[BaseException], bool] = lambda error: False,
    token: str = "",
) -> ReconnectingChannel:
    clock = asyncio.get_running_loop().time

    def session() -> ChannelSession:
        kind = TokenSession if token else ChannelSession
        made = kind(
            facts=context.facts,
            module_id=context.module_id,
            limit=options.frame_limit or limit,
            on_problem=context.on_problem,
            clock=clock,
        )
        if isinstance(made, TokenSession):
            made.token = token
        return made

    def greet(link: Link) -> None:
        if options.identify == "module_id":
            link.post(Identify(module_id=context.module_id))
        elif options.identify == "identify":
            link.post(Identify(identify=context.module_id))

    return ReconnectingChannel(
        context.section.rpartition(".")[2],
        connect,
        session,
        on_message=context.on_message,
        on_state=context.on_state,
        policy=options.policy(),
        connect_timeout=options.connect_timeout,
        idle_timeout=options.idle_timeout,
        greet=greet,
        explain=explain,
        is_final=is_final,
    )


@asynccontextmanager
async def _kept(channel: ReconnectingChannel) -> AsyncIterator[ReconnectingChannel]:
    channel.start()
    try:
        yield channel
    finally:
        await channel.close()


async def _greeted(link: Link) -> None:
    """Wait for the first message: with TLS 1.3 a client learns only after its handshake that its certificate was refused."""
    greeted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    assert isinstance(link.session, ChannelSession)
    link.session.on_first = lambda: greeted.set_result(None)
    if link.messages_received:
        return
    try:
        await asyncio.wait({greeted, link.closed}, return_when=asyncio.FIRST_COMPLETED)
        if not greeted.done():
            text = "it closed the connection after the TLS handshake; perhaps it does not accept this end's client certificate"
            raise link.error or ConnectionAbortedError(text)
    except BaseException:
        link.abort(ConnectionAbortedError("nobody greeted"))
        raise


def _offered(context: Context, member: str) -> ChannelContext:
    where = cast("ChannelContext", context)
    if getattr(getattr(where, "init", None), member, None) is None:
        raise ConfigError(f"{context.section}: the init line has no {member}, and only with one is there something to connect to")
    return where


def _address(text: str, context: ChannelContext) -> tuple[str, int]:
    """Host and port; a host name is taken too, although only addresses are sent (protocol 2.2)."""
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdecimal() or not 0 < int(port) <= 0xFFFF:
        raise ConfigError(f"{context.section}: the init line's tcp_channel.address is {text!r}, which is no HOST:PORT")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _tls(options: TcpOptions, context: ChannelContext, *, wanted: bool) -> ClientTls | None:
    """How to speak TLS, None for speaking in the clear. Raises `ConfigError` for what would not be safe."""
    mutual = context.init.security_level == "Mtls"
    here = context.section
    if options.tls == "ignore" and mutual:
        raise ConfigError(
            f'{here}: the orchestrator asks for the security level "Mtls", and tls = "ignore" would speak in the clear: remove it'
        )
    if options.tls == "ignore" or not (wanted or mutual or options.tls == "require"):
        _refuse_absent_files(options, context)
        return None
    if mutual and options.client_cert is None:
        raise ConfigError(
            f'{here}: the orchestrator asks for the security level "Mtls", but has no client certificate: set client_cert and client_key'
        )
    from ..transports.tls import ClientTls

    def file(path: Path | None) -> Path | None:
        return None if path is None else context.folder / path

    tls = ClientTls(file(options.ca_cert), file(options.client_cert), file(options.client_key), options.verify_server, options.server_name)
    try:
        tls.context()  # each connection makes its own, of files that may have been renewed
    except ConfigError as error:
        raise ConfigError(f"{here}.{error}") from error
    return tls


def _refuse_absent_files(options: TcpOptions, context: ChannelContext) -> None:
    """Nothing reads the files while the channel speaks in the clear, and a wrong path would be found when TLS is switched on."""
    for name in ("ca_cert", "client_cert", "client_key"):
        path: Path | None = getattr(options, name)
        if path is not None and not (context.folder / path).is_file():
            raise ConfigError(f"{context.section}.{name}: {context.folder / path} is no file")


def _token(options: TcpOptions, init: Init, here: str) -> str:
    """What to prove oneself with, empty for nothing."""
    if init.security_level == "Token" and not init.auth_token:
        raise ChannelClosed(f'{here}: the orchestrator asks for the security level "Token" and has sent no auth_token', executed="no")
    wanted = init.pywatt is not None and TOKEN_WANTED in init.pywatt.features
    if options.send_auth_token == "no" or (options.send_auth_token == "auto" and not wanted):
        return ""
    return init.auth_token or ""
