"""What modules print, as bytes in any shape, becomes records: one event is one record, nothing in it can act on a terminal.

Pure: no I/O, and the clock is an argument.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec

MAX_TEXT = 16_384
"""Characters of one event's text that are shown; the rest is counted."""
MAX_KEPT = 65_536
"""Bytes of one line that are looked at. More than is shown, so that a secret across the cut is still found."""
MAX_DECODED = 32
"""Fields of one structured event that are shown."""

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\^_]|[ -/]+[0-~])")
_UNSAFE = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_RFC_3339 = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?:[Zz]|[+-][0-9]{2}:[0-9]{2})")
_MESSAGE, _TIME, _TRACE = ("message", "msg", "event"), ("timestamp", "time", "ts"), ("exception", "traceback", "stack", "exc_info")
_OWN = frozenset({"module", "module_id", "level", "stream", *_MESSAGE, *_TIME, *_TRACE})
_LEVELS = {
    **dict.fromkeys(("trace", "debug"), "debug"),
    **dict.fromkeys(("info", "notice"), "info"),
    **dict.fromkeys(("warn", "warning"), "warning"),
    "error": "error",
    **dict.fromkeys(("critical", "fatal"), "critical"),
}


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One event, safe to print and free of every secret that was known when it arrived."""

    timestamp: str
    """RFC 3339 in UTC: the event's own, or when it arrived."""
    module: str
    level: str = "info"
    message: str = ""
    stream: str = ""
    """``stdout`` or ``stderr`` where it was no structured log event but plain text."""
    fields: dict[str, Any] = {}
    trace: str = ""
    """The traceback that came with it, several lines."""


def clean(text: str) -> str:
    """Text without terminal sequences, every other control or direction character as an escape; tabs stay."""
    if text.isprintable():
        return text
    return _UNSAFE.sub(_escape, _ANSI.sub("", text))


def clean_lines(text: str) -> str:
    """The same for a message of several lines, which stay lines: `as_text` shows each under the name of who wrote it."""
    return "\n".join(clean(part) for part in text.split("\n")) if "\n" in text else clean(text)


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    named = {0x0A: "\\n", 0x0D: "\\r", 0x1B: "\\e"}.get(code)
    return named or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


def shorten(text: str, limit: int = MAX_TEXT) -> str:
    """At most `limit` characters, and how many are missing."""
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text) - limit} characters more)"


def parse(line: str, *, module: str, stream: str, now: str) -> Record:
    """A record from one line of text: JSON log events of ours and of Rust modules keep their level, time and fields.

    `line` is already redacted.
    """
    if line.startswith("{") and line.rstrip().endswith("}"):
        try:
            event = msgspec.json.decode(line)
        except (msgspec.MsgspecError, RecursionError, UnicodeError):
            event = None
        if isinstance(event, dict) and (found := _structured(event, module, now)) is not None:
            return found
    return Record(timestamp=now, module=module, level="info", message=shorten(clean(line)), stream=stream)


def _structured(event: dict[str, Any], module: str, now: str) -> Record | None:
    inner = event.get("fields")
    if isinstance(inner, dict):  # The tracing library's layout (protocol 1.1).
        event = {**{key: value for key, value in event.items() if key != "fields"}, **inner}
    message = next((event[key] for key in _MESSAGE if isinstance(event.get(key), str)), None)
    level = event.get("level")
    if message is None or not isinstance(level, str):
        return None
    timed, moment = next(((key, found) for key in _TIME if (found := _moment(event.get(key))) is not None), ("", now))
    trace = next((event[key] for key in _TRACE if isinstance(event.get(key), str)), "")
    rest = [(clean(shorten(key, 64)), _plain(value)) for key, value in event.items() if _is_field(key, timed) and value is not None]
    return Record(
        timestamp=moment,
        module=module,
        level=_LEVELS.get(level.lower(), clean(shorten(level.lower(), 16))),
        message=shorten(clean_lines(message)),
        fields=dict(rest[:MAX_DECODED]),
        trace=clean_lines(shorten(trace)),
    )


def _is_field(key: str, timed: str) -> bool:
    """Whether it is shown as a field; `timed` is the key that the event's time was taken from: other times stay what they are."""
    return key not in _OWN or (key in _TIME and key != timed)


