"""What streams of bytes are made of: chunks, acknowledgements and their settings, as bytes (protocol 13.6).

`stream_flow` says when which of them is sent.
"""

from __future__ import annotations

import zlib
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct, field, structs

from .durations import U64, Duration
from .lenient import Unreadable, safe_text
from .priorities import StreamPriority
from .values import UUID_FORM, UUID_SHAPE, Body, Discreet, canonical_uuid, octets, with_article

U32 = Annotated[int, Meta(ge=0, le=0xFFFFFFFF)]
GIB = 1 << 30
MAX_CHUNK_SIZE = 16 << 20
"""Bytes that a single chunk may be set to hold at most."""


class StreamConfig(Struct, frozen=True, kw_only=True):
    """How one stream flows; the members and their defaults are the reference's. Raises ValueError that names the member.

    `window_size` chunks are under way at most, each of at most `max_chunk_size` bytes: a stream holds no more in memory at
    either end. A chunk that is not acknowledged within `ack_timeout` is sent again, `max_retries` times. `preserve_order`
    and the two members on compression are carried for the reference's sake: order is always kept, and nothing is compressed.
    """

    max_chunk_size: int = 65536
    window_size: int = 10
    ack_timeout: Duration = field(default_factory=lambda: Duration(30))
    max_retries: int = 3
    preserve_order: bool = True
    enable_compression: bool = True
    compression_threshold: int = 1024

    def __post_init__(self) -> None:
        for name, least, most in (("max_chunk_size", 1, MAX_CHUNK_SIZE), ("window_size", 1, 1024), ("max_retries", 0, 1000)):
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"{name} is {least} to {most}, not {getattr(self, name)}")
        if self.ack_timeout.seconds <= 0:
            raise ValueError("ack_timeout is more than 0 seconds")


class StreamMetadata(Struct, frozen=True):
    """What the first chunk says about the stream. `total_size` in bytes, 0 also where the sender does not know it yet."""

    total_size: U64 = 0
    content_type: str | None = None
    priority: StreamPriority = StreamPriority.NORMAL
    properties: dict[str, str] = field(default_factory=dict)


class StreamChunk(Discreet, frozen=True):
    """One piece of a stream. `stream_id` is a UUID, `sequence` begins with 0.

    `total_chunks` is 0 as long as the sender does not know how many there will be; the final chunk says it.
    """

    hidden = frozenset({"data"})

    stream_id: str
    sequence: U64
    total_chunks: U64
    data: Body
    compressed: bool
    checksum: U32
    is_final: bool
    stream_metadata: StreamMetadata | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.data, bytes):
            structs.force_setattr(self, "data", octets(self.data, "data"))
        if self.stream_id.encode().translate(UUID_SHAPE) != UUID_FORM:
            structs.force_setattr(self, "stream_id", canonical_uuid(self.stream_id, "stream_id"))


def _nothing() -> None:
    return None


class StreamAck(Struct, frozen=True, omit_defaults=True):
    """The receiver's word on the chunk `sequence`: whether it was taken, else why not.

    PyWatt's receivers add two members. `below`: all chunks before this one have arrived. `credit`: the first chunk that
    there is no room for yet; it never goes down.
    """

    stream_id: str
    sequence: U64
    success: bool
    error: str | None = field(default_factory=_nothing)
    below: U64 | None = None
    credit: U64 | None = None

    def __post_init__(self) -> None:
        if self.stream_id.encode().translate(UUID_SHAPE) != UUID_FORM:
            structs.force_setattr(self, "stream_id", canonical_uuid(self.stream_id, "stream_id"))


# ── checksums ───────────────────────────────────────────────────────────────────────────────────────────────────────

_BLOCK = 256
"""Bytes whose sum, at most 256 · 255, Adler-32 does not reduce: its lower half is then the sum itself, in a fifth of the time of `sum`."""


def byte_sum(data: bytes) -> int:
    """The sum of all bytes, modulo 2^32: the checksum of the reference's default build."""
    view, adler = memoryview(data), zlib.adler32
    return sum([adler(view[start : start + _BLOCK], 0) & 0xFFFF for start in range(0, len(data), _BLOCK)]) & 0xFFFFFFFF


