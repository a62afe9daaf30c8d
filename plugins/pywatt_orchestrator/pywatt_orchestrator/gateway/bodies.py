"""Bodies: where they end, and what is in them. One object a body, fed with whatever arrives, however it was cut."""

from __future__ import annotations

import re

CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?")
TRAILER_LINE = re.compile(rb"[A-Za-z0-9!#$%&'*+\-.^_`|~]+:[\t\x20-\x7e\x80-\xff]*")
MAX_CHUNK_LINE = 256
MAX_TRAILERS = 8192


class BadBody(ValueError):
    """The body breaks the framing that its head announced; the text says how."""


class LengthBody:
    """A body of `length` bytes."""

    __slots__ = ("missing",)

    def __init__(self, length: int) -> None:
        self.missing = length

    def feed(self, data: bytes) -> tuple[bytes, bytes | None]:
        """The payload in `data`, and what comes after the end of the body; None while it has not ended."""
        if len(data) < self.missing:
            self.missing -= len(data)
            return data, None
        end, self.missing = self.missing, 0
        return (data, b"") if end == len(data) else (data[:end], data[end:])


class EndlessBody:
    """A response without any length: it ends where its connection does."""

    __slots__ = ()

    def feed(self, data: bytes) -> tuple[bytes, bytes | None]:
        """All of it is payload."""
        return data, None


class ChunkedBody:
    """A chunked body (RFC 9112 7.1). Extensions and trailers are checked, limited in size and left behind."""

    __slots__ = ("_expected", "_missing", "_partial", "_trailers")

    def __init__(self) -> None:
        self._expected = "size"
        """What the next line is: a chunk's size, the end of a chunk's data, or a trailer."""
        self._missing = 0
        """Bytes of the current chunk that come before that line."""
        self._partial = b""
        """The beginning of a line whose end has not arrived."""
        self._trailers = 0

    def feed(self, data: bytes) -> tuple[bytes, bytes | None]:
        """The payload in `data`, and what comes after the end of the body; None while it has not ended. Raises `BadBody`."""
        payload: list[bytes] = []
        if self._partial:
            data, self._partial = self._partial + data, b""
        position = 0
        while position < len(data):
            if self._missing:
                part = data[position : position + self._missing]
                payload.append(part)
                position += len(part)
                self._missing -= len(part)
                continue
            end = data.find(b"\n", position) + 1
            line = data[position : end or None]
            self._check_length(line)
            if not end:
                self._partial = line
                break
            position = end
            if self._is_last(line):
                return b"".join(payload), data[position:]
        return b"".join(payload), None

    def _check_length(self, line: bytes) -> None:
        """Refuse a line as soon as it is too long, whether or not its end has come."""
        if self._expected == "trailer":
            if self._trailers + len(line) > MAX_TRAILERS:
                raise BadBody(f"its trailers are longer than {MAX_TRAILERS} bytes")
        elif len(line) > MAX_CHUNK_LINE:
            raise BadBody(f"the line before a chunk is longer than {MAX_CHUNK_LINE} bytes")
        elif self._expected == "end" and not b"\r\n".startswith(line):
            raise BadBody("a chunk is longer than its size says")

    def _is_last(self, line: bytes) -> bool:
        """Act on one whole line; true for the empty one that ends the body."""
        if line[-2:] != b"\r\n":
            raise BadBody("a line between chunks does not end with CR LF")
        line = line[:-2]
        if self._expected == "end":
            self._expected = "size"
        elif self._expected == "size":
            found = CHUNK_LINE.fullmatch(line)
            if found is None:
                raise BadBody("a chunk's size is not a hexadecimal number")
            self._missing = int(found[1], 16)
            self._expected = "end" if self._missing else "trailer"
        elif not line:
            return True
        elif TRAILER_LINE.fullmatch(line) is None:
            raise BadBody("a trailer is malformed")
        else:
            self._trailers += len(line) + 2
        return False


LAST_CHUNK = b"0\r\n\r\n"


def chunk(payload: bytes) -> bytes:
    """One chunk; nothing for an empty payload, which would end the body."""
    return b"%x\r\n%b\r\n" % (len(payload), payload) if payload else b""
