"""One request over a link into an ASGI application, and an application's lifespan."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any, TypeAlias

from ..errors import ServerError
from .mapping import MAX_BODY, BadRequest, Parts, plain, put_together, take_apart

if TYPE_CHECKING:
    from ..protocol.messages import HttpRequest, HttpResponse

logger = logging.getLogger("pywatt.http")

Scope: TypeAlias = MutableMapping[str, Any]
Event: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Event]]
Send: TypeAlias = Callable[[Event], Awaitable[None]]
AsgiApp: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]]

ASGI = {"version": "3.0", "spec_version": "2.3"}

PATIENCE = 2.0
"""Seconds that a cancelled application gets to clean up before it is left behind."""


async def call_asgi(
    app: AsgiApp,
    request: HttpRequest,
    *,
    deadline: float | None = None,
    max_body: int = MAX_BODY,
    background: set[asyncio.Task[None]] | None = None,
) -> HttpResponse:
    """Answer `request` from `app`, by the mapping rules of protocol 6.3; raises nothing but cancellation.

    What HTTP does not allow is answered 400, an exception 500 without detail, a response of more than `max_body` bytes
    500, no complete response within `deadline` seconds 504. An application that goes on after its response (background
    work) is put into `background`; without that set the answer waits for it. Cancelling the call cancels the application.
    """
    try:
        parts = take_apart(request)
    except BadRequest as exc:
        return plain(request, 400, f"Bad Request: {exc}")
    exchange = _Exchange(request, parts, max_body)
    task = asyncio.create_task(exchange.run(app), name=f"http_request {request.request_id}")
    try:
        async with asyncio.timeout(deadline):
            await exchange.complete
            if background is None and not exchange.failed:
                await asyncio.wait([task])
    except TimeoutError:
        await give_up(task)
        if not exchange.answered:
            logger.error("request %s: no complete response within %g s", request.request_id, deadline)
            return plain(request, 504)
    except asyncio.CancelledError:
        await give_up(task)
        raise
    if exchange.failed:
        await give_up(task)
    elif not task.done() and background is not None:
        background.add(task)
        task.add_done_callback(background.discard)
    return exchange.response()


REQUEST_ID = "pywatt.request_id"
"""Where the id that a request has on its link is found in its scope."""


def scope_of(parts: Parts, request_id: str) -> Scope:
    """The scope of a request that came over a link."""
    return {
        "type": "http",
        "asgi": dict(ASGI),
        "http_version": "1.1",
        "method": parts.method,
        "scheme": "http",
        "path": parts.path,
        "raw_path": parts.raw_path,
        "query_string": parts.query,
        "root_path": "",
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in parts.headers],
        "client": None,
        "server": ("localhost", 80),
        "state": {},
        REQUEST_ID: request_id,
    }


async def give_up(task: asyncio.Task[None]) -> None:
    """Cancel, and wait a moment for the clean-up."""
    task.cancel()
    await asyncio.wait([task], timeout=PATIENCE)


class _Exchange:
    """Feeds one request to the application and gathers what it sends."""

    def __init__(self, request: HttpRequest, parts: Parts, max_body: int) -> None:
        self.complete: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done once the response is whole, or will never be."""
        self.answered = False
        self.failed = ""
        self._request = request
        self._parts = parts
        self._max_body = max_body
        self._body_given = False
        self._status = 0
        self._headers: list[tuple[str, str]] = []
        self._chunks: list[bytes] = []
        self._size = 0

    async def run(self, app: AsgiApp) -> None:
        try:
            await app(scope_of(self._parts, self._request.request_id), self._receive, self._send)
        except (Exception, SystemExit, KeyboardInterrupt):  # the last two would end the event loop
            logger.exception("request %s: exception in the application", self._request.request_id)
        except asyncio.CancelledError:
            logger.warning("request %s: the application was cancelled", self._request.request_id)
            raise
        else:
            if not self.answered and not self.failed:
                logger.error("request %s: the application returned without a complete response", self._request.request_id)
        finally:
            self._settle()

    def response(self) -> HttpResponse:
        if not self.answered:
            return plain(self._request, 500, self.failed)
        return put_together(self._request, self._status, self._headers, b"".join(self._chunks))

    def _settle(self) -> None:
        if not self.complete.done():
            self.complete.set_result(None)

    async def _receive(self) -> Event:
        if not self._body_given:
            self._body_given = True
            return {"type": "http.request", "body": self._parts.body, "more_body": False}
        await asyncio.shield(self.complete)
        return {"type": "http.disconnect"}

    async def _send(self, event: Event) -> None:
        if self.complete.done():
            return
        if event["type"] == "http.response.start":
            self._begin(event)
        elif event["type"] == "http.response.body":
            self._add(event)
        else:
            raise RuntimeError(f"unexpected ASGI event {event['type']!r}")

    def _begin(self, event: Event) -> None:
        status = event["status"]
        if self._status:
            raise RuntimeError("the response was already started")
        if not isinstance(status, int) or not 100 <= status <= 999:
            raise RuntimeError(f"invalid status {status!r}")
        self._headers = [(bytes(name).decode("latin-1"), bytes(value).decode("latin-1")) for name, value in event.get("headers", ())]
        self._status = int(status)

    def _add(self, event: Event) -> None:
        if not self._status:
            raise RuntimeError("a body was sent before the response was started")
        chunk = event.get("body", b"")
        self._size += len(chunk)
        if self._size > self._max_body:
            self.failed = "Response too large"
            logger.error("request %s: the response is larger than %d bytes", self._request.request_id, self._max_body)
            self._settle()
            return
        self._chunks.append(chunk)
        if not event.get("more_body", False):
            self.answered = True
            self._settle()


