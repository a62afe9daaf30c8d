"""waitress on a socket that somebody else has bound, in one thread, with an end that leaves nothing behind.

waitress has a `close` for processes that are about to die: it closes the descriptor that its workers wake the loop with,
under their feet. The end here goes the other way round: accept nothing, let every channel become idle, stop the workers,
then close what is left (the order matters, each step may rely on the ones that come after it).
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

from waitress import wasyncore  # type: ignore[import-untyped]
from waitress.channel import HTTPChannel  # type: ignore[import-untyped]
from waitress.server import create_server  # type: ignore[import-untyped]
from waitress.task import ThreadedTaskDispatcher, WSGITask  # type: ignore[import-untyped]

from pywatt_core.errors import ServerError

if TYPE_CHECKING:
    from pywatt_core.http.wsgi import WsgiApp

logger = logging.getLogger("pywatt.flask")

MAX_HEADERS = 64 * 1024
"""Bytes of request line and headers, beyond which a request is answered 431."""

MAX_BODY = 1024 * 1024 * 1024
"""Bytes of a request's body, beyond which it is answered 413; more than half a megabyte of it goes to a temporary file."""

CONNECTIONS = 1000
"""Connections that are open at once; more wait in the socket's queue."""

TICK = 1.0
"""Seconds between two rounds of the loop where nothing happens."""

FRESH_GRACE = 0.1
"""Seconds that a connection without a request so far is kept while draining: its first request is most likely on the way."""

POLL = 0.005
"""Seconds between two looks at threads that are to end."""


class _Task(WSGITask):  # type: ignore[misc]
    def build_response_header(self) -> bytes:
        # Says `Connection: close` while draining, but not to a client that has another request in the pipeline: it is
        # answered, and a connection that is closed before all is read takes the response that was just sent with it.
        if self.channel.server.draining and len(self.channel.requests) <= 1 and not self.channel.unread:
            self.set_close_on_finish()
        return super().build_response_header()  # type: ignore[no-any-return]


class _Channel(HTTPChannel):  # type: ignore[misc]
    task_class = _Task

    @property
    def idle(self) -> bool:
        """Nothing asked, nothing half asked, nothing left to send."""
        return not self.requests and self.request is None and not self.total_outbufs_len

    @property
    def fresh(self) -> bool:
        """The client has not sent anything yet."""
        return bool(self.last_activity == self.creation_time)

    @property
    def unread(self) -> bool:
        """The client has sent something that was not read yet."""
        try:
            return bool(self.socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except OSError:
            return False


class Listener:
    """Serves one WSGI application on one socket, from `open` until `close`."""

    def __init__(self, app: WsgiApp, dispatcher: ThreadedTaskDispatcher) -> None:
        self._app = app
        self._dispatcher = dispatcher
        self._map: dict[int, Any] = {}
        self._server: Any = None
        self._thread: threading.Thread | None = None
        self._idle: asyncio.Future[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._keep_fresh_until = 0.0

    def open(self, listener: socket.socket) -> None:
        """Accept from `listener`, which is closed again by `stop_accepting`. Raises `ServerError` where waitress cannot start."""
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # one line for each request that waits is a flood
        try:
            self._server = create_server(
                self._app,
                map=self._map,
                _dispatcher=self._dispatcher,
                sockets=[listener],
                ident=None,
                clear_untrusted_proxy_headers=False,  # believed or not in the front
                max_request_header_size=MAX_HEADERS,
                max_request_body_size=MAX_BODY,
                connection_limit=CONNECTIONS,
                asyncore_use_poll=True,
                log_socket_errors=False,
            )
        except (OSError, ValueError) as exc:
            raise ServerError(f"waitress could not start: {exc}") from exc
        self._server.channel_class = _Channel
        self._server.draining = False
        self._thread = threading.Thread(target=self._run, name="waitress", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        """waitress's own loop; while draining, each of its steps closes the channels that have nothing to do."""
        try:
            while self._map:
                if self._server.draining:
                    self._drain_step()
                else:
                    wasyncore.poll2(TICK, self._map)
        except Exception:
            logger.exception("waitress's loop ended with an error")
            self._tell_idle()

    def _drain_step(self) -> None:
        # Only what was idle before the step, and read nothing in it, is closed: a request that the kernel has is answered.
        idle = [channel for channel in self._server.active_channels.values() if channel.idle]
        if time.monotonic() < self._keep_fresh_until:
            ready = [channel for channel in idle if not channel.fresh]
            patience = 0.0 if ready else POLL if idle else TICK
        else:
            ready, patience = idle, 0.0 if idle else TICK
        wasyncore.poll2(patience, self._map)
        self._close_channels([channel for channel in ready if channel.idle])

    def _close_channels(self, channels: list[Any]) -> None:
        for channel in channels:
            channel.handle_close()
        if not self._server.active_channels:
            self._tell_idle()

    def _tell_idle(self) -> None:
        loop, idle = self._loop, self._idle
        if loop is not None and idle is not None and not loop.is_closed():
            loop.call_soon_threadsafe(lambda: None if idle.done() else idle.set_result(None))

    async def drain(self) -> None:
        """Close the socket, answer what was asked, return once no connection is left."""
        self._loop = asyncio.get_running_loop()
        self._idle = self._loop.create_future()
        self._server.trigger.pull_trigger(self._stop_accepting)
        await self._idle

    def _stop_accepting(self) -> None:
        # In the loop's thread. Connections that the kernel has completed are still taken, as they cannot be refused any more.
        for _ in range(self._server.adj.backlog):
            before = len(self._map)
            self._server.handle_accept()
            if len(self._map) == before:
                break
        wasyncore.dispatcher.close(self._server)
        self._keep_fresh_until = time.monotonic() + FRESH_GRACE
        self._server.draining = True

    def cut(self) -> None:
        """Drop the connections that are left; their requests are lost."""
        self._server.trigger.pull_trigger(lambda: self._close_channels(list(self._server.active_channels.values())))

    async def close(self) -> None:
        """After the workers have ended: end the loop and its thread."""
        assert self._thread is not None
        self._server.trigger.pull_trigger(self._empty_map)
        while self._thread.is_alive():  # noqa: ASYNC110  a thread's end has no event
            await asyncio.sleep(POLL)

    def _empty_map(self) -> None:
        if self._dispatcher.threads:  # a worker that never came back may still pull the trigger: leave it its descriptor
            self._server.trigger.del_channel()
        else:
            self._server.trigger.close()
        self._map.clear()
