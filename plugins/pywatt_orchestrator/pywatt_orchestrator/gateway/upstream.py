"""Instances of modules, and the connections that the gateway keeps open to them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
from collections import deque
from typing import TYPE_CHECKING, Protocol, cast

from pywatt_core.protocol.values import UnixAddress

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from pywatt_core.protocol.messages import HttpRequest, HttpResponse
    from pywatt_core.protocol.values import TcpAddress

    from ..carrying import Asker, Carried


class Instance:
    """One running process of a module.

    The supervisor makes it and sets `ready`; the gateway counts `in_flight` and prefers the instance with the least.
    `http_request` is for a module that serves no port (`address` is None): its requests travel over the link; `http_stream`
    as well where their bodies may travel in pieces.
    """

    def __init__(
        self,
        id: str,
        address: TcpAddress | UnixAddress | None,
        *,
        trusted: bool = False,
        http_request: Callable[[HttpRequest], Awaitable[HttpResponse]] | None = None,
        http_stream: Callable[[Asker], Carried] | None = None,
        ready: bool = False,
    ) -> None:
        if (address is None) == (http_request is None):
            raise ValueError(f"instance {id} needs an address to send requests to, or a function that carries them: one of the two")
        self.id = id
        self.address = address
        self.trusted = trusted
        """A PyWatt module behind the orchestrator's own socket: it is told its mount in ``X-Forwarded-Prefix``."""
        self.http_request = http_request
        self.http_stream = http_stream
        self.in_flight = 0
        """Requests that it has not answered to the end."""
        self.pool: Pool | None = None
        """Set by the gateway, for an instance with an address."""
        self.on_ready: Callable[[], None] | None = None
        """Set by the gateway: wakes the requests that wait."""
        self._ready = ready

    async def connection(self) -> UpstreamConnection:
        """A connection for one request. Raises `OSError` where the instance cannot be reached."""
        if self.pool is None:
            raise ConnectionError(f"instance {self.id} serves no port")
        return await self.pool.acquire()

    @property
    def ready(self) -> bool:
        """Whether requests may be sent to it."""
        return self._ready

    @ready.setter
    def ready(self, ready: bool) -> None:
        self._ready = ready
        if ready and self.on_ready is not None:
            self.on_ready()


def least_busy(instances: Sequence[Instance], avoid: Instance | None = None) -> Instance | None:
    """The ready instance with the least in flight; among equals the one that comes after where the last search ended.

    `avoid` is taken only where it is the only one that is ready.
    """
    if len(instances) == 1:
        (only,) = instances
        return only if only._ready else None
    ready = [instance for instance in instances if instance._ready]
    if len(ready) > 1:
        ready = [instance for instance in ready if instance is not avoid]
    if not ready:
        return None
    start = next(_turns) % len(ready)
    return min(ready[start:] + ready[:start], key=lambda instance: instance.in_flight)


_turns = itertools.count()


class Responder(Protocol):
    """What happens on an upstream connection is told to whoever uses it."""

    def response_received(self, data: bytes) -> None: ...
    def upstream_lost(self, error: Exception | None) -> None: ...
    def upstream_paused(self) -> None: ...
    def upstream_resumed(self) -> None: ...


class UpstreamConnection(asyncio.Protocol):
    """One connection to one instance, used by one request at a time."""

    __slots__ = ("counted", "idle_since", "made", "pool", "transport", "user")
    transport: asyncio.Transport

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.user: Responder | None = None
        self.idle_since = 0.0
        self.made = False
        self.counted = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands."""
        self.transport = cast("asyncio.Transport", transport)
        self.made = True

    def data_received(self, data: bytes) -> None:
        """Pass on what belongs to a response; a module that speaks unasked is not listened to again."""
        if self.user is not None:
            self.user.response_received(data)
        else:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The module, or we, closed it."""
        self.pool.lost(self)
        user, self.user = self.user, None
        if user is not None:
            user.upstream_lost(exc)

    def pause_writing(self) -> None:
        """The module reads more slowly than we write."""
        if self.user is not None:
            self.user.upstream_paused()

    def resume_writing(self) -> None:
        """The module has caught up."""
        if self.user is not None:
            self.user.upstream_resumed()

    def discard(self) -> None:
        """Close it, and tell its user nothing more."""
        self.user = None
        self.transport.abort()


