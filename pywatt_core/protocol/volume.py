"""How many values a text holds, before it is read: each takes many times the memory of the bytes that it is written in.

``{},`` is three bytes in JSON and 72 in memory, an empty map in MessagePack one byte and as much. Within the limit for bytes, 64 MiB,
that is more than 4 GiB, and seconds of nothing else. What is not `LARGE` need not be looked at.
"""

from __future__ import annotations

import base64
import binascii
from typing import Final

LARGE: Final = 1024 * 1024
"""Bytes up to which anything may be read."""

MOST_VALUES: Final = 500_000
"""Containers, or texts, of one larger message or payload. Numbers, which take little, count a quarter in the binary formats and nothing
in JSON, where an array of them may stand for bytes."""

TOO_MANY: Final = f"more than {MOST_VALUES} values"


def too_many_in_json(data: bytes) -> bool:
    """Whether there are more than `MOST_VALUES` containers, or texts."""
    if len(data) <= LARGE:
        return False
    quotes = data.count(b'"')
    if quotes > 2 * MOST_VALUES and quotes - data.count(b'\\"') > 2 * MOST_VALUES:
        return True
    if data.count(b"{") + data.count(b"[") <= MOST_VALUES:
        return False
    outside = data.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2]
    return sum(part.count(b"{") + part.count(b"[") for part in outside) > MOST_VALUES


def _sizes(heads: dict[int, int]) -> list[int]:
    return [heads.get(code, 0) for code in range(256)]


_BITS: Final = (1, 2, 4, 8)
_OBJECT: Final = 7
"""What a container, or a text, counts: with the place that it takes in another container that is eight, one value of `MOST_VALUES`."""

# What follows the first byte of a value in MessagePack: so many bytes, a length of so many bytes, a count of so many bytes.
_MSGPACK_SKIP: Final = _sizes(
    {**{0xA0 + n: n for n in range(32)}, 0xCA: 4, 0xCB: 8, **{0xCC + n: size for n, size in enumerate(_BITS * 2)}}
    | {0xD4 + n: 1 + size for n, size in enumerate((*_BITS, 16))}
)
_MSGPACK_LENGTH: Final = _sizes({0xC4: 1, 0xC5: 2, 0xC6: 4, 0xC7: 1, 0xC8: 2, 0xC9: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4})
_MSGPACK_COUNT: Final = _sizes({0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4})
_MSGPACK_WEIGHT: Final = [
    _OBJECT + (2 * (code - 0x80) if code < 0x90 else code - 0x90 if code < 0xA0 else 0)
    if 0x80 <= code < 0xC0 or 0xC4 <= code <= 0xC9 or 0xD4 <= code < 0xE0
    else 1
    for code in range(256)
]


def too_many_in_msgpack(data: bytes) -> bool:
    """Whether there are more than `MOST_VALUES` values, or containers say that they have more. Truncated data is not judged."""
    if len(data) <= LARGE:
        return False
    end, position, left = len(data), 0, 8 * MOST_VALUES
    skip, lengths, counts, weights = _MSGPACK_SKIP, _MSGPACK_LENGTH, _MSGPACK_COUNT, _MSGPACK_WEIGHT
    while position < end:
        code = data[position]
        position += 1
        left -= weights[code]
        if size := lengths[code]:
            position += size + int.from_bytes(data[position : position + size], "big") + (0xC7 <= code <= 0xC9)
        elif size := counts[code]:
            left -= int.from_bytes(data[position : position + size], "big") << (code >= 0xDE)
            position += size
        else:
            position += skip[code]
        if left < 0:
            return True
    return False


def too_many_in_cbor(data: bytes) -> bool:
    """Whether there are more than `MOST_VALUES` values, or containers say that they have more. Truncated data is not judged."""
    if len(data) <= LARGE:
        return False
    end, position, left = len(data), 0, 8 * MOST_VALUES
    while position < end:
        code = data[position]
        position += 1
        size = _BITS[(code & 0x1F) - 24] if 24 <= code & 0x1F < 28 else 0
        argument = int.from_bytes(data[position : position + size], "big") if size else code & 0x1F
        position += size
        kind = code >> 5
        if not 2 <= kind <= 5:
            left -= 1
        else:
            left -= _OBJECT
            if code & 0x1F == 31:  # its end is marked, not told
                pass
            elif kind < 4:
                position += argument
            else:
                left -= argument << (kind == 5)
        if left < 0:
            return True
    return False


def too_many(data: bytes, format: str) -> bool:
    """The same of a payload in one of the formats of `EncodedMessage`. What is no Base64 is not judged."""
    if len(data) <= LARGE:
        return False
    if format == "MessagePack":
        return too_many_in_msgpack(data)
    if format == "Cbor":
        return too_many_in_cbor(data)
    if format == "Base64":
        try:
            data = base64.b64decode(data, validate=True)
        except (binascii.Error, ValueError):
            return False
    return too_many_in_json(data)
