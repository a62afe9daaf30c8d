"""Routers: applications without a framework. `HttpIpcRouter` is for requests over links, and over a port with a server plugin
(protocol 6.4); `HttpTcpRouter` stands in `tcp_router`.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from time import perf_counter
from typing import Any, NamedTuple, TypeAlias, TypeVar, overload

from msgspec.structs import replace

from ..protocol.messages import HttpRequest, HttpResponse
from . import api
from .api import JSON, ApiResponse
from .binding import Bound, bind
from .failures import HttpError, as_http
from .mapping import bodiless
from .paths import PathTable, by_path, compiled
from .request import RouterRequest

F = TypeVar("F", bound=Callable[..., Any])

log = logging.getLogger("pywatt.http")

HttpIpcRequest = RouterRequest
HttpIpcResponse = HttpResponse
Middleware: TypeAlias = Callable[[RouterRequest], Any]
"""Gets each request, returns the one to go on with (None: the same), or a response, which ends the way. May be asynchronous."""

CONCURRENCY = 100
"""Requests that are handled at once."""
OVERLOADED = "too many requests wait for their turn"
WAITING = 1000
"""Requests that wait for their turn; what comes on top is answered 503."""


class HttpIpcMetrics(NamedTuple):
    """What a router has done since it was made."""

    requests_received: int
    responses_sent: int
    errors_encountered: int
    avg_response_time_ms: float


class Router(ABC):
    """Routes, middleware and handlers; what responses look like is the business of `HttpIpcRouter` and `HttpTcpRouter`.

    `concurrency` requests are handled at once. `timeout` is in seconds for each handler, after which 408 is answered; None
    leaves them their time. `debug` shows clients the text of every failure, which without it only the log has for a 500.
    """

    def __init__(self, *, concurrency: int = CONCURRENCY, timeout: float | None = None, debug: bool = False) -> None:
        if concurrency < 1:
            raise ValueError(f"concurrency={concurrency}: at least one request has to be handled at a time")
        self.debug = debug
        self._timeout = timeout
        self._table: PathTable[Bound] = PathTable()
        self._middleware: list[Middleware] = []
        self._not_found: Bound | None = None
        self._concurrency = concurrency
        self._turns = asyncio.Semaphore(concurrency)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting = self._received = self._sent = self._errors = 0
        self._seconds = 0.0

    # ── what is there ───────────────────────────────────────────────────────────────────────────────────────────────

    @overload
    def route(self, method: str | Iterable[str], path: str) -> Callable[[F], F]: ...
    @overload
    def route(self, method: str | Iterable[str], path: str, handler: F) -> F: ...
    def route(self, method: str | Iterable[str], path: str, handler: Any = None) -> Any:
        """Answer `method`, or several, at `path` with `handler`; without one, a decorator. The first handler of a route stands.

        A handler is called with what its parameters name: the request first, ``state``, the parameters of the path. It
        returns a response, an `ApiResponse`, or data, which is sent as a success. Raises `ValueError` and `TypeError` for what
        can never be called.
        """
        methods = [method] if isinstance(method, str) else list(method)

        def add(function: F) -> F:
            bound = bind(function, compiled(path)[1])
            for one in methods:
                self._table.add(one, path, bound)
            return function

        return add if handler is None else add(handler)

    @overload
    def get(self, path: str) -> Callable[[F], F]: ...
    @overload
    def get(self, path: str, handler: F) -> F: ...
    def get(self, path: str, handler: Any = None) -> Any:
        """GET, and HEAD where nobody else answers that."""
        return self.route("GET", path, handler)

    @overload
    def post(self, path: str) -> Callable[[F], F]: ...
    @overload
    def post(self, path: str, handler: F) -> F: ...
    def post(self, path: str, handler: Any = None) -> Any:
        """POST."""
        return self.route("POST", path, handler)

    @overload
    def put(self, path: str) -> Callable[[F], F]: ...
    @overload
    def put(self, path: str, handler: F) -> F: ...
    def put(self, path: str, handler: Any = None) -> Any:
        """PUT."""
        return self.route("PUT", path, handler)

    @overload
    def patch(self, path: str) -> Callable[[F], F]: ...
    @overload
    def patch(self, path: str, handler: F) -> F: ...
    def patch(self, path: str, handler: Any = None) -> Any:
        """PATCH."""
        return self.route("PATCH", path, handler)

    @overload
    def delete(self, path: str) -> Callable[[F], F]: ...
    @overload
    def delete(self, path: str, handler: F) -> F: ...
    def delete(self, path: str, handler: Any = None) -> Any:
        """DELETE."""
        return self.route("DELETE", path, handler)

    def middleware(self, function: F) -> F:
        """Run `function` before each handler, in the order in which they were added; a decorator."""
        self._middleware.append(function)
        return function

    def not_found(self, function: F) -> F:
        """Answer with `function` what no route answers; a decorator."""
        self._not_found = bind(function, ())
        return function

    @property
    def routes(self) -> dict[str, list[str]]:
        """The methods of each path, in the order in which they were added."""
        return by_path(self._table.routes)

    def __contains__(self, path: str) -> bool:
        return path in self._table

    @property
    def metrics(self) -> HttpIpcMetrics:
        """What has been done so far."""
        average = self._seconds / self._sent * 1000 if self._sent else 0.0
        return HttpIpcMetrics(self._received, self._sent, self._errors, average)

    # ── answering ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def handle(self, message: HttpRequest, state: Any = None, claims: Mapping[str, Any] | None = None) -> HttpResponse:
        """Answer one request; raises nothing but cancellation. The response has the request's id, whatever the handler made."""
        self._received += 1
        if self._loop is not (loop := asyncio.get_running_loop()):  # a router may outlive a loop, as in tests
            self._loop, self._turns, self._waiting = loop, asyncio.Semaphore(self._concurrency), 0
        if self._turns.locked() and self._waiting >= WAITING:
            self._errors += 1
            return self._finished(message, self._overloaded())
        self._waiting += 1
        try:
            await self._turns.acquire()
        finally:
            self._waiting -= 1
        began = perf_counter()
        try:
            response = await self._respond(message, state, claims)
        finally:
            self._turns.release()
        self._seconds += perf_counter() - began
        self._sent += 1
        return self._finished(message, response)

    async def _respond(self, message: HttpRequest, state: Any, claims: Mapping[str, Any] | None) -> HttpResponse:
        id = message.request_id
        request = RouterRequest(message.method, message.uri, message.headers, message.body, request_id=id, state=state, claims=claims)
        try:
            async with asyncio.timeout(self._timeout) as limit:
                return self._as_response(await self._dispatch(request))
        except (Exception, SystemExit) as error:
            late = isinstance(error, TimeoutError) and limit.expired()
            failure = HttpError.Timeout(self._timeout or 0.0) if late else as_http(error)
            self._errors += 1
            if failure.status == 500:
                log.exception("request %s: a handler failed", request.request_id)
            return self._failed(failure)

    async def _dispatch(self, request: RouterRequest) -> Any:
        for middleware in self._middleware:
            found = middleware(request)
            if inspect.isawaitable(found):
                found = await found
            if isinstance(found, RouterRequest):
                request = found
            elif found is not None:
                return found
        found = self._table.find(request.method, request.path)
        if found is not None:
            request.params = found.params
            return await found.handler(request, request.state, found.params)
        allowed = self._table.allowed(request.path)
        if not allowed:
            return await self._nothing_there(request)
        allow = ", ".join(sorted({*allowed, "OPTIONS"}))
        if request.method == "OPTIONS":
            return HttpResponse(request.request_id, 204, {"Allow": allow}, b"")
        refusal = self._not_allowed(request)
        return replace(refusal, headers={**refusal.headers, "Allow": allow})

    async def _nothing_there(self, request: RouterRequest) -> Any:
        if self._not_found is not None:
            return await self._not_found(request, request.state, {})
        return self._nowhere(request)

    # ── what a kind of router says in its own way ───────────────────────────────────────────────────────────────────

    @abstractmethod
    def _as_response(self, found: Any) -> HttpResponse:
        """What a handler returned, as a response. Raises `HttpError.Json` for data that JSON has no form for."""

    @abstractmethod
    def _failed(self, failure: HttpError) -> HttpResponse:
        """A handler could not do it."""

    @abstractmethod
    def _not_allowed(self, request: RouterRequest) -> HttpResponse:
        """The path is there, and answers other methods; the header ``Allow`` is added."""

    @abstractmethod
    def _nowhere(self, request: RouterRequest) -> HttpResponse:
        """No route has the path."""

    @abstractmethod
    def _overloaded(self) -> HttpResponse:
        """Too many wait."""

    def _finished(self, message: HttpRequest, response: HttpResponse) -> HttpResponse:
        """The response as it leaves: under the request's id, without a body where there can be none."""
        body, headers = response.body or b"", response.headers
        for name in headers:
            if name.lower() == "x-request-id":
                headers = {**headers, name: _known_as(message)}
                break
        if bodiless(message.method.upper(), response.status_code):
            if response.status_code not in (204, 304) and not any(name.lower() == "content-length" for name in headers):
                headers = {**headers, "Content-Length": str(len(body))}
            body = b""
        return replace(response, request_id=message.request_id, headers=headers, body=body)


