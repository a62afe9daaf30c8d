"""The channels of the init line: the contract over Unix sockets, TCP and TLS, and everything that has to fail closed."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pywatt_core.builtin.channel_options import TcpOptions, UnixOptions
from pywatt_core.builtin.channels import open_tcp_channel, open_unix_channel
from pywatt_core.interfaces import ChannelContext
from pywatt_core.protocol.messages import IpcChannel, TcpChannel
from pywatt_core.testing.contracts import ChannelContract
from pywatt_core.transports.tcp import bind_tcp
from pywatt_core.transports.tls import server_context
from pywatt_core.transports.unix import serve_unix

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable

    from pywatt_core.interfaces import Channel
    from pywatt_core.protocol.messages import Init
    from pywatt_core.transports.link import Link
    from tools.certificates import Authority

    Context = Callable[[Init], ChannelContext]


class UnixBench:
    """An orchestrator that listens on a socket file."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    @asynccontextmanager
    async def listen(self, make_link: Callable[[], Link]) -> AsyncIterator[None]:
        server = await serve_unix(self.path, make_link)
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
