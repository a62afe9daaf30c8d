"""`Message`, the envelope that people put a value into, and the forms in which it travels as an `EncodedMessage` (protocol 4.1 to 4.7).

This `Message` is the envelope of the reference's SDK, ``pywatt_core.Message``. What the session exchanges, one class per `op`, are the
subclasses of `messages.Message`, which users never meet.
"""

from __future__ import annotations

import base64
import binascii
import enum
from typing import Any, Final, Generic, TypeVar

import msgspec
from msgspec import Struct

from ..errors import LocalProtocolError
from . import bincode
from .bincode_shapes import Source
from .envelope import is_finite
from .facts import id_sequence, own_seed
from .formats import codec_of
from .lenient import Unreadable, safe_text, too_deep
from .payloads import NOTHING, plain, read_payload, reader, write_payload
from .values import I64, EncodedMessage, canonical_uuid
from .values import Metadata as MessageMetadata

__all__ = ["EncodedMessage", "EncodingFormat", "Message", "MessageMetadata"]

T = TypeVar("T")

_new_id = id_sequence(own_seed())


class EncodingFormat(enum.StrEnum):
    """What the data of an `EncodedMessage` is. The last two are PyWatt's own, for peers that offered to read them."""

    JSON = "Json"
    BINARY = "Binary"
    BASE64 = "Base64"
    AUTO = "Auto"
    MESSAGE_PACK = "MessagePack"
    CBOR = "Cbor"

    @property
    def code(self) -> int:
        """The code in a frame's header; 0, for `AUTO`, is none that may travel."""
        return _CODES[self]

    @classmethod
    def parse(cls, text: str) -> EncodingFormat:
        """From a name in any case. Raises ValueError that lists the names."""
        for one in cls:
            if one.value.lower() == text.lower():
                return one
        raise ValueError(f"no format is called {text!r}; there are {', '.join(one.value for one in cls)}")


_CODES: Final = {
    EncodingFormat.AUTO: 0,
    EncodingFormat.JSON: 1,
    EncodingFormat.BINARY: 2,
    EncodingFormat.BASE64: 3,
    EncodingFormat.MESSAGE_PACK: 4,
    EncodingFormat.CBOR: 5,
}


class Message(Generic[T]):
    """A value with an identity and metadata: ``Message(value)``, ``Message(value, MessageMetadata(source="users"))``.

    `id` is a UUID, made where none is given. Raises ValueError for an `id` that is none.
    """

    __slots__ = ("content", "id", "metadata")

    def __init__(self, content: T, metadata: MessageMetadata | None = None, *, id: str | None = None) -> None:
        self.content = content
        self.metadata = MessageMetadata() if metadata is None else metadata
        self.id = _new_id() if id is None else canonical_uuid(id, "id")

    def encode(self, format: str = EncodingFormat.JSON) -> EncodedMessage:
        """The envelope in this format: JSON text for ``"Json"``, ``"Binary"`` and ``"Base64"`` alike, as the reference's peers read it.

        bincode is `EncodedMessage.from_message_binary`. Raises `LocalProtocolError` where the content cannot travel.
        """
        return write_payload(self.content, self.metadata, format=_known(format), id=self.id)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Message):
            return NotImplemented
        return (self.id, self.content, self.metadata) == (other.id, other.content, other.metadata)

    __hash__ = None  # type: ignore[assignment]  # the content may be anything

    def __repr__(self) -> str:
        return f"Message(id={self.id!r}, content=<{type(self.content).__name__} hidden>, metadata={self.metadata!r})"


def _known(format: str) -> str:
    """The name of a format. Raises `LocalProtocolError` that lists them."""
    try:
        return EncodingFormat(format).value
    except ValueError:
        raise LocalProtocolError(f"no format is called {format!r}; there are {', '.join(one.value for one in EncodingFormat)}") from None


# ── bincode ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class BincodeMetadata(Struct, frozen=True):
    """Metadata as bincode has it: `properties` is JSON text, empty where there are none."""

    id: str | None = None
    timestamp: I64 | None = None
    source: str | None = None
    destination: str | None = None
    properties: str = ""

    @classmethod
    def of(cls, metadata: MessageMetadata) -> BincodeMetadata:
        """Raises `LocalProtocolError` where the properties have no form in JSON."""
        text = ""
        if metadata.properties is not None:
            if not is_finite(plain(metadata.properties)):
                raise LocalProtocolError("NaN and infinity cannot be sent - at `$.metadata.properties`")
            text = msgspec.json.encode(metadata.properties, order="sorted").decode()
        return cls(metadata.id, metadata.timestamp, metadata.source, metadata.destination, text)

    def metadata(self) -> MessageMetadata:
        """Properties that are no JSON object are as good as none."""
        properties = None
        if self.properties:
            try:
                properties = msgspec.json.decode(self.properties, type=dict[str, Any])
            except (msgspec.MsgspecError, RecursionError):
                properties = None
        return MessageMetadata(self.id, self.timestamp, self.source, self.destination, properties)


def write_bincode(message: Message[Any], type: Any = None, *, layout: str = "") -> bytes:
    """The message's content as a `type` (its own where not given), then its metadata; its id does not travel.

    The reference writes metadata in one layout and reads another, so that only empty metadata arrives: by default nothing else is written.
    `layout` ``"decoder"`` is what the reference reads, ``"encoder"`` what it writes. Raises ValueError for metadata without a layout,
    `LocalProtocolError` for a value that is no `type`, TypeError for a type that bincode does not have.
    """
    content = bincode.encode(message.content, type)
    if layout == "decoder":
        return content + b"\x01" + bincode.encode(BincodeMetadata.of(message.metadata))
    if layout not in ("", "encoder"):
        raise ValueError(f"no layout is called {layout!r}; there are decoder and encoder")
    if not layout and message.metadata != NOTHING:
        raise ValueError(
            'metadata is lost in bincode: leave it out, or say layout="decoder" for a peer that reads what the reference reads'
        )
    return content + bincode.encode(BincodeMetadata.of(message.metadata))


