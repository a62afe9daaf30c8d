"""A router as an ASGI application, so that whatever serves those serves it."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from ..protocol.messages import AnnouncedEndpoint, HttpRequest, HttpResponse
from .asgi import REQUEST_ID
from .bearer import CLAIMS_KEY
from .mapping import MAX_BODY, bodiless

if TYPE_CHECKING:
    from .asgi import Receive, Scope, Send
    from .router import HttpIpcRouter

STATE_KEY = "pywatt.state"
"""Where `AsgiFront` puts the module's `AppState`."""


class RouterApp:
    """Calls `router` for each HTTP request; a body of more than `max_body` bytes is 413, a WebSocket is closed."""

    def __init__(self, router: HttpIpcRouter, *, max_body: int = MAX_BODY) -> None:
        self.router = router
        self._max_body = max_body

    def announced(self, prefix: str = "") -> list[AnnouncedEndpoint]:
        """What the router answers, below `prefix`."""
        return [AnnouncedEndpoint(path=prefix + path, methods=methods) for path, methods in self.router.routes.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._answer(scope, receive, send)
        elif scope["type"] == "lifespan":
            while (await receive())["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": "lifespan.shutdown.complete"})
        else:
            await send({"type": "websocket.close", "code": 1000})

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await self._body(receive)
        if body is None:
            return
        id = scope.get(REQUEST_ID) or str(uuid.uuid4())
        if isinstance(body, int):
            await _send(scope, HttpResponse(id, 413, {"Content-Type": "text/plain"}, b"Content Too Large"), send)
            return
        message = HttpRequest(id, scope["method"], _uri(scope), _headers(scope), body or None)
        await _send(scope, await self.router.handle(message, scope.get(STATE_KEY), scope.get(CLAIMS_KEY)), send)

    async def _body(self, receive: Receive) -> bytes | int | None:
        """The body; its size so far where it is too long; None where the client has gone."""
        pieces: list[bytes] = []
        size, more = 0, True
        while more:
            event = await receive()
            if event["type"] != "http.request":
                return None
            pieces.append(event.get("body", b""))
            size += len(pieces[-1])
            if size > self._max_body:
                return size
            more = event.get("more_body", False)
        return b"".join(pieces)


def _uri(scope: Scope) -> str:
    """The path below the prefix, as it came, and the query."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    raw = raw.removeprefix(scope.get("root_path", "").encode())
    query: bytes = scope.get("query_string", b"")
    return (raw + (b"?" + query if query else b"")).decode("latin-1")


def _headers(scope: Scope) -> dict[str, str]:
    """One value a name; several become a list, as over a link."""
    headers: dict[str, str] = {}
    for name, value in scope["headers"]:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        headers[key] = f"{headers[key]}{'; ' if key == 'cookie' else ', '}{text}" if key in headers else text
    return headers


async def _send(scope: Scope, response: HttpResponse, send: Send) -> None:
    body = response.body or b""
    headers: list[tuple[bytes, bytes]] = [
        (name.lower().encode("latin-1", "replace"), value.encode("latin-1", "replace")) for name, value in response.headers.items()
    ]
    if not bodiless(scope["method"], response.status_code):
        headers = [(name, value) for name, value in headers if name != b"content-length"]
        headers.append((b"content-length", b"%d" % len(body)))
    start: dict[str, Any] = {"type": "http.response.start", "status": response.status_code, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": body})
