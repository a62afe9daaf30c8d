"""What a statement's text says before it runs (which parameters it takes, whether it reads), and values made ready for it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import UUID

from pywatt_core.errors import StorageError

from .failures import shortened

if TYPE_CHECKING:
    from pywatt_core.interfaces import Params

Values: TypeAlias = "tuple[Any, ...] | dict[str, Any]"

TOKENS = re.compile(
    r"""
    '(?:[^']|'')*' | "(?:[^"]|"")*" | `(?:[^`]|``)*` | \[[^\]]*\]      # text and quoted names
  | --[^\n]* | /\*.*?(?:\*/|\Z)                                         # comments
  | ::                                                                  # no parameter: SQLite itself will refuse it
  | (?P<marker> \?\d* | [:@$\#][^\W\d]\w* )
  | (?P<word> [^\W\d][\w$]* )
    """,
    re.VERBOSE | re.DOTALL,
)

READING = frozenset({"SELECT", "VALUES", "EXPLAIN", "PRAGMA", "WITH"})
"""First words of statements that are tried on a reader; a reader refuses to write, and the writer takes over."""

TRANSACTION_CONTROL = frozenset({"BEGIN", "COMMIT", "END", "ROLLBACK", "SAVEPOINT", "RELEASE"})

REMEMBERED = 4096
"""Characters: the reading of a longer statement is not remembered, so that generated texts do not fill the memory."""

NATIVE = frozenset({type(None), bool, int, str, bytes})
"""Types that SQLite stores as they are."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement and what its text says."""

    sql: str
    word: str
    """Its first word, in capitals."""
    positional: int
    """How many ``?`` it holds."""
    names: frozenset[str]
    """The names in ``:name``."""

    @property
    def reads(self) -> bool:
        """True where a reader can be asked first."""
        return self.word in READING

    def bind(self, params: Params) -> Values:
        """The values in SQLite's own types. Raises `StorageError` where they do not fit the markers."""
        if isinstance(params, Mapping):
            return self._bind_names(params)
        if not isinstance(params, Sequence) or isinstance(params, str | bytes | bytearray | memoryview):
            raise self._mismatch(f"params is a {type(params).__name__}; pass a tuple or list for ?, a mapping for :name")
        if self.names:
            raise self._mismatch(f"the statement names its parameters ({', '.join(sorted(self.names))}): pass a mapping")
        if len(params) != self.positional:
            raise self._mismatch(f"the statement has {self.positional} parameters and {len(params)} values were given")
        return tuple([value if type(value) in NATIVE else stored(value, place + 1) for place, value in enumerate(params)])

    def _bind_names(self, params: Mapping[str, object]) -> Values:
        if self.positional:
            raise self._mismatch("the statement marks its parameters with ?: pass a tuple or list")
        missing = sorted(name for name in self.names if name not in params)
        if missing:
            raise self._mismatch(f"no value was given for {', '.join(missing)}")
        return {name: stored(params[name], name) for name in self.names}

    def _mismatch(self, reason: str) -> StorageError:
        return StorageError(f"{reason} (statement: {shortened(self.sql)})")


def read(sql: str) -> Statement:
    """Read a statement's text. Raises `StorageError` for what belongs elsewhere or mixes the two kinds of parameter."""
    return _remembered(sql) if len(sql) <= REMEMBERED else _read(sql)


def _read(sql: str) -> Statement:
    word, positional, names = "", 0, set[str]()
    for token in TOKENS.finditer(sql):
        marker = token["marker"]
        if marker is None:
            word = word or (token["word"] or "").upper()
        elif marker == "?":
            positional += 1
        elif marker.startswith(":"):
            names.add(marker[1:])
        else:
            raise StorageError(f"{marker} cannot mark a parameter here: use ? or :name (statement: {shortened(sql)})")
    if positional and names:
        raise StorageError(f"the statement mixes ? and :name: use one of them (statement: {shortened(sql)})")
    if word in TRANSACTION_CONTROL:
        raise StorageError(f"{word} cannot be run as a statement: use `async with database.transaction()`")
    return Statement(sql, word, positional, frozenset(names))


_remembered = lru_cache(maxsize=512)(_read)


def stored(value: object, place: int | str) -> Any:
    """`value` as SQLite keeps it: moments in ISO 8601 (UTC where a zone is known), `Decimal` and `UUID` as text."""
    if value is None or isinstance(value, int | str | bytes | bytearray | memoryview):
        return value
    if isinstance(value, float):
        if math.isnan(value):
            raise StorageError(f"parameter {place} is not a number, which SQLite would store as NULL; pass None if that is meant")
        return value
    if isinstance(value, datetime):
        return (value.astimezone(UTC) if value.tzinfo else value).isoformat(" ")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, Decimal | UUID):
        return str(value)
    raise StorageError(f"parameter {place} is a {type(value).__name__}, which SQLite cannot store: pass text, bytes, a number or None")
