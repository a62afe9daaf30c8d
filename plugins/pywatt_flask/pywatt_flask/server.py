"""A Flask application served by waitress, and over links, both by the same threads."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import Executor, Future
from typing import TYPE_CHECKING, Any

from waitress.task import ThreadedTaskDispatcher  # type: ignore[import-untyped]
from werkzeug.exceptions import ClientDisconnected

from pywatt_core.errors import ServerError
from pywatt_core.http import Calls, Disconnected, WsgiFront, below, call_wsgi, clean_prefix, refuse, stream_wsgi, unavailable

from .routes import announced, has_literal, refuse_bare

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from pywatt_core.http import Stream
    from pywatt_core.interfaces import PlainReply, ServerOptions
    from pywatt_core.protocol.messages import AnnouncedEndpoint, HttpRequest, HttpResponse

    from .applications import Application
    from .listening import Listener

logger = logging.getLogger("pywatt.flask")

HANDLE_DEADLINE = 300.0
"""Seconds for one request over a link, after which it is answered 504."""

CUT_PATIENCE = 1.0
"""Seconds that worker threads get to end once nothing waits for them any more; a view cannot be interrupted."""

POLL = 0.005
"""Seconds between two looks at threads that are to end."""


class _Gone(Disconnected, ClientDisconnected):
    """The client of an upload went away: an answer to Flask, which would log a traceback of any other error."""

    def __init__(self, text: str) -> None:
        OSError.__init__(self, text)
        ClientDisconnected.__init__(self)


class _Workers(Executor):
    """waitress's worker threads as an executor, so that requests from the port and from links share one bound."""

    def __init__(self, threads: int) -> None:
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)
        self.dispatcher = ThreadedTaskDispatcher()
        self.dispatcher.set_thread_count(threads)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        job = _Job(lambda: fn(*args, **kwargs))
        self.dispatcher.add_task(job)
        return job.future

    async def end(self) -> bool:
        """Stop the threads; False where one of them did not come back from a view."""
        loop = asyncio.get_running_loop()
        until = loop.time() + CUT_PATIENCE
        self.dispatcher.set_thread_count(0)
        while self.dispatcher.threads and loop.time() < until:  # noqa: ASYNC110  a thread's end has no event
            await asyncio.sleep(POLL)
        left = len(self.dispatcher.threads)
        if left:
            logger.warning("%d worker thread(s) did not come back from the application", left)
        with self.dispatcher.lock:
            waiting = list(self.dispatcher.queue)
            self.dispatcher.queue.clear()
        for task in waiting:
            task.cancel()
        return not left


class _Job:
    """What waitress calls a task."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self.future: Future[Any] = Future()
        self._work = work

    def service(self) -> None:
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            self.future.set_result(self._work())
        except BaseException as exc:
            self.future.set_exception(exc)

    def cancel(self) -> None:
        self.future.cancel()


class FlaskServer:
    """Implements `pywatt_core.interfaces.Server`."""

    def __init__(self, application: Application, options: ServerOptions) -> None:
        refuse_bare(application)
        self._application = application
        self._prefix = clean_prefix(options.prefix)
        self._threads = options.threads
        self._front = WsgiFront(application.app, options)
        self._workers: _Workers | None = None
        self._listener: Listener | None = None
        self._draining = False
        self._closed = False
        self._calls = Calls()

    def routes(self) -> list[AnnouncedEndpoint]:
        return announced(self._application, self._prefix)

    def add_route(self, path: str, handler: Callable[[], PlainReply]) -> bool:
        if path in self._front.extra:
            return False
        rest = below(self._prefix, path)
        if rest is not None and has_literal(self._application, rest):
            return False
        self._front.extra.add(path, handler)
        return True

    async def start(self, listener: socket.socket | None) -> None:
        if self._workers is not None or self._closed:
            raise ServerError("this server was started before")
        self._workers = _Workers(self._threads)
        if listener is None:
            return
        from .listening import Listener

        opening = Listener(self._front, self._workers.dispatcher)
        opening.open(listener)
        self._listener = opening

    async def handle(self, request: HttpRequest) -> HttpResponse:
        if self._draining or self._closed or self._workers is None:
            return unavailable(request)
        return await self._calls.answer(request, call_wsgi(self._front, request, self._workers, deadline=HANDLE_DEADLINE))

    async def stream(self, stream: Stream) -> None:
        if self._draining or self._closed or self._workers is None:
            refuse(stream)
        else:
            await self._calls.carry(stream, stream_wsgi(self._front, stream, self._workers, gone=_Gone))

    async def drain(self, deadline: float) -> bool:
        if self._draining:
            return True
        self._draining = True
        try:
            async with asyncio.timeout(deadline):
                if self._listener is not None:
                    await self._listener.drain()
                while self._calls.running:
                    await asyncio.wait(self._calls.running)
        except TimeoutError:
            if self._listener is not None:
                self._listener.cut()
            self._calls.cut()
            return False
        return True

    async def close(self) -> None:
        if self._closed:
            return
        await self.drain(0.0)
        self._closed = True
        if self._workers is not None:
            await self._workers.end()
        if self._listener is not None:
            await self._listener.close()
