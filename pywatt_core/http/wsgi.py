"""One request over a link into a WSGI application, in a thread of a bounded pool."""

from __future__ import annotations

import asyncio
import io
import logging
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

from .mapping import MAX_BODY, BadRequest, Parts, plain, put_together, take_apart

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from ..protocol.messages import HttpRequest, HttpResponse

logger = logging.getLogger("pywatt.http")

Environ: TypeAlias = dict[str, Any]
WsgiApp: TypeAlias = Callable[[Any, Any], Iterable[bytes]]


async def call_wsgi(
    app: WsgiApp,
    request: HttpRequest,
    executor: Executor,
    *,
    deadline: float | None = None,
    max_body: int = MAX_BODY,
) -> HttpResponse:
    """Answer `request` from `app` in a thread of `executor`, by the mapping rules of protocol 6.3.

    What HTTP does not allow is answered 400, an exception 500 without detail, a response of more than `max_body` bytes
    500, no response within `deadline` seconds (waiting for a thread included) 504. A thread cannot be cancelled: when the
    call is, or runs out of time, the application stops at its next piece of body and what it made is thrown away.
    """
    try:
        parts = take_apart(request)
    except BadRequest as exc:
        return plain(request, 400, f"Bad Request: {exc}")
    exchange = _Exchange(request, parts, max_body)
    future = asyncio.get_running_loop().run_in_executor(executor, exchange.run, app)
    try:
        async with asyncio.timeout(deadline):
            return await future
    except TimeoutError:
        logger.error("request %s: no complete response within %g s", request.request_id, deadline)
        return plain(request, 504)
    finally:
        exchange.abandoned = True


class _TooLarge(Exception):
    pass


class _Exchange:
    """Runs one request in a thread and gathers the response."""

    def __init__(self, request: HttpRequest, parts: Parts, max_body: int) -> None:
        self.abandoned = False
        self._request = request
        self._parts = parts
        self._max_body = max_body
        self._status = 0
        self._headers: list[tuple[str, str]] = []
        self._chunks: list[bytes] = []
        self._size = 0

    def run(self, app: WsgiApp) -> HttpResponse:
        """The response; whatever the application raises, even SystemExit, which would end the event loop."""
        if self.abandoned:
            return plain(self._request, 503)
        try:
            self._gather(app)
        except _TooLarge:
            logger.error("request %s: the response is larger than %d bytes", self._request.request_id, self._max_body)
            return plain(self._request, 500, "Response too large")
        except BaseException:
            logger.exception("request %s: exception in the application", self._request.request_id)
            return plain(self._request, 500)
        if not self._status:
            logger.error("request %s: the application did not start a response", self._request.request_id)
            return plain(self._request, 500)
        return put_together(self._request, self._status, self._headers, b"".join(self._chunks))

    def _gather(self, app: WsgiApp) -> None:
        pieces = app(environ_of(self._parts, io.BytesIO(self._parts.body)), self._start_response)
        try:
            for piece in pieces:
                self._write(piece)
                if self.abandoned:
                    break
        finally:
            close = getattr(pieces, "close", None)
            if close is not None:
                close()

    def _write(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self._max_body:
            raise _TooLarge
        self._chunks.append(piece)

    def _start_response(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], None]:
        if self._status and exc_info is None:
            raise RuntimeError("the response was already started")
        self._status = int(status.split(" ", 1)[0])
        if not 100 <= self._status <= 999:
            raise ValueError(f"invalid status {status!r}")
        self._headers = list(headers)
        return self._write


def environ_of(parts: Parts, body: Any, *, whole: bool = True) -> Environ:
    """The environ of a request that came over a link; `body` is a binary file, `whole` where its length is known."""
    environ: Environ = {
        "REQUEST_METHOD": parts.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": parts.wsgi_path,
        "QUERY_STRING": parts.query.decode("latin-1"),
        "REQUEST_URI": (parts.raw_path + (b"?" + parts.query if parts.query else b"")).decode("latin-1"),
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": body,
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for name, value in parts.headers:
        if name == "content-length":
            environ["CONTENT_LENGTH"] = value
            continue
        if "_" in name:  # an underscore could pose as another header's dash
            continue
        key = "CONTENT_TYPE" if name == "content-type" else "HTTP_" + name.upper().replace("-", "_")
        environ[key] = f"{environ[key]}, {value}" if key in environ else value
    if whole:
        environ.setdefault("CONTENT_LENGTH", "0")
    return environ
