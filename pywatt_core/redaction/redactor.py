"""Registered values are found in text in all their forms and replaced, in time that does not depend on how many there are."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

REPLACEMENT = "[REDACTED]"

TOKEN_BELOW = 4
"""Values with fewer characters are hidden only where they stand alone, as a whole word."""

KEPT_PER_NAME = 16
"""How many values of one name stay registered: after a rotation the old value may still be under way."""

KEPT_UNNAMED = 4096
"""How many values without a name stay registered, the newest."""

KEY_LENGTH = 48
"""The automaton holds this much of a form; the rest is compared where that matches. It bounds memory for long keys."""

COMPACT_AFTER = 256
"""Searches through several automata after which they are made into one."""

_DIGITS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_")


class Form(NamedTuple):
    """Text to look for. `before` and `after` say whether the neighbouring base64 digit carries bits of the secret too."""

    text: str
    before: bool = False
    after: bool = False


class _Tier(NamedTuple):
    """Some values and the automaton that finds their forms; it is None where all of them are tokens."""

    values: frozenset[str | bytes]
    automaton: Any


class _State(NamedTuple):
    """Everything that a search needs; never changed, only replaced, so that no lock is needed."""

    version: int
    tiers: tuple[_Tier, ...]
    tokens: re.Pattern[str] | None
    longest: int


class Redactor:
    """Hides registered values, and their encoded and escaped forms, in text.

    Safe for use by any number of threads: registering changes dictionaries by single atomic steps, searching reads an
    immutable state that is replaced as a whole. A value is found by every search that begins after `register` returned.
    """

    def __init__(self) -> None:
        self._names: dict[str, dict[str | bytes, None]] = {}
        self._forms: dict[str | bytes, tuple[Form, ...]] = {}
        self._versions = itertools.count(1)
        self._version = 0
        self._state = _State(0, (), None, 0)
        self._searches = 0

    def register(self, value: str | bytes, *, name: str = "") -> None:
        """Hide `value` from now on. Empty and blank values are ignored; fewer than 4 characters count only as a whole word.

        With a `name`, the 16 newest values of that name stay registered; without one, the 4096 newest of all such values:
        a secret that lives long should have a name.
        """
        if not isinstance(value, (str, bytes)):
            raise TypeError(f"only text and bytes can be registered for redaction, not {type(value).__name__}")
        ring = self._names.setdefault(name, {})
        known = value in self._forms
        ring.pop(value, None)
        ring[value] = None
        if not known:
            from .forms import forms_of  # at the first secret: a process without secrets does not pay for it

            forms = forms_of(value)
            if not forms:
                ring.pop(value, None)
                return
            self._forms[value] = forms
        kept = KEPT_PER_NAME if name else KEPT_UNNAMED
        if len(ring) > kept:
            self._drop(list(ring)[:-kept], ring)
        if not known:
            self._version = next(self._versions)

    def _drop(self, values: list[str | bytes], ring: dict[str | bytes, None]) -> None:
        for value in values:
            ring.pop(value, None)
            if self._named(value):
                continue
            forms = self._forms.pop(value, None)
            if forms is not None and self._named(value):  # another thread registered it meanwhile
                self._forms[value] = forms

    def _named(self, value: str | bytes) -> bool:
        return any(value in ring for ring in list(self._names.values()))

    @property
    def longest(self) -> int:
        """Characters of the longest form, 0 where nothing is registered."""
        return self._current().longest

    @property
    def has_tokens(self) -> bool:
        """True where values are registered that count only as a whole word."""
        return self._current().tokens is not None

    def redact(self, text: str) -> str:
        """`text` with every stretch that belongs to a registered value, in whatever form, replaced by ``[REDACTED]``."""
        state = self._state if self._state.version == self._version else self._refresh()
        for tier in state.tiers:
            for _ in tier.automaton.iter(text):
                return self._replace(state, text)
        if state.tokens is not None and state.tokens.search(text):
            return self._replace(state, text)
        if len(state.tiers) > 1:
            self._searches += 1
            if self._searches > COMPACT_AFTER:
                self._compact(state)
        return text

    def redact_bytes(self, data: bytes) -> bytes:
        """The same for bytes of any encoding that ASCII is a part of; what is not redacted stays as it is, byte by byte."""
        return self.redact(data.decode("latin-1")).encode("latin-1")

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Where `redact` replaces: the union of all matches as half-open, ascending, disjoint stretches."""
        return merge(_matches(self._current(), text))

    def begins(self, text: str) -> bool:
        """True where `text` is the beginning of a form, but not all of it."""
        key = text[:KEY_LENGTH]
        for tier in self._current().tiers:
            if not tier.automaton.match(key):
                continue
            if len(text) < KEY_LENGTH:
                return True
            forms = tier.automaton.get(key, ())
            if any(len(form.text) > len(text) and form.text.startswith(text) for form in forms):
                return True
        return False

    def _replace(self, state: _State, text: str) -> str:
        pieces = []
        position = 0
        for start, end in merge(_matches(state, text)):
            pieces.append(text[position:start])
            pieces.append(REPLACEMENT)
            position = end
        pieces.append(text[position:])
        return "".join(pieces)

    def _current(self) -> _State:
        return self._state if self._state.version == self._version else self._refresh()

    def _refresh(self) -> _State:
        """Take in what was registered since. New values get an automaton of their own, joined with those of similar size,
        so that registering n values one by one costs about n log n."""
        version = self._version
        live = self._snapshot()
        tiers = self._state.tiers
        fresh = [value for value in live if not any(value in tier.values for tier in tiers)]
        kept = []
        for tier in tiers:
            alive = [value for value in tier.values if value in live]
            if len(alive) <= 2 * len(fresh) or 2 * len(alive) < len(tier.values):
                fresh += alive
            else:
                kept.append(tier)
        state = self._make(version, live, [*kept, _tier(fresh, live)])
        self._state = state
        return state

    def _compact(self, state: _State) -> None:
        self._searches = 0
        live = self._snapshot()
        version = state.version
        self._state = self._make(version, live, [_tier([value for value in live if any(value in t.values for t in state.tiers)], live)])

    def _snapshot(self) -> dict[str | bytes, tuple[Form, ...]]:
        return self._forms.copy()

    def _make(self, version: int, live: dict[str | bytes, tuple[Form, ...]], tiers: list[_Tier]) -> _State:
        tokens = [
            form.text for forms in live.values() for form in forms if len(form.text) < TOKEN_BELOW or len(forms[0].text) < TOKEN_BELOW
        ]
        pattern = None
        if tokens:
            words = "|".join(map(re.escape, sorted(set(tokens), key=len, reverse=True)))
            pattern = re.compile(rf"(?<!\w)(?=({words})(?!\w))")
        longest = max((len(form.text) for forms in live.values() for form in forms), default=0)
        return _State(version, tuple(tier for tier in tiers if tier.automaton is not None), pattern, longest)


