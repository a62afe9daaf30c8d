"""Redaction of output that arrives in pieces: a secret split over two writes is found as well."""

from __future__ import annotations

from .redactor import REPLACEMENT, TOKEN_BELOW, Redactor, merge, redactor


class StreamRedactor:
    """Feeds of bytes in, redacted bytes out.

    What might be the beginning of a secret is held back, at most the longest registered form, until more arrives, the
    line ends, or `flush` is called; everything else is passed on at once. Joined together, the output is the same however
    the input was cut, apart from forms that contain a line end themselves.
    """

    def __init__(self, source: Redactor = redactor) -> None:
        self._redactor = source
        self._seen = ""
        """The character before `_held`, already passed on: short tokens must know their neighbour."""
        self._held = ""
        self._covered = 0
        """How many characters of `_held` belong to a match whose replacement was already passed on."""

    def feed(self, data: bytes) -> bytes:
        """Take in `data`; return what can be passed on now, possibly nothing."""
        text = self._held + data.decode("latin-1")
        closed = text.rfind("\n") + 1
        return self._pass_on(text, self._hold_from(text, closed))

    def flush(self) -> bytes:
        """Return what was held back: the writer has closed, or will write nothing more for a while."""
        return self._pass_on(self._held, len(self._held))

    def _hold_from(self, text: str, closed: int) -> int:
        """Where the first stretch begins that later input could turn into a match."""
        source = self._redactor
        end = len(text)
        hold = max(closed, end - (TOKEN_BELOW - 1)) if source.has_tokens else end
        for start in range(max(closed, end - source.longest), hold):
            if source.begins(text, start):
                return max(start - 1, closed)
        return hold

    def _pass_on(self, text: str, cut: int) -> bytes:
        if not cut:
            self._held = text
            return b""
        before = len(self._seen)
        found = self._redactor.spans(self._seen + text, before)
        spans = [(max(0, start - before), end - before) for start, end in found if end > before]
        if self._covered:
            spans.append((0, self._covered))
        pieces: list[str] = []
        position = 0
        covered = 0
        for start, end in merge(spans):
            if start >= cut:
                break
            pieces.append(text[position:start])
            if start or not self._covered:
                pieces.append(REPLACEMENT)
            position = end
            covered = max(0, end - cut)
        pieces.append(text[position:cut])
        self._seen = text[cut - 1]
        self._held = text[cut:]
        self._covered = covered
        return "".join(pieces).encode("latin-1")
