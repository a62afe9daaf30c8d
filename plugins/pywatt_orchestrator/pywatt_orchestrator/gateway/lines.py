"""Header lines, of requests and responses alike: taken out, forwarded, remembered.

httptools (llhttp without leniencies) says whether a head is well formed: lines end with CRLF, none is folded, names are
tokens, no value holds a control character. One regular expression then takes out the lines that frame the message, that
concern one connection only, or that the gateway sets itself; the others are forwarded as they came.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

HEAD_END = b"\r\n\r\n"
NAME = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_`|~]+")
CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")

REMEMBERED = 1024
"""Results that are kept for the next time."""
REMEMBERED_SIZE = 1024
"""Bytes of the longest input whose result is kept."""


class Connection(NamedTuple):
    """What ``Connection`` says."""

    close: bool
    keep_alive: bool
    upgrade: bool
    named: tuple[bytes, ...]
    """The other headers that concern one connection only, in lower case."""


NOT_SAID = Connection(close=False, keep_alive=False, upgrade=False, named=())


def _read_connection(value: bytes) -> Connection:
    tokens = [token.strip(b" \t") for token in value.lower().split(b",")]
    named = tuple(token for token in tokens if token not in (b"close", b"keep-alive", b"upgrade", b""))
    return Connection(b"close" in tokens, b"keep-alive" in tokens, b"upgrade" in tokens, named)


_read_usual_connection = lru_cache(maxsize=256)(_read_connection)


class Lines:
    """What the header lines of one message say. The class attributes are what holds without the header in question."""

    kept: bytes
    """The lines to forward, each after its CRLF."""
    length: int | None = None
    codings: bytes | None = None
    """All of Transfer-Encoding."""
    connection = NOT_SAID
    upgrade: bytes = b""
    dropped: tuple[bytes, ...] = ()
    """The names of lines that were taken out and that nobody reads."""

    def field(self, name: bytes) -> bytes:
        """The first of the `kept` lines with this lower-case name, or nothing."""
        found = re.search(rb"\r\n(?i:%b):[ \t]*([^\r]*)" % re.escape(name), self.kept)
        return found[1].rstrip() if found is not None else b""

    def fields(self, name: bytes) -> list[bytes]:
        """All of the `kept` lines with this lower-case name."""
        return [value.rstrip() for value in re.findall(rb"\r\n(?i:%b):[ \t]*([^\r]*)" % re.escape(name), self.kept)]

    def names(self) -> list[str]:
        """The names of the `kept` lines, in lower case, with ``-`` for the ``_`` that CGI and WSGI take for the same."""
        return [line.partition(b":")[0].decode("latin-1").lower().replace("_", "-") for line in self.kept.split(b"\r\n")[1:]]

    def read(self, readers: dict[bytes, Callable[[Any, bytes], None]], parts: list[bytes]) -> None:
        """Sort what splitting at the lines to take out gave: the rest, a name, a value, the rest, … Raises ValueError.

        A line that was taken out and that nobody in `readers` reads is dropped.
        """
        self.kept = b"".join(parts[0::3])
        for position in range(1, len(parts), 3):
            name = parts[position]
            read = readers.get(name) or readers.get(name.lower())
            if read is not None:
                read(self, parts[position + 1].rstrip(b" \t"))
            else:
                self.dropped += (name,)
        if self.connection.named:
            named = set(self.connection.named)
            self.kept = b"\r\n".join(line for line in self.kept.split(b"\r\n") if line.partition(b":")[0].lower() not in named)

    def frame(self) -> bool:
        """Settle how the body is framed, and forward that; returns whether it is chunked. Raises ValueError."""
        if self.codings is not None:
            if self.length is not None:
                raise ValueError("it has both Transfer-Encoding and Content-Length")
            if self.codings.lower() != b"chunked":
                raise ValueError("the only Transfer-Encoding that is accepted is chunked")
            return True
        if self.length is not None:
            self.kept += b"\r\nContent-Length: %d" % self.length
        return False


def _length(lines: Lines, value: bytes) -> None:
    if lines.length is not None or not value.isdigit():
        raise ValueError("it has two Content-Length headers, or one that is not a number")
    lines.length = int(value)


def _codings(lines: Lines, value: bytes) -> None:
    lines.codings = value if lines.codings is None else lines.codings + b"," + value


def _connection(lines: Lines, value: bytes) -> None:
    said, more = lines.connection, (_read_usual_connection if len(value) <= 64 else _read_connection)(value)
    if said is not NOT_SAID:
        named = said.named + more.named
        more = Connection(said.close or more.close, said.keep_alive or more.keep_alive, said.upgrade or more.upgrade, named)
    lines.connection = more


def _upgrade(lines: Lines, value: bytes) -> None:
    lines.upgrade += b"," + value if lines.upgrade else value


FRAMING: dict[bytes, Callable[[Any, bytes], None]] = {
    b"content-length": _length,
    b"transfer-encoding": _codings,
    b"connection": _connection,
    b"upgrade": _upgrade,
}
"""Who reads which line that was taken out, by its lower-case name."""


def with_usual_spelling(readers: dict[bytes, Callable[[Any, bytes], None]]) -> dict[bytes, Callable[[Any, bytes], None]]:
    """The same, found by ``Content-Length`` as quickly as by ``content-length``."""
    return readers | {name.title(): read for name, read in readers.items()}


def too_many(data: bytes, limit: int) -> bool:
    """Whether `data` holds more than `limit` header lines and two line ends; the shortest line has four bytes."""
    return len(data) > 4 * limit and data.count(b"\r\n") > limit + 2


R = TypeVar("R")


class Remembered(dict[bytes, R]):
    """What was parsed before and came again, by its bytes: clients, and modules even more, repeat themselves."""

    def __init__(self, parse: Callable[[bytes], R]) -> None:
        super().__init__()
        self._parse = parse
        self._came_once: set[int] = set()

    def __missing__(self, data: bytes) -> R:
        parsed = self._parse(data)
        if len(data) <= REMEMBERED_SIZE:
            mark = hash(data)
            if mark not in self._came_once:
                if len(self._came_once) >= 4 * REMEMBERED:
                    self._came_once.clear()
                self._came_once.add(mark)
            else:
                if len(self) >= REMEMBERED:
                    self.clear()
                self[data] = parsed
        return parsed


def header_lines(headers: Iterable[tuple[str, str]]) -> bytes:
    """Header lines, each after its CRLF; one that would break out of its line, or cannot be written, is left out."""
    lines = [f"\r\n{name}: {value}" for name, value in headers if NAME.fullmatch(name) and not CONTROL.search(value)]
    return "".join(lines).encode("latin-1", "replace")
