"""MessagePack and CBOR for channels between PyWatt peers: byte strings stay byte strings, everything else is as in JSON."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import reduce
from operator import or_
from typing import Any, NoReturn

import msgspec

from ..errors import RemoteProtocolError
from .envelope import LOOSE_MEMBERS, UNREAD, UNWRITABLE, Envelope, Read, check_finite, is_finite, plain_value
from .formats import codec_of
from .lenient import Loose, Unreadable, read_object, read_value, safe_text, too_deep
from .messages import MESSAGES, Message, Metadata, Role, union_of
from .volume import LARGE, TOO_MANY, too_many_in_cbor, too_many_in_msgpack

_to_json = msgspec.json.Encoder(enc_hook=plain_value).encode
_msgpack = msgspec.msgpack.Encoder(enc_hook=plain_value)
to_msgpack = _msgpack.encode
to_msgpack_into = _msgpack.encode_into
"""``to_msgpack_into(message, buffer, offset)`` writes to the end of a bytearray, without bytes in between."""


def to_cbor(message: Any) -> bytes:
    """A message, bare or in its envelope. Raises what msgspec's encoders raise; slower than they are, the message is made plain first."""
    content = message.content if isinstance(message, Envelope) else message
    for name in LOOSE_MEMBERS.get(type(content), ()):
        check_finite(name, getattr(content, name))
    value = msgspec.to_builtins(message, builtin_types=(bytes,), str_keys=True, enc_hook=plain_value)
    return codec_of("cbor").encode(value)


def refuse_extension(code: int, data: memoryview) -> NoReturn:
    """msgspec's hook for MessagePack's extension types."""
    raise ValueError("MessagePack extension types are not read")


def quick_msgpack_decoder(sender: Role) -> Callable[[bytes], Message]:
    """msgspec's own function for the bare messages that need no second look.

    It raises one of `UNREAD` for everything else, which `msgpack_decoder` then reads or refuses.
    """
    union: Any = reduce(or_, (kind for kind in MESSAGES[sender].values() if kind not in LOOSE_MEMBERS))
    return msgspec.msgpack.Decoder(union, dec_hook=read_value, ext_hook=refuse_extension).decode


def msgpack_decoder(sender: Role) -> Read:
    """What `codec.decoder` promises, for MessagePack."""
    union: Any = union_of(sender)
    envelope: Any = Envelope[union]
    read = msgspec.msgpack.Decoder(union, dec_hook=read_value, ext_hook=refuse_extension).decode
    read_envelope = msgspec.msgpack.Decoder(envelope, dec_hook=read_value, ext_hook=refuse_extension).decode
    read_any = msgspec.msgpack.Decoder(ext_hook=refuse_extension).decode

    def read_msgpack(data: bytes) -> Any:
        if len(data) > LARGE and too_many_in_msgpack(data):
            raise Unreadable(TOO_MANY)
        try:
            message = read(data)
            if type(message) not in LOOSE_MEMBERS:
                return message
        except UNREAD:
            message = None
        try:
            found = message or (read_envelope(data) if data[1:4] == b"\xa2id" or data[1:9] == b"\xa7content" else None)
        except UNREAD:
            found = None
        if found is None:
            try:
                value = read_any(data)
            except UNREAD as error:
                raise Unreadable(safe_text(error)) from None
            found = read_object(value, sender)
        _check_loose(found.content if isinstance(found, Envelope | Loose) else found, data)
        return found

    return read_msgpack


def cbor_decoder(sender: Role) -> Read:
    """What `codec.decoder` promises, for CBOR. Raises `LocalProtocolError` where the plugin is not here."""
    kinds = MESSAGES[sender]
    parse = codec_of("cbor").decode

    def typed(value: dict[str, Any]) -> Message:
        return msgspec.convert(value, kinds[value["op"]], dec_hook=read_value)  # one class: for a union, msgspec would begin anew each time

    def read_cbor(data: bytes) -> Any:
        if len(data) > LARGE and too_many_in_cbor(data):
            raise Unreadable(TOO_MANY)
        try:
            value = parse(data)
        except RemoteProtocolError as error:
            raise Unreadable(str(error)) from None
        found: Any = None
        with contextlib.suppress(LookupError, *UNREAD):  # what it is not, `read_object` says
            if not isinstance(value, dict):
                pass
            elif "op" in value:
                found = typed(value)
            else:
                metadata = msgspec.convert(value["metadata"], Metadata) if "metadata" in value else Metadata()
                id = value.get("id")
                found = Envelope(id=id if isinstance(id, str) else None, content=typed(value["content"]), metadata=metadata)
        if found is None:
            found = read_object(value, sender)
        _check_loose(found.content if isinstance(found, Envelope | Loose) else found)
        return found

    return read_cbor


def _check_loose(message: Message, data: bytes = b"\xcb") -> None:
    """Refuse in binary formats what JSON could not carry on: NaN, infinities, keys that are no text, too deep nesting."""
    for name in LOOSE_MEMBERS.get(type(message), ()):
        value = getattr(message, name)
        if value is None:
            continue
        try:
            text = _to_json(value)
        except UNWRITABLE as error:
            raise Unreadable(f"{safe_text(error)} - at `$.{name}`", op=message.op) from None
        if too_deep(text):
            raise Unreadable(f"nested deeper than 127 containers - at `$.{name}`", op=message.op)
        if (b"\xcb" in data or b"\xca" in data) and not is_finite(msgspec.to_builtins(value)):
            raise Unreadable(f"Number out of range - at `$.{name}`", op=message.op)
