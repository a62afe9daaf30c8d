"""Secrets that are cut over several lines: by a box around a traceback, by `pprint`, which writes long text as several literals,
by base64 in lines; and those that colours cut."""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import TYPE_CHECKING

from .redactor import REPLACEMENT, redactor

if TYPE_CHECKING:
    from collections.abc import Iterator

BROKEN_FROM = 8
"""What the ends of several lines are together is a secret from this many characters on: fewer stand there by chance."""

_SIDES = " \r│┃║" + "".join(bar.encode().decode("latin-1") for bar in "│┃║")
"""What a box puts around a row: also where UTF-8 was read as Latin-1."""

_OPENING, _CLOSING = ("'", '"', "b'", 'b"'), ("'", '"')
"""What a literal puts around it."""

_COLOUR = "\x1b\\[[0-9;]*m"


def redact_framed(text: str) -> str:
    """`text` with secrets hidden, also those that go on in the next line, row of a box or literal, and those that colours cut."""
    return redactor.redact(hide_broken(text))


def hide_broken(text: str) -> str:
    """The same for these alone: a secret that stands in one piece may be left."""
    if "\n" not in text[:-1] and "\x1b[" not in text:
        return text
    for blank in ("", " "):  # a row that ends at a blank does not show it
        rows = [[text[start:end] for start, end in row] for row in _rows(text)]
        spans = [span for span in redactor.spans(blank.join(map("".join, rows))) if span[1] - span[0] >= BROKEN_FROM]
        if spans:
            text = _hidden(text, spans, blank)
    return text


def _rows(text: str) -> Iterator[list[tuple[int, int]]]:
    """For each line the stretches of it without colours, and without what stands at its edges."""
    start = 0
    coloured = "\x1b[" in text
    for line in text.split("\n"):
        stretches = [(0, len(line))]
        if coloured:
            edges = [0, *(edge for found in re.finditer(_COLOUR, line) for edge in found.span()), len(line)]
            stretches = [(begin, end) for begin, end in zip(edges[::2], edges[1::2], strict=True) if line[begin:end].strip(_SIDES)]
        if stretches:
            begin, end = stretches[0]
            inner = line[begin:end].lstrip(_SIDES)
            opening = 1 + inner.startswith("b") if inner.startswith(_OPENING) else 0
            stretches[0] = (end - len(inner) + opening, end)
            begin, end = stretches[-1]
            inner = line[begin:end].rstrip(_SIDES)
            stretches[-1] = (begin, begin + len(inner) - inner.endswith(_CLOSING))
        yield [(start + begin, start + end) for begin, end in stretches if begin < end]
        start += len(line) + 1


def _hidden(text: str, spans: list[tuple[int, int]], blank: str) -> str:
    """`text` without what `spans` cover in its rows."""
    starts: list[int] = []  # of each stretch in what was searched
    origins: list[int] = []  # and in `text`
    length = 0
    for row in _rows(text):
        for start, end in row:
            starts.append(length)
            origins.append(start)
            length += end - start
        length += len(blank)

    def origin(at: int) -> int:
        number = bisect_right(starts, at) - 1
        return origins[number] + at - starts[number]

    pieces: list[str] = []
    position = 0
    for start, end in spans:
        first, last = origin(start), origin(end - 1) + 1
        pieces += (text[position:first], REPLACEMENT)
        position = last
    return "".join([*pieces, text[position:]])