class Lifespan:
    """Enters an application's lifespan once and leaves it once, both in one task, as context managers need it."""

    def __init__(self, app: AsgiApp) -> None:
        self.state: dict[str, Any] = {}
        """What the application's lifespan yielded; each request gets a shallow copy as ``scope["state"]``."""
        self._app = app
        self._task: asyncio.Task[None] | None = None
        self._leave = asyncio.Event()
        self._answers: asyncio.Queue[Event] = asyncio.Queue()

    async def enter(self) -> None:
        """Wait until the application has started. Raises `ServerError` with the cause where it fails to.

        An application that returns at once, because it does not know the lifespan protocol, is taken as started; an
        exception is a failure.
        """
        if self._task is not None:
            raise ServerError("the application's lifespan was already entered")
        self._task = asyncio.create_task(self._run(), name="lifespan")
        try:
            answer = await self._next()
        except asyncio.CancelledError:
            await give_up(self._task)
            raise
        if answer["type"] == "lifespan.startup.failed":
            self._leave.set()  # it never started: there is nothing to shut down, and its failure is told here
            done, _ = await asyncio.wait([self._task], timeout=PATIENCE)
            if not done:
                await give_up(self._task)
            cause = self._cause()
            reason = (
                f"{type(cause).__name__}: {cause}" if cause else str(answer.get("message") or "no reason given").strip().splitlines()[-1]
            )
            raise ServerError(f"the application's lifespan failed at start-up: {reason}") from cause

    async def leave(self, deadline: float = 10.0) -> None:
        """Let the application shut down, `deadline` seconds at most; what goes wrong there is logged.

        Does nothing where it never started, or was left already.
        """
        if self._task is None or self._leave.is_set():
            return
        self._leave.set()
        done, _ = await asyncio.wait([self._task], timeout=deadline)
        if not done:
            logger.error("the application's lifespan did not end within %g s and is cancelled", deadline)
            await give_up(self._task)
        elif cause := self._cause():
            logger.error("the application's lifespan failed at shut-down", exc_info=cause)

    def _cause(self) -> BaseException | None:
        if self._task is None or not self._task.done() or self._task.cancelled():
            return None
        return self._task.exception()

    async def _next(self) -> Event:
        assert self._task is not None
        answer = asyncio.ensure_future(self._answers.get())
        try:
            await asyncio.wait([answer, self._task], return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                return answer.result()
        finally:
            answer.cancel()
        return {"type": "lifespan.startup.failed" if self._cause() else "lifespan.startup.complete"}

    async def _run(self) -> None:
        asked = False

        async def receive() -> Event:
            nonlocal asked
            if not asked:
                asked = True
                return {"type": "lifespan.startup"}
            await self._leave.wait()
            return {"type": "lifespan.shutdown"}

        async def send(event: Event) -> None:
            self._answers.put_nowait(event)

        try:
            await self._app({"type": "lifespan", "asgi": dict(ASGI), "state": self.state}, receive, send)
        except SystemExit as exc:  # a task that raises it would end the event loop
            raise RuntimeError(f"the application called exit({exc.code!r})") from exc
        except KeyboardInterrupt as exc:  # and so would this
            raise RuntimeError("the application raised KeyboardInterrupt") from exc
