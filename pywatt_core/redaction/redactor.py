"""Registered values are found in text in all their forms and replaced, in time that hardly depends on how many there are."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

REPLACEMENT = "[REDACTED]"

TOKEN_BELOW = 4
"""Forms with fewer characters are hidden only where they stand alone, as a whole word."""

KEPT_PER_NAME = 16
"""How many values of one name stay registered: after a rotation the old value may still be under way."""

KEPT_UNNAMED = 4096
"""How many values without a name stay registered, the newest."""

CUT_FROM = 8
"""A form of which so many characters stand before an ellipsis is a secret that somebody has shortened."""

CUT_WITHIN = 1024
"""Characters before an ellipsis in which the beginning of such a form is looked for."""

KEPT_WEAK = 1024
"""How many names of weak secrets are remembered, so that each is told once."""

KEY_LENGTH = 32
"""The automaton holds this much of a form; the rest is compared where that matches. It bounds memory for long keys."""

COMPACT_AFTER = 16
"""Searches, times the number of values, after which several automata are made into one: then it has paid off."""

_DIGITS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_")


class Form(NamedTuple):
    """Text to look for. `before` and `after` say whether the neighbouring base64 digit carries bits of the secret too."""

    text: str
    before: bool = False
    after: bool = False


class _Tier(NamedTuple):
    """Some values and the automaton that finds their forms; it is None where all of these are tokens."""

    values: frozenset[str | bytes]
    automaton: Any


class _State(NamedTuple):
    """Everything that a search needs; never changed, only replaced as a whole, so that no lock is needed."""

    version: int
    tiers: tuple[_Tier, ...] = ()
    automata: tuple[Any, ...] = ()
    tokens: re.Pattern[str] | None = None
    words: tuple[str, ...] = ()
    """The tokens themselves."""
    longest: int = 0
    first_lines: tuple[str, ...] = ()
    """Of each form that holds a line end what stands before the first."""


class Redactor:
    """Hides registered values, and their encoded and escaped forms, in text.

    Safe for any number of threads: registering changes dictionaries in single atomic steps and then the version, searching
    reads one immutable state of that version. A value is found by every search that begins after `register` returned.
    """

    def __init__(self) -> None:
        self._names: dict[str, dict[str | bytes, None]] = {}
        self._forms: dict[str | bytes, tuple[Form, ...]] = {}
        self._versions = itertools.count(1)
        self._version = 0
        self._state = _State(0)
        self._searches = 0
        self._weak: dict[str, str] = {}
        self._tell: Callable[[str, str], object] | None = None

    def register(self, value: str | bytes, *, name: str = "") -> None:
        """Hide `value` from now on.

        Empty and blank values and words like ``true`` are ignored; fewer than 4 characters count only as a whole word. With
        a `name`, the 16 newest values of that name stay registered; without one, the 4096 newest of all such values: a
        secret that lives long should have a name. Raises TypeError for anything but text and bytes.
        """
        if not isinstance(value, (str, bytes)):
            raise TypeError(f"only text and bytes can be registered for redaction, not {type(value).__name__}")
        forms = self._forms.get(value)
        if forms is None:
            from .forms import forms_of, weakness  # at the first secret: a process without secrets does not pay for it

            forms = forms_of(value)
            weak = weakness(value, forms)
            if weak and name not in self._weak and len(self._weak) < KEPT_WEAK:
                self._weak[name] = "" if self._tell else weak
                if self._tell:
                    self._tell(name, weak)
            if not forms:
                return
        ring = self._names.setdefault(name, {})
        ring.pop(value, None)
        ring[value] = None
        self._forms[value] = forms
        kept = KEPT_PER_NAME if name else KEPT_UNNAMED
        if len(ring) > kept:
            self._drop(list(ring)[:-kept], ring)
        state = self._state
        if state.version != self._version or not any(value in tier.values for tier in state.tiers):
            self._version = next(self._versions)

    def on_weak(self, tell: Callable[[str, str], object]) -> None:
        """Call `tell` with the name of each secret that cannot be hidden everywhere, and why.

        Once for each name, whoever is called then; what nobody was told so far is told at once.
        """
        self._tell = tell
        for name, why in list(self._weak.items()):
            if why:
                self._weak[name] = ""
                tell(name, why)

    def _drop(self, values: list[str | bytes], ring: dict[str | bytes, None]) -> None:
        for value in values:
            ring.pop(value, None)
            if self._has_name(value):
                continue
            forms = self._forms.pop(value, None)
            if forms is not None and self._has_name(value):  # another thread registered it meanwhile
                self._forms[value] = forms

    def _has_name(self, value: str | bytes) -> bool:
        return any(value in ring for ring in list(self._names.values()))

    def values(self) -> list[tuple[str, str | bytes]]:
        """(name, value) of everything that is registered: for tests that look for leaks, and never for a message."""
        return [(name, value) for name, ring in list(self._names.items()) for value in list(ring)]

    @property
    def idle(self) -> bool:
        """True where nothing is registered."""
        return not self._forms

    @property
    def longest(self) -> int:
        """Characters of the longest form, 0 where nothing is registered."""
        return self._current().longest

    @property
    def has_tokens(self) -> bool:
        """True where something is registered that counts only as a whole word."""
        return self._current().tokens is not None

    def redact(self, text: str) -> str:
        """`text` with every stretch that belongs to a registered value, in whatever form, replaced by ``[REDACTED]``."""
        state = self._state
        if state.version != self._version:
            state = self._refresh(state)
        for automaton in state.automata:
            for _ in automaton.iter(text):
                return _replaced(state, text)
        if state.tokens is not None and state.tokens.search(text):
            return _replaced(state, text)
        if ("..." in text or "'+" in text or "…" in text or "â\x80¦" in text) and any(_cut(state, text)):
            return _replaced(state, text)
        if len(state.automata) > 1:
            self._searches += 1
            if self._searches > COMPACT_AFTER * len(self._forms):
                self._compact(state)
        return text

    def redact_bytes(self, data: bytes) -> bytes:
        """The same for bytes in any encoding that ASCII is a part of; what is not redacted stays as it is, byte by byte."""
        return self.redact(data.decode("latin-1")).encode("latin-1")

    def spans(self, text: str, start: int = 0) -> list[tuple[int, int]]:
        """Where `redact` replaces: the union of all matches as half-open, ascending, disjoint stretches.

        What stands before `start` only says whether a short value stands alone, and is not searched for short values itself.
        """
        state = self._current()
        return merge((*_matches(state, text, start), *_cut(state, text)))

    def unfinished(self, text: str) -> int:
        """Where in `text` the earliest form begins that its end cuts off; its length where none does. One just finished may count."""
        return _unfinished(self._current(), text)

    @property
    def first_lines(self) -> tuple[str, ...]:
        """With what a line ends in which a form of several lines begins."""
        return self._current().first_lines

    def _current(self) -> _State:
        state = self._state
        return state if state.version == self._version else self._refresh(state)

    def _refresh(self, state: _State) -> _State:
        """Take in what was registered since `state`.

        New values get an automaton of their own, joined with those of similar size, so that registering n values one by
        one, with searches in between, costs about n log n. Automata that are mostly of dropped values are made anew.
        """
        version = self._version  # before the values: a registration that comes between is taken in twice, never missed
        live = self._forms.copy()
        known = [tier.values for tier in state.tiers]
        joined = [value for value in live if not any(value in values for values in known)]
        kept = []
        for tier in sorted(state.tiers, key=lambda tier: len(tier.values)):
            alive = [value for value in tier.values if value in live]
            if len(alive) <= 2 * len(joined) or 2 * len(alive) < len(tier.values):
                joined += alive
            else:
                kept.append(tier)
        new = _state(version, live, [*kept, _tier(joined, live)])
        self._state = new
        return new

    def _compact(self, state: _State) -> None:
        self._searches = 0
        live = self._forms.copy()
        values = [value for value in live if any(value in tier.values for tier in state.tiers)]
        self._state = _state(state.version, live, [_tier(values, live)])


def _state(version: int, live: dict[str | bytes, tuple[Form, ...]], tiers: list[_Tier]) -> _State:
    texts = [form.text for forms in live.values() for form in forms]
    tokens = {text for text in texts if len(text) < TOKEN_BELOW}
    pattern = None
    if tokens:
        words = "|".join(map(_alone, sorted(tokens, key=len, reverse=True)))
        pattern = re.compile(f"(?=({words}))")
    automata = tuple(tier.automaton for tier in tiers if tier.automaton is not None)
    first_lines = tuple({text.partition("\n")[0] for text in texts if "\n" in text})
    return _State(version, tuple(tiers), automata, pattern, tuple(sorted(tokens)), max(map(len, texts), default=0), first_lines)


def _alone(token: str) -> str:
    """A pattern for a token that no letter, digit or underscore continues; an edge that is none of these needs no neighbour."""
    before = r"(?<!\w)" if re.match(r"\w", token) else ""
    after = r"(?!\w)" if re.search(r"\w\Z", token) else ""
    return f"{before}{re.escape(token)}{after}"


def _tier(values: list[str | bytes], live: dict[str | bytes, tuple[Form, ...]]) -> _Tier:
    keys: dict[str, dict[Form, None]] = {}
    for value in values:
        for form in live[value]:
            if len(form.text) >= TOKEN_BELOW:
                keys.setdefault(form.text[:KEY_LENGTH], {})[form] = None
    if not keys:
        return _Tier(frozenset(values), None)
    import ahocorasick  # type: ignore[import-not-found]

    automaton = ahocorasick.Automaton()
    for key, forms in keys.items():
        automaton.add_word(key, tuple(forms))
    automaton.make_automaton()
    return _Tier(frozenset(values), automaton)


def _replaced(state: _State, text: str) -> str:
    pieces: list[str] = []
    position = 0
    for start, end in merge((*_matches(state, text), *_cut(state, text))):
        pieces += (text[position:start], REPLACEMENT)
        position = end
    return "".join([*pieces, text[position:]])


def _matches(state: _State, text: str, context: int = 0) -> Iterator[tuple[int, int]]:
    for automaton in state.automata:
        for last, forms in automaton.iter(text):
            start = last + 1 - min(len(forms[0].text), KEY_LENGTH)
            for form in forms:
                end = start + len(form.text)
                if end == last + 1 or text.startswith(form.text, start):
                    before = form.before and start > 0 and text[start - 1] in _DIGITS
                    after = form.after and end < len(text) and text[end] in _DIGITS
                    yield start - before, end + after
    if state.tokens is not None:
        for found in state.tokens.finditer(text, context):
            yield found.span(1)


def _begun(state: _State, text: str) -> tuple[int, tuple[Form, ...]]:
    """Where the earliest form begins that the end of `text` cuts off, and those that it may be."""
    end = first = len(text)
    found: tuple[Form, ...] = ()
    for automaton in state.automata:
        for last, forms in automaton.iter(text):
            start = last + 1 - min(len(forms[0].text), KEY_LENGTH)
            longer = tuple(form for form in forms if len(form.text) > end - start and form.text.startswith(text[start:]))
            if start < first and longer:
                first, found = start, longer
        for start in range(max(0, end - KEY_LENGTH + 1), first):
            if automaton.match(text[start:]):
                first, found = start, tuple(form for forms in automaton.values(text[start:]) for form in forms)
                break
    return first, found


_ELLIPSIS = r"\.{3,}|'\+\d+|…|â\x80¦"
"""How a text that was shortened says so, the last where UTF-8 was read as Latin-1."""


def _cut(state: _State, text: str) -> Iterator[tuple[int, int]]:
    """Forms that were shortened: their beginning before an ellipsis, and their end where it stands after it."""
    if not ("..." in text or "'+" in text or "…" in text or "â\x80¦" in text):
        return
    for found in re.finditer(_ELLIPSIS, text):
        offset = max(0, found.start() - CUT_WITHIN)
        head = text[offset : found.start()]
        start, forms = _begun(state, head)
        if len(re.sub(r"\A[A-Za-z][A-Za-z0-9+.\-]*://", "", head[start:])) >= CUT_FROM:
            rest = text[found.end() : found.end() + CUT_WITHIN]
            tail = max((_shared(form.text, rest) for form in forms), default=0)
            yield offset + start, found.start()
            if tail >= TOKEN_BELOW:
                yield found.end(), found.end() + tail


def _shared(form: str, rest: str) -> int:
    """How many characters at the end of `form` are those with which `rest` begins."""
    return next((size for size in range(min(len(form), len(rest)), 0, -1) if form.endswith(rest[:size])), 0)


def _unfinished(state: _State, text: str) -> int:
    end = len(text)
    if text.endswith("\n") and not state.first_lines:
        return end
    first, _ = _begun(state, text)
    for start in range(max(0, end - TOKEN_BELOW + 1), first):
        if any(word.startswith(text[start:]) for word in state.words):
            return start
    return first


def merge(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
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
