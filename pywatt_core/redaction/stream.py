"""Redaction of text that arrives in pieces: what may be the beginning of a secret waits for what comes next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .redactor import REPLACEMENT
from .search import merge

if TYPE_CHECKING:
    from .redactor import Redactor

SPARE = 256
"""Characters that may wait beyond twice the longest form, where secrets overlap each other without an end."""

BEGUN_FROM = 8
"""A secret that has begun and is never finished is hidden too, from this many characters on."""


class RedactedStream:
    """Hides secrets in a stream however it is cut: ``feed`` passes on what is clear already, ``rest`` what is left at the end.

    What waits is never longer than about twice the longest form of any secret. For one thread at a time.
    """

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._held = ""
        self._hidden = 0  # so many characters of what waits belong to a secret whose replacement was passed on
        self._before = ""

    @property
    def waiting(self) -> bool:
        """True where something waits for what comes next."""
        return bool(self._held)

    def feed(self, text: str) -> str:
        """`text`, and what waited before it, as far as it is clear what of it is secret."""
        redactor = self._redactor
        if redactor.idle and not self._held:
            return text
        text = self._held + text
        spans = self._spans(text)
        begun = keep = redactor.unfinished(text)
        if spans and spans[-1][1] == len(text):  # a longer form may match, a word may go on
            keep = min(keep, spans[-1][0])
        for start, end in spans:
            if start < keep < end:
                keep = start
        if len(text) - keep > 2 * redactor.longest + SPARE:
            keep = max(keep, min(begun, len(text) - redactor.longest))
        return self._pass_on(text, spans, keep)

    def rest(self) -> str:
        """What waits, when nothing more will come; a secret of which at least 8 characters have come is hidden."""
        text, redactor = self._held, self._redactor
        if not text:
            return ""
        spans = self._spans(text)
        begun = redactor.unfinished(text)
        if len(text) - begun >= BEGUN_FROM:
            spans = merge([*spans, (begun, len(text))])
        return self._pass_on(text, spans, len(text))

    def _spans(self, text: str) -> list[tuple[int, int]]:
        before = len(self._before)
        found = [(max(0, start - before), end - before) for start, end in self._redactor.spans(self._before + text, before) if end > before]
        return merge([(0, self._hidden), *found]) if self._hidden else found

    def _pass_on(self, text: str, spans: list[tuple[int, int]], keep: int) -> str:
        pieces: list[str] = []
        position, hidden = 0, max(0, self._hidden - keep)
        for start, end in spans:
            if start >= keep:
                break
            pieces.append(text[position:start])
            if start > 0 or not self._hidden:
                pieces.append(REPLACEMENT)
            position = min(end, keep)
            hidden = max(hidden, end - keep)
        pieces.append(text[position:keep])
        self._held, self._hidden = text[keep:], hidden
        self._before = (self._before + text[:keep])[-1:]
        return "".join(pieces)
