"""Secrets that are cut over several lines: by a box around a traceback, by `pprint`, which writes long text as several literals,
by base64 in lines."""

from __future__ import annotations

import re
from bisect import bisect_right

from .redactor import REPLACEMENT, redactor

_BARS = ("│", "┃", "║", "â\x94\x82", "â\x94\x83", "â\x95\x91")
"""The sides of a box, and how they look where UTF-8 was read as Latin-1."""

BROKEN_FROM = 8
"""What the ends of several lines are together is a secret from this many characters on: fewer stand there by chance."""

_SIDES = "(?:[ ]|\x1b\\[[0-9;]*m|" + "|".join(_BARS) + ")*"


_JOINTS = f"(?:['\"]{_SIDES}\r?\n{_SIDES}b?['\"]|{_SIDES}\r?\n{_SIDES})|(\x1b\\[[0-9;]*m)"


def redact_framed(text: str) -> str:
    """`text` with secrets hidden, also those that go on in the next line, row of a box or literal, and those that colours cut."""
    if "\n" in text[:-1] or "\x1b[" in text:
        for blank in ("", " "):  # a row that ends at a blank does not show it
            text = _joined_and_redacted(text, blank)
    return redactor.redact(text)


def _joined_and_redacted(text: str, blank: str) -> str:
    """What is found in the text without its joints, in whose place stands `blank`, is hidden in the text itself."""
    joined: list[str] = []
    starts: list[int] = []  # of each stretch of `text` that is searched, in what is searched
    origins: list[int] = []  # and in `text`
    length = position = 0
    for found in re.finditer(_JOINTS, text):
        piece = text[position : found.start()] + ("" if found[1] else blank)
        joined.append(piece)
        starts.append(length)
        origins.append(position)
        length += len(piece)
        position = found.end()
    joined.append(text[position:])
    starts.append(length)
    origins.append(position)

    def origin(at: int) -> int:
        number = bisect_right(starts, at) - 1
        return origins[number] + at - starts[number]

    pieces: list[str] = []
    position = 0
    for start, end in redactor.spans("".join(joined)):
        first, last = origin(start), origin(end - 1) + 1
        if end - start < BROKEN_FROM:  # where it stands in one piece it is found without joining
            continue
        pieces += (text[position:first], REPLACEMENT)
        position = last
    return "".join([*pieces, text[position:]])