def _tier(values: list[str | bytes], live: dict[str | bytes, tuple[Form, ...]]) -> _Tier:
    import ahocorasick  # type: ignore[import-not-found]

    keys: dict[str, dict[Form, None]] = {}
    for value in values:
        for form in live[value]:
            if len(form.text) >= TOKEN_BELOW:
                keys.setdefault(form.text[:KEY_LENGTH], {})[form] = None
    if not keys:
        return _Tier(frozenset(values), None)
    automaton = ahocorasick.Automaton()
    for key, forms in keys.items():
        automaton.add_word(key, tuple(forms))
    automaton.make_automaton()
    return _Tier(frozenset(values), automaton)


def _matches(state: _State, text: str) -> Iterator[tuple[int, int]]:
    for tier in state.tiers:
        for last, forms in tier.automaton.iter(text):
            start = last + 1 - min(len(forms[0].text), KEY_LENGTH)
            for form in forms:
                end = start + len(form.text)
                if end == last + 1 or text.startswith(form.text, start):
                    before = form.before and start > 0 and text[start - 1] in _DIGITS
                    after = form.after and end < len(text) and text[end] in _DIGITS
                    yield start - before, end + after
    if state.tokens is not None:
        for found in state.tokens.finditer(text):
            yield found.span(1)


def merge(spans: Iterator[tuple[int, int]]) -> list[tuple[int, int]]:
    """The union of half-open stretches; those that merely touch stay apart."""
    union: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if union and start < union[-1][1]:
            if end > union[-1][1]:
                union[-1] = (union[-1][0], end)
        else:
            union.append((start, end))
    return union


redactor = Redactor()
"""The one that the process shares: logs, error texts and the output of child processes pass through it."""

register = redactor.register
redact = redactor.redact
