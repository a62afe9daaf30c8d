"""Searching: what is looked for, made ready once for many searches, and how it is found in text."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence, Set

TOKEN_BELOW = 4
"""Forms with fewer characters are hidden only where they stand alone, as a whole word."""

CUT_FROM = 8
"""A form of which so many characters stand before an ellipsis is a secret that somebody has shortened."""

CUT_WITHIN = 1024
"""Characters before an ellipsis in which the beginning of such a form is looked for."""

KEY_LENGTH = 12
"""The automaton holds so much of a form; the rest is compared where that is found. Its memory grows with this length."""

KEY_SHARED = 16
"""Where more forms than this begin alike, their keys are longer by as much, so that few are compared with one place in a text."""

KEY_LONGEST = 8 * KEY_LENGTH
"""The longest that a key becomes that way."""

_DIGITS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_")


class Form(NamedTuple):
    """Text to look for. `before` and `after` say whether the neighbouring base64 digit carries bits of the secret too."""

    text: str
    before: bool = False
    after: bool = False


class Tier(NamedTuple):
    """Some values and what finds their forms."""

    values: frozenset[str | bytes]
    automaton: Any = None
    """Of each key it holds the key's length and the forms that begin so; None where all forms are short."""
    tokens: frozenset[str] = frozenset()
    """The forms that count only as whole words."""
    first_lines: frozenset[str] = frozenset()
    """Of each form that holds a line end what stands before the first."""
    shortest: int = 0
    longest: int = 0
    longest_key: int = 0


class State(NamedTuple):
    """Everything that a search needs; never changed, only replaced as a whole, so that no lock is needed."""

    version: int
    tiers: tuple[Tier, ...] = ()
    automata: tuple[Any, ...] = ()
    tokens: frozenset[str] = frozenset()
    words: re.Pattern[str] | None = None
    """Where there are tokens: what may be one, by its length and neighbours."""
    odd_tokens: re.Pattern[str] | None = None
    """The tokens that are not all letters, digits and underscores."""
    first_lines: tuple[str, ...] = ()
    shortest: int = 0
    longest: int = 0
    longest_key: int = 0


def tier_of(values: Set[str | bytes], live: Mapping[str | bytes, Sequence[Form]]) -> Tier:
    """An automaton for the forms of `values`, which are in `live`."""
    forms = dict.fromkeys(form for value in values for form in live[value])
    keys = dict(_keys([form for form in forms if len(form.text) >= TOKEN_BELOW]))
    automaton = None
    if keys:
        import ahocorasick  # type: ignore[import-not-found]

        automaton = ahocorasick.Automaton()
        for key, alike in keys.items():
            automaton.add_word(key, (len(key), alike))
        automaton.make_automaton()
    return Tier(
        frozenset(values),
        automaton,
        frozenset(form.text for form in forms if len(form.text) < TOKEN_BELOW),
        frozenset(form.text.partition("\n")[0] for form in forms if "\n" in form.text),
        min((len(form.text) for form in forms), default=0),
        max((len(form.text) for form in forms), default=0),
        max(map(len, keys), default=0),
    )


def _keys(forms: list[Form]) -> Iterator[tuple[str, tuple[Form, ...]]]:
    """Each key, once, with the forms that begin with it: as long as is needed to tell apart what begins alike."""
    waiting = [(KEY_LENGTH, forms)]
    for length, group in waiting:
        keys: dict[str, list[Form]] = {}
        for form in group:
            keys.setdefault(form.text[:length], []).append(form)
        for key, alike in keys.items():
            if len(alike) > KEY_SHARED and len(key) == length < KEY_LONGEST:
                waiting.append((length + KEY_LENGTH, alike))
            else:
                yield key, tuple(alike)


def state_of(version: int, tiers: Sequence[Tier]) -> State:
    """All tiers as one."""
    tokens = frozenset[str]().union(*(tier.tokens for tier in tiers))
    odd = sorted((token for token in tokens if not re.fullmatch(r"\w+", token)), key=lambda token: (-len(token), token))
    return State(
        version,
        tuple(tiers),
        tuple(tier.automaton for tier in tiers if tier.automaton is not None),
        tokens,
        re.compile(rf"(?<!\w)\w{{1,{TOKEN_BELOW - 1}}}(?!\w)") if tokens else None,
        re.compile(f"(?=({'|'.join(map(_alone, odd))}))") if odd else None,
        tuple(frozenset[str]().union(*(tier.first_lines for tier in tiers))),
        min((tier.shortest for tier in tiers if tier.values), default=0),
        max((tier.longest for tier in tiers), default=0),
        max((tier.longest_key for tier in tiers), default=0),
    )


