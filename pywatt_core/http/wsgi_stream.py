"""One request whose bodies travel in pieces, into a WSGI application, in a thread of a bounded pool."""

from __future__ import annotations

import asyncio
import io
import logging
from typing import TYPE_CHECKING, Any, TypeVar

from .mapping import LENGTH, BadRequest, Parts, take_apart
from .streams import STALL, Disconnected
from .wsgi import environ_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from concurrent.futures import Executor

    from .streams import Stream
    from .wsgi import WsgiApp

logger = logging.getLogger("pywatt.http")

T = TypeVar("T")

LOST_LOOP = 2 * STALL
"""Seconds after which a thread stops to wait for an event loop that does not run any more."""


async def stream_wsgi(app: WsgiApp, stream: Stream, executor: Executor, *, gone: type[Disconnected] = Disconnected) -> None:
    """Answer `stream` from `app` in a thread of `executor`, by the rules of `call_wsgi`, but piece by piece.

    An exception before the response is answered 500, one within it aborts the response. A thread cannot be cancelled: when
    the client is gone, or the call is cancelled, the application gets an `OSError` where it reads or sends its next piece;
    where it reads that is `gone`, for frameworks that know such an error by a class of their own.
    """
    try:
        parts = take_apart(stream.request)
    except BadRequest as exc:
        stream.answer(400, f"Bad Request: {exc}")
        return
    loop = asyncio.get_running_loop()
    exchange = _Exchange(stream, parts, loop, gone)
    try:
        await loop.run_in_executor(executor, exchange.run, app)
    except asyncio.CancelledError:
        exchange.abandoned = True
        stream.lose()
        raise


class _Exchange:
    """Runs one request in a thread; everything that concerns the stream happens on the loop."""

    def __init__(self, stream: Stream, parts: Parts, loop: asyncio.AbstractEventLoop, gone: type[Disconnected]) -> None:
        self.abandoned = False
        self.gone = gone
        self._stream, self._parts, self._loop = stream, parts, loop
        self._head: tuple[int, list[tuple[str, str]]] | None = None
        self._sent = False
        """Whether the head has been handed over: WSGI sends it with the first piece of the body."""
        self._left: int | None = None
        """Bytes of the response that are still to come, where its length was told."""

    def run(self, app: WsgiApp) -> None:
        """Whatever the application raises, even SystemExit, which would end the event loop."""
        id = self._stream.request.request_id
        if self.abandoned:
            return
        try:
            self._relay(app)
        except Disconnected:
            logger.debug("request %s: the client went away", id)
        except BaseException:
            if not self._stream.gone.done():
                logger.exception("request %s: exception in the application", id)
            self._tell(self._stream.answer, 500, "Internal Server Error")
        else:
            if self._head is None:
                logger.error("request %s: the application did not start a response", id)
                self._tell(self._stream.answer, 500, "Internal Server Error")

    def _relay(self, app: WsgiApp) -> None:
        body = io.BufferedReader(_Body(self), 65_536)
        environ = environ_of(self._parts, body, whole=not self._stream.request.more)
        pieces = app(environ, self._start_response)
        try:
            for piece in pieces:
                if piece:
                    self._write(piece)
        finally:
            close = getattr(pieces, "close", None)
            if close is not None:
                close()
        if self._head is not None:
            self.wait(self._send(b"", more=False))

    def _start_response(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], None]:
        if self._sent and exc_info is not None:
            raise exc_info[1].with_traceback(exc_info[2])
        if self._head is not None and exc_info is None:
            raise RuntimeError("the response was already started")
        length = next((value for name, value in headers if name.lower() == "content-length"), "")
        self._left = int(length) if LENGTH.fullmatch(length) else None
        self._head = int(status.split(" ", 1)[0]), list(headers)
        return self._write

    def _write(self, piece: bytes) -> None:
        """The piece that completes the length that was told is the last one, so that most responses are one message."""
        if self._left is not None:
            self._left -= len(piece)
        self.wait(self._send(piece, more=self._left is None or self._left > 0))

    async def _send(self, piece: bytes, *, more: bool) -> None:
        if not self._sent:
            if self._head is None:
                raise RuntimeError("a body was sent before the response was started")
            self._stream.start(*self._head)
            self._sent = True
        await self._stream.send(piece, more=more)

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` on the loop and wait for it, in this thread."""
        if self._loop.is_closed():
            work.close()
            raise Disconnected("the event loop is closed")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(LOST_LOOP)
        except TimeoutError:
            future.cancel()
            raise Disconnected("the event loop does not run any more") from None

    async def receive(self) -> tuple[bytes, bool]:
        return await self._stream.receive()

    def _tell(self, act: Callable[..., None], *arguments: Any) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(act, *arguments)


class _Body(io.RawIOBase):
    """The request's body as a file."""

    def __init__(self, exchange: _Exchange) -> None:
        self._exchange = exchange
        self._rest = memoryview(b"")
        self._more = True

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest and self._more:
            try:
                piece, self._more = self._exchange.wait(self._exchange.receive())
            except Disconnected as error:
                raise self._exchange.gone(str(error)) from error
            self._rest = memoryview(piece)
        target = memoryview(buffer).cast("B")
        size = min(len(target), len(self._rest))
        target[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size
