"""Bytes to payloads and back: JSON lines on stdio, length-prefixed frames on channels (protocol 1.1, 3.7, 4.3, 4.4).

`feed` takes whatever chunk arrived and returns the payloads that are now complete, as ``(format code, bytes)``. What it
returns over time never depends on how the bytes were chunked. No byte is looked at twice, and no more than one payload
within the limit is ever kept.
"""

from __future__ import annotations

import struct
from typing import Final, Protocol, TypeAlias

from ..errors import LocalProtocolError, RemoteProtocolError

Payload: TypeAlias = tuple[int, bytes]
"""A format code and what was framed. The codes below zero are this room's own and never travel."""

JSON: Final = 1
BINARY: Final = 2
BASE64: Final = 3
MSGPACK: Final = 4
CBOR: Final = 5
"""These two are PyWatt's own, between peers that have both offered them."""

TOO_LONG: Final = -1
"""In place of a line over the limit: the line has been thrown away, the stream goes on."""

READABLE: Final = frozenset({JSON, BINARY, BASE64, MSGPACK, CBOR})

MIB: Final = 1024 * 1024
LINE_LIMIT: Final = 64 * MIB
INIT_LIMIT: Final = MIB
TCP_LIMIT: Final = 64 * MIB
UNIX_LIMIT: Final = 128 * MIB

_HEADER = struct.Struct(">IB")
HEADER_SIZE: Final = 5
"""Bytes before a frame's payload."""

IN_PIECES: Final = "what is larger travels as a stream (`state.open_stream`)"

put_header = _HEADER.pack_into
"""``put_header(buffer, offset, size, code)`` writes a frame's header over the bytes that stand there."""

get_header = _HEADER.unpack_from
"""``get_header(buffer, offset)`` is a frame's size and code."""

pack_header = _HEADER.pack
"""``pack_header(size, code)`` is a frame's header."""


class Framing(Protocol):
    """What both framings can do."""

    limit: int

    @property
    def failure(self) -> RemoteProtocolError | None:
        """Why nothing after this point can be read; `feed` then returns nothing any more."""
        ...

    @property
    def partial(self) -> int:
        """Bytes of an unfinished payload that are being kept."""
        ...

    @property
    def between(self) -> bool:
        """True where the next byte begins a frame. Lines do not tell."""
        ...

    def feed(self, data: bytes) -> list[Payload]: ...
    def wrap(self, data: bytes, code: int = JSON) -> bytes: ...


