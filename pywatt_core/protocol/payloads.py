"""What modules put into an `EncodedMessage` for each other: values of any type, bare or in an envelope (protocol 4.1, 4.6, 12).

Written are plain values, dataclasses, msgspec Structs, TypedDicts, named tuples and pydantic models. In JSON, byte strings are Base64
text, as msgspec has it; a peer in another language that wants an array of numbers gets one from ``list(data)``. Read is what the
caller's type says; a mistake of the sender's is an `Unreadable` that names the field and shows no value.

Reading is lazy: `read_payload` parts the envelope from its content, and the content is decoded once, into the type that it is for.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, TypeAlias, TypeVar

import msgspec
from msgspec import Raw, Struct

from ..errors import LocalProtocolError, RemoteProtocolError
from .binary import refuse_extension
from .envelope import is_finite
from .formats import codec_of
from .lenient import Unreadable, too_deep
from .typed import Reader, built, dumped_for_binary, dumped_for_json, from_plain, guarded_reader, plain, validator_of
from .values import UUID_FORM, UUID_SHAPE, EncodedMessage, Metadata, canonical_uuid, with_article
from .volume import LARGE, TOO_MANY, too_many_in_json, too_many_in_msgpack

__all__ = ["Payload", "Unreadable", "plain", "read_payload", "reader", "write_bare", "write_payload"]

T = TypeVar("T")
Bytes: TypeAlias = "bytes | Raw"

NOTHING: Final = Metadata()
"""The metadata of a bare value."""


SENDABLE: Final = "plain values, dataclasses, msgspec Structs, TypedDicts and pydantic models"


class _Envelope(Struct, frozen=True, forbid_unknown_fields=True):
    """Exactly the members of an envelope; the content stays as it arrived."""

    id: str
    content: Raw
    metadata: Metadata = NOTHING


class _ClosedEnvelope(Struct, frozen=True, forbid_unknown_fields=True):
    """The same with the metadata as they arrived: of a large payload they are looked at before they are read."""

    id: str
    content: Raw
    metadata: Raw = Raw()


class _OpenEnvelope(Struct, frozen=True, forbid_unknown_fields=True):
    """The same where the format is decoded whole."""

    id: str
    content: Any
    metadata: Metadata = NOTHING


# ── writing ─────────────────────────────────────────────────────────────────────────────────────────────────────────

_to_json = msgspec.json.Encoder(enc_hook=dumped_for_json).encode
_to_msgpack = msgspec.msgpack.Encoder(enc_hook=dumped_for_binary).encode


def _encoded(value: object, format: str, noun: str) -> bytes:
    """The bytes of a value. Raises `LocalProtocolError` where it cannot travel."""
    try:
        if format == "MessagePack":
            return _to_msgpack(value)
        if format == "Cbor":
            return codec_of("cbor").encode(plain(value))
        data = _to_json(value)
        if b"null" in data and not _all_finite(value):
            raise ValueError("NaN and infinity have no form in JSON")
        return data
    except (TypeError, ValueError, OverflowError, RecursionError, NotImplementedError) as error:
        reason = "text with a lone surrogate" if isinstance(error, UnicodeError) else str(error)
        if isinstance(error, TypeError) and reason.endswith("cannot be sent"):
            where = "" if reason == f"{with_article(noun)} cannot be sent" else f" inside {with_article(noun)}"
            raise LocalProtocolError(f"{reason}{where}: {SENDABLE} can") from None
        raise LocalProtocolError(f"{with_article(noun)} cannot be sent: {reason}") from None


def _all_finite(value: object) -> bool:
    """False where msgspec wrote null for a number that JSON does not have."""
    return is_finite(msgspec.to_builtins(value, str_keys=True, enc_hook=_dumped_or_raw))


def _dumped_or_raw(value: object) -> Any:
    return None if isinstance(value, Raw) else dumped_for_binary(value)


def _labelled(data: bytes, format: str) -> EncodedMessage:
    if format == "Base64":
        data = base64.b64encode(data)
    elif format not in ("Json", "Binary", "MessagePack", "Cbor"):
        raise LocalProtocolError(f"nothing is sent in the format {format!r}; there are Json, Binary, Base64, MessagePack and Cbor")
    return EncodedMessage(data, format)  # type: ignore[arg-type]


def write_payload(content: Any, metadata: Metadata = NOTHING, *, format: str = "Json", id: str) -> EncodedMessage:
    """`content` in an envelope with this id, a UUID. `format`: ``"Json"``, ``"Base64"`` and ``"Binary"`` hold JSON text,
    ``"MessagePack"`` and ``"Cbor"`` are for peers that offered them. A `msgspec.Raw` is taken as encoded already.

    Raises `LocalProtocolError` where the value cannot travel.
    """
    if format == "Cbor" and isinstance(content, Raw):
        content = codec_of("cbor").decode(bytes(content))
    return _labelled(_encoded(_OpenEnvelope(id, content, metadata), format, type(content).__name__), format)


def write_bare(value: Any, format: str = "Json") -> EncodedMessage:
    """`value` without an envelope. Raises `LocalProtocolError` where it cannot travel."""
    return _labelled(bytes(value) if isinstance(value, Raw) else _encoded(value, format, type(value).__name__), format)


# ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class Payload:
    """A payload whose envelope has been read and whose content has not.

    `metadata` and `id` are the envelope's; without one (`enveloped` is False) they are empty. `format` is the one of `content`: the
    Base64 is off, so that it is never ``"Base64"``.
    """

    __slots__ = ("_content", "enveloped", "format", "id", "metadata")

    def __init__(self, content: Any, format: str, *, metadata: Metadata = NOTHING, id: str = "", enveloped: bool = False) -> None:
        self._content = content
        self.format, self.metadata, self.id, self.enveloped = format, metadata, id, enveloped

    @property
    def content(self) -> bytes:
        """The content, still encoded in `format`."""
        if self.format == "Cbor":
            return codec_of("cbor").encode(self._content)
        return bytes(self._content)

    def decode(self, type: type[T] | Any = Any) -> T:
        """The content as a value of `type`. Raises `Unreadable`, which names the field."""
        value: T = reader(type, self.format)(self._content)
        return value

    def __repr__(self) -> str:
        return f"Payload({self.format}, id={self.id!r}, enveloped={self.enveloped})"


_Decode: TypeAlias = "Callable[[bytes | Raw], Any]"


def _parts(decoder: Callable[[Any], Any]) -> tuple[_Decode, _Decode, _Decode]:
    return decoder(_Envelope).decode, decoder(_ClosedEnvelope).decode, decoder(Metadata).decode


_part_json = _parts(msgspec.json.Decoder)
_part_msgpack = _parts(lambda kind: msgspec.msgpack.Decoder(kind, ext_hook=refuse_extension))
_skip_json = msgspec.json.Decoder(Raw).decode
_NO_ENVELOPE: Final = (msgspec.MsgspecError, ValueError, TypeError, RecursionError)


def read_payload(payload: EncodedMessage) -> Payload:
    """Part the envelope from its content. What has not exactly the members of an envelope is a bare value.

    Raises `Unreadable` for Base64 that is none, for formats that are not here and for ``"Auto"``, which is none; and for metadata of
    more than 1 MiB, which would take many times as much once they are read.
    """
    data, format = payload.data, payload.format
    if format == "Base64":
        try:
            data, format = base64.b64decode(data, validate=True), "Binary"
        except (binascii.Error, ValueError):
            raise Unreadable("the payload is not Base64", kind="encoding") from None
    if format == "Json" or format == "Binary":
        found = _part(_part_json, data)
        if format == "Binary" and (found is not None or _is_json(data)):
            format = "Json"
    elif format == "MessagePack":
        found = _part(_part_msgpack, data)
    elif format == "Cbor":
        return _part_cbor(data)
    else:
        raise Unreadable(f"nothing is read in the format {format!r}", kind="encoding")
    if found is None:
        return Payload(data, format)
    return Payload(found.content, format, metadata=found.metadata, id=found.id, enveloped=True)


def _part(parts: tuple[_Decode, _Decode, _Decode], data: bytes) -> _Envelope | None:
    whole, closed, metadata = parts
    try:
        if len(data) <= LARGE:
            found = whole(data)
        else:
            said = closed(data)
            if len(bytes(said.metadata)) > LARGE:
                raise Unreadable(f"more than {LARGE} bytes - at `$.metadata`")
            found = _Envelope(said.id, said.content, metadata(said.metadata) if bytes(said.metadata) else NOTHING)
    except _NO_ENVELOPE:
        return None
    return found if _names_a_uuid(found.id) else None


def _names_a_uuid(id: str) -> bool:
    if id.encode().translate(UUID_SHAPE) == UUID_FORM:
        return True
    try:
        return bool(canonical_uuid(id))
    except ValueError:
        return False


def _is_json(data: bytes) -> bool:
    """Whether bytes that are called binary are JSON text, as the reference's conversions make them."""
    try:
        _skip_json(data)
        data.decode()
    except _NO_ENVELOPE:
        return False
    return True


