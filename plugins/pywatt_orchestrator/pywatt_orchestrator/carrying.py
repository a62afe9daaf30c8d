"""The orchestrator's end of HTTP in pieces (`pywatt_core.protocol.http_pieces`): what is under way to one process.

Memory is bounded by credit: a process may send `WINDOW` bytes of a response that nobody has taken yet, and gets more of a
request only as it reads it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from pywatt_core.errors import ChannelClosed, LocalProtocolError, RemoteProtocolError
from pywatt_core.protocol.flow import Allowance, Intake
from pywatt_core.protocol.http_pieces import MAX_PIECE, WINDOW
from pywatt_core.protocol.messages import (
    HttpRequestCancel,
    HttpRequestCredit,
    HttpRequestPiece,
    HttpResponseAbort,
    HttpResponseCredit,
    HttpResponsePiece,
    HttpResponseStart,
    HttpStreamRequest,
)
from pywatt_core.transports.link import new_id

if TYPE_CHECKING:
    from pywatt_core.protocol.messages import Message
    from pywatt_core.transports.link import Link


class Asker(Protocol):
    """Who sent a request and takes the response; none of these may block."""

    def piece_received(self, body: bytes, more: bool) -> None:
        """More of the response's body."""
        ...

    def credit_received(self) -> None:
        """The process takes more of the request's body."""
        ...

    def broken(self, reason: str) -> None:
        """The response that has begun will never be whole."""
        ...


class Carried:
    """One request on its way over `link`, and its response on the way back. `close` it in the end."""

    def __init__(self, carrying: Carrying, link: Link, asker: Asker) -> None:
        self.request_id = new_id()  # the client's own, in X-Request-ID, need not be unique
        self._carrying, self._link, self._asker = carrying, link, asker
        self._allowance = Allowance()
        self._intake = Intake(WINDOW, granted=WINDOW)
        self._early: list[HttpResponsePiece] | None = []
        """What came before `flow` was called."""
        self._reason = ""
        self._asked = self._over = False
        self._granted = 0
        """Bytes that the process is about to be granted."""
        self._sent_all = False
        """Whether the end of the request's body has been sent."""

    async def ask(
        self, method: str, uri: str, headers: list[tuple[str, str]], body: bytes = b"", *, more: bool, timeout: float
    ) -> HttpResponseStart:
        """Send the head and the first piece, `MAX_PIECE` bytes at most, and return the head of the response.

        Raises what `Link.request` raises. Whoever gives up waiting calls the request off by that.
        """
        request = HttpStreamRequest(self.request_id, method, uri, headers, WINDOW, body, more)
        self._link.closed.add_done_callback(self._lost)
        try:
            self._asked, self._sent_all = True, not more
            answer = await self._link.request(request, timeout=timeout)
        except ChannelClosed:
            self._over = True
            raise
        assert isinstance(answer, HttpResponseStart)
        self._intake.received(len(answer.body))
        self._over = not answer.more
        return answer

    def flow(self) -> None:
        """From now on the asker gets pieces; it has dealt with the head."""
        early, self._early = self._early or [], None
        for piece in early:
            if self._over:
                return
            self._deliver(piece)
        if self._reason:
            self._break(self._reason)

    def send(self, body: bytes, *, more: bool) -> int:
        """Send what may be sent of `body`; return how much that was. The last piece goes with the end of `body`."""
        sent = 0
        while not self._sent_all:
            amount = self._allowance.spend(min(len(body) - sent, MAX_PIECE))
            last = sent + amount == len(body)
            if not amount and (not last or more):
                return sent
            self._post(HttpRequestPiece(self.request_id, body[sent : sent + amount], more=more or not last))
            sent += amount
            if last:
                self._sent_all = not more
                return sent
        return 0

    def consumed(self, amount: int) -> None:
        """So much of the response has been passed on."""
        if not self._over and (granted := self._intake.consumed(amount)):
            if not self._granted:  # Not before what has arrived is read: a process that ends may have closed its side already.
                asyncio.get_running_loop().call_soon(self._grant)
            self._granted += granted

    def _grant(self) -> None:
        amount, self._granted = self._granted, 0
        if not self._over:
            self._post(HttpResponseCredit(self.request_id, amount))

    def close(self) -> None:
        """Nothing more is wanted: a response that is not whole is called off. May be called twice."""
        if self._asked and not self._over:
            self._over = True
            self._post(HttpRequestCancel(self.request_id))
        self._over = True
        self._link.closed.remove_done_callback(self._lost)
        self._carrying.forget(self)

    # ── what arrives ────────────────────────────────────────────────────────────────────────────────────────────────

    def take(self, message: Message) -> None:
        """A message about this request."""
        if self._over:
            return
        if isinstance(message, HttpRequestCredit):
            self._allowance.grant(message.amount)
            self._asker.credit_received()
        elif isinstance(message, HttpResponsePiece):
            if message.more and not message.body:
                return
            try:
                self._intake.received(len(message.body))
            except RemoteProtocolError as error:
                self.close()
                self._break(str(error))
                return
            if self._early is None:
                self._deliver(message)
            else:
                self._early.append(message)
        elif isinstance(message, HttpResponseAbort):
            self._over = True
            self._break("it gave up")

    def _deliver(self, piece: HttpResponsePiece) -> None:
        self._over = not piece.more
        self._asker.piece_received(piece.body, piece.more)

    def _lost(self, _closed: object) -> None:
        if not self._over:
            self._over = True
            self._break("its link closed")

    def _break(self, reason: str) -> None:
        if self._early is None:
            self._asker.broken(reason)
        else:
            self._reason = reason

    def _post(self, message: Message) -> None:
        try:
            self._link.post(message)
        except (ChannelClosed, LocalProtocolError):
            self._over = True  # the link tells about its end itself


class Carrying:
    """All requests in pieces that are under way to one process."""

    def __init__(self) -> None:
        self._open: dict[str, Carried] = {}

    def __len__(self) -> int:
        return len(self._open)

    def open(self, link: Link, asker: Asker) -> Carried:
        """A request over `link`."""
        carried = Carried(self, link, asker)
        self._open[carried.request_id] = carried
        return carried

    def forget(self, carried: Carried) -> None:
        """It is closed."""
        self._open.pop(carried.request_id, None)

    def take(self, message: HttpResponsePiece | HttpRequestCredit | HttpResponseAbort, _link: Link) -> None:
        """One of `KINDS`; what belongs to no request that is open comes late and is ignored."""
        carried = self._open.get(message.request_id)
        if carried is not None:
            carried.take(message)


KINDS = (HttpResponsePiece, HttpRequestCredit, HttpResponseAbort)
"""What a process sends about a request in pieces, beside the head of its response."""
