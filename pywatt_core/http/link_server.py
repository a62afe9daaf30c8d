"""An `HttpIpcRouter` served over links alone: no port, no framework, no library."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ..errors import ServerError
from .arrival import below, clean_prefix
from .asgi import call_asgi
from .asgi_front import AsgiFront
from .asgi_stream import stream_asgi
from .calls import Calls, refuse, unavailable
from .router_asgi import RouterApp

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from ..interfaces import PlainReply, ServerOptions
    from ..protocol.messages import AnnouncedEndpoint, HttpRequest, HttpResponse
    from .router import HttpIpcRouter
    from .streams import Stream

HANDLE_DEADLINE = 300.0
"""Seconds for one request that comes whole, after which it is answered 504."""

CUT_PATIENCE = 1.0
"""Seconds that what is cancelled gets to end."""


class LinkServer:
    """Implements `pywatt_core.interfaces.StreamingServer`."""

    def __init__(self, router: HttpIpcRouter, options: ServerOptions) -> None:
        self._app = RouterApp(router)
        self._router = router
        self._prefix = clean_prefix(options.prefix)
        self._front = AsgiFront(self._app, options)
        self._calls = Calls()
        self._serving = self._ended = False

    def routes(self) -> list[AnnouncedEndpoint]:
        return self._app.announced(self._prefix)

    def add_route(self, path: str, handler: Callable[[], PlainReply]) -> bool:
        rest = below(self._prefix, path)
        if path in self._front.extra or (rest is not None and rest in self._router):
            return False
        self._front.extra.add(path, handler)
        return True

    async def start(self, listener: socket.socket | None) -> None:
        if self._serving or self._ended:
            raise ServerError("this server was started before")
        if listener is not None:
            raise ServerError(
                "an HttpIpcRouter serves a port through pywatt-fastapi (pip install pywatt-fastapi); without one: bind_http=False"
            )
        self._serving = True

    async def handle(self, request: HttpRequest) -> HttpResponse:
        if not self._serving:
            return unavailable(request)
        return await self._calls.answer(request, call_asgi(self._front, request, deadline=HANDLE_DEADLINE))

    async def stream(self, stream: Stream) -> None:
        if not self._serving:
            refuse(stream)
        else:
            await self._calls.carry(stream, stream_asgi(self._front, stream))

    async def drain(self, deadline: float) -> bool:
        self._serving, self._ended = False, True
        running = set(self._calls.running)
        if not running:
            return True
        _, late = await asyncio.wait(running, timeout=deadline)
        if late:
            self._front.cut()
            self._calls.cut()
            await asyncio.wait(late, timeout=CUT_PATIENCE)
        return not late

    async def close(self) -> None:
        await self.drain(0.0)
