"""Chunks and acknowledgements as the reference's two builds put them into a frame of format 2 (protocol 13.6).

The default build writes JSON text with the sum of the bytes as checksum, the build with ``advanced_streaming`` bincode with
CRC-32. Either is read; the first is written, the second only where it is asked for.
"""

from __future__ import annotations

import uuid
from typing import Annotated, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from . import bincode
from .bincode import U32, U64, Length
from .framing import BINARY, LengthFraming
from .lenient import Unreadable
from .priorities import StreamPriority
from .streams import StreamAck, StreamChunk, StreamMetadata, byte_sum, crc32, from_json, to_json

T = TypeVar("T")
Id = Annotated[bytes, Length(16)]


class _Metadata(Struct, frozen=True):
    total_size: U64
    content_type: str | None
    priority: StreamPriority
    properties: dict[str, str]


class _Chunk(Struct, frozen=True):
    stream_id: Id
    sequence: U64
    total_chunks: U64
    data: bytes
    compressed: bool
    checksum: U32
    is_final: bool
    stream_metadata: _Metadata | None


class _Ack(Struct, frozen=True):
    stream_id: Id
    sequence: U64
    success: bool
    error: str | None


def write_chunk(chunk: StreamChunk, *, advanced: bool = False) -> bytes:
    """A whole frame. `advanced`: for the build with bincode. The checksum becomes that of the build."""
    if not advanced:
        return _frame(to_json(replace(chunk, checksum=byte_sum(chunk.data))))
    said = chunk.stream_metadata
    metadata = None if said is None else _Metadata(said.total_size, said.content_type, said.priority, said.properties)
    id = uuid.UUID(chunk.stream_id).bytes
    whole = _Chunk(id, chunk.sequence, chunk.total_chunks, chunk.data, chunk.compressed, crc32(chunk.data), chunk.is_final, metadata)
    return _frame(bincode.encode(whole))


def write_ack(ack: StreamAck, *, advanced: bool = False) -> bytes:
    """A whole frame, without the members that are PyWatt's own."""
    if not advanced:
        return _frame(to_json(replace(ack, below=None, credit=None)))
    return _frame(bincode.encode(_Ack(uuid.UUID(ack.stream_id).bytes, ack.sequence, ack.success, ack.error)))


def _frame(payload: bytes) -> bytes:
    return LengthFraming().wrap(payload, BINARY)


def read_chunk(payload: bytes) -> StreamChunk:
    """A frame's payload, of either build. Raises `Unreadable` that names the member."""
    if _is_json(payload):
        found: StreamChunk = from_json(payload, StreamChunk)
        return found
    said = _binary(payload, _Chunk)
    metadata = None
    if said.stream_metadata is not None:
        known = said.stream_metadata
        metadata = StreamMetadata(known.total_size, known.content_type, known.priority, known.properties)
    id = str(uuid.UUID(bytes=said.stream_id))
    return StreamChunk(id, said.sequence, said.total_chunks, said.data, said.compressed, said.checksum, said.is_final, metadata)


def read_ack(payload: bytes) -> StreamAck:
    """The same for an acknowledgement."""
    if _is_json(payload):
        found: StreamAck = from_json(payload, StreamAck)
        return found
    said = _binary(payload, _Ack)
    return StreamAck(str(uuid.UUID(bytes=said.stream_id)), said.sequence, said.success, said.error)


def _is_json(payload: bytes) -> bool:
    """Whether it is JSON text. bincode begins with a UUID, which may begin with a brace, but whose ninth byte is no ASCII."""
    return payload[:16].isascii() and payload.lstrip()[:1] == b"{"


def _binary(payload: bytes, kind: type[T]) -> T:
    read: tuple[T, int] = bincode.decode_from(payload, kind)
    if read[1] != len(payload):
        raise Unreadable(f"{len(payload) - read[1]} bytes follow what is a whole already")
    return read[0]
