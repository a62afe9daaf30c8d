"""A Starlette application served by uvicorn, and over links."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pywatt_core.errors import ServerError
from pywatt_core.http import AsgiFront, Calls, Lifespan, RouterApp, below, call_asgi, clean_prefix, refuse, stream_asgi, unavailable

from .applications import Application, take_root_path
from .routes import announced, has_literal

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from pywatt_core.http import Stream
    from pywatt_core.interfaces import PlainReply, ServerOptions
    from pywatt_core.protocol.messages import AnnouncedEndpoint, HttpRequest, HttpResponse

    from .listening import Listener

HANDLE_DEADLINE = 300.0
"""Seconds for one request over a link, after which it is answered 504."""

CUT_PATIENCE = 1.0
"""Seconds that what is cancelled gets to end."""

KEEP_ALIVE = 5
"""Seconds that a connection without a request stays open (uvicorn's own default)."""

GATEWAY_KEEP_ALIVE = 75
"""The same for the gateway, which keeps a few connections ready."""


class StarletteServer:
    """Implements `pywatt_core.interfaces.Server`."""

    def __init__(self, application: Application, options: ServerOptions) -> None:
        self._application = application
        self._prefix = clean_prefix(options.prefix)
        self._behind_gateway = options.behind_gateway
        if options.behind_gateway or self._prefix:
            take_root_path(application)
        self._front = AsgiFront(application.app, options)
        self._lifespan = Lifespan(application.app)
        self._front.lifespan_state = self._lifespan.state
        self._listener: Listener | None = None
        self._started = False
        self._draining = False
        self._closed = False
        self._handling: set[asyncio.Task[None]] = set()
        self._calls = Calls()

    def routes(self) -> list[AnnouncedEndpoint]:
        inner = self._application.inner
        return inner.announced(self._prefix) if isinstance(inner, RouterApp) else announced(inner, self._prefix)

    def add_route(self, path: str, handler: Callable[[], PlainReply]) -> bool:
        if path in self._front.extra:
            return False
        rest = below(self._prefix, path)
        if rest is not None and self._has(rest):
            return False
        self._front.extra.add(path, handler)
        return True

    def _has(self, path: str) -> bool:
        inner = self._application.inner
        return path in inner.router if isinstance(inner, RouterApp) else has_literal(inner.routes, path)

    async def start(self, listener: socket.socket | None) -> None:
        if self._started or self._closed:
            raise ServerError("this server was started before")
        self._started = True
        await self._lifespan.enter()
        if listener is None:
            return
        from .listening import Listener

        self._listener = Listener(self._front, keep_alive=GATEWAY_KEEP_ALIVE if self._behind_gateway else KEEP_ALIVE)
        await self._listener.open(listener)

    async def handle(self, request: HttpRequest) -> HttpResponse:
        if self._draining or self._closed or not self._started:
            return unavailable(request)
        work = call_asgi(self._front, request, deadline=HANDLE_DEADLINE, background=self._handling)
        return await self._calls.answer(request, work)

    async def stream(self, stream: Stream) -> None:
        if self._draining or self._closed or not self._started:
            refuse(stream)
        else:
            await self._calls.carry(stream, stream_asgi(self._front, stream, background=self._handling))

    async def drain(self, deadline: float) -> bool:
        if self._draining:
            return True
        self._draining = True
        try:
            async with asyncio.timeout(deadline):
                if self._listener is not None:
                    await self._listener.stop_accepting()
                self._front.end_streams()
                if self._listener is not None:
                    await self._listener.idle()
                while running := [*self._calls.running, *self._handling]:
                    await asyncio.wait(running)
        except TimeoutError:
            await self._cut()
            return False
        return True

    async def _cut(self) -> None:
        self._front.cut()
        if self._listener is not None:
            await self._listener.cut()
        running = [*self._calls.running, *self._handling]
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running, timeout=CUT_PATIENCE)

    async def close(self) -> None:
        if self._closed:
            return
        await self.drain(0.0)
        self._closed = True
        if self._listener is not None:
            await self._listener.close()
        await self._lifespan.leave()