def _moment(value: Any) -> str | None:
    """An event's own time in UTC, where it is one as RFC 3339 writes it."""
    if not isinstance(value, str) or _RFC_3339.fullmatch(value) is None:
        return None
    try:
        moment = datetime.fromisoformat(value.upper()).astimezone(UTC)
    except (ValueError, OverflowError):  # Such as the 30th of February.
        return None
    return value.upper() if value[-1] in "Zz" else moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _plain(value: Any) -> Any:
    """A field's value, as it is where it is small and safe, else as text."""
    if isinstance(value, bool | int | float):
        return value
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return shorten(clean(text), 2048)


class LineSplitter:
    """Bytes in any pieces become lines without their ends, in bounded memory and without looking at a byte twice."""

    def __init__(self) -> None:
        self._kept: list[bytes] = []
        self._size = 0
        self._lost = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes."""
        first, *others = data.split(b"\n")
        self._keep(first)
        if not others:
            return []
        lines = [self._take()]
        *complete, last = others
        lines += [line if len(line) <= MAX_KEPT else line[:MAX_KEPT] + b"... (%d bytes more)" % (len(line) - MAX_KEPT) for line in complete]
        self._keep(last)
        return lines

    def rest(self) -> list[bytes]:
        """What stands after the last line end, when nothing more will come."""
        return [self._take()] if self._size or self._lost else []

    def skip(self, data: bytes) -> int:
        """Like `feed`, for lines that nobody will read: only counts them."""
        count = data.count(b"\n")
        if count:
            self._take()
            self._keep(data[data.rindex(b"\n") + 1 :])
        else:
            self._keep(data)
        return count

    def _keep(self, data: bytes) -> None:
        room = MAX_KEPT - self._size
        if data[:room]:
            self._kept.append(data[:room])
            self._size += len(data[:room])
        self._lost += max(0, len(data) - room)

    def _take(self) -> bytes:
        line = b"".join(self._kept)
        if self._lost:
            line += b"... (%d bytes more)" % self._lost
        self._kept.clear()
        self._size = self._lost = 0
        return line


@dataclass
class Budget:
    """How much one module may print: a steady rate with a burst, for lines and for bytes alike. What is over is counted."""

    lines_per_second: float = 1_000
    bytes_per_second: float = 1_000_000
    burst: float = 5
    """Seconds' worth that may come at once."""
    lost_lines: int = 0
    lost_bytes: int = 0
    _lines: float = field(default=0.0, repr=False)
    _bytes: float = field(default=0.0, repr=False)
    _at: float | None = field(default=None, repr=False)

    def refill(self, now: float) -> bool:
        """Account for the time that has passed; tell whether anything may be printed at all."""
        passed = self.burst if self._at is None else max(0.0, now - self._at)
        self._at = now
        self._lines = min(self._lines + passed * self.lines_per_second, self.burst * self.lines_per_second)
        self._bytes = min(self._bytes + passed * self.bytes_per_second, self.burst * self.bytes_per_second)
        return self._lines >= 1 and self._bytes > 0

    def spend(self, size: int) -> bool:
        """Whether one line of `size` bytes may be printed; a line that may not is counted as lost."""
        if self._lines < 1 or self._bytes <= 0:
            self.lose(1, size)
            return False
        self._lines -= 1
        self._bytes -= size
        return True

    def lose(self, lines: int, size: int) -> None:
        """Count what is not printed."""
        self.lost_lines += lines
        self.lost_bytes += size

    def summary(self) -> str | None:
        """A sentence about what was lost since the last one, None where nothing was."""
        if not self.lost_lines and not self.lost_bytes:
            return None
        lost = f"{self.lost_lines:,} lines ({self.lost_bytes:,} bytes) were left out"
        text = f"{lost}: it prints more than {self.lines_per_second:,.0f} lines or {self.bytes_per_second:,.0f} bytes a second"
        self.lost_lines = self.lost_bytes = 0
        return text


class Tail:
    """The last records of one instance, bounded in number and in size."""

    def __init__(self, count: int = 500, size: int = 262_144) -> None:
        self._count, self._size = count, size
        self._records: deque[tuple[int, Record, int]] = deque()
        self._used = 0

    def add(self, number: int, record: Record) -> None:
        """Keep `record`; `number` orders the records of several instances."""
        cost = 200 + len(record.message) + len(record.trace) + 64 * len(record.fields)
        self._records.append((number, record, cost))
        self._used += cost
        while len(self._records) > self._count or (self._used > self._size and len(self._records) > 1):
            self._used -= self._records.popleft()[2]

    def numbered(self) -> list[tuple[int, Record]]:
        """All that is kept, oldest first."""
        return [(number, record) for number, record, _ in self._records]

    def last(self, count: int) -> list[Record]:
        """The last `count` records, oldest first."""
        return [record for _, record, _ in self._records][-count:] if count > 0 else []
