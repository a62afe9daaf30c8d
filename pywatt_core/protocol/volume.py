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
"""Containers, or texts, of one larger message. The numbers of a JSON array that stands for bytes are not counted."""

TOO_MANY: Final = f"more than {MOST_VALUES} values"


def too_many_in_json(data: bytes) -> bool:
    """Whether there are more than `MOST_VALUES` containers, or texts. Brackets within texts count like any others."""
    if len(data) <= LARGE:
        return False
    if data.count(b"{") + data.count(b"[") > MOST_VALUES:
        return True
    quotes = data.count(b'"')
    return quotes > 2 * MOST_VALUES and quotes - data.count(b'\\"') > 2 * MOST_VALUES


def _sizes(heads: dict[int, int]) -> list[int]:
    return [heads.get(code, 0) for code in range(256)]


_BITS: Final = (1, 2, 4, 8)

# What follows the first byte of a value in MessagePack: so many bytes, a length of so many bytes, a count of so many bytes.
_MSGPACK_SKIP: Final = _sizes(
    {**{0xA0 + n: n for n in range(32)}, 0xCA: 4, 0xCB: 8, **{0xCC + n: size for n, size in enumerate(_BITS * 2)}}
    | {0xD4 + n: 1 + size for n, size in enumerate((*_BITS, 16))}
)
_MSGPACK_LENGTH: Final = _sizes({0xC4: 1, 0xC5: 2, 0xC6: 4, 0xC7: 1, 0xC8: 2, 0xC9: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4})
_MSGPACK_COUNT: Final = _sizes({0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4})


def too_many_in_msgpack(data: bytes) -> bool:
    """Whether there are more than `MOST_VALUES` values, or a container says that it has more. Truncated data is not judged."""
    if len(data) <= LARGE:
        return False
    end, position, values = len(data), 0, 0
    skip, lengths, counts = _MSGPACK_SKIP, _MSGPACK_LENGTH, _MSGPACK_COUNT
    while position < end:
        code = data[position]
        position += 1
        values += 1
        if size := lengths[code]:
            position += size + int.from_bytes(data[position : position + size], "big") + (0xC7 <= code <= 0xC9)
        elif size := counts[code]:
            if int.from_bytes(data[position : position + size], "big") > MOST_VALUES:
                return True
            position += size
        else:
            position += skip[code]
        if values > MOST_VALUES:
            return True
    return False


def too_many_in_cbor(data: bytes) -> bool:
    """Whether there are more than `MOST_VALUES` values, or a container says that it has more. Truncated data is not judged."""
    if len(data) <= LARGE:
        return False
    end, position, values = len(data), 0, 0
    while position < end:
        code = data[position]
        position += 1
        values += 1
        size = _BITS[(code & 0x1F) - 24] if 24 <= code & 0x1F < 28 else 0
        argument = int.from_bytes(data[position : position + size], "big") if size else code & 0x1F
        position += size
        kind = code >> 5
        if kind in (2, 3) and code & 0x1F != 31:
            position += argument
        elif kind in (4, 5) and code & 0x1F != 31 and argument > MOST_VALUES:
            return True
        if values > MOST_VALUES:
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
