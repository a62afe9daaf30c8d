"""Secrets that are cut over several lines: by a box around a traceback, by `pprint`, which writes long text as several literals,
by base64 in lines; and those that colours cut."""

from __future__ import annotations

import re

from .redactor import REPLACEMENT, redactor

BROKEN_FROM = 8
"""What the ends of several lines are together is a secret from this many characters on: fewer stand there by chance."""

_NOTHING = "\0"
"""What stands for each character of a colour: no text that people read holds it."""

_SIDES = " \r│┃║" + "".join(bar.encode().decode("latin-1") for bar in "│┃║") + _NOTHING
"""What a box puts around a row: also where UTF-8 was read as Latin-1."""

_OPENING, _CLOSING = ("'", '"', "b'", 'b"'), ("'", '"')
"""What a literal puts around it."""

_COLOUR = "\x1b\\[[0-9;]*m"


def redact_framed(text: str) -> str:
    """`text` with secrets hidden, also those that go on in the next line, row of a box or literal, and those that colours cut."""
    return redactor.redact(hide_broken(text))


def hide_broken(text: str) -> str:
    """The same for these alone: a secret that stands in one piece may be left."""
    coloured = "\x1b[" in text
    if redactor.idle or (not coloured and "\n" not in text[:-1]):
        return text
    for blank in ("", " "):  # a row that ends at a blank does not show it
        plain = re.sub(_COLOUR, lambda found: _NOTHING * len(found[0]), text) if coloured else text
        rows = [line[slice(*_inner(line))] for line in plain.split("\n")]
        joined = blank.join(rows).replace(_NOTHING, "")
        spans = [span for span in redactor.spans(joined) if span[1] - span[0] >= BROKEN_FROM]
        if spans:
            text = _hidden(text, plain, spans, blank)
    return text


def _inner(line: str) -> tuple[int, int]:
    """Where a line begins and ends without what stands at its edges."""
    start, end = len(line) - len(line.lstrip(_SIDES)), len(line.rstrip(_SIDES))
    if line.startswith(_OPENING, start, end):
        start += 1 + (line[start] == "b")
    return start, end - line.endswith(_CLOSING, start, end)


def _hidden(text: str, plain: str, spans: list[tuple[int, int]], blank: str) -> str:
    """`text` without what `spans` cover in the joined rows of `plain`, which is as long."""
    origins: list[int] = []  # of each character of what was searched, in `text`
    offset = 0
    for line in plain.split("\n"):
        start, end = _inner(line)
        origins += (offset + at for at in range(start, end) if line[at] != _NOTHING)
        origins += [offset + end] * len(blank)
        offset += len(line) + 1
    pieces: list[str] = []
    position = 0
    for start, end in spans:
        first, last = origins[start], origins[end - 1] + 1
        pieces += (text[position:first], REPLACEMENT)
        position = last
    return "".join([*pieces, text[position:]])
