"""Where connections come from: aiocache makes redis-py's client and pool for one server, a Unix socket, TLS or sentinels.

The only file that imports aiocache. Nothing is asked through its methods: they cost a quarter of the requests, take ``KEYS`` to
clear a namespace and release locks that are not theirs.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from aiocache import RedisCache as Facade
from aiocache.serializers import NullSerializer
from redis.asyncio import ConnectionPool, Sentinel, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelConnectionPool, SentinelManagedConnection, SentinelManagedSSLConnection
from redis.backoff import NoBackoff

from pywatt_core.transports.tls import ClientTls

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping
    from pathlib import Path

    from .options import Options, Server


FOR_THE_FACADE = 10
"""Connections beside our own that the users of aiocache's interface may have at the same time."""


class Tls:
    """Mixed into redis-py's connections with TLS: a context of ours, because theirs trusts the system's authorities beside `ca_cert`."""

    def __init__(self, *, tls_context: ssl.SSLContext, server_name: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.ssl_context.context = tls_context  # type: ignore[attr-defined]
        self._server_name = server_name

    def _connection_arguments(self) -> Mapping[str, Any]:
        arguments: dict[str, Any] = {**super()._connection_arguments()}  # type: ignore[misc]
        if self._server_name:
            arguments["server_hostname"] = self._server_name
        return arguments


class TlsConnection(Tls, SSLConnection):
    """To a server."""


class TlsSentinelConnection(Tls, SentinelManagedSSLConnection):
    """To the primary that the sentinels name."""


class Source:
    """Gives redis-py's connections to one server, or to the primary of a service, logged in and with the database chosen."""

    def __init__(self, servers: tuple[Server, ...], options: Options, *, name: str, folder: Path) -> None:
        """`servers` is one, or the sentinels. `name` is what the server's ``CLIENT LIST`` shows. Raises `ConfigError`."""
        first = servers[0]
        service = options.sentinel or options.service
        secure = secured(options, folder) if first.tls else {}
        common = {"client_name": name, "retry": Retry(NoBackoff(), 0), "protocol": 2, "socket_timeout": None}
        self._sentinel: Any = None
        kwargs: dict[str, Any] = {**common, **secure, "username": first.username or None}
        pool: Any = ConnectionPool
        if service:
            self._sentinel = sentinels(servers, options, common, secure)
            kwargs["connection_class"] = TlsSentinelConnection if secure else SentinelManagedConnection
            pool = partial(SentinelConnectionPool, service, self._sentinel)
        elif first.host.startswith("/"):
            kwargs["path"] = first.host
            pool = on_a_socket
        elif secure:
            kwargs["connection_class"] = TlsConnection
        self.facade = Facade(
            serializer=NullSerializer(encoding=None),
            endpoint=first.host,
            port=first.port,
            db=first.database,
            password=None if first.password is None else first.password.expose_secret(),
            pool_max_size=options.connections + FOR_THE_FACADE,
            create_connection_timeout=options.connect_timeout,
            connection_pool_class=pool,
            connection_pool_kwargs=kwargs,
        )
        """aiocache's own interface over the same pool, which knows nothing of the cache's namespace."""
        self._pool: Any = self.facade.client.connection_pool

    async def connection(self) -> Any:
        """A connection that is up. Raises what redis-py raises."""
        return await self._pool.get_connection()

    async def give_back(self, connection: Any) -> None:
        """Close a connection that came from here."""
        try:
            await connection.disconnect(nowait=True)
        finally:
            await self._pool.release(connection)

    async def close(self) -> None:
        """Close everything that is still open."""
        await self._pool.aclose()
        if self._sentinel is not None:
            for one in self._sentinel.sentinels:
                await one.aclose()


def secured(options: Options, folder: Path) -> dict[str, Any]:
    """What connections with TLS are made with. Raises `ConfigError` that names the file which cannot be used."""
    files = (options.ca_cert, options.client_cert, options.client_key)
    ca_cert, client_cert, client_key = (None if file is None else folder / file.expanduser() for file in files)
    tls = ClientTls(ca_cert=ca_cert, client_cert=client_cert, client_key=client_key, verify_server=options.verify_server)
    return {"tls_context": tls.context(), "server_name": options.server_name}


def sentinels(servers: tuple[Server, ...], options: Options, common: dict[str, Any], secure: dict[str, Any]) -> Any:
    """redis-py's view of the sentinels, which is asked for the primary whenever a connection is made."""
    kwargs: dict[str, Any] = {**common, "socket_connect_timeout": options.connect_timeout, "socket_timeout": options.connect_timeout}
    if options.sentinel_password is not None:
        kwargs |= {"username": options.sentinel_username or None, "password": options.sentinel_password.expose_secret()}
    found: Any = Sentinel([(server.host, server.port) for server in servers], sentinel_kwargs=kwargs)  # type: ignore[no-untyped-call]
    for one in found.sentinels if secure else ():
        one.connection_pool.connection_class = TlsConnection
        one.connection_pool.connection_kwargs |= secure
    return found


def on_a_socket(*, host: str, port: int, **kwargs: Any) -> ConnectionPool:
    """A pool of connections over a Unix socket, which has neither host nor port."""
    return ConnectionPool(connection_class=UnixDomainSocketConnection, **kwargs)