class LineFraming:
    """One JSON text per line. `limit` is for the bytes before the newline; `first_limit` for those of the first line.

    Lines end at the byte 0x0A alone; a carriage return before it is JSON whitespace. Lines of whitespace are passed over.
    """

    failure: RemoteProtocolError | None = None
    between = False

    def __init__(self, limit: int = LINE_LIMIT, *, first_limit: int | None = None) -> None:
        self.limit = limit
        self._allowed = limit if first_limit is None else first_limit
        self._buffer = bytearray()
        self._discarding = False

    @property
    def partial(self) -> int:
        return len(self._buffer)

    def take_partial(self) -> bytes:
        """The unfinished line, for a last message when the stream has ended."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest

    def feed(self, data: bytes) -> list[Payload]:
        payloads: list[Payload] = []
        lines = data.split(b"\n")
        rest = lines.pop()
        if lines and (self._buffer or self._discarding):
            self._finish(lines.pop(0), payloads)
        for line in lines:
            if len(line) > self._allowed:
                payloads.append((TOO_LONG, b""))
            elif line and not line.isspace():
                payloads.append((JSON, line))
            self._allowed = self.limit
        if rest and not self._discarding:
            self._keep(rest, payloads)
        return payloads

    def _finish(self, end: bytes, payloads: list[Payload]) -> None:
        if not self._discarding:
            self._keep(end, payloads)
        if not self._discarding:
            line = self.take_partial()
            if not line.isspace():
                payloads.append((JSON, line))
        self._discarding = False
        self._allowed = self.limit

    def _keep(self, part: bytes, payloads: list[Payload]) -> None:
        if len(self._buffer) + len(part) > self._allowed:
            self._buffer = bytearray()
            self._discarding = True
            payloads.append((TOO_LONG, b""))
        else:
            self._buffer += part

    def wrap(self, data: bytes, code: int = JSON) -> bytes:
        """The line for one JSON text. Raises `LocalProtocolError` where it is over the limit."""
        if len(data) > self.limit:
            raise LocalProtocolError(f"a message of {len(data)} bytes does not fit into a line of at most {self.limit}: {IN_PIECES}")
        return data + b"\n"


class LengthFraming:
    """u32 length (big endian, of the payload alone), u8 format code, payload.

    A frame of an unreadable format is skipped and returned as its code without its bytes. A frame over the limit cannot
    be skipped safely: it sets `failure`, and the connection has to be closed.
    """

    def __init__(self, limit: int = TCP_LIMIT) -> None:
        self.limit = limit
        self.failure: RemoteProtocolError | None = None
        self._buffer = bytearray()
        self._need = HEADER_SIZE
        self._skip = 0
        self.between = True

    @property
    def partial(self) -> int:
        return len(self._buffer) + self._skip

    def feed(self, data: bytes) -> list[Payload]:
        end = len(data)
        if self.between and end >= HEADER_SIZE:
            size, code = get_header(data)
            if size == end - HEADER_SIZE and size <= self.limit and code in READABLE:  # one whole frame: the usual case
                return [(code, data[HEADER_SIZE:])]
        payloads: list[Payload] = []
        if self.failure is not None:
            return payloads
        position = 0
        if self._skip or self._buffer:
            position = self._resume(data, payloads)
        unpack, limit = get_header, self.limit
        while position + HEADER_SIZE <= end and self.failure is None:
            size, code = unpack(data, position)
            if size > limit or code not in READABLE:
                position = self._refuse(size, code, position + HEADER_SIZE, end, payloads)
                continue
            start = position + HEADER_SIZE
            following = start + size
            if following > end:
                self._need = HEADER_SIZE + size
                break
            payloads.append((code, data[start:following]))
            position = following
        if position < end and self.failure is None:
            self._buffer += data[position:] if position else data
        self.between = not self._buffer and not self._skip and self.failure is None
        return payloads

    def _refuse(self, size: int, code: int, start: int, end: int, payloads: list[Payload]) -> int:
        """Deal with a header that is not to be followed; return where the next one begins."""
        if size > self.limit:
            self.failure = RemoteProtocolError(f"a frame of {size} bytes is over the limit of {self.limit}")
            return end
        payloads.append((code, b""))
        self._skip = max(0, start + size - end)
        return min(start + size, end)

    def _resume(self, data: bytes, payloads: list[Payload]) -> int:
        """Go on with what the chunks before left open; return how much of this one that took."""
        if self._skip:
            taken = min(self._skip, len(data))
            self._skip -= taken
            return taken
        buffer, position = self._buffer, 0
        if len(buffer) < HEADER_SIZE:
            position = min(HEADER_SIZE - len(buffer), len(data))
            buffer += data[:position]
            if len(buffer) < HEADER_SIZE:
                return position
            size, code = _HEADER.unpack(buffer)
            if size > self.limit or code not in READABLE:
                buffer.clear()
                return self._refuse(size, code, position, len(data), payloads)
            self._need = HEADER_SIZE + size
        taken = min(self._need - len(buffer), len(data) - position)
        buffer += data[position : position + taken]
        if len(buffer) == self._need:
            payloads.append((buffer[4], bytes(memoryview(buffer)[HEADER_SIZE:])))
            self._buffer = bytearray()
            self._need = HEADER_SIZE
        return position + taken

    def wrap(self, data: bytes, code: int = JSON) -> bytes:
        """The frame for one payload. Raises `LocalProtocolError` where it is over the limit."""
        size = len(data)
        if size > self.limit:
            raise LocalProtocolError(f"a message of {size} bytes does not fit into a frame of at most {self.limit}: {IN_PIECES}")
        return pack_header(size, code) + data
