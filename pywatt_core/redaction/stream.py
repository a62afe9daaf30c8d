"""Redaction of text that arrives in pieces: what may be the beginning of a secret waits for what comes next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .redactor import REPLACEMENT
from .search import TOKEN_BELOW, merge

if TYPE_CHECKING:
    from .redactor import Redactor

SPARE = 256
"""Characters that may wait beyond twice the longest form, where secrets overlap each other without an end."""

BEGUN_FROM = 8
"""A secret that has begun and is never finished is hidden too, from this many characters on."""


AT_ONCE = 3
"""Characters with which a secret may begin that need not wait where somebody wants to see them."""


class RedactedStream:
    """Hides secrets in a stream however it is cut: ``feed`` passes on what is clear already, ``rest`` what is left at the end.

    Where somebody has to see what waits although more may come, ``settle`` passes it on. What waits is never longer than about
    twice the longest form of any secret. For one thread at a time.
    """

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._held = ""
        self._hidden = 0  # so many characters of what waits belong to a secret whose replacement was passed on
        self._shown = 0  # so many of them were passed on by `settle`, as they are or replaced
        self._before = ""

    @property
    def waiting(self) -> bool:
        """True where something waits for what comes next."""
        return len(self._held) > self._shown

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

    def settle(self, *, soon: bool = False) -> str:
        """What waits, though more may come. If that completes a secret, what of it was not passed on yet is hidden.

        A secret of which at least 8 characters have come is hidden. Where more may come `soon`, only complete secrets are, and
        what may be the beginning of one goes on waiting; except for up to 3 ASCII characters, and at most a quarter of any
        secret: most texts end so by chance.
        """
        text = self._held
        if not self.waiting:
            return ""
        spans, begun = (self._spans(text), self._redactor.unfinished(text)) if soon else self._ended(text)
        last, end = spans[-1] if spans else (0, 0)
        keep = min(begun, last) if end == len(text) else begun
        complete = keep == last and end == len(text) and end - last >= TOKEN_BELOW  # a word may go on
        few = len(text) - keep <= min(AT_ONCE, self._redactor.shortest // 4) and text[keep:].isascii()
        return self._pass_on(text, spans, keep, 0 if soon and not complete and not few else len(text))

    def rest(self) -> str:
        """What waits, when nothing more will come; a secret of which at least 8 characters have come is hidden."""
        text = self._held
        return self._pass_on(text, self._ended(text)[0], len(text)) if text else ""

    def _ended(self, text: str) -> tuple[list[tuple[int, int]], int]:
        """What of `text` is hidden if it ends here, and where a secret begins that may go on."""
        spans, begun = self._spans(text), self._redactor.unfinished(text)
        return merge([*spans, (begun, len(text))]) if len(text) - begun >= BEGUN_FROM else spans, begun

    def _spans(self, text: str) -> list[tuple[int, int]]:
        before = len(self._before)
        found = [(max(0, start - before), end - before) for start, end in self._redactor.spans(self._before + text, before) if end > before]
        return merge([(0, self._hidden), *found]) if self._hidden else found

    def _pass_on(self, text: str, spans: list[tuple[int, int]], keep: int, until: int = 0) -> str:
        """What of `text` was not passed on yet, up to `keep`, or up to `until`, though it waits from `keep` on."""
        until = max(keep, until)
        pieces: list[str] = []
        position, hidden = min(self._shown, until), max(0, self._hidden - keep)
        for start, end in spans:
            if start >= until:
                break
            pieces.append(text[position:start])
            if end > self._shown and (start > 0 or not self._hidden):
                pieces.append(REPLACEMENT)
            position = max(position, min(end, until))
            if start <= keep:
                hidden = max(hidden, end - keep)
        pieces.append(text[position:until])
        self._held, self._hidden, self._shown = text[keep:], hidden, max(0, max(self._shown, until) - keep)
        self._before = (self._before + text[:keep])[-1:]
        return "".join(pieces)