def _part_cbor(data: bytes) -> Payload:
    try:
        value = codec_of("cbor").decode(data)
    except LocalProtocolError as error:
        raise Unreadable(str(error), kind="encoding") from None
    except RemoteProtocolError as error:
        raise Unreadable(str(error)) from None
    try:
        found = msgspec.convert(value, _OpenEnvelope)
    except _NO_ENVELOPE:
        return Payload(value, "Cbor")
    if not _names_a_uuid(found.id):
        return Payload(value, "Cbor")
    return Payload(found.content, "Cbor", metadata=found.metadata, id=found.id, enveloped=True)


def reader(type: Any = Any, format: str = "Json") -> Reader:
    """The function that reads content of this format into `type`; made once per type and format.

    It raises `Unreadable` and nothing else for what does not fit, `LocalProtocolError` for a type that can never be read. Raises
    TypeError itself where that is known at once.
    """
    try:
        return _cached_reader(type, format)
    except TypeError as error:
        if "unhashable" not in str(error):
            raise
        return _new_reader(type, format)


def _new_reader(type: Any, format: str) -> Reader:
    if format == "Json":
        return guarded_reader(_json_reader(type))
    if format == "MessagePack":
        return guarded_reader(_binary_reader(type, msgspec.msgpack.Decoder(type, dec_hook=built, ext_hook=refuse_extension).decode))
    if format == "Binary":
        return guarded_reader(lambda data: _read_bincode(bytes(data), type))
    if format == "Cbor":
        return guarded_reader(lambda value: from_plain(value, type))
    raise Unreadable(f"nothing is read in the format {format!r}", kind="encoding")