class Pool:
    """The connections to one instance: kept alive between requests, bounded in number."""

    def __init__(self, address: TcpAddress | UnixAddress, limit: int, connect_timeout: float) -> None:
        self.address = address
        self.limit = limit
        self.connect_timeout = connect_timeout
        self.size = 0
        """Connections that are open or being opened."""
        self._idle: list[UpstreamConnection] = []
        self._waiting: deque[asyncio.Future[UpstreamConnection | None]] = deque()
        self.closed = False

    def take(self) -> UpstreamConnection | None:
        """The idle connection that was used last, or None."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.transport.is_closing():
                return connection
        return None

    async def acquire(self) -> UpstreamConnection:
        """An idle connection, or a new one, or the next that comes free. Raises `OSError` where the instance cannot be reached."""
        while True:
            connection = self.take()
            if connection is not None:
                return connection
            if self.size < self.limit:
                return await self._connect()
            turn: asyncio.Future[UpstreamConnection | None] = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                handed = await turn
            except asyncio.CancelledError:
                self._forgo(turn)
                raise
            if handed is not None and not handed.transport.is_closing():
                return handed

    def _forgo(self, turn: asyncio.Future[UpstreamConnection | None]) -> None:
        """Whoever waited has gone away; what was meant for them goes to the next."""
        if turn in self._waiting:
            self._waiting.remove(turn)
        elif not turn.cancelled() and (connection := turn.result()) is not None:
            self.give_back(connection, connection.idle_since)
        else:
            self._wake()

    async def _connect(self) -> UpstreamConnection:
        connection = UpstreamConnection(self)
        self.size += 1
        try:
            async with asyncio.timeout(self.connect_timeout):
                await _open(self.address, connection)
        except BaseException:
            if connection.made:
                connection.discard()
            self.lost(connection)
            raise
        return connection

    def give_back(self, connection: UpstreamConnection, now: float) -> None:
        """Its response is complete and it may carry another request."""
        connection.user = None
        connection.idle_since = now
        if self.closed:
            connection.transport.close()
            return
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(connection)
                return
        self._idle.append(connection)

    def lost(self, connection: UpstreamConnection) -> None:
        """It is closed; one that waits may open another. (uvloop does not always report a connection whose opening was cancelled.)"""
        if connection.counted:
            connection.counted = False
            self.size -= 1
            if connection in self._idle:
                self._idle.remove(connection)
            self._wake()

    def _wake(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    def expire(self, before: float) -> None:
        """Close what has been idle since `before`, ahead of the module doing so."""
        while self._idle and self._idle[0].idle_since < before:
            self._idle.pop(0).transport.close()

    def close(self) -> None:
        """Close the idle connections; those in use close when their response is complete."""
        self.closed = True
        while self._idle:
            self._idle.pop().transport.close()


async def _open(address: TcpAddress | UnixAddress, connection: UpstreamConnection) -> None:
    loop = asyncio.get_running_loop()
    if not isinstance(address, UnixAddress):
        await loop.create_connection(lambda: connection, address.host, address.port)
    elif not address.path.startswith("@"):
        await loop.create_unix_connection(lambda: connection, address.path)
    else:  # an abstract name, which uvloop cannot connect to by itself
        with contextlib.ExitStack() as stack:
            sock = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            sock.setblocking(False)
            await loop.sock_connect(sock, f"\0{address.path[1:]}")
            await loop.create_unix_connection(lambda: connection, sock=sock)
            stack.pop_all()
