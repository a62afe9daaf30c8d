"""An ASGI application as a server runs it: prefix, extra routes, forwarded headers, request ids, an orderly end."""

from __future__ import annotations

import asyncio
import logging
from http import HTTPStatus
from time import perf_counter
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from .arrival import ExtraRoutes, arrival, below, clean_prefix, figures, named
from .bearer import AUTHENTICATOR_KEY, CLAIMS_KEY, Refusal
from .streams import Disconnected

if TYPE_CHECKING:
    from ..interfaces import ServerOptions
    from .arrival import Arrival
    from .asgi import AsgiApp, Event, Receive, Scope, Send
    from .guarding import Guard

logger = logging.getLogger("pywatt.http")

STATE_KEY = "pywatt.state"
"""Where the module's `AppState` is found in the scope of every request, whatever is mounted where."""

GONE = frozenset({"ClientDisconnect", "WebSocketDisconnect", Disconnected.__name__})
"""Exceptions that frameworks, and requests over links, raise when a client goes away: nothing is wrong with the application."""

CLOSED = -1
"""The status of a WebSocket that the application has closed."""

POLICY_VIOLATION = 1008
"""How a WebSocket is closed whose client may not have it."""

DEPTH = 32
"""Layers of middleware that are looked through."""

BASIC = frozenset({b"x-request-id", b"traceparent"})
SAID = (b"x-forwarded-prefix", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host")
FORWARDED = BASIC.union(SAID, (b"host",))


class AsgiFront:
    """The application that a server is given in place of the user's own.

    * `options.prefix`: the user's routes live below it and see it as part of their ``root_path``; anything else is 404.
    * `options.behind_gateway`: ``X-Forwarded-Prefix``, ``-For``, ``-Proto`` and ``-Host`` are believed, otherwise never.
    * `options.guard`: requests to guarded endpoints reach the application with a good token only; what it proves is found
      under `bearer.CLAIMS_KEY` in their scope.
    * `lifespan_state` is what each request's ``scope["state"]`` begins with.
    * `end_streams()` tells event streams that the client should come again, and they end cleanly.
    * `cut()` says that whatever is cancelled from now on had no time left: it is answered 503 where it had not begun.
    """

    def __init__(self, app: AsgiApp, options: ServerOptions) -> None:
        self.extra = ExtraRoutes()
        self.lifespan_state: dict[str, Any] = {}
        self.cutting = False
        self.ending = False
        self.calls: set[Call] = set()
        self._app = app
        self._state = options.state
        self._prefix = clean_prefix(options.prefix)
        self._believing = options.behind_gateway
        self._wanted = FORWARDED if self._believing else BASIC
        self._guard = options.guard
        if self._guard is not None:
            self._guard.attach(own_roots(app))

    def end_streams(self) -> None:
        """Tell every event stream, and those that still begin, that its client is gone."""
        self.ending = True
        for call in list(self.calls):
            call.end_if_stream()

    def cut(self) -> None:
        self.cutting = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        said: dict[bytes, str] = {}
        wanted = self._wanted
        for name, value in scope["headers"]:
            if name in wanted:
                said[name] = value.decode("latin-1")
        path = scope["path"]
        with named(said.get(b"x-request-id"), said.get(b"traceparent")):
            if path in self.extra and scope["type"] == "http":
                if self._guard is None or await self._may_pass(self._guard, scope, send, path, beside=True):
                    await self._answer(scope, send)
            elif (rest := below(self._prefix, path)) is None:
                await _refuse(scope, send)
            else:
                self._place(scope, rest, said)
                if self._guard is None or await self._may_pass(self._guard, scope, send, rest):
                    await self._call(scope, receive, send)

    async def _may_pass(self, guard: Guard, scope: Scope, send: Send, path: str, *, beside: bool = False) -> bool:
        """Whether the application may see the request; where not, it is answered. `path` is the one below the prefix."""
        wanted = guard.needed_beside(path) if beside else guard.needed_in(scope, path)
        if not wanted:
            return True
        began = perf_counter()
        checked = await guard.check(wanted, [value.decode("latin-1") for name, value in scope["headers"] if name == b"authorization"])
        if not isinstance(checked, Refusal):
            scope[CLAIMS_KEY], scope[AUTHENTICATOR_KEY] = checked, wanted[0]
            return True
        await turn_away(scope, send, checked)
        if scope["type"] == "http":
            figures.count(scope["method"], checked.status, perf_counter() - began)
        return False

    async def _call(self, scope: Scope, receive: Receive, send: Send) -> None:
        call = Call(self, scope, receive, send)
        self.calls.add(call)
        began = perf_counter()
        try:
            await call.run(self._app)
        finally:
            self.calls.discard(call)
            if scope["type"] == "http":
                figures.count(scope["method"], call.status or 500, perf_counter() - began)

    async def _answer(self, scope: Scope, send: Send) -> None:
        status, headers, body = self.extra.answer(scope["path"], scope["method"])
        await _reply(send, status, headers, body)

    def _place(self, scope: Scope, rest: str, said: dict[bytes, str]) -> None:
        """Say in the scope where the application stands: `path` contains `root_path`, as the specification has it."""
        root = self._prefix
        if self._believing:
            told = arrival(*[said.get(name, "") for name in SAID])
            root = told.prefix + root
            _believe(scope, told, said.get(b"host"))
        if root:
            raw_path = scope.get("raw_path") or quote(scope["path"]).encode()
            if rest == "/" and not raw_path.endswith(b"/"):
                raw_path += b"/"
            scope["raw_path"] = root[: len(root) - len(self._prefix)].encode() + raw_path
            scope["root_path"] = root
            scope["path"] = root + rest
        scope["state"] = {**scope.get("state", {}), **self.lifespan_state}
        scope[STATE_KEY] = self._state


def _believe(scope: Scope, told: Arrival, host: str | None) -> None:
    if told.client:
        scope["client"] = (told.client, 0)
    if told.scheme:
        secure = told.scheme == "https"
        scope["scheme"] = ("wss" if secure else "ws") if scope["type"] == "websocket" else told.scheme
    if told.host and told.host != host:
        others = [header for header in scope["headers"] if header[0] != b"host"]
        scope["headers"] = [(b"host", told.host.encode("latin-1")), *others]


async def _refuse(scope: Scope, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1000})
    else:
        await _reply(send, 404, [("content-type", "text/plain; charset=utf-8"), ("content-length", "9")], b"Not Found")