def _read_bincode(data: bytes, type: Any) -> Any:
    from .bincode import shape_of
    from .encoded import read_bincode

    try:
        shape_of(type)
    except TypeError as error:
        raise Unreadable(
            f"binary data that is no JSON text is read only into a type that bincode knows: {error}", kind="encoding"
        ) from None
    return read_bincode(data, type).content


_cached_reader = lru_cache(maxsize=1024)(_new_reader)


def _json_reader(type: Any) -> Reader:
    validator = validator_of(type)
    read: Reader = msgspec.json.Decoder(type, dec_hook=built).decode if validator is None else validator.validate_json

    def checked(data: Bytes) -> Any:
        """Refuse what msgspec would let through: text that is not UTF-8, nesting that no other peer reads, very many values."""
        text = bytes(data)
        if len(text) > LARGE and too_many_in_json(text):
            raise Unreadable(TOO_MANY)
        if not text.isascii():
            text.decode()
        if len(text) >= 256 and _opens(text, b"[") + _opens(text, b"{") > 127 and too_deep(text):
            raise RecursionError
        return read(text)

    return checked


def _opens(text: bytes, bracket: bytes) -> int:
    """How often `bracket` occurs; to see that it does not, behind the first byte, takes a quarter of counting."""
    return text.count(bracket) if text.find(bracket, 1) > 0 else 1


def _binary_reader(type: Any, read: Reader) -> Reader:
    """`read`, but a pydantic type validates what was decoded; of very many values nothing is decoded."""
    validator = validator_of(type)
    if validator is not None:
        untyped = msgspec.msgpack.Decoder(ext_hook=refuse_extension).decode

        def read(data: Bytes) -> Any:
            return validator.validate_python(untyped(data))

    def checked(data: Bytes) -> Any:
        if len(data) > LARGE and too_many_in_msgpack(bytes(data)):
            raise Unreadable(TOO_MANY)
        return read(data)

    return checked
