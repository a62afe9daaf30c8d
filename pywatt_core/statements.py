"""A statement's text, read once: where its parameters stand, and what its driver wants to see there instead.

Parameters are written ``?`` or ``:name``, the same for every database; each driver has a way of its own. What stands inside
text, quoted names and comments is never a parameter, and each dialect quotes differently:

========== ============================================================ ==================================
dialect    beside ``'…'`` with ``''`` inside                            a driver sees
========== ============================================================ ==================================
sqlite     ``"…"``, backticks, ``[…]``                                  ``?`` and ``:name``, as written
postgresql ``"…"``, ``E'…\\'…'``, ``$tag$…$tag$``, comments that nest     ``$1``, one number for each name
mysql      ``"…"`` and backslashes in text, backticks, ``#`` comments   ``?``, one value for each place
========== ============================================================ ==================================

``::type`` and ``:=`` are no parameters, nor is in PostgreSQL's brackets a colon right behind a value (the slice ``a[i:j]``). Its
operators ``?|`` and ``?&`` are understood; its ``?`` is written ``??``, or as it is where parameters have names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from .errors import StorageError
from .protocol.values import with_article

if TYPE_CHECKING:
    from .interfaces import Params

Dialect: TypeAlias = Literal["sqlite", "postgresql", "mysql"]

REMEMBERED: Final = 4096
"""Characters: the reading of a longer statement is not remembered, so that generated texts do not fill the memory."""

SHOWN: Final = 200
"""Characters of a statement that an error shows."""

TRANSACTION_CONTROL: Final = frozenset({"BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT", "SAVEPOINT", "RELEASE"})

_TEXT = r"'[^']*(?:''[^']*)*(?:'|\Z)"
_NAME = r'"[^"]*(?:""[^"]*)*(?:"|\Z)'
_BACKTICKS = r"`[^`]*(?:``[^`]*)*(?:`|\Z)"
_ESCAPED = r"'[^'\\]*(?:(?:''|\\.|\\\Z)[^'\\]*)*(?:'|\Z)"
_ESCAPED_NAME = r'"[^"\\]*(?:(?:""|\\.|\\\Z)[^"\\]*)*(?:"|\Z)'
_WORD = r"(?P<word>[^\W\d][\w$]*)"
_NO_MARKER = r"::|:="
_NAMED = r":(?P<name>[^\W\d]\w*)"

_QUOTES: Final[dict[Dialect, str]] = {
    "sqlite": rf"{_TEXT}|{_NAME}|{_BACKTICKS}|\[[^\]]*(?:\]|\Z)|--[^\n]*|/\*.*?(?:\*/|\Z)",
    "postgresql": rf"(?<![\w$])[eE]{_ESCAPED}|{_TEXT}|{_NAME}|--[^\n]*|(?P<nesting>/\*)"
    r"|(?<![\w$])(?P<dollar>\$(?:[^\W\d]\w*)?\$).*?(?:(?P=dollar)|\Z)",
    "mysql": rf"{_ESCAPED}|{_ESCAPED_NAME}|{_BACKTICKS}|--(?:[\s\x00-\x1f][^\n]*|\Z)|\#[^\n]*|/\*.*?(?:\*/|\Z)",
}
_MARKERS: Final[dict[Dialect, str]] = {
    "sqlite": r"(?P<foreign>\?\d+|[@$\#][^\W\d]\w*)|(?P<marker>\?)",
    "postgresql": r"(?P<bracket>[\[\]])|(?P<escaped>\?\?)|(?P<operator>\?(?:\|(?!\|)|&))|(?P<foreign>\$\d+)|(?P<marker>\?)",
    "mysql": r"(?P<marker>\?)",
}
_TOKENS: Final = {
    dialect: re.compile(f"{_QUOTES[dialect]}|{_WORD}|{_NO_MARKER}|{_NAMED}|{_MARKERS[dialect]}", re.DOTALL) for dialect in _QUOTES
}
_ENDS_VALUE: Final = re.compile(r"[\w$'\")\]]").fullmatch
_ENDS_WORD: Final = re.compile(r"[\w$]").fullmatch
_COMMENT_ENDS: Final = re.compile(r"/\*|\*/")


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement as its driver takes it, and what its text says."""

    source: str
    """As it was written."""
    sql: str
    """As the driver wants it."""
    word: str
    """Its first word, in capitals."""
    positional: int
    """How many ``?`` it holds."""
    names: tuple[str, ...]
    """The name of each value that the driver takes, in its order; sqlite and postgresql take each name once."""

    def arrange(self, params: Params) -> Sequence[Any]:
        """The values in the order of the driver's markers. Raises `StorageError` where they do not fit them."""
        kind = type(params)
        if kind is tuple or kind is list:  # nearly always, and asking an abstract class takes longer than everything else here
            if not self.names and len(params) == self.positional:
                return params  # type: ignore[return-value]
        elif isinstance(params, Mapping):
            if self.positional:
                raise self._mismatch("the statement marks its parameters with ?: pass a tuple or list")
            missing = sorted({name for name in self.names if name not in params})
            if missing:
                raise self._mismatch(f"no value was given for {', '.join(missing)}")
            return [params[name] for name in self.names]
        if not isinstance(params, Sequence) or isinstance(params, str | bytes | bytearray | memoryview):
            raise self._mismatch(f"params is {with_article(type(params).__name__)}; pass a tuple or list for ?, a mapping for :name")
        if self.names:
            raise self._mismatch(f"the statement names its parameters ({', '.join(sorted(set(self.names)))}): pass a mapping")
        if len(params) != self.positional:
            raise self._mismatch(f"the statement has {self.positional} parameters and {len(params)} values were given")
        return params

    def _mismatch(self, reason: str) -> StorageError:
        return StorageError(f"{reason} (statement: {shortened(self.source)})")


