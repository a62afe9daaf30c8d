"""The module's end of HTTP in pieces (`protocol.http_pieces`): the requests that are under way, each with its two bodies.

Memory is bounded by credit: of each body at most `WINDOW` bytes wait here, and a response waits while the other end does
not read. Whoever waits for the other end waits `STALL` seconds at most.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Any

from ..errors import ChannelClosed, LocalProtocolError, RemoteProtocolError
from ..protocol.flow import Allowance, Intake
from ..protocol.http_pieces import MAX_PIECE, WINDOW
from ..protocol.messages import (
    HttpRequestCancel,
    HttpRequestCredit,
    HttpRequestPiece,
    HttpResponseAbort,
    HttpResponseCredit,
    HttpResponsePiece,
    HttpResponseStart,
)
from .mapping import bodiless, passable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..protocol.messages import HttpStreamRequest, Message

logger = logging.getLogger("pywatt.http")

STALL = 300.0
"""Seconds that one piece, or the leave to send one, may take to arrive."""

CANCELLED = 499
"""The status that answers a request which was cancelled before its response began; nobody reads it."""


class Disconnected(OSError):
    """Whoever asked does not wait any more, or cannot be reached."""


class Stream:
    """One request and its response: what `Server.stream` is given.

    `request` holds the head and the first piece of the body. `gone` is done once nobody waits for the response any more,
    `begun` once its head has left, `finished` once nothing of it will follow. Use it from the event loop alone.
    """

    def __init__(self, request: HttpStreamRequest, link: Any) -> None:
        loop = asyncio.get_running_loop()
        self.request = request
        self.gone: asyncio.Future[None] = loop.create_future()
        self.begun: asyncio.Future[None] = loop.create_future()
        self.finished: asyncio.Future[None] = loop.create_future()
        self._loop, self._link = loop, link
        self._pieces: deque[bytes] = deque((request.body,) if request.body else ())
        self._coming = request.more
        self._unpaid = bool(request.body)
        """Whether the next piece is the one that needed no credit."""
        self._intake = Intake(WINDOW)
        self._allowance = Allowance(request.credit)
        self._changed = asyncio.Event()
        self._head: tuple[int, list[tuple[str, str]]] | None = None
        self._bodiless = False

    # ── the request's body ──────────────────────────────────────────────────────────────────────────────────────────

    async def receive(self) -> tuple[bytes, bool]:
        """The next piece of the request's body, and whether more follow. Raises `Disconnected`.

        The first call is what lets the sender go on, so that a body which nobody reads does not travel.
        """
        while not self._pieces and self._coming:
            self._grant(0)
            await self._change()
        if self.gone.done() or self.finished.done():
            raise Disconnected("nobody waits for the response any more")
        piece = self._pieces.popleft() if self._pieces else b""
        if self._coming:
            self._grant(0 if self._unpaid else len(piece))
        self._unpaid = False
        return piece, bool(self._pieces) or self._coming

    def _grant(self, consumed: int) -> None:
        amount = self._intake.consumed(consumed)
        if amount:
            self._post(HttpRequestCredit(self.request.request_id, amount))

    # ── the response ────────────────────────────────────────────────────────────────────────────────────────────────

    def start(self, status: int, headers: Iterable[tuple[str, str]]) -> None:
        """Begin the response; the head leaves with the first piece of its body, or soon. Raises `RuntimeError` the second time."""
        if self._head is not None or self.begun.done():
            raise RuntimeError("the response was already started")
        if not 200 <= status <= 599:
            raise RuntimeError(f"invalid status {status!r}")
        self._bodiless = bodiless(self.request.method, status)
        self._head = status, passable(self.request, headers)
        self._loop.call_soon(self._send_head)

    async def send(self, body: bytes, *, more: bool) -> None:
        """Send a piece of the response's body, when the other end takes it. Raises `Disconnected`."""
        if self._head is None and not self.begun.done():
            raise RuntimeError("a body was sent before the response was started")
        if self.finished.done():
            return
        if self._bodiless:
            body = b""
        rest = memoryview(body)
        while not self.gone.done():
            allowed = self._allowance.spend(min(len(rest), MAX_PIECE))
            if rest and not allowed:
                self._send_head()
                await self._change()
                continue
            piece, rest = bytes(rest[:allowed]), rest[allowed:]
            await self._send_piece(piece, more=more or bool(rest))
            if not rest:
                return
        raise Disconnected("nobody waits for the response any more")

    async def _send_piece(self, piece: bytes, *, more: bool) -> None:
        if self._head is not None:
            status, headers = self._head
            message: Message = HttpResponseStart(self.request.request_id, status, headers, piece, more)
        elif piece or not more:
            message = HttpResponsePiece(self.request.request_id, piece, more)
        else:
            return
        self._head_left()
        if not more:
            self.finish()
        try:
            await self._link.send(message)
        except ChannelClosed as error:
            self.lose()
            raise Disconnected(str(error)) from error

    def _send_head(self) -> None:
        if self._head is None or self.gone.done():
            return
        status, headers = self._head
        self._head_left()
        self._post(HttpResponseStart(self.request.request_id, status, headers, b"", more=True))

    def _head_left(self) -> None:
        self._head = None
        if not self.begun.done():
            self.begun.set_result(None)

    def answer(self, status: int, text: str, headers: Iterable[tuple[str, str]] = ()) -> None:
        """A whole response in plain text; where one has begun it is aborted instead, where all has been sent nothing happens."""
        if self.begun.done():
            self.close()
            return
        body = text.encode()
        own = [("content-type", "text/plain; charset=utf-8"), ("content-length", str(len(body))), *headers]
        if self.request.method == "HEAD":
            body = b""
        self._head_left()
        self._post(HttpResponseStart(self.request.request_id, status, own, body))
        self.finish()

    def close(self) -> None:
        """Say so where the response is not whole."""
        if self.finished.done():
            return
        if not self.begun.done():
            self._head_left()
            self._post(HttpResponseStart(self.request.request_id, CANCELLED, []))
        elif not self.gone.done():
            self._post(HttpResponseAbort(self.request.request_id))
        self.finish()

    def finish(self) -> None:
        """Nothing of the response follows, and nothing of the request is read any more."""
        if not self.finished.done():
            self.finished.set_result(None)
        self._changed.set()

    # ── what arrives ────────────────────────────────────────────────────────────────────────────────────────────────

    def piece_received(self, piece: HttpRequestPiece) -> None:
        """More of the request's body. Raises `RemoteProtocolError` where it was not asked for."""
        if not self._coming:
            raise RemoteProtocolError("a piece of a body arrived after its last one")
        self._intake.received(len(piece.body))
        if piece.body:
            self._pieces.append(piece.body)
        self._coming = piece.more
        self._changed.set()

    def credit_received(self, amount: int) -> None:
        """The other end takes more of the response."""
        self._allowance.grant(amount)
        self._changed.set()

    def lose(self) -> None:
        """Nobody waits for the response any more."""
        if not self.gone.done():
            self.gone.set_result(None)
        self._changed.set()

    # ── inside ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _change(self) -> None:
        """Wait until something has arrived. Raises `Disconnected` where that takes too long, or nobody is there any more."""
        if not self.gone.done() and not self.finished.done():
            self._changed.clear()
            try:
                async with asyncio.timeout(STALL):
                    await self._changed.wait()
            except TimeoutError:
                logger.warning("request %s: the other end of the link neither reads nor sends; given up", self.request.request_id)
                self.lose()
        if self.gone.done() or self.finished.done():
            raise Disconnected("nobody waits for the response any more")

    def _post(self, message: Message) -> None:
        try:
            self._link.post(message)
        except (ChannelClosed, LocalProtocolError) as error:
            logger.debug("request %s: %s", self.request.request_id, error)
            self.lose()


