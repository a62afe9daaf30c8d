"""One end of a conversation: bytes in, messages out, and back. What is legal when stands in `tables`.

What is illegal to send raises `LocalProtocolError`; what is illegal on arrival is reported as a `Problem` and dropped. Only
a bad init line and lost framing raise `RemoteProtocolError`: after those, nothing can be read.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Final

from ..errors import LocalProtocolError, RemoteProtocolError
from .binary import quick_msgpack_decoder, to_msgpack_into
from .codec import UNWRITABLE, Envelope, Loose, Read, Unreadable, Write, decoder, refuse, text_of
from .envelope import LOOSE_MEMBERS, UNREAD
from .exchanges import LATE, SecretExchange, Stray
from .facts import Facts, Problem, Received, Taken, id_sequence, own_seed
from .formats import CODES, codec_of
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
    put_header,
)
from .initline import check_init, check_types, decode_init
from .messages import MESSAGES, Announce, Init, Message, Metadata, Role
from .outgoing import Outgoing, is_notification
from .refusals import refusal_of
from .tables import ORDER, REPLIES, REQUIRES, Wire, new_exchanges

__all__ = ["ORDER", "REPLIES", "REQUIRES", "Facts", "Problem", "Received", "Role", "Session", "Taken", "Wire", "id_sequence"]

TEXT_LIMIT: Final = 8192
"""Characters of a stray line that are kept."""

OWN_FORMATS: Final = {MSGPACK: "msgpack", CBOR: "cbor"}
"""Frame formats that a side reads only where it offered them."""

_PLAIN: Final = object()
"""Marks a message that neither asks nor answers."""

_UNKNOWN: Final[Any] = object()
"""Marks a message whose type has not been written in place yet."""


class Session:
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
        self.role = role
        self.wire = wire
        self.closed = False
        self.failure: RemoteProtocolError | None = None
        self.facts = facts if facts is not None else Facts(complete=wire is Wire.CHANNEL)
        self.on_problem = on_problem
        self.phase = {sender: next(iter(phases)) for sender, phases in ORDER[wire].items()}
        self._awaits_init = wire is Wire.STDIO and role is Role.MODULE
        self._framing: Framing = (
            LineFraming(limit or LINE_LIMIT, first_limit=INIT_LIMIT if self._awaits_init else None)
            if wire is Wire.STDIO
            else LengthFraming(limit or TCP_LIMIT)
        )
        self._feed, self._wrap = self._framing.feed, self._framing.wrap
        self._readers: dict[int, Callable[[bytes], Any]] = {JSON: decode_init if self._awaits_init else self._new_reader(JSON)}
        self._thorough: dict[int, Read] = {}
        self._format = JSON
        self._new_id = new_id or id_sequence(own_seed())
        self.module_id = module_id
        exchanges = new_exchanges()
        self._asking = {exchange.request: exchange for exchange in exchanges}
        self._answering = {exchange.answer: exchange for exchange in exchanges}
        self._may_send: dict[type[Message], tuple[Callable[[Any], Any] | None, Write]] = {}
        self._may_append: dict[type[Message], Callable[[Any], Any] | None] = {}
        self._may_receive: dict[type[Message], Any] = {}

    @property
    def module_id(self) -> str:
        """The source that envelopes and wrappers name; a module learns it from its init line and sets it."""
        return self._module_id

    @module_id.setter
    def module_id(self, module_id: str) -> None:
        self._module_id = module_id
        self._outgoing = Outgoing(self.role, self.wire, module_id, self._new_id)
        self._outgoing.format = self._format
        self._may_send, self._may_append = {}, {}

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
        received: list[Taken] = []
        readers, may_receive = self._readers, self._may_receive
        for code, payload in self._feed(data):
            found: Any
            try:
                read = readers.get(code)
                found = read(payload) if read is not None else self._read_odd(code, payload)
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

    def _objection(self, sender: Role, kind: type[Message]) -> str | None:
        """Why `sender` may not send this now; None where it may."""
        phase = self.phase[sender]
        if kind not in ORDER[self.wire][sender][phase]:
            return f"the {sender.value} may not send {kind.op!r} on {self.wire.value} while {phase!r}"
        needed = REQUIRES.get(kind)
        if needed is not None and needed not in self.facts.seen:
            return f"the {sender.value} may not send {kind.op!r} before it has received {needed.op!r}"
        return None

    def _new_reader(self, code: int) -> Read:
        return decoder(self.role.other, code, enveloped=self.wire is Wire.CHANNEL and self.role is Role.ORCHESTRATOR)

    def _read_odd(self, code: int, payload: bytes) -> Any:
        """Read what is not plain JSON."""
        if code == TOO_LONG:
            limit = INIT_LIMIT if self._awaits_init else self._framing.limit
            raise Unreadable(f"a line over the limit of {limit} bytes was thrown away", kind="too long")
        if OWN_FORMATS.get(code, "") in self.facts.offered[self.role]:
            self._readers[code] = reader = self._new_reader(code)
            if code == MSGPACK:
                self._readers[code], self._thorough[code] = quick_msgpack_decoder(self.role.other), reader
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

    # ── sending ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def send(self, message: Message, *, metadata: Metadata | None = None, wait: bool = True) -> tuple[bytes, Hashable | None]:
        """The bytes for the wire, and the key that the answer will carry; None where none is expected.

        With ``wait=False`` no answer is expected, and one that comes is dropped. A second `get_secret` for a name that is being
        asked for has the key of the first, and no bytes. `metadata` travels where messages are enveloped: from a module on a
        channel, and in MessagePack; elsewhere it stays here. Raises `LocalProtocolError` where the message is illegal now, or
        holds what cannot travel; nothing has then changed.
        """
        rule = self._may_send.get(type(message))
        if rule is None:
            return self._send_first(message, metadata, wait)
        note, write = rule
        if metadata is None:
            try:
                data = write(message)
            except UNWRITABLE as error:
                refuse(message, error)
        else:
            data = self._outgoing.write_with(metadata, message)
            wait = wait and not is_notification(metadata)
        data = self._wrap(data, self._format)
        if note is None:
            return data, None
        key = note(message)
        if not wait and key is not None:
            self.forget(key)
            return data, None
        return data, key

    def send_into(self, buffer: bytearray, message: Message, metadata: Metadata | None = None, wait: bool = True) -> Hashable | None:
        """Like `send`, with the bytes appended to `buffer`; where it raises, `buffer` is as it was.

        What a link calls: the usual message of a MessagePack channel is written in place, without bytes in between.
        """
        note = self._may_append.get(type(message), _UNKNOWN)
        if note is _UNKNOWN or metadata is not None:
            data, sent_key = self.send(message, metadata=metadata, wait=wait)
            buffer += data
            if self._format == MSGPACK and (rule := self._may_send.get(type(message))) and type(message) not in LOOSE_MEMBERS:
                self._may_append[type(message)] = rule[0]
            return sent_key
        start = len(buffer)
        try:
            to_msgpack_into(message, buffer, start + HEADER_SIZE)
            size = len(buffer) - start - HEADER_SIZE
            if size > self._framing.limit:
                self._wrap(bytes(buffer[start + HEADER_SIZE :]), MSGPACK)  # raises
            put_header(buffer, start, size, MSGPACK)
            if note is None:
                return None
            key: Hashable | None = note(message)
        except LocalProtocolError:
            del buffer[start:]
            raise
        except UNWRITABLE as error:
            del buffer[start:]
            refuse(message, error)
        if not wait and key is not None:
            self.forget(key)
            return None
        return key

    def _send_first(self, message: Message, metadata: Metadata | None, wait: bool) -> tuple[bytes, Hashable | None]:
        """Send a message of a type that is not yet known to be legal in this phase."""
        sender, kind = self.role, type(message)
        if reason := self._objection(sender, kind):
            raise LocalProtocolError(reason)
        asking, answering = self._asking.get(kind), self._answering.get(kind)
        if isinstance(asking, SecretExchange) and asking.is_asked(message):
            return b"", asking.expect(message) if wait else None
        write = self._outgoing.writer(kind)
        if isinstance(message, Init):
            check_init(message, write(message))
        elif isinstance(message, Announce):
            check_types(message)
        self._may_send[kind] = asking.expect if asking else answering.settle if answering else None, write
        try:
            sent = self.send(message, metadata=metadata, wait=wait)
        finally:
            phase = self.phase[sender]
            following = ORDER[self.wire][sender][phase][kind]
            if following != phase or isinstance(asking, SecretExchange):
                del self._may_send[kind]
        self.facts.note(message)
        if following != phase:
            self.phase[sender] = following
            self._may_send.clear()
            self._may_append.clear()
        return sent

    def use_format(self, name: str) -> None:
        """Send in this format from now on: ``"msgpack"`` or ``"cbor"``, which the peer must have offered, or ``"json"``.

        Raises `LocalProtocolError` on stdio, which stays JSON lines, where the peer has not offered the format, and where the plugin
        that brings it is not here.
        """
        if name not in CODES:
            raise LocalProtocolError(f"there is no frame format {name!r}; there are {', '.join(CODES)}")
        if name != "json" and self.wire is Wire.STDIO:
            raise LocalProtocolError(f"stdio is JSON lines always; {name!r} is for channels")
        if name != "json" and name not in self.facts.offered[self.role.other]:
            raise LocalProtocolError(f"the {self.role.other.value} has not offered the frame format {name!r}")
        if name == "cbor":
            codec_of(name)
        self._format = self._outgoing.format = CODES[name]
        self._may_send.clear()
        self._may_append.clear()

    def forget(self, key: Hashable) -> None:
        """The request under this key is given up; should its answer still come, it is dropped. Unknown keys are ignored."""
        if isinstance(key, tuple) and key and key[0] in self._answering:
            self._answering[key[0]].forget(key)

    def waive(self, message: Message) -> None:
        """A request that has arrived wants no answer: none is owed."""
        if exchange := self._asking.get(type(message)):
            exchange.waive(message)

    def abandon(self) -> list[Hashable]:
        """The keys of all requests that still wait; nothing waits any more."""
        return [key for exchange in self._answering.values() for key in exchange.abandon()]