def shortened(sql: str) -> str:
    """A statement on one line, cut to 200 characters, for an error or a log."""
    text = " ".join(sql[: 4 * SHOWN].split())
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def read(sql: str, dialect: Dialect) -> Statement:
    """Read a statement's text. Raises `StorageError` for what is none, belongs elsewhere, or marks parameters in two ways."""
    try:
        return _remembered(sql, dialect) if len(sql) <= REMEMBERED else _read(sql, dialect)
    except TypeError:
        if isinstance(sql, str):
            raise
        raise StorageError(f"a statement is a str, not {type(sql).__name__}") from None


def _read(sql: str, dialect: Dialect) -> Statement:
    word, pieces, markers = _parts(sql, dialect)
    if word in TRANSACTION_CONTROL:
        raise StorageError(f"{word} cannot be run as a statement: use `async with database.transaction()`")
    named = [name for name in markers if name]
    if named and len(named) < len(markers):
        if dialect != "postgresql":
            raise StorageError(f"the statement mixes ? and :name: use one of them (statement: {shortened(sql)})")
    elif not named:
        return Statement(sql, _join(pieces, ["?"] * len(markers), _POSITIONAL[dialect]), word, len(markers), ())
    return Statement(
        sql, _join(pieces, markers, _NAMED_STYLE[dialect]), word, 0, tuple(named if dialect == "mysql" else dict.fromkeys(named))
    )


_remembered = lru_cache(maxsize=512)(_read)


def _parts(sql: str, dialect: Dialect) -> tuple[str, list[str], list[str]]:
    """The first word, the text between the parameters (one piece more than parameters), and their names, empty for ``?``."""
    word, pieces, markers = "", [""], []
    position, start, depth, search = 0, 0, 0, _TOKENS[dialect].search
    while (token := search(sql, position)) is not None:
        position = token.end()
        kind = token.lastgroup
        if kind == "word":
            word = word or token["word"].upper()
        elif kind == "nesting":
            position = _end_of_comment(sql, position)
        elif kind == "bracket":
            depth += 1 if token[0] == "[" else -1
        elif kind == "name" and depth > 0 and _ENDS_VALUE(sql[token.start() - 1]):
            position = token.start("name")
        elif kind in ("marker", "name"):
            pieces[-1] += sql[start : token.start()]
            pieces.append("")
            markers.append(token["name"] or "")
            start = position
        elif kind == "escaped":
            pieces[-1] += sql[start : position - 1]
            start = position
        elif kind == "foreign":
            raise StorageError(f"{token[0]} cannot mark a parameter here: use ? or :name (statement: {shortened(sql)})")
    pieces[-1] += sql[start:]
    return word, pieces, markers


def _end_of_comment(sql: str, position: int) -> int:
    depth = 1
    for found in _COMMENT_ENDS.finditer(sql, position):
        depth += 1 if found[0] == "/*" else -1
        if depth == 0:
            return found.end()
    return len(sql)


# ── what drivers see ────────────────────────────────────────────────────────────────────────────────────────────────

_Style: TypeAlias = Callable[[list[str], list[str]], tuple[list[str], list[str]]]
"""(pieces, markers) to (pieces, what stands between them)."""


def _join(pieces: list[str], markers: list[str], style: _Style) -> str:
    pieces, shown = style(pieces, markers)
    return "".join(part for pair in zip(pieces, [*shown, ""], strict=True) for part in pair)


def _as_written(pieces: list[str], markers: list[str]) -> tuple[list[str], list[str]]:
    return pieces, [marker if marker == "?" else f":{marker}" for marker in markers]


def _numbered(pieces: list[str], markers: list[str]) -> tuple[list[str], list[str]]:
    return _apart(pieces), [f"${number}" for number in range(1, len(markers) + 1)]


def _apart(pieces: list[str]) -> list[str]:
    """A blank where a number would run into what stands beside it: ``THEN$1`` is a name."""
    last = len(pieces) - 1
    return [
        (" " if place and piece[:1].isalnum() else "") + piece + (" " if place < last and _ENDS_WORD(piece[-1:]) else "")
        for place, piece in enumerate(pieces)
    ]


def _numbered_by_name(pieces: list[str], markers: list[str]) -> tuple[list[str], list[str]]:
    numbers = {name: number for number, name in enumerate(dict.fromkeys(name for name in markers if name), 1)}
    return _apart(pieces), [f"${numbers[name]}" if name else "?" for name in markers]


def _by_place(pieces: list[str], markers: list[str]) -> tuple[list[str], list[str]]:
    return pieces, ["?"] * len(markers)


_POSITIONAL: Final[dict[Dialect, _Style]] = {"sqlite": _as_written, "postgresql": _numbered, "mysql": _by_place}
_NAMED_STYLE: Final[dict[Dialect, _Style]] = {"sqlite": _as_written, "postgresql": _numbered_by_name, "mysql": _by_place}
