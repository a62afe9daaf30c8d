"""Registered values are found in text in all their forms and replaced, in time that hardly depends on how many there are."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from .search import Form, State, has_ellipsis, has_token, matches, merge, shortened, state_of, tier_of, unfinished

if TYPE_CHECKING:
    from collections.abc import Callable

REPLACEMENT = "[REDACTED]"

KEPT_PER_NAME = 16
"""How many values of one name stay registered: after a rotation the old value may still be under way."""

KEPT_UNNAMED = 4096
"""How many values without a name stay registered, the newest."""

KEPT_WEAK = 1024
"""How many names of weak secrets are remembered, so that each is told once."""

COMPACT_AFTER = 16
"""Searches, times the number of values, after which several automata are made into one: then it has paid off."""


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
        self._state = State(0)
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
    def shortest(self) -> int:
        """Characters of the shortest form, 0 where nothing is registered."""
        return self._current().shortest

    @property
    def longest(self) -> int:
        """Characters of the longest form, 0 where nothing is registered."""
        return self._current().longest

    @property
    def has_tokens(self) -> bool:
        """True where something is registered that counts only as a whole word."""
        return bool(self._current().tokens)

    def redact(self, text: str) -> str:
        """`text` with every stretch that belongs to a registered value, in whatever form, replaced by ``[REDACTED]``."""
        state = self._state
        if state.version != self._version:
            state = self._refresh(state)
        for automaton in state.automata:
            for _ in automaton.iter(text):
                return _replaced(state, text)
        if state.tokens and has_token(state, text):
            return _replaced(state, text)
        if has_ellipsis(text) and any(shortened(state, text)):
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
        return merge((*matches(state, text, start), *shortened(state, text)))

    def unfinished(self, text: str) -> int:
        """Where in `text` the earliest form begins that its end cuts off; its length where none does. One just finished may count."""
        return unfinished(self._current(), text)

    @property
    def first_lines(self) -> tuple[str, ...]:
        """With what a line ends in which a form of several lines begins."""
        return self._current().first_lines

    def _current(self) -> State:
        state = self._state
        return state if state.version == self._version else self._refresh(state)

    def _refresh(self, state: State) -> State:
        """Take in what was registered since `state`.

        New values get an automaton of their own, joined with those of similar size, so that registering n values one by
        one, with searches in between, costs about n log n. Automata that are mostly of dropped values are made anew.
        """
        version = self._version  # before the values: a registration that comes between is taken in twice, never missed
        live = self._forms.copy()
        joined = live.keys() - frozenset().union(*(tier.values for tier in state.tiers))
        kept = []
        for tier in sorted(state.tiers, key=lambda tier: len(tier.values)):
            alive = tier.values.intersection(live)
            if len(alive) <= 2 * len(joined) or 2 * len(alive) < len(tier.values):
                joined |= alive
            else:
                kept.append(tier)
        new = state_of(version, [*kept, tier_of(joined, live)])
        self._state = new
        return new

    def _compact(self, state: State) -> None:
        self._searches = 0
        live = self._forms.copy()
        values = frozenset().union(*(tier.values for tier in state.tiers)).intersection(live)
        self._state = state_of(state.version, [tier_of(values, live)])


def _replaced(state: State, text: str) -> str:
    pieces: list[str] = []
    position = 0
    for start, end in merge((*matches(state, text), *shortened(state, text))):
        pieces += (text[position:start], REPLACEMENT)
        position = end
    return "".join([*pieces, text[position:]])


redactor = Redactor()
"""The one that the process shares: logs, error texts and the output of child processes pass through it."""

register = redactor.register
redact = redactor.redact
