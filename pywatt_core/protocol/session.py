"""One end of a conversation: bytes in, messages out, and back. What is legal when stands in `tables`.

What is illegal to send raises `LocalProtocolError`; what is illegal on arrival is reported as a `Problem` and dropped. Only
a bad init line and lost framing raise `RemoteProtocolError`: after those, nothing can be read.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Final

from ..errors import RemoteProtocolError
from .binary import quick_msgpack_decoder
from .codec import Envelope, Loose, Read, Unreadable, decoder, text_of
from .envelope import UNREAD
from .exchanges import LATE, Stray
from .facts import Facts, Problem, Received, Taken, id_sequence, own_seed
from .framing import (
    BASE64,
    BINARY,
    CBOR,
    HEADER_SIZE,
    INIT_LIMIT,
    JSON,
    LINE_LIMIT,
    MSGPACK,
    TCP_LIMIT,
    TOO_LONG,
    Framing,
    LengthFraming,
    LineFraming,
    get_header,
)
from .initline import decode_init
from .messages import MESSAGES, Init, Message, Role
from .refusals import refusal_of
from .sending import Sending
from .tables import ORDER, REPLIES, REQUIRES, Wire
from .volume import LARGE

__all__ = ["ORDER", "REPLIES", "REQUIRES", "Facts", "Problem", "Received", "Role", "Session", "Taken", "Wire", "id_sequence"]

TEXT_LIMIT: Final = 8192
"""Characters of a stray line that are kept."""

OWN_FORMATS: Final = {MSGPACK: "msgpack", CBOR: "cbor"}
"""Frame formats that a side reads only where it offered them."""

_PLAIN: Final = object()
"""Marks a message that neither asks nor answers."""

LOOK_AGAIN: Final = (*UNREAD, KeyError, Stray)
"""What is raised on the short way for what has to go the long one: not to be read, not known to be welcome, no answer to anything."""


class Session(Sending):
    """One end of one link. Feed it bytes, get messages; give it a message, get bytes.

    `facts` is shared by all links of one module; a channel without any counts as one whose module has long announced.
    `limit` is in bytes, of a line (64 MiB) or of a frame's payload (64 MiB). `module_id` is the source that a module's envelopes
    and wrappers name. `new_id` makes the ids of envelopes; without it they are counted from a number of the session's own.
    """

    def __init__(
        self,
        role: Role,
        wire: Wire = Wire.STDIO,
        *,
        facts: Facts | None = None,
        limit: int | None = None,
        module_id: str = "",
        on_problem: Callable[[Problem], None] | None = None,
        new_id: Callable[[], str] | None = None,
    ) -> None:
        awaits_init = wire is Wire.STDIO and role is Role.MODULE
        framing: Framing = (
            LineFraming(limit or LINE_LIMIT, first_limit=INIT_LIMIT if awaits_init else None)
            if wire is Wire.STDIO
            else LengthFraming(limit or TCP_LIMIT)
        )
        super().__init__(role, wire, framing, facts, module_id, new_id or id_sequence(own_seed()))
        self.closed = False
        self.failure: RemoteProtocolError | None = None
        self.on_problem = on_problem
        self._awaits_init = awaits_init
        self._feed = framing.feed
        self._readers: dict[int, Callable[[bytes], Any]] = {JSON: decode_init if awaits_init else self._new_reader(JSON)}
        self._thorough: dict[int, Read] = {}
        self._quick: Callable[[bytes], Message] | None = None
        self._may_receive: dict[type[Message], Any] = {}

    # ── receiving ───────────────────────────────────────────────────────────────────────────────────────────────────

    def receive(self, data: bytes) -> list[Received]:
        """The messages that are now complete. ``b""`` is the end of the stream and sets `closed`.

        Raises `RemoteProtocolError` for a bad init line and for lost framing, and sets `closed`. Messages that precede lost
        framing in the same chunk are returned first: `failure` tells, and the next call raises it.
        """
        return [Received(*one) for one in self.take(data)]

    def take(self, data: bytes) -> list[Taken]:
        """`receive` for a link: the same as plain tuples, which cost half."""
        if self.failure is not None:
            raise self.failure
        if not data:
            return self._end()
        if self._quick is not None and self._framing.between and HEADER_SIZE < len(data) <= LARGE:
            size, code = get_header(data)
            if code == MSGPACK and size == len(data) - HEADER_SIZE and size <= self._frame_limit:
                try:  # one message alone is what somebody is waiting for: it gets the short way
                    message = self._quick(data[HEADER_SIZE:])
                    note = self._may_receive[type(message)]
                    key = None if note is _PLAIN else note(message)
                    return [] if key is LATE else [(message, key, None)]
                except LOOK_AGAIN:
                    pass  # the long way says what is wrong with it
        received: list[Taken] = []
        readers, may_receive = self._readers, self._may_receive
        for code, payload in self._feed(data):
            found: Any
            try:
                read = readers.get(code)
                found = read(payload) if read is not None and len(payload) <= LARGE else self._read_odd(code, payload)
            except UNREAD as error:
                found = self._read_again(error, code, payload)
                if found is None:
                    continue
            metadata = key = None
            note = may_receive.get(type(found))
            if note is None:
                if isinstance(found, Envelope | Loose):
                    found, metadata = found.content, found.metadata
                note = may_receive.get(type(found)) or self._admit(found)
                if note is None:
                    continue
            if note is not _PLAIN:
                try:
                    key = note(found)
                except Stray as error:
                    self._problem("illegal", str(error))
                    continue
                if key is LATE:
                    continue
            received.append((found, key, metadata))
        if self._framing.failure is not None:
            self.failure, self.closed = self._framing.failure, True
            if not received:
                raise self.failure
        return received

    def _admit(self, message: Message) -> Any:
        """What to do with a message of a type that is not yet known to be welcome in this phase; None drops it."""
        sender, kind = self.role.other, type(message)
        phase = self.phase[sender]
        if reason := self._objection(sender, kind):
            self._problem("illegal", reason)
            return None
        self.facts.note(message)
        exchange = self._answering.get(kind)
        note = exchange.resolve if exchange else self._asking[kind].owe if kind in self._asking else _PLAIN
        following = ORDER[self.wire][sender][phase][kind]
        if following == phase:
            self._may_receive[kind] = note
        else:
            self.phase[sender] = following
            self._may_receive.clear()
        if isinstance(message, Init):
            self._awaits_init = False
            self._readers[JSON] = self._new_reader(JSON)
            if not self._module_id:
                self.module_id = message.module_id
        return note

    def _new_reader(self, code: int) -> Read:
        return decoder(self.role.other, code, enveloped=self.wire is Wire.CHANNEL and self.role is Role.ORCHESTRATOR)

    def _read_odd(self, code: int, payload: bytes) -> Any:
        """Read what is not plain JSON, and what is too large for the quick readers, which do not count values."""
        known: Callable[[bytes], Any] | None = self._thorough.get(code) or self._readers.get(code)
        if known is not None:
            return known(payload)
        if code == TOO_LONG:
            limit = INIT_LIMIT if self._awaits_init else self._framing.limit
            raise Unreadable(f"a line over the limit of {limit} bytes was thrown away", kind="too long")
        if OWN_FORMATS.get(code, "") in self.facts.offered[self.role]:
            self._readers[code] = reader = self._new_reader(code)
            if code == MSGPACK:
                self._thorough[code] = reader
                self._readers[code] = self._quick = quick_msgpack_decoder(self.role.other)
            return reader(payload)
        if code not in (BINARY, BASE64):
            raise Unreadable(f"a frame of format {code}, which was not agreed on, was skipped", kind="encoding")
        try:
            return self._readers[JSON](text_of(code, payload))
        except Unreadable as error:
            if error.kind != "text":
                raise
            raise Unreadable(f"a frame of format {code} does not hold JSON, and nothing else is read there", kind="encoding") from None

    def _read_again(self, error: Exception, code: int, payload: bytes) -> Any:
        """What the quick reader of a format left alone is read with care; None where that cannot be read either."""
        if not isinstance(error, Unreadable):
            try:
                return self._thorough[code](payload)
            except Unreadable as reason:
                error = reason
        return self._recover(error, payload)

    def _recover(self, error: Unreadable, payload: bytes) -> Any:
        """Report what could not be read; return the message at the end of the line where there is one, after a stray print."""
        if self._awaits_init:
            self.failure, self.closed = error, True
            raise error
        if error.kind not in ("text", "encoding") or self.wire is not Wire.STDIO or self.role is not Role.ORCHESTRATOR:
            self._report(error)
            return None
        found, text = None, payload
        start = max(payload.rfind(b'{"op":'), payload.rfind(b'{"content":{"body":'))
        if start > 0:
            try:
                found, text = self._readers[JSON](payload[start:]), payload[:start]
            except Unreadable:
                found = None
        self._problem("text", "a line that is no message", text=text)
        return found

    def _report(self, error: Unreadable) -> None:
        kind = MESSAGES[self.role.other].get(error.op)
        answers = refusal = None
        if kind is not None and (exchange := self._answering.get(kind)):
            answers = exchange.find(error.members)
        elif kind is not None and (exchange := self._asking.get(kind)) and self._objection(self.role.other, kind) is None:
            refusal = refusal_of(error)
            if refusal is not None:
                exchange.owe_malformed(error.members)
        detail = f"{error.op}: {error}" if error.op else str(error)
        self._problem("invalid" if error.kind == "text" else error.kind, detail, answers=answers, refusal=refusal)

    def _problem(
        self, kind: str, detail: str, *, text: bytes = b"", answers: Hashable | None = None, refusal: Message | None = None
    ) -> None:
        if self.on_problem is not None:
            shown = text[: 4 * TEXT_LIMIT].decode(errors="replace")[:TEXT_LIMIT]
            self.on_problem(Problem(kind, detail, shown, answers, refusal))

    def _end(self) -> list[Taken]:
        if self.closed:
            return []
        self.closed = True
        if self._awaits_init:
            self.failure = RemoteProtocolError("the stream ended before a whole init line had been read")
            raise self.failure
        if isinstance(self._framing, LineFraming) and self.role is Role.ORCHESTRATOR:
            if rest := self._framing.take_partial():
                self._problem("text", "the stream ended within a line", text=rest)
        elif self._framing.partial:
            self._problem("invalid", f"the stream ended within a {'line' if self.wire is Wire.STDIO else 'frame'}")
        return []
