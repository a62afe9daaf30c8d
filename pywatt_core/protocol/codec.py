"""Messages to bytes and back: bare, enveloped, the stdout wrapper; JSON and, between PyWatt peers, MessagePack (protocol 3, 4, 6.2).

Reading has two paths. The fast one is a single msgspec decoder for all that a role may send. Only where that refuses does
`lenient` bring the spellings that are tolerated into shape and try again; what still does not fit raises `Unreadable`, a
`RemoteProtocolError` whose text names the field and never shows a value.

msgspec accepts a few texts that the reference refuses. Bad UTF-8 and nesting are checked here; a repeated key (the last
one counts) and ``-0`` for an integer are let through everywhere but in the init line.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Callable
from typing import Any, Final, Generic, NoReturn, TypeAlias, TypeVar

import msgspec
from msgspec import Struct, field
from msgspec.structs import replace

from ..errors import LocalProtocolError
from .framing import BASE64, BINARY, JSON, MSGPACK
from .lenient import Loose, Unreadable, read_object, read_value, safe_text, too_deep
from .messages import (
    Announce,
    HttpRequest,
    HttpResponse,
    Init,
    Message,
    Metadata,
    Role,
    RoutedModuleMessage,
    RoutedModuleResponse,
    RouteToModule,
    ServiceOperation,
    ServiceOperationResult,
    ServiceRequest,
    ServiceType,
    union_of,
)
from .values import U16

__all__ = [
    "Envelope",
    "Loose",
    "Unreadable",
    "decode",
    "decoder",
    "encode",
    "encode_enveloped",
    "encode_init",
    "encode_metadata",
    "encode_wrapped",
    "encoder",
]

T = TypeVar("T")
Read: TypeAlias = "Callable[[bytes], Message | Envelope[Any] | Loose]"
Write: TypeAlias = Callable[[Any], bytes]

LOOSE_MEMBERS: Final[dict[type[Message], tuple[str, ...]]] = {
    ServiceRequest: ("config",),
    ServiceOperation: ("params",),
    ServiceOperationResult: ("result", "params"),
    Init: ("pywatt",),
    Announce: ("pywatt",),
}
"""The messages that carry values of any shape, and in which members."""


class Envelope(Struct, Generic[T], frozen=True, kw_only=True, omit_defaults=True):
    """What channels wrap messages in (protocol 4.1)."""

    id: str | None = None
    content: T
    metadata: Metadata = field(default_factory=Metadata)


class _Numbers(bytes):
    """A byte string on its way into JSON. msgspec hands it to the hook, where plain bytes would become Base64."""

    __slots__ = ()


class _Content(Struct, frozen=True):
    body: bytes | None
    headers: dict[str, str]
    request_id: str
    status_code: int


class _Correlation(Struct, frozen=True):
    correlation_id: str


class _Origin(Struct, frozen=True):
    id: str
    properties: _Correlation
    source: str


class _Wrapper(Struct, frozen=True):
    content: _Content
    metadata: _Origin


# ── writing ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _plain_for_json(value: Any) -> Any:
    if isinstance(value, _Numbers):
        return list(value)
    if isinstance(value, ServiceType):
        return value.wire
    if isinstance(value, bytes):
        return bytes(value)
    raise TypeError(f"a {type(value).__name__} cannot be sent")


def _plain_for_msgpack(value: Any) -> Any:
    if isinstance(value, bytes):
        return bytes(value)
    if isinstance(value, ServiceType):
        return value.wire
    raise TypeError(f"a {type(value).__name__} cannot be sent")


_to_json = msgspec.json.Encoder(enc_hook=_plain_for_json).encode
_to_msgpack = msgspec.msgpack.Encoder(enc_hook=_plain_for_msgpack).encode


def _body_as_numbers(message: Any) -> bytes:
    return _to_json(message if message.body is None else replace(message, body=_Numbers(message.body)))


def _payload_as_numbers(message: Any) -> bytes:
    return _to_json(replace(message, payload=replace(message.payload, data=_Numbers(message.payload.data))))


def _checked(write: Write) -> Write:
    """Refuse NaN and infinities, for which JSON has no form and msgspec writes null."""

    def write_checked(message: Any) -> bytes:
        data = write(message)
        if b"null" in data or b"\xcb" in data:
            for name in LOOSE_MEMBERS[type(message)]:
                if not _finite(msgspec.to_builtins(getattr(message, name), enc_hook=_plain_for_json)):
                    raise ValueError(f"NaN and infinity cannot be sent - at `$.{name}`")
        return data

    return write_checked


def _finite(value: Any) -> bool:
    pending = [value]
    while pending:
        value = pending.pop()
        if isinstance(value, float):
            if not math.isfinite(value):
                return False
        elif isinstance(value, dict):
            pending += value.values()
        elif isinstance(value, list | tuple):
            pending += value
    return True


_JSON_WRITERS: Final[dict[type[Message], Write]] = {
    **dict.fromkeys((HttpRequest, HttpResponse), _body_as_numbers),
    **dict.fromkeys((RouteToModule, RoutedModuleMessage, RoutedModuleResponse), _payload_as_numbers),
    **dict.fromkeys(LOOSE_MEMBERS, _checked(_to_json)),
}
"""The messages that msgspec's own encoder does not write as they have to be."""