class Streams:
    """All streams of a module, by their ids."""

    def __init__(self) -> None:
        self._open: dict[str, Stream] = {}

    def __len__(self) -> int:
        return len(self._open)

    def open(self, request: HttpStreamRequest, link: Any) -> Stream | None:
        """A stream for `request`; None, and the request refused, where its id is taken. `close` it when all is done."""
        if request.request_id in self._open:
            refusal = HttpResponseStart(request.request_id, 400, [("content-length", "0")])
            try:
                link.post(refusal)
            except (ChannelClosed, LocalProtocolError):
                logger.debug("a refusal could not be sent")
            return None
        stream = self._open[request.request_id] = Stream(request, link)
        closed = getattr(link, "closed", None)
        if isinstance(closed, asyncio.Future):

            def lost(_: object) -> None:
                stream.lose()

            closed.add_done_callback(lost)
            stream.finished.add_done_callback(lambda _: closed.remove_done_callback(lost))
        return stream

    def close(self, stream: Stream) -> None:
        """Nothing more happens to it."""
        stream.close()
        self._open.pop(stream.request.request_id, None)

    def take(self, message: Message) -> None:
        """What is not the beginning of a request; what belongs to none that is open comes late and is ignored."""
        stream = self._open.get(message.request_id)  # type: ignore[attr-defined]  # all messages of this kind have one
        if stream is None:
            return
        if type(message) is HttpRequestPiece:
            try:
                stream.piece_received(message)
            except RemoteProtocolError as error:
                logger.error("request %s: %s; given up", message.request_id, error)
                stream.lose()
        elif type(message) is HttpResponseCredit:
            stream.credit_received(message.amount)
        elif type(message) is HttpRequestCancel:
            stream.lose()
