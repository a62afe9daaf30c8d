"""What arrives over a module's links while it serves: messages become calls of handlers, requests calls of the application."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, Any, cast

from . import telemetry
from .definition import Definition
from .errors import BootstrapError, ChannelClosed, PluginError, PyWattError
from .interfaces import Handler, PlainReply, Server, ServerOptions
from .protocol.messages import (
    HttpRequest,
    HttpRequestCancel,
    HttpRequestPiece,
    HttpResponse,
    HttpResponseCredit,
    HttpResponseStart,
    HttpStreamRequest,
    Init,
    RoutedModuleMessage,
    Shutdown,
)

if TYPE_CHECKING:
    from .http.guarding import Guard
    from .http.streams import Stream, Streams
    from .interfaces import StreamingServer
    from .protocol.messages import Message
    from .protocol.session import Problem
    from .state import AppState
    from .transports.link import Link

log = logging.getLogger(__name__)

CONCURRENT_REQUESTS = 100
"""HTTP requests over links that run at once; more wait their turn (protocol 6.3)."""

WAITING_REQUESTS = 1000
"""HTTP requests over links that wait for their turn; what comes on top is refused at once with 503."""

REQUEST_BYTES = 64 * 2**20
"""Bytes of HTTP requests over links that run or wait, unless it is one alone that has more; what comes on top is refused with 503."""

OPEN_STREAMS = 1000
"""Responses over links that are sent piece by piece at once, event streams above all; what comes on top is refused with 503."""

MOST_RUNNING = 4000
"""Messages that are acted on at once; who sends more waits until there are fewer, so that what nobody reads does not pile up."""

EARLY_MESSAGES = 10_000
"""Messages that are kept until the module has started."""
EARLY_BYTES = 64 * 2**20
"""Bytes of these; what comes on top is dropped."""

DRAIN_AT_EOF = 0.5
"""Seconds that running work gets when the orchestrator vanished without a word."""


REQUESTS = frozenset({HttpRequest, HttpStreamRequest})
PIECES = frozenset({HttpRequestPiece, HttpRequestCancel, HttpResponseCredit})


class Inbox:
    """Takes every message of every link. Nothing is lost while the module still starts; one failing call ends nothing else."""

    def __init__(self, *, on_stop: Callable[[str, float | None], None]) -> None:
        self.init: asyncio.Future[Init] = asyncio.get_running_loop().create_future()
        self._on_stop = on_stop
        self._early: list[tuple[Message, Link]] = []
        self._early_bytes = 0
        self._handlers: Mapping[type[Message], Handler] | None = None
        self._server: Server | None = None
        self._running: set[asyncio.Task[None]] = set()
        """What answers HTTP requests."""
        self._acting: dict[int, asyncio.Task[None]] = {}
        """What acts on messages, those of other modules apart; each takes itself out."""
        self._numbers = count()
        self.allowance = 0
        """Messages of other modules beside `MOST_RUNNING`: what they wait for may come over the very links that would not be read."""
        self._routed: dict[int, asyncio.Task[None]] = {}
        self._held: set[Link] = set()
        self.request_bytes = REQUEST_BYTES
        self._answering = self._bytes = 0
        self._turn: deque[tuple[HttpRequest | Stream, Link]] = deque()
        self._streams: Streams | None = None
        self._draining = False
        self.told_to_stop = False
        """The orchestrator has said shutdown, on whichever link."""

    def open(self, handlers: Mapping[type[Message], Handler], server: Server | None) -> None:
        """From now on messages are acted on; those that arrived before come first, in their order."""
        self._handlers, self._server = handlers, server
        early, self._early, self._early_bytes = self._early, [], 0
        for message, link in early:
            self.take(message, link)

    def take(self, message: Message, link: Link) -> None:
        """A link's `on_message`."""
        kind = type(message)
        if kind in REQUESTS and self._server is not None:
            self._admit(cast("HttpRequest | HttpStreamRequest", message), link)
        elif kind in PIECES and self._server is not None:
            if self._streams is not None:
                self._streams.take(message)
        elif kind is Shutdown:
            self.told_to_stop = True
            self._on_stop("the orchestrator asked for it", None)
        elif kind is Init:
            if not self.init.done():
                self.init.set_result(message)  # type: ignore[arg-type]
        elif self._handlers is None:
            if len(self._early) < EARLY_MESSAGES and self._early_bytes + (size := _weight(message)) <= EARLY_BYTES:
                self._early_bytes += size
                self._early.append((message, link))
            else:
                log.error("a message was dropped: too many came before the module had started", extra={"op": message.op})
        else:
            handler = self._handlers.get(kind)
            if handler is None:
                log.debug("nothing handles this message", extra={"op": message.op})
            else:
                acting = self._routed if kind is RoutedModuleMessage else self._acting
                number = next(self._numbers)
                acting[number] = asyncio.create_task(self._act(handler, message, link, acting, number))
                if self._too_many() and link not in self._held:
                    self._held.add(link)
                    link.pause_reading()

    def closed(self, link: Link, error: Exception | None) -> None:
        """The wire's `on_close`: the orchestrator is gone, unless it was this end that closed."""
        if link.closing and error is None:
            return
        if not self.init.done():
            self.init.set_exception(error or BootstrapError("the orchestrator closed standard input before it sent the init line"))
            self.init.exception()  # retrieved: nobody may be waiting any more
            return
        if error is not None:
            log.error("the wire to the orchestrator failed", extra={"reason": str(error)})
        if not self.told_to_stop:
            self._on_stop("the orchestrator is gone", DRAIN_AT_EOF)

    def problem(self, problem: Problem) -> None:
        """A session's `on_problem`: something arrived that cannot be acted on."""
        level = logging.DEBUG if problem.kind == "unknown" else logging.ERROR
        log.log(level, "a message was dropped", extra={"kind": problem.kind, "detail": problem.detail})

    async def drain(self, seconds: float) -> bool:
        """Let what runs finish; False where something was still running after `seconds` and was cancelled."""
        self._draining = True
        while self._turn:
            request, link = self._turn.popleft()
            self._bytes -= _weight(request)
            self._refuse(request, link, b"stopping")
        running = {*self._running, *self._acting.values(), *self._routed.values()}
        if not running:
            return True
        _done, late = await asyncio.wait(running, timeout=seconds)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=1.0)
        return not late

    def _admit(self, message: HttpRequest | HttpStreamRequest, link: Link) -> None:
        if self._draining:
            self._refuse(message, link, b"stopping")
            return
        size = _weight(message)
        too_large = self._bytes + size > self.request_bytes and self._bytes > 0
        if too_large or (self._answering >= CONCURRENT_REQUESTS and len(self._turn) >= WAITING_REQUESTS):
            self._refuse(message, link, b"busy")
            return
        request = message if isinstance(message, HttpRequest) else self._open_stream(message, link)
        if request is None:
            return
        self._bytes += size
        if self._answering < CONCURRENT_REQUESTS:
            self._answering += 1
            self._start(self._answer(request, link))
        else:
            self._turn.append((request, link))

    def _open_stream(self, message: HttpStreamRequest, link: Link) -> Stream | None:
        """A stream for this request, open at once, so that a cancellation right behind it is not missed; None where it is refused."""
        if self._streams is None:
            from .http.streams import Streams

            self._streams = Streams()
        if not hasattr(self._server, "stream"):  # it was never offered
            log.error("a request in pieces was refused: this module's server does not offer them")
            self._refuse(message, link, b"not offered")
        elif len(self._streams) >= OPEN_STREAMS:
            self._refuse(message, link, b"busy")
        else:
            return self._streams.open(message, link)
        return None

    def _refuse(self, request: HttpRequest | HttpStreamRequest | Stream, link: Link, reason: bytes) -> None:
        refusal: Message
        if not isinstance(request, HttpRequest | HttpStreamRequest):
            assert self._streams is not None
            request.answer(503, reason.decode(), [("retry-after", "1")])
            self._streams.close(request)
            return
        if isinstance(request, HttpRequest):
            refusal = HttpResponse(request_id=request.request_id, status_code=503, headers={"retry-after": "1"}, body=reason)
        else:
            refusal = HttpResponseStart(request_id=request.request_id, status_code=503, headers=[("retry-after", "1")], body=reason)
        with suppress(ChannelClosed):
            link.post(refusal)

    def _start(self, work: Any) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._read_on()

    def _read_on(self) -> None:
        if self._held and not self._too_many():
            held, self._held = self._held, set()
            for link in held:
                link.resume_reading()

    def _too_many(self) -> bool:
        return len(self._running) + len(self._acting) + max(0, len(self._routed) - self.allowance) > MOST_RUNNING

    async def _answer(self, request: HttpRequest | Stream, link: Link) -> None:
        """Answer one request, then those that waited for their turn; a stream counts until its response has begun."""
        try:
            while True:
                if isinstance(request, HttpRequest):
                    await self._reply(await self._response(request), link)
                else:
                    work = self._start(self._carry(request))
                    await asyncio.wait([work, request.begun], return_when=asyncio.FIRST_COMPLETED)
                if not self._turn:
                    return
                self._bytes -= _weight(request)
                request, link = self._turn.popleft()
        finally:
            self._bytes -= _weight(request)
            self._answering -= 1

    async def _response(self, request: HttpRequest) -> HttpResponse:
        assert self._server is not None
        try:
            return await self._server.handle(request)
        except (Exception, SystemExit):
            log.exception("answering a request over the link failed", extra={"http_request_id": request.request_id})
            return HttpResponse(request_id=request.request_id, status_code=500, headers={}, body=b"")

    async def _carry(self, stream: Stream) -> None:
        assert self._streams is not None
        try:
            if not stream.gone.done():
                await cast("StreamingServer", self._server).stream(stream)
        except (Exception, SystemExit):
            log.exception("answering a request over the link failed", extra={"http_request_id": stream.request.request_id})
            stream.answer(500, "")
        finally:
            self._streams.close(stream)

    async def _act(self, handler: Handler, message: Message, link: Link, acting: dict[int, Any], number: int) -> None:
        try:
            reply = await handler(message)
            if reply is not None:
                await self._reply(reply, link)
        except (Exception, SystemExit):
            log.exception("handling a message failed", extra={"op": message.op})
        finally:
            del acting[number]
            if self._held:
                self._read_on()

    async def _reply(self, reply: Message, link: Link) -> None:
        try:
            await link.send(reply)
        except ChannelClosed:
            log.warning("an answer could not be delivered: the link is closed", extra={"op": reply.op})
        except PyWattError as error:
            log.error("an answer could not be sent", extra={"op": reply.op, "reason": str(error)})
            if isinstance(reply, HttpResponse) and reply.status_code != 500:
                await self._reply(HttpResponse(request_id=reply.request_id, status_code=500, headers={}, body=b""), link)