async def turn_away(scope: Scope, send: Send, refusal: Refusal) -> None:
    """Answer in the application's place. A WebSocket is refused before it is accepted, with this answer where the server can say it."""
    headers = [*refusal.headers, ("content-length", str(len(refusal.body)))]
    if scope["type"] == "http":
        await _reply(send, refusal.status, headers, refusal.body)
    elif "websocket.http.response" in (scope.get("extensions") or {}):
        await _reply(send, refusal.status, headers, refusal.body, kind="websocket.http.response")
    else:
        await send({"type": "websocket.close", "code": POLICY_VIOLATION})


def own_roots(app: object) -> set[str]:
    """The ``root_path`` that an application, or one inside middleware, sets in each scope, as FastAPI does."""
    found: set[str] = set()
    for _ in range(DEPTH):
        root = getattr(app, "root_path", None)
        if isinstance(root, str):
            found.add(root)
        app = getattr(app, "app", None)
        if app is None:
            break
    return found


async def _reply(send: Send, status: int, headers: list[tuple[str, str]], body: bytes, *, kind: str = "http.response") -> None:
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    await send({"type": f"{kind}.start", "status": status, "headers": encoded})
    await send({"type": f"{kind}.body", "body": body})


class Unfinished(Exception):
    """Tells the server to drop the connection: a response was begun that will never be whole."""


class Call:
    """One request under way: what was sent of its response, and whether it is a stream that somebody must end."""

    __slots__ = ("_body_read", "_complete", "_front", "_receive", "_scope", "_send", "_told", "status", "stream")

    def __init__(self, front: AsgiFront, scope: Scope, receive: Receive, send: Send) -> None:
        self.status = 0
        self.stream = False
        self._front = front
        self._scope = scope
        self._receive = receive
        self._send = send
        self._body_read = False
        self._complete = False
        self._told: asyncio.Future[None] | None = None

    async def run(self, app: AsgiApp) -> None:
        """Run the application; what it raises is logged here, where the request's ids are bound, and answered."""
        try:
            await app(self._scope, self.receive, self.send)
        except asyncio.CancelledError:
            if not self._front.cutting or self._scope["type"] != "http" or self.status:
                raise
            await self._answer(503, [("retry-after", "1"), ("connection", "close")])
        except (Exception, SystemExit, KeyboardInterrupt) as exc:
            await self._failed(exc)
        if self._told is not None and self._told.done() and self.status and not self._complete:
            await self.send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _failed(self, exc: BaseException) -> None:
        if any(cls.__name__ in GONE for cls in type(exc).__mro__):
            logger.debug("the client went away: %s", type(exc).__name__)
        else:
            logger.error("exception in the application", exc_info=exc)
        if self._scope["type"] == "websocket":
            if self.status != CLOSED:
                await self._send({"type": "websocket.close", "code": 1011})
        elif not self.status:
            await self._answer(500, [])
        elif not self._complete:
            raise Unfinished("the response ended early; the reason was logged before") from None

    async def _answer(self, status: int, headers: list[tuple[str, str]]) -> None:
        body = HTTPStatus(status).phrase.encode()
        own = [("content-type", "text/plain; charset=utf-8"), ("content-length", str(len(body)))]
        await _reply(self.send, status, [*own, *headers], body)

    def end_if_stream(self) -> None:
        if self.stream and self._told is not None and not self._told.done():
            self._told.set_result(None)

    async def receive(self) -> Event:
        if not self._body_read:
            event = await self._receive()
            self._body_read = event["type"] == "http.request" and not event.get("more_body", False)
            return event
        return await self._disconnect()

    async def _disconnect(self) -> Event:
        """The next event of a request that was read to its end: the client has gone, or is as good as gone."""
        if self._told is None:
            self._told = asyncio.get_running_loop().create_future()
            if self._front.ending:
                self.end_if_stream()
        event = asyncio.ensure_future(self._receive())
        told: asyncio.Future[Any] = self._told
        try:
            await asyncio.wait([event, told], return_when=asyncio.FIRST_COMPLETED)
            return event.result() if event.done() else {"type": "http.disconnect"}
        finally:
            event.cancel()

    async def send(self, event: Event) -> None:
        kind = event["type"]
        if kind == "http.response.start":
            self.status = event["status"]
            self.stream = any(
                name.lower() == b"content-type" and value.startswith(b"text/event-stream") for name, value in event.get("headers", ())
            )
            if self.stream and self._front.ending:
                self.end_if_stream()
        elif kind == "http.response.body":
            self._complete = not event.get("more_body", False)
        elif kind == "websocket.close":
            self.status = CLOSED
        await self._send(event)
