"""One request whose bodies travel in pieces, into an ASGI application."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from .asgi import give_up, scope_of
from .mapping import BadRequest, Parts, take_apart
from .streams import Disconnected

if TYPE_CHECKING:
    from .asgi import AsgiApp, Event
    from .streams import Stream

logger = logging.getLogger("pywatt.http")

GRACE = 1.0
"""Seconds that an application gets to end by itself once its client is gone; then it is cancelled."""


async def stream_asgi(app: AsgiApp, stream: Stream, *, background: set[asyncio.Task[None]] | None = None) -> None:
    """Answer `stream` from `app`, by the rules of `call_asgi`, but piece by piece; raises nothing but cancellation.

    An exception before the response is answered 500, one within it aborts the response. A client that goes away is told to
    the application as ``http.disconnect`` and as an `OSError` of its sends. An application that goes on after its response
    is put into `background`; without that set it is waited for. Cancelling the call cancels the application.
    """
    try:
        parts = take_apart(stream.request)
    except BadRequest as exc:
        stream.answer(400, f"Bad Request: {exc}")
        return
    task = asyncio.create_task(_Exchange(stream, parts).run(app), name=f"http_stream_request {stream.request.request_id}")
    try:
        await asyncio.wait([task, stream.finished, stream.gone], return_when=asyncio.FIRST_COMPLETED)
        if not stream.finished.done() and not task.done():
            await asyncio.wait([task, stream.finished], timeout=GRACE, return_when=asyncio.FIRST_COMPLETED)
            if not stream.finished.done() and not task.done():
                await give_up(task)
        if background is None:
            await asyncio.wait([task])
    except asyncio.CancelledError:
        await give_up(task)
        raise
    if not task.done() and background is not None:
        background.add(task)
        task.add_done_callback(background.discard)


class _Exchange:
    """Feeds one request to the application and passes on what it sends."""

    def __init__(self, stream: Stream, parts: Parts) -> None:
        self._stream, self._parts = stream, parts
        self._body_given = False

    async def run(self, app: AsgiApp) -> None:
        stream, id = self._stream, self._stream.request.request_id
        try:
            await app(scope_of(self._parts, id), self._receive, self._send)
        except asyncio.CancelledError:
            if not stream.gone.done():
                logger.warning("request %s: the application was cancelled", id)
            raise
        except (Exception, SystemExit, KeyboardInterrupt) as exc:  # the last two would end the event loop
            if stream.gone.done():
                logger.debug("request %s: the client went away: %s", id, type(exc).__name__)
            else:
                logger.exception("request %s: exception in the application", id)
            stream.answer(500, "Internal Server Error")
        else:
            if not stream.finished.done() and not stream.gone.done():
                logger.error("request %s: the application returned without a complete response", id)
                stream.answer(500, "Internal Server Error")

    async def _receive(self) -> Event:
        if not self._body_given:
            try:
                piece, more = await self._stream.receive()
            except Disconnected:
                return {"type": "http.disconnect"}
            self._body_given = not more
            return {"type": "http.request", "body": piece, "more_body": more}
        await asyncio.wait([self._stream.finished, self._stream.gone], return_when=asyncio.FIRST_COMPLETED)
        return {"type": "http.disconnect"}

    async def _send(self, event: Event) -> None:
        kind = event["type"]
        if kind == "http.response.start":
            status = event["status"]
            if not isinstance(status, int):
                raise RuntimeError(f"invalid status {status!r}")
            headers = [(bytes(name).decode("latin-1"), bytes(value).decode("latin-1")) for name, value in event.get("headers", ())]
            self._stream.start(int(status), headers)
        elif kind == "http.response.body":
            await self._stream.send(bytes(event.get("body", b"")), more=bool(event.get("more_body", False)))
        else:
            raise RuntimeError(f"unexpected ASGI event {kind!r}")
