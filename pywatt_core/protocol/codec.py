"""Messages to bytes and back: bare, enveloped, the stdout wrapper; JSON, and between PyWatt peers MessagePack or CBOR (protocol 3, 4).

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
from typing import Any, Final, NoReturn

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from ..errors import LocalProtocolError
from .binary import cbor_decoder, msgpack_decoder, to_cbor, to_msgpack
from .envelope import LOOSE_MEMBERS, UNREAD, UNWRITABLE, Envelope, Read, Write, check_finite, is_finite, plain_value
from .framing import BASE64, BINARY, CBOR, JSON, MSGPACK
from .lenient import Loose, Unreadable, read_object, read_value, safe_text, too_deep
from .messages import (
    HttpRequest,
    HttpResponse,
    Init,
    Message,
    Metadata,
    Role,
    RoutedModuleMessage,
    RoutedModuleResponse,
    RouteToModule,
    union_of,
)
from .values import U16
from .volume import LARGE, TOO_MANY, too_many_in_json

__all__ = [
    "UNWRITABLE",
    "Envelope",
    "Loose",
    "Read",
    "Unreadable",
    "Write",
    "decode",
    "decoder",
    "encode",
    "encode_enveloped",
    "encode_init",
    "encode_metadata",
    "encode_wrapped",
    "encoder",
    "refuse",
    "text_of",
]


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
    return list(value) if isinstance(value, _Numbers) else plain_value(value)


_to_json = msgspec.json.Encoder(enc_hook=_plain_for_json).encode


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
                check_finite(name, getattr(message, name))
        return data

    return write_checked


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
        return _checked(to_msgpack) if kind in LOOSE_MEMBERS else to_msgpack
    if code == CBOR:
        return to_cbor
    return _JSON_WRITERS.get(kind, _to_json)


def refuse(message: Message, error: Exception) -> NoReturn:
    """Raise the `LocalProtocolError` for a message that an encoder could not write; it shows no value."""
    reason = "text with a lone surrogate" if isinstance(error, UnicodeError) else str(error)
    raise LocalProtocolError(f"{message.op!r} cannot be sent: {reason}") from None


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
        if code == CBOR:
            if metadata.properties is not None:
                check_finite("metadata.properties", metadata.properties)
            return to_cbor(Envelope(id=id, content=message, metadata=metadata))
        content = msgspec.Raw(encoder(type(message), code)(message))
        if metadata.properties is not None and not is_finite(metadata.properties):
            raise ValueError("NaN and infinity cannot be sent - at `$.metadata.properties`")
        return (to_msgpack if code == MSGPACK else _to_json)(Envelope(id=id, content=content, metadata=metadata))
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


def decoder(sender: Role, code: int = JSON, *, enveloped: bool = False) -> Read:
    """The function that reads the messages of one role, in one format; `enveloped` says which form is tried first.

    It returns the message itself, or an `Envelope` or `Loose` that holds it; it raises `Unreadable` and nothing else.
    """
    if code == MSGPACK:
        return msgpack_decoder(sender)
    if code == CBOR:
        return cbor_decoder(sender)
    union: Any = Envelope[union_of(sender)] if enveloped else union_of(sender)  # type: ignore[misc]
    read = msgspec.json.Decoder(union, dec_hook=read_value).decode

    def read_json(data: bytes) -> Any:
        is_short = len(data) < 256  # too short to open and close 128 containers
        if not is_short and len(data) > LARGE and too_many_in_json(data):
            raise Unreadable(TOO_MANY)
        try:
            if is_short and data.isascii():
                return read(data)
            if (data.isascii() or data.decode()) and (data.count(b"[") + data.count(b"{") < 128 or not too_deep(data)):
                return read(data)
        except UNREAD:
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