def _alone(token: str) -> str:
    """A pattern for a token that no letter, digit or underscore continues; an edge that is none of these needs no neighbour."""
    before = r"(?<!\w)" if re.match(r"\w", token) else ""
    after = r"(?!\w)" if re.search(r"\w\Z", token) else ""
    return f"{before}{re.escape(token)}{after}"


def matches(state: State, text: str, context: int = 0) -> Iterator[tuple[int, int]]:
    """Where a form stands, in no order; what is before `context` is not searched for tokens."""
    for automaton in state.automata:
        for last, (size, forms) in automaton.iter(text):
            start = last + 1 - size
            for form in forms:
                end = start + len(form.text)
                if end == last + 1 or text.startswith(form.text, start):
                    before = form.before and start > 0 and text[start - 1] in _DIGITS
                    after = form.after and end < len(text) and text[end] in _DIGITS
                    yield start - before, end + after
    if state.words is not None:
        yield from (found.span() for found in state.words.finditer(text, context) if found[0] in state.tokens)
    if state.odd_tokens is not None:
        yield from (found.span(1) for found in state.odd_tokens.finditer(text, context))


def has_token(state: State, text: str) -> bool:
    """Whether a token stands alone in `text`."""
    words = state.words is not None and not state.tokens.isdisjoint(state.words.findall(text))
    return words or (state.odd_tokens is not None and state.odd_tokens.search(text) is not None)


def begun(state: State, text: str) -> int:
    """Where the earliest form that is no token begins that the end of `text` cuts off; the length of `text` where none does."""
    end = first = len(text)
    offset = max(0, end - state.longest)
    for automaton in state.automata:
        for last, (size, forms) in automaton.iter(text, offset):
            start = last + 1 - size
            if start < first and any(len(form.text) > end - start and form.text.startswith(text[start:]) for form in forms):
                first = start
        first = next((start for start in range(max(offset, end - state.longest_key), first) if automaton.match(text[start:])), first)
    return first


def _beginning_with(state: State, text: str) -> Iterator[str]:
    """The forms that begin with `text` and are longer."""
    for automaton in state.automata:
        if automaton.match(text):
            groups = automaton.values(text)
        else:
            groups = (group for last, group in automaton.iter(text[: state.longest_key]) if group[0] == last + 1)
        for _, forms in groups:
            yield from (form.text for form in forms if len(form.text) > len(text) and form.text.startswith(text))


def unfinished(state: State, text: str) -> int:
    """Where the earliest form, or token, begins that the end of `text` cuts off; the length of `text` where none does."""
    end = len(text)
    if text.endswith("\n") and not state.first_lines:
        return end
    first = begun(state, text)
    for start in range(max(0, end - TOKEN_BELOW + 1), first):
        if any(token.startswith(text[start:]) for token in state.tokens):
            return start
    return first


_ELLIPSIS = r"\.{3,}|'\+\d+|…|â\x80¦"
"""How a text that was shortened says so, the last where UTF-8 was read as Latin-1."""


def has_ellipsis(text: str) -> bool:
    """Whether there may be one: quickly, because this is asked of every text."""
    return "..." in text or "'+" in text or (not text.isascii() and ("…" in text or "â\x80¦" in text))


def shortened(state: State, text: str) -> Iterator[tuple[int, int]]:
    """Forms that were shortened: their beginning before an ellipsis, and their end where it stands after it."""
    if not has_ellipsis(text):
        return
    for found in re.finditer(_ELLIPSIS, text):
        offset = max(0, found.start() - CUT_WITHIN)
        head = text[offset : found.start()]
        start = begun(state, head)
        if len(re.sub(r"\A[A-Za-z][A-Za-z0-9+.\-]*://", "", head[start:])) >= CUT_FROM:
            rest = text[found.end() : found.end() + CUT_WITHIN]
            tail = max((_shared(form, rest) for form in _beginning_with(state, head[start:])), default=0)
            yield offset + start, found.start()
            if tail >= TOKEN_BELOW:
                yield found.end(), found.end() + tail


def _shared(form: str, rest: str) -> int:
    """How many characters at the end of `form` are those with which `rest` begins."""
    return next((size for size in range(min(len(form), len(rest)), 0, -1) if form.endswith(rest[:size])), 0)


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