def encoder(kind: type[Message], code: int = JSON) -> Write:
    """The function that writes bare messages of this type: msgspec's own where there is nothing to check.

    It raises what msgspec raises; `refuse` turns that into a `LocalProtocolError`.
    """
    if code == MSGPACK:
        return _checked(_to_msgpack) if kind in LOOSE_MEMBERS else _to_msgpack
    return _JSON_WRITERS.get(kind, _to_json)


def refuse(message: Message, error: Exception) -> NoReturn:
    """Raise the `LocalProtocolError` for a message that an encoder could not write; it shows no value."""
    reason = "text with a lone surrogate" if isinstance(error, UnicodeError) else str(error)
    raise LocalProtocolError(f"{message.op!r} cannot be sent: {reason}") from None


UNWRITABLE: Final = (TypeError, ValueError, OverflowError, RecursionError, NotImplementedError)
"""What encoders raise for messages that hold what cannot travel."""


def encode(message: Message, code: int = JSON) -> bytes:
    """One bare message. Raises `LocalProtocolError` where it holds what cannot travel."""
    try:
        return encoder(type(message), code)(message)
    except UNWRITABLE as error:
        refuse(message, error)


def encode_init(message: Init) -> bytes:
    """The first line: the init object, which the reference writes without its tag (protocol 2.1)."""
    return b"{" + encode(message)[len(b'{"op":"init",') :]


def encode_enveloped(message: Message, id: str | None, metadata: Metadata, code: int = JSON) -> bytes:
    """The message within an envelope. Raises `LocalProtocolError` where it holds what cannot travel."""
    try:
        content = msgspec.Raw(encoder(type(message), code)(message))
        if metadata.properties is not None and not _finite(metadata.properties):
            raise ValueError("NaN and infinity cannot be sent - at `$.metadata.properties`")
        return (_to_msgpack if code == MSGPACK else _to_json)(Envelope(id=id, content=content, metadata=metadata))
    except UNWRITABLE as error:
        refuse(message, error)


def encode_metadata(metadata: Metadata) -> bytes:
    """The member ``metadata`` of an envelope, in JSON."""
    return _to_json(metadata)


def encode_wrapped(message: HttpResponse, id: str, source: str) -> bytes:
    """The form in which the reference writes an HTTP response to stdout: no `op`, keys sorted (protocol 6.2)."""
    body = None if message.body is None else _Numbers(message.body)
    content = _Content(body, dict(sorted(message.headers.items())), message.request_id, message.status_code)
    try:
        return _to_json(_Wrapper(content, _Origin(id, _Correlation(message.request_id), source)))
    except UNWRITABLE as error:
        refuse(message, error)


# ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────────────

_UNREAD = (msgspec.DecodeError, ValueError, TypeError, RecursionError, Unreadable)
"""What msgspec and our hooks raise for what they do not take; TypeError for a MessagePack key that cannot be one."""


def decoder(sender: Role, code: int = JSON, *, enveloped: bool = False) -> Read:
    """The function that reads the messages of one role, in one format; `enveloped` says which form is tried first.

    It returns the message itself, or an `Envelope` or `Loose` that holds it; it raises `Unreadable` and nothing else.
    """
    if code == MSGPACK:
        return _msgpack_decoder(sender)
    union: Any = Envelope[union_of(sender)] if enveloped else union_of(sender)  # type: ignore[misc]
    read = msgspec.json.Decoder(union, dec_hook=read_value).decode

    def read_json(data: bytes) -> Any:
        try:
            if len(data) < 256 and data.isascii():  # too short to open and close 128 containers
                return read(data)
            if (data.isascii() or data.decode()) and (data.count(b"[") + data.count(b"{") < 128 or not too_deep(data)):
                return read(data)
        except _UNREAD:
            pass
        return _read_again(data, sender)

    return read_json


