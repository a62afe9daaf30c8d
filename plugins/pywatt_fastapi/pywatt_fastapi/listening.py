"""uvicorn on a socket that somebody else has bound, without its signals, its ticks and its way out of the process."""

from __future__ import annotations

import asyncio
import contextlib
import select
from typing import TYPE_CHECKING, Any

import uvicorn

from pywatt_core.errors import ServerError

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from pywatt_core.http.asgi import AsgiApp

CUT_PATIENCE = 1.0
"""Seconds that cancelled requests get to end."""

POLL = 0.005
"""Seconds between two looks at the open connections while draining."""


FRESH_GRACE = 0.1
"""Seconds that a connection without a request so far is kept while draining: its first request is most likely on the way."""

ACCEPT_ROUNDS = 200
"""Rounds of the loop that accepting what is waiting may take, before the socket is closed all the same."""


def _readable(endpoint: Any) -> bool:
    """Whether something waits to be read or accepted; False for a socket that is closed."""
    descriptor = -1 if endpoint is None else endpoint.fileno()
    if descriptor < 0:
        return False
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


def _websocket(**arguments: Any) -> asyncio.Protocol:
    """uvicorn's choice of a WebSocket protocol, imported with the first upgrade: most modules never see one."""
    from uvicorn.protocols.websockets.auto import AutoWebSocketsProtocol

    assert AutoWebSocketsProtocol is not None, "uvicorn[standard] brings a WebSocket library"
    return AutoWebSocketsProtocol(**arguments)


class _Uvicorn(uvicorn.Server):
    """uvicorn's server; the events say what its polling would find out a tenth of a second later."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()
        self.over = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # signals belong to the module's life cycle

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    async def main_loop(self) -> None:
        while not self.over.is_set():
            await self.on_tick(0)  # the date header, once a second
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.over.wait(), 1.0)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Nothing: `Listener.drain` has done it."""


class Listener:
    """Serves one ASGI application on one socket, from `open` until `drain`."""

    def __init__(self, app: AsgiApp, *, keep_alive: int) -> None:
        config = uvicorn.Config(
            app,
            lifespan="off",  # entered once by the server, for modules without a port too
            log_config=None,  # uvicorn's loggers propagate into ours
            log_level="warning",
            access_log=False,
            proxy_headers=False,  # believed or not in the front
            server_header=False,
            interface="asgi3",
            ws=_websocket,  # type: ignore[arg-type]  # called, never looked into
            timeout_keep_alive=keep_alive,
        )
        self._uvicorn = _Uvicorn(config)
        self._task: asyncio.Task[None] | None = None
        self._socket: socket.socket | None = None

    async def open(self, listener: socket.socket) -> None:
        """Accept from `listener`, which is closed again by `drain`. Raises `ServerError` where uvicorn cannot start."""
        self._socket = listener
        self._task = asyncio.create_task(self._serve(listener), name="uvicorn")
        ready = asyncio.create_task(self._uvicorn.ready.wait())
        try:
            await asyncio.wait([ready, self._task], return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
        if self._task.done():
            self._task.result()
            raise ServerError("uvicorn ended before it began to serve")

    async def _serve(self, listener: socket.socket) -> None:
        try:
            await self._uvicorn.serve(sockets=[listener])
        except SystemExit as exc:  # uvicorn's way to say that it cannot start; in a task it would end the event loop
            raise ServerError(f"uvicorn could not start (exit code {exc.code})") from exc
        except (OSError, ValueError) as exc:
            raise ServerError(f"uvicorn could not serve on the socket: {exc}") from exc

    @property
    def connections(self) -> set[Any]:
        return self._uvicorn.server_state.connections

    @property
    def requests(self) -> set[asyncio.Task[None]]:
        return self._uvicorn.server_state.tasks

    async def stop_accepting(self) -> None:
        """Close the socket. Connections that the kernel has completed are taken first: they cannot be refused any more."""
        rounds = ACCEPT_ROUNDS if self._socket is not None else 0
        while rounds and _readable(self._socket):
            rounds -= 1
            await asyncio.sleep(0)
        for _ in range(3):  # from accepting to `connection_made`
            await asyncio.sleep(0)
        for server in getattr(self._uvicorn, "servers", []):
            server.close()

    async def idle(self) -> None:
        """End every connection, an idle one at once, the others after their responses; return once nothing is left."""
        loop = asyncio.get_running_loop()
        until = loop.time() + FRESH_GRACE
        told: set[Any] = set()
        while self.connections or self.requests:
            for connection in self.connections - told:
                fresh = getattr(connection, "cycle", self) is None and loop.time() < until
                if not fresh and not _readable(connection.transport.get_extra_info("socket")):
                    told.add(connection)
                    connection.shutdown()
            await asyncio.sleep(POLL)

    async def cut(self) -> None:
        """End what is left: requests are cancelled, connections dropped."""
        running = list(self.requests)
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running, timeout=CUT_PATIENCE)
        for connection in list(self.connections):
            if connection.transport is not None:
                connection.transport.abort()
        for _ in range(2):  # the transports' last callbacks
            await asyncio.sleep(0)

    async def close(self) -> None:
        """Also of a listener that was not drained, or not to the end: the loop must not look at a socket that somebody closes."""
        for server in getattr(self._uvicorn, "servers", []):
            server.close()
        self._uvicorn.over.set()
        if self._task is not None:
            await asyncio.wait([self._task])
