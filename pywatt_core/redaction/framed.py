"""Secrets that a frame has cut: a traceback drawn with boxes breaks long values over several of its rows."""

from __future__ import annotations

import re
from bisect import bisect_right

from .redactor import REPLACEMENT, redactor

_BARS = ("│", "┃", "║", "â\x94\x82", "â\x94\x83", "â\x95\x91")
"""The sides of a box, and how they look where UTF-8 was read as Latin-1."""

_SIDES = "(?:[ ]|\x1b\\[[0-9;]*m|" + "|".join(_BARS) + ")*"


def redact_framed(text: str) -> str:
    """`text` with secrets hidden, also those that go on in the next row of a box, and those that colours have cut."""
    if not any(bar in text for bar in _BARS):
        return redactor.redact(text)
    kept: list[str] = []
    starts: list[int] = []  # of each piece that is kept, in what is searched
    origins: list[int] = []  # and in `text`
    length = position = 0
    for found in re.finditer(f"{_SIDES}\n{_SIDES}|\x1b\\[[0-9;]*m", text):
        kept.append(text[position : found.start()])
        starts.append(length)
        origins.append(position)
        length += len(kept[-1])
        position = found.end()
    kept.append(text[position:])
    starts.append(length)
    origins.append(position)

    def origin(at: int) -> int:
        piece = bisect_right(starts, at) - 1
        return origins[piece] + at - starts[piece]

    pieces: list[str] = []
    position = 0
    for start, end in redactor.spans("".join(kept)):
        first, last = origin(start), origin(end - 1) + 1
        pieces += (text[position:first], REPLACEMENT)
        position = last
    return redactor.redact("".join([*pieces, text[position:]]))
