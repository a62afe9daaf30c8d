"""Which paths an announced endpoint stands for, seen from the safe side: at least all that a framework may serve under it.

A router decides by its own rules which of its views answers a path. A guard in front of it knows none of them: whatever
some router may take for the endpoint's path counts as that path. So a path is looked at in several readings, and one that
fits is enough. What is asked for beyond that is a token too many, never one too few.

Pure: the gateway of the orchestrator asks the same questions.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote, unquote

PARAMETER: Final = re.compile(r"\{(?:[^{}]|\{[^{}]*\})*\}|<[^<>]*>|(?<=/):\w+(?=/|$)|(?<=/)\*\w*(?=/|$)")
"""A part of an announced path that stands for others: ``{name}``, ``{*rest}``, ``{rest:path}``, ``<int:name>``, ``:name``, ``*rest``."""

REMAINDER: Final = re.compile(r"\{\*.*\}|\{.*:\s*path\s*\}|<\s*path\s*(?:\(.*\))?:.*>|\*\w*", re.DOTALL)
"""Those that stand for any number of segments, none included."""

ORDINARY: Final = re.compile(r"/|(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~!$&'()*+,;=:@-]+)+/?", re.ASCII)
"""A path that every router reads in the same way: nothing empty, nothing escaped, no dots that lead anywhere."""

IGNORED: Final = re.compile(r"[\x00-\x1f\x7f]")
"""Characters without a meaning in a path. Some routers take ``/a`` and a line feed for ``/a``."""

HARMLESS: Final = re.compile(r"[^\x00-\x7f]| ")
"""Characters that have to be escaped in a path and mean nothing else than themselves."""

SLASHES: Final = re.compile(r"/{2,}")

ANYTHING: Final = "\0"
"""Stands where a parameter was."""

ENDING: Final = "\2"
"""Marks what a path has to end with."""

ROUNDS: Final = 3
"""How often an escaped escape is undone. The path of a request has been decoded once before, which is what routers do."""

FILLED: Final = "\1"
"""A value that only a parameter takes."""


def readings(path: str, raw: str | None = None) -> tuple[str, ...]:
    """Everything that a router may take `path` for. `path` is percent-decoded, as frameworks see it, `raw` is as it came."""
    if ORDINARY.fullmatch(path) and (raw is None or raw == path):
        return _with_and_without_slash(path.lower())
    decoded = path
    for _ in range(ROUNDS):
        decoded = unquote(decoded)
    loose = "/" + _folded(decoded).replace("\\", "/")
    merged = SLASHES.sub("/", loose)
    found = (_folded(path), _folded(raw or path), loose, merged, _without_dots(merged))
    return tuple(dict.fromkeys(text for reading in found for text in _with_and_without_slash(reading)))


def is_itself(path: str, raw: str | None = None) -> bool:
    """Whether no router can take `path` for another one: it is ordinary, and `raw` is the one way to write it."""
    if not ORDINARY.fullmatch(HARMLESS.sub("-", path)):
        return False
    return raw is None or raw == path or raw == quote(path, safe="/~!$&'()*+,;=:@")


class GuardedPath:
    """The path of an endpoint, as announced. Understood are the parameters of all the frameworks, and those of Rust modules."""

    __slots__ = ("_exact", "_sample", "_variants", "_whole", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        """As it was announced."""
        written = "/" + IGNORED.sub("", path).lstrip("/")
        spelt = (written, SLASHES.sub("/", written), SLASHES.sub("/", _undone(written)))
        self._variants = tuple(dict.fromkeys(_chunks(spelling) for spelling in spelt))
        exact = _expression(written)
        self._exact = re.compile(exact, re.DOTALL)
        self._whole = re.compile(f"{exact[:-3]}(?:/.*)?" if exact.endswith("/.*") else exact, re.DOTALL)
        self._sample = PARAMETER.sub(lambda found: f"{FILLED}/{FILLED}" if REMAINDER.fullmatch(found.group()) else FILLED, written)

    def overlaps(self, other: GuardedPath) -> bool:
        """Whether something that is exactly one of the two may be the other."""
        return self.may_be(readings(other._sample)) or other.may_be(readings(self._sample)) or bool(self._exact.fullmatch(other._sample))

    def may_be(self, found: Iterable[str]) -> bool:
        """Whether one of the `readings` of a path may be this one. A parameter stands for anything, slashes and nothing included."""
        return any(_fits(chunks, text) for text in found for chunks in self._variants)

    def is_exactly(self, path: str) -> bool:
        """Whether `path` is this one beyond doubt: what is literal is the same, each parameter is one segment that is not empty."""
        return self._exact.fullmatch(path) is not None

    def includes(self, other: GuardedPath) -> bool:
        """Whether everything that is exactly `other` is this one too."""
        return self._whole.fullmatch(other._sample) is not None


class PathIndex:
    """Many announced paths: which of them a path may be is known without a look at each.

    What is asked of a path in order to be a certain one: whole segments, what it begins with, what it ends with. Each of the paths is
    found by the one of these that the fewest others ask for.
    """

    def __init__(self, paths: Iterable[GuardedPath]) -> None:
        self._paths = tuple(paths)
        asked = [(number, _asked(chunks)) for number, path in enumerate(self._paths) for chunks in path._variants]
        shared = Counter(clue for _, clues in asked for clue in clues)
        self._found_by: dict[str, set[int]] = {}
        for number, clues in asked:
            rarest = min(clues, key=lambda clue: (shared[clue], "/" in clue, clue), default="")
            self._found_by.setdefault(rarest, set()).add(number)
        self._anywhere = frozenset(self._found_by.pop("", ()))
        self._heads = sorted({len(clue) for clue in self._found_by if clue[0] == "/"})
        self._tails = sorted({len(clue) - 1 for clue in self._found_by if clue[0] == ENDING})

    def may_be(self, found: Iterable[str]) -> list[int]:
        """The places of those that one of the `readings` of a path may be, in their order."""
        numbers: set[int] = set(self._anywhere)
        by, nobody = self._found_by, frozenset[int]()
        for text in found:
            for clue in by.keys() & text.split("/"):
                numbers |= by[clue]
            for length in self._heads:
                numbers |= by.get(text[:length], nobody)
            for length in self._tails:
                numbers |= by.get(ENDING + text[-length:], nobody)
        return [number for number in sorted(numbers) if self._paths[number].may_be(found)]


def _with_and_without_slash(text: str) -> tuple[str, ...]:
    bare = text.rstrip("/") or "/"
    return (text,) if text == bare else (text, bare)


def _folded(text: str) -> str:
    return IGNORED.sub("", text).casefold()


def _undone(template: str) -> str:
    for _ in range(ROUNDS + 1):
        template = unquote(template)
    return template


def _without_dots(path: str) -> str:
    kept: list[str] = []
    for segment in path.split("/")[1:]:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    return "/" + "/".join(kept)


def _chunks(template: str) -> tuple[str, ...]:
    """What is literal before, between and after the parameters; of a literal path the one whole."""
    pieces = PARAMETER.split(IGNORED.sub("", template))
    last = PARAMETER.findall(template)[-1:] if not pieces[-1].strip("/") else []
    chunks = [piece.casefold() for piece in pieces]
    chunks[-1] = chunks[-1].rstrip("/")
    if len(chunks) == 1:
        return (chunks[0] or "/",)
    if last and REMAINDER.fullmatch(last[0]) and chunks[-2].endswith("/"):
        return (*chunks[:-2], chunks[-2][:-1], ANYTHING)
    return tuple(chunks)


def _asked(chunks: tuple[str, ...]) -> frozenset[str]:
    """What every text has that the chunks fit: segments, its beginning, and its end behind `ENDING`."""
    literal = chunks if chunks[-1] != ANYTHING else chunks[:-1]
    clues = {literal[0]}
    for chunk in literal[:-1]:
        clues.update(chunk.split("/")[1:-1])
    clues.update(literal[-1].split("/")[1:])  # whatever comes behind the last one, it is a slash
    if len(chunks) > 1 and chunks[-1] != ANYTHING:
        clues.add(ENDING + chunks[-1])
    return frozenset(clues - {"", ENDING})


def _fits(chunks: tuple[str, ...], text: str) -> bool:
    """Whether `text` is the chunks with anything between them; the first that fits always leaves the most for the others."""
    if len(chunks) == 1:
        return text == chunks[0]
    if chunks[-1] == ANYTHING:  # a remainder: nothing, or a slash and whatever follows
        if len(chunks) == 2 and text == chunks[0]:
            return True
        return _fits((*chunks[:-2], chunks[-2] + "/", ""), text) or (len(chunks) > 2 and _fits(chunks[:-1], text))
    first, *between, last = chunks
    at, end = len(first), len(text) - len(last)
    if end < at or not text.startswith(first) or not text.endswith(last):
        return False
    for chunk in between:
        at = text.find(chunk, at, end)
        if at < 0:
            return False
        at += len(chunk)
    return True


def _expression(template: str) -> str:
    parts, at = "", 0
    for found in PARAMETER.finditer(template):
        remainder = REMAINDER.fullmatch(found.group()) is not None
        parts += re.escape(template[at : found.start()]) + (".*" if remainder else "[^/]+")
        at = found.end()
    return parts + re.escape(template[at:])
