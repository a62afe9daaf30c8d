"""`HttpTcpRouter`: routes and handlers for HTTP over framed TCP, and the shape of its responses (protocol 7.3)."""

from __future__ import annotations

import re
from typing import Any

from msgspec import Raw, Struct

from ..protocol.http_tcp import HttpTcpRequest, HttpTcpResponse
from ..protocol.messages import HttpRequest, HttpResponse
from .api import GENERIC, JSON, to_json
from .failures import HttpError
from .request import RouterRequest
from .router import OVERLOADED, Router

TARGET = re.compile(r"https?://[^/?#]*", re.IGNORECASE)
"""The beginning of a whole URL, as which clients may send the `uri`."""


class HttpTcpApiResponse(Struct, frozen=True, omit_defaults=True):
    """The body of a response over TCP: what is absent is left out. `status` is ``"success"`` or ``"error"``."""

    status: str
    data: Any = None
    message: str | None = None

    def to_bytes(self) -> bytes:
        """JSON. Raises `HttpError.Json` for data that JSON has no form for."""
        return to_json(HttpTcpApiResponse(self.status, None if self.data is None else Raw(to_json(self.data)), self.message))


def response(status_code: int, data: Any = None, message: str | None = None, *, request_id: str = "") -> HttpTcpResponse:
    """A response whose body says ``success`` below 400, and ``error`` from there on."""
    body = HttpTcpApiResponse("success" if status_code < 400 else "error", data, message)
    return HttpTcpResponse(request_id, status_code, {"Content-Type": JSON}, body.to_bytes())


def success(data: Any = None) -> HttpTcpResponse:
    """200."""
    return response(200, data)


def created(data: Any = None) -> HttpTcpResponse:
    """201."""
    return response(201, data)


def error_response(status_code: int, message: str) -> HttpTcpResponse:
    """An error."""
    return response(status_code, None, message)


def not_found(path: str) -> HttpTcpResponse:
    """404."""
    return error_response(404, f"Not found: {path}")


def bad_request(message: str) -> HttpTcpResponse:
    """400."""
    return error_response(400, message)


def internal_error(message: str) -> HttpTcpResponse:
    """500."""
    return error_response(500, message)


class HttpTcpRouter(Router):
    """A router for `HttpTcpServer` and `start_http_server`. Handlers return an `HttpTcpResponse`, or data, which is a success."""

    async def respond(self, request: HttpTcpRequest, state: Any = None) -> HttpTcpResponse:
        """Answer one request; raises nothing but cancellation. The response has the request's id, whatever the handler made."""
        uri = TARGET.sub("", request.uri, count=1)
        if not uri.startswith("/"):
            uri = "/" + uri
        answer = await self.handle(HttpRequest(request.request_id, request.method, uri, request.headers, request.body), state)
        return HttpTcpResponse(answer.request_id, answer.status_code, answer.headers, answer.body or None)

    def _as_response(self, found: Any) -> HttpResponse:
        if isinstance(found, HttpResponse):
            return found
        if isinstance(found, HttpTcpApiResponse):
            return HttpResponse("", 500 if found.status == "error" else 200, {"Content-Type": JSON}, found.to_bytes())
        return _as_message(found if isinstance(found, HttpTcpResponse) else success(found))

    def _failed(self, failure: HttpError) -> HttpResponse:
        status = 500 if isinstance(failure, HttpError.IpcCommunication) else failure.status
        return _as_message(error_response(status, GENERIC if status == 500 and not self.debug else str(failure)))

    def _not_allowed(self, request: RouterRequest) -> HttpResponse:
        return _as_message(error_response(405, f"Method not allowed: {request.method} {request.path}"))

    def _nowhere(self, request: RouterRequest) -> HttpResponse:
        return _as_message(not_found(request.path))

    def _overloaded(self) -> HttpResponse:
        return _as_message(error_response(503, OVERLOADED))


def _as_message(answer: HttpTcpResponse) -> HttpResponse:
    return HttpResponse(answer.request_id, answer.status_code, answer.headers, answer.body)