class _WrappedContent(Struct, frozen=True):
    request_id: str
    status_code: U16
    headers: dict[str, str]
    body: Any = None


class _Wrapped(Struct, frozen=True):
    content: _WrappedContent
    metadata: Metadata


_read_wrapped = msgspec.json.Decoder(_Wrapped).decode


def _unwrapped(data: bytes) -> Loose | None:
    """The response in a regular stdout wrapper, which every module that is reached over stdio sends."""
    try:
        found = _read_wrapped(data)
        content = found.content
        return Loose(HttpResponse(content.request_id, content.status_code, content.headers, content.body), found.metadata)
    except (msgspec.DecodeError, ValueError):
        return None


def _read_again(data: bytes, sender: Role) -> Message | Loose:
    try:
        data.decode()
    except UnicodeDecodeError:
        raise Unreadable("not UTF-8", kind="encoding") from None
    if data.count(b"[") + data.count(b"{") > 127 and too_deep(data):
        raise Unreadable("nested deeper than 127 containers")
    if sender is Role.MODULE and data.startswith(b'{"content":') and (wrapped := _unwrapped(data)) is not None:
        return wrapped
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Unreadable(safe_text(error), kind="text") from None
    if data.count(b'"op"') > 1 and _repeats_op(data):
        raise Unreadable("repeated field `op`", kind="text")
    return read_object(value, sender)


def _repeats_op(data: bytes) -> bool:
    """Whether the object names its `op` twice: readers would differ about what it is, so that it is nothing."""
    outermost: list[tuple[str, Any]] = []

    def keep(pairs: list[tuple[str, Any]]) -> None:
        outermost[:] = pairs  # the outermost object is finished last

    json.loads(data, object_pairs_hook=keep)
    return [name for name, _ in outermost].count("op") > 1


def _refuse_extension(code: int, data: memoryview) -> NoReturn:
    raise ValueError("MessagePack extension types are not read")


def _msgpack_decoder(sender: Role) -> Read:
    union: Any = union_of(sender)
    envelope: Any = Envelope[union]
    read = msgspec.msgpack.Decoder(union, dec_hook=read_value, ext_hook=_refuse_extension).decode
    read_envelope = msgspec.msgpack.Decoder(envelope, dec_hook=read_value, ext_hook=_refuse_extension).decode
    read_any = msgspec.msgpack.Decoder(ext_hook=_refuse_extension).decode

    def read_msgpack(data: bytes) -> Any:
        try:
            message = read(data)
            if type(message) not in LOOSE_MEMBERS:
                return message
        except _UNREAD:
            message = None
        try:
            found = message or (read_envelope(data) if data[1:4] == b"\xa2id" or data[1:9] == b"\xa7content" else None)
        except _UNREAD:
            found = None
        if found is None:
            try:
                value = read_any(data)
            except _UNREAD as error:
                raise Unreadable(safe_text(error)) from None
            found = read_object(value, sender)
        _check_loose(found.content if isinstance(found, Envelope | Loose) else found, data)
        return found

    return read_msgpack


def _check_loose(message: Message, data: bytes) -> None:
    """Refuse in MessagePack what JSON could not carry on: NaN, infinities, keys that are no text, too deep nesting."""
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
        if (b"\xcb" in data or b"\xca" in data) and not _finite(msgspec.to_builtins(value)):
            raise Unreadable(f"Number out of range - at `$.{name}`", op=message.op)


def text_of(code: int, data: bytes) -> bytes:
    """The JSON text that a frame of format 1, 2 or 3 holds (protocol 4.3, 4.6). Raises `Unreadable` where it is none.

    Peers label JSON text as binary; bincode, which the official reading of code 2 is, is not read.
    """
    if code == BASE64:
        try:
            return base64.b64decode(data, validate=True)
        except (binascii.Error, ValueError):
            raise Unreadable("a frame of format 3 is not Base64", kind="encoding") from None
    return data


_DECODERS: Final[dict[tuple[Role, int], Read]] = {}


def decode(data: bytes, sender: Role, code: int = JSON) -> Loose:
    """One message in any form that `sender` may use, with the envelope's metadata and id. Raises `Unreadable`."""
    read = _DECODERS.get((sender, code))
    if read is None:
        read = _DECODERS[sender, code] = decoder(sender, code)
    found = read(text_of(code, data) if code in (BINARY, BASE64) else data)
    if isinstance(found, Loose):
        return found
    if isinstance(found, Envelope):
        return Loose(found.content, found.metadata, found.id)
    return Loose(found)
