"""The sending half of a session: what may be said now, in which form, and what is then waited for."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Final

from ..errors import LocalProtocolError
from .binary import to_msgpack_into
from .codec import UNWRITABLE, Write, refuse
from .envelope import LOOSE_MEMBERS
from .exchanges import SecretExchange
from .facts import Facts
from .formats import CODES, codec_of
from .framing import HEADER_SIZE, JSON, MSGPACK, Framing, LengthFraming, pack_header, put_header
from .initline import check_init, check_types
from .messages import Announce, Init, Message, Metadata, Role
from .outgoing import Outgoing, is_notification
from .tables import ORDER, REQUIRES, Wire, new_exchanges

_UNKNOWN: Final[Any] = object()
"""Marks a message whose type has not been written in place yet."""


class Sending:
    """What a session knows of its conversation, and how it sends. `Session` is the whole."""

    def __init__(self, role: Role, wire: Wire, framing: Framing, facts: Facts | None, module_id: str, new_id: Callable[[], str]) -> None:
        self.role = role
        self.wire = wire
        self.facts = facts if facts is not None else Facts(complete=wire is Wire.CHANNEL)
        self.phase = {sender: next(iter(phases)) for sender, phases in ORDER[wire].items()}
        self._framing = framing
        self._wrap = framing.wrap
        self._frame_limit = framing.limit if isinstance(framing, LengthFraming) else -1
        """Up to which size a frame's header is written here, without a call."""
        self._format = JSON
        self._new_id = new_id
        self.module_id = module_id
        exchanges = new_exchanges()
        self._asking = {exchange.request: exchange for exchange in exchanges}
        self._answering = {exchange.answer: exchange for exchange in exchanges}
        self._may_send: dict[type[Message], tuple[Callable[[Any], Any] | None, Write]] = {}
        self._may_append: dict[type[Message], Callable[[Any], Any] | None] = {}

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

    def _objection(self, sender: Role, kind: type[Message]) -> str | None:
        """Why `sender` may not send this now; None where it may."""
        phase = self.phase[sender]
        if kind not in ORDER[self.wire][sender][phase]:
            return f"the {sender.value} may not send {kind.op!r} on {self.wire.value} while {phase!r}"
        needed = REQUIRES.get(kind)
        if needed is not None and needed not in self.facts.seen:
            return f"the {sender.value} may not send {kind.op!r} before it has received {needed.op!r}"
        return None

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
        size = len(data)
        data = pack_header(size, self._format) + data if size <= self._frame_limit else self._wrap(data, self._format)
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
            if size > self._frame_limit:
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