def _weight(message: Message | Stream) -> int:
    """The bytes of what is kept of a message: its payload, or the lines, headers and body of an HTTP request."""
    request: Any = message if isinstance(message, HttpRequest | HttpStreamRequest) else getattr(message, "request", None)
    if request is None:
        payload = getattr(message, "payload", None)
        return len(payload.data) if payload is not None else 0
    headers = request.headers.items() if isinstance(request.headers, dict) else request.headers
    return len(request.body or b"") + len(request.uri) + sum(len(name) + len(value) for name, value in headers)


def plain_routes(definition: Definition) -> list[tuple[str, Callable[[], PlainReply]]]:
    """The routes that PyWatt adds beside the user's own."""
    routes: list[tuple[str, Callable[[], PlainReply]]] = []
    if definition.health is not None:
        routes.append((definition.health, health))
    if definition.metrics_path is not None:
        routes.append((definition.metrics_path, metrics))
    return routes


def guard_for(definition: Definition, state: AppState[Any]) -> Guard | None:
    """What checks tokens before the application sees a request; None where no endpoint is announced with ``auth``."""
    if not any(endpoint.auth for endpoint in definition.endpoints or ()):
        return None
    from .http.guarding import guard_of

    beside = [] if definition.prefix else [path for path, _handler in plain_routes(definition)]
    return guard_of(definition.endpoints, state, beside=beside)


def refuse_unguarded(server: Server, options: ServerOptions, definition: Definition) -> None:
    """Raise `PluginError` where nobody asks the guard: its server would let everybody in. Guarded paths that are nowhere are a warning."""
    guard = options.guard
    if guard is None:
        return
    if not guard.attached:
        raise PluginError(
            f"endpoints are announced with auth=, and the server {type(server).__module__}.{type(server).__qualname__} guards none: "
            "it has to serve the application through pywatt_core.http.AsgiFront or WsgiFront"
        )
    own = {path for path, _handler in plain_routes(definition)}
    for path in guard.unanswered(server.routes(), definition.prefix):
        if path.removeprefix(definition.prefix) not in own:
            log.warning("%s is announced with auth=, and no route of the application has such a path: is it misspelt?", path)


def health() -> PlainReply:
    """The module is up (protocol 16.2)."""
    return 200, "application/json", b'{"status":"OK","timestamp":%d}' % time.time()


def metrics() -> PlainReply:
    """Prometheus text, format 0.0.4."""
    return 200, "text/plain; version=0.0.4; charset=utf-8", telemetry.metrics.render().encode()