def read_bincode(data: bytes, type: Any) -> Message[Any]:
    """Content and metadata in either layout, each only where it takes all the data; else the content alone and whatever follows it.

    Raises `Unreadable` that names the member of the content.
    """
    try:
        return read_bincode_whole(data, type)
    except Unreadable:
        return Message(bincode.decode(data, type))


def read_bincode_whole(data: bytes, type: Any) -> Message[Any]:
    """The same without the last resort."""
    reason: Unreadable | None = None
    for kind in (BincodeMetadata | None, BincodeMetadata):
        source = Source(data)
        content = bincode.read(source, type)
        try:
            found = bincode.read(source, kind)
        except Unreadable as error:
            reason = error
            continue
        if source.position == source.end:
            return Message(content, MessageMetadata() if found is None else found.metadata())
    raise Unreadable(f"no metadata follows the content: {reason or 'something else does'}")


# ── EncodedMessage's methods ────────────────────────────────────────────────────────────────────────────────────────


def decode(payload: EncodedMessage, type: Any) -> Any:
    """What `EncodedMessage.decode` promises."""
    if payload.format == "Auto":
        return reader(type)(payload.data)
    found = read_payload(payload)
    try:
        return found.decode(type)
    except Unreadable:
        if not found.enveloped or found.format == "Cbor":
            raise
        try:
            return reader(type, found.format)(_unlabelled(payload))
        except Unreadable:
            pass
        raise


def decode_full(payload: EncodedMessage, type: Any) -> Message[Any]:
    """What `EncodedMessage.decode_full` promises."""
    found = read_payload(payload)
    if found.enveloped:
        return Message(found.decode(type), found.metadata, id=found.id)
    if found.format == "Binary":
        return read_bincode_whole(_unlabelled(payload), type)
    raise Unreadable("not an envelope: it has an id, a content and metadata, and nothing else")


def _unlabelled(payload: EncodedMessage) -> bytes:
    return base64.b64decode(payload.data) if payload.format == "Base64" else payload.data


def convert(payload: EncodedMessage, target: str) -> EncodedMessage:
    """What `EncodedMessage.to_format` promises: the table of protocol 4.6."""
    source, target = payload.format, _known(target)
    if source == "Auto" or target == "Auto":
        raise LocalProtocolError("Auto is no format that data can be in")
    if source == target:
        return payload
    if {source, target} & {"MessagePack", "Cbor"}:
        raise LocalProtocolError(f"{source} does not become {target}: decode it, and encode the value")
    data = payload.data
    if source == "Base64":
        try:
            data = base64.b64decode(data, validate=True)
        except (binascii.Error, ValueError):
            raise Unreadable("the payload is not Base64", kind="encoding") from None
    if target == "Base64":
        return EncodedMessage(base64.b64encode(data), "Base64")
    return EncodedMessage(data, "Binary") if target == "Binary" else EncodedMessage(_sorted_json(data), "Json")


def _sorted_json(data: bytes) -> bytes:
    try:
        data.decode()
        if too_deep(data):
            raise RecursionError
        return msgspec.json.encode(msgspec.json.decode(data), order="sorted")
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Unreadable(f"binary data that is no JSON text does not become JSON: {safe_text(error)}") from None


def text(payload: EncodedMessage) -> str:
    """What `EncodedMessage.to_string` promises."""
    if payload.format not in ("Json", "Base64"):
        raise LocalProtocolError(f"data in {payload.format} is no text")
    try:
        return payload.data.decode()
    except UnicodeDecodeError:
        raise Unreadable("not UTF-8", kind="encoding") from None


class _Nothing(Struct, frozen=True):
    pass


def peek(payload: EncodedMessage) -> str:
    """What `EncodedMessage.peek_kind` promises."""
    data, format = payload.data, payload.format
    if format == "Auto":
        raise LocalProtocolError("Auto is no format that data can be in")
    if format == "Base64":
        try:
            data = base64.b64decode(data, validate=True)
        except (binascii.Error, ValueError):
            return "Invalid Base64"
    try:
        if format == "MessagePack":
            return _kind_in(msgspec.msgpack.decode(data))
        if format == "Cbor":
            return _kind_in(codec_of("cbor").decode(data))
        return _kind_in(msgspec.json.decode(data))
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError, Unreadable, LocalProtocolError):
        if format == "Json":
            return "Invalid JSON"
    try:
        found = read_bincode_whole(data, _Nothing) if format in ("Binary", "Base64") else None
    except Unreadable:
        found = None
    return found.metadata.id or "Unknown" if found is not None else "Unknown"


def _kind_in(value: Any) -> str:
    """The first of these that is text: the kind, the op, the op of what is enveloped, the metadata's id."""
    if isinstance(value, dict):
        content, metadata = value.get("content"), value.get("metadata")
        for one in (
            value.get("kind"),
            value.get("op"),
            content.get("op") if isinstance(content, dict) else None,
            metadata.get("id") if isinstance(metadata, dict) else None,
        ):
            if isinstance(one, str):
                return one
    return "Unknown"