def _known_as(message: HttpRequest) -> str:
    """The id under which the client, or the gateway, knows the request; that of the link where nobody named it."""
    return next((value for name, value in message.headers.items() if name.lower() == "x-request-id"), "") or message.request_id


class HttpIpcRouter(Router):
    """A router for requests over links: return it from a function decorated with `pywatt_module`. Bodies are `ApiResponse`."""

    def _as_response(self, found: Any) -> HttpResponse:
        if isinstance(found, HttpResponse):
            return found
        if not isinstance(found, ApiResponse):
            return api.json_response(found)
        return api.api_response(found, 500, code="INTERNAL_ERROR") if found.status == "error" else api.api_response(found)

    def _failed(self, failure: HttpError) -> HttpResponse:
        return api.failure_response(failure, debug=self.debug)

    def _not_allowed(self, request: RouterRequest) -> HttpResponse:
        return api.method_not_allowed(request.method, request.path)

    def _nowhere(self, request: RouterRequest) -> HttpResponse:
        body = ApiResponse.error(f"Endpoint not found: {request.method} {request.path}").to_bytes()
        return HttpResponse(request.request_id, 404, {"Content-Type": JSON}, body)

    def _overloaded(self) -> HttpResponse:
        return api.error_response(OVERLOADED, 503, "OVERLOADED")