def crc32(data: bytes) -> int:
    """CRC-32 (IEEE): the checksum of the reference's other build, and between PyWatt peers."""
    return zlib.crc32(data)


def is_intact(chunk: StreamChunk) -> bool:
    """Whether either checksum of the data is the one that the chunk carries."""
    return chunk.checksum == crc32(chunk.data) or chunk.checksum == byte_sum(chunk.data)  # the second takes four times as long


def expanded(chunk: StreamChunk, limit: int) -> bytes:
    """The chunk's data, decompressed where it says that it has to be. Raises ValueError over `limit` bytes and for what is no gzip."""
    if not chunk.compressed:
        data = chunk.data
    else:
        unzip = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        try:
            data = unzip.decompress(chunk.data, limit + 1)
        except zlib.error:
            raise ValueError("its data say that they are compressed, and are not gzip") from None
        if len(data) <= limit and (not unzip.eof or unzip.unused_data):
            raise ValueError("its compressed data are cut off, or more follows them")
    if len(data) > limit:
        raise ValueError(f"it holds more than the {limit} bytes that a chunk may have here")
    return data


# ── bytes ───────────────────────────────────────────────────────────────────────────────────────────────────────────


class Numbers(bytes):
    """A byte string that is written to JSON as an array of numbers, as the wire has it, where bytes would become Base64."""

    __slots__ = ()


def _as_numbers(value: Any) -> Any:
    if isinstance(value, Numbers):
        return list(value)
    raise TypeError(f"{with_article(type(value).__name__)} cannot be sent")


_to_json = msgspec.json.Encoder(enc_hook=_as_numbers).encode


def with_numbers(value: Any) -> Any:
    """The same Struct with its byte string ready for JSON."""
    for name in ("data", "payload"):
        inner = getattr(value, name, None)
        if type(inner) is bytes:
            return structs.replace(value, **{name: Numbers(inner)})
    return value


def to_json(value: Any) -> bytes:
    """A chunk, an acknowledgement or a published message as the reference's default build writes it."""
    return _to_json(with_numbers(value))


_JSON_READERS: dict[type[Any], msgspec.json.Decoder[Any]] = {}


def from_json(data: bytes, kind: type[Any]) -> Any:
    """Read one. Raises `Unreadable` that names the member."""
    reader = _JSON_READERS.get(kind)
    if reader is None:
        reader = _JSON_READERS[kind] = msgspec.json.Decoder(kind)
    return _read(reader, data)


def _read(reader: Any, data: bytes) -> Any:
    try:
        return reader.decode(data)
    except (msgspec.DecodeError, ValueError, TypeError, RecursionError) as error:
        raise Unreadable(safe_text(error)) from None


# ── between PyWatt modules ──────────────────────────────────────────────────────────────────────────────────────────


class StreamOpen(Struct, frozen=True, kw_only=True):
    """The request that opens a stream and is answered when it is over. `formats`: of payloads that the sender reads and writes."""

    stream_id: str
    endpoint: str
    chunk_size: Annotated[int, Meta(ge=1, le=MAX_CHUNK_SIZE)]
    total_size: U64 | None = None
    metadata: StreamMetadata = field(default_factory=StreamMetadata)
    formats: tuple[str, ...] = ("Json",)

    def __post_init__(self) -> None:
        if self.stream_id.encode().translate(UUID_SHAPE) != UUID_FORM:
            structs.force_setattr(self, "stream_id", canonical_uuid(self.stream_id, "stream_id"))


class StreamAccept(Struct, frozen=True):
    """The receiver's word that it wants the stream: in which format, in chunks of what size, and how many there is room for."""

    stream_id: str
    format: str
    chunk_size: Annotated[int, Meta(ge=1, le=MAX_CHUNK_SIZE)]
    credit: U64


class StreamDone(Struct, frozen=True):
    """The answer to `StreamOpen`: bytes that the receiving function took, whether these were all, and what it returned."""

    size: U64
    is_all: bool
    result: Any = None
