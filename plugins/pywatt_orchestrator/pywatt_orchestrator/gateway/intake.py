"""What one client sends, cut into requests. No sockets here: results never depend on how the bytes were cut before."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from .bodies import BadBody, ChunkedBody, LengthBody
from .lines import HEAD_END, Remembered
from .request import UNREAD, Refused, RequestHead

if TYPE_CHECKING:
    from collections.abc import Callable

    from .options import GatewayOptions

BARE_LF = re.compile(rb"(?<!\r)\n")
HELD_LIMIT = 65_536
"""Bytes of further requests that are held while one is being answered; then reading stops."""


class Intake(ABC):
    """Takes one request after the other out of a stream; what comes behind a request is held until it has been answered.

    A subclass says what happens with them: `request_begun`, then `body_part` for each part, `body_ended`; or `refuse`.
    """

    _body: LengthBody | ChunkedBody

    def __init__(self, options: GatewayOptions, heads: Remembered[RequestHead]) -> None:
        self.options = options
        self.request = UNREAD
        """The request that is being received or answered."""
        self.complete = True
        """Whether it has been received to its end."""
        self.body_begun = False
        """Whether some of its body came along with its head."""
        self._heads = heads
        self._partial = bytearray()
        self._body_size = 0
        self._held = b""
        self._receive: Callable[[bytes], None] = self._head_received

    @property
    def between_requests(self) -> bool:
        """Whether the client has sent nothing but whole requests."""
        return self._receive == self._head_received and not self._partial

    @property
    def waits_for_answer(self) -> bool:
        """Whether a whole request has been taken, and what comes behind it is held."""
        return self._receive == self._hold

    @property
    def holds_too_much(self) -> bool:
        """Whether no more should be read until requests have been answered."""
        return len(self._held) > HELD_LIMIT

    @property
    def within_head(self) -> bool:
        """Whether the client has begun a request and not completed its head."""
        return len(self._partial) > 2

    # ── what a subclass does ────────────────────────────────────────────────────────────────────────────────────────

    @abstractmethod
    def head_begun(self) -> None:
        """A part of a head has arrived."""

    @abstractmethod
    def request_begun(self) -> bool:
        """`request` has arrived; returns whether somebody wants its body."""

    @abstractmethod
    def body_part(self, payload: bytes) -> bool:
        """A part of the body has arrived; returns whether somebody wants the rest."""

    @abstractmethod
    def body_ended(self) -> None:
        """The body is complete."""

    @abstractmethod
    def refuse(self, refused: Refused) -> None:
        """Nothing sensible can follow; nothing more is taken out of the stream."""

    @abstractmethod
    def held_too_much(self) -> None:
        """The client goes on sending requests while one is being answered."""

    # ── heads ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _head_received(self, data: bytes) -> None:
        """Usually a whole head that was seen before, and nothing else."""
        if self._partial:
            self._head_in_parts(data)
        elif data in self._heads:
            self._begin(data, b"")
        elif (end := data.find(HEAD_END) + 4) < 4:
            self._head_in_parts(data)
        else:
            self._begin(data[:end], data[end:])

    def _head_in_parts(self, data: bytes) -> None:
        partial = self._partial
        if not partial:
            self.head_begun()
        searched = max(0, len(partial) - 3)
        partial += data
        end = partial.find(HEAD_END, searched) + 4
        if end >= 4:
            head, rest = bytes(partial[:end]), bytes(partial[end:])
            partial.clear()
            self._begin(head, rest)
        elif len(partial) > self.options.max_head_bytes:
            status = 431 if b"\r\n" in partial[2:] else 414
            self.refuse(Refused(status, f"the head of the request is longer than {self.options.max_head_bytes} bytes"))
        elif BARE_LF.search(partial, searched) or not (partial[:1].isalpha() or partial.startswith(b"\r\n") or partial == b"\r"):
            self.refuse(Refused(400, "the request is malformed: lines end with CR LF, and the first one begins with a method"))

    def _begin(self, head: bytes, rest: bytes) -> None:
        """One whole head, and the bytes behind it."""
        try:
            request = self._heads[head]
        except Refused as refused:
            self.refuse(refused)
            return
        self.request = request
        self.complete = request.empty
        if request.empty:
            self._receive = self._hold
            self._held = rest
            self.request_begun()
        else:
            self._begin_body(request, rest)

    # ── bodies ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _begin_body(self, request: RequestHead, rest: bytes) -> None:
        self.body_begun = bool(rest)
        self._body = ChunkedBody() if request.lines.chunked else LengthBody(request.lines.length or 0)
        self._body_size = 0
        try:
            payload, after = self._body.feed(rest)
        except BadBody as error:
            self._refuse_body(error)
            return
        self._note_end(after)
        if self.request_begun():
            self._pass_on(payload, after)

    def _body_received(self, data: bytes) -> None:
        try:
            payload, after = self._body.feed(data)
        except BadBody as error:
            self._refuse_body(error)
            return
        self._note_end(after)
        self._pass_on(payload, after)

    def _note_end(self, after: bytes | None) -> None:
        """Answering may begin and end at any point from here on, so that what follows is settled first."""
        if after is None:
            self._receive = self._body_received
        else:
            self.complete = True
            self._receive = self._hold
            self._held = after

    def _pass_on(self, payload: bytes, after: bytes | None) -> None:
        self._body_size += len(payload)
        if self._body_size > self.options.max_body_bytes:
            self.refuse(Refused(413, f"the body is longer than {self.options.max_body_bytes} bytes"))
        elif (not payload or self.body_part(payload)) and after is not None:
            self.body_ended()

    def _refuse_body(self, error: BadBody) -> None:
        self.refuse(Refused(400, f"the body of the request is malformed: {error}"))

    # ── afterwards ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _hold(self, data: bytes) -> None:
        """Further requests, while one is being answered."""
        self._held += data
        if self.holds_too_much:
            self.held_too_much()

    def take_held(self) -> None:
        """The request has been answered: begin with what was held."""
        held, self._held = self._held, b""
        self._receive = self._head_received
        if held:
            self._receive(held)

    def pass_all_to(self, receive: Callable[[bytes], None]) -> None:
        """The stream holds no more requests: everything, what is held first, goes to `receive`."""
        held, self._held = self._held, b""
        self._partial.clear()
        self._receive = receive
        if held:
            receive(held)
