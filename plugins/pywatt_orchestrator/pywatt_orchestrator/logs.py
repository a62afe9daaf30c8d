"""One readable stream of what all modules print, and the last lines of each for `pywatt logs` and for saying why."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from typing import Any

import msgspec

from pywatt_core.redaction import RedactedStream, redact, redactor

from .lines import MAX_KEPT, Budget, LineSplitter, Record, Tail, clean, clean_lines, parse, shorten

OURSELVES = "pywatt"
"""The name under which the orchestrator's own events appear."""

LINES_TOGETHER = 0.25
"""Seconds that the first lines of a secret of several lines wait for the others."""

Follower = Callable[[Record], None]


def timestamp(seconds: float | None = None) -> str:
    """RFC 3339 in UTC with milliseconds; now where no Unix time is given."""
    moment = datetime.now(UTC) if seconds is None else datetime.fromtimestamp(seconds, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def safe(text: str, *, lines: bool = False) -> str:
    """Text that can neither act on a terminal nor show a secret, also one that terminal sequences have kept apart.

    With `lines`, several lines stay lines.
    """
    text = redact(text)
    return text if text.isprintable() else redact(clean_lines(text) if lines else clean(text))


def safe_value(value: object) -> Any:
    """A field's value, as it is where it is a number that is no secret."""
    if isinstance(value, bool | int | float) and redact(str(value)) == str(value):
        return value
    return safe(str(value))


class Journal:
    """Every record of every module, in the order of arrival: printed, kept for a while, passed to those who follow."""

    def __init__(self, show: Callable[[Record], None] = lambda record: None) -> None:
        self._show = show
        self._tails: dict[str, Tail] = {}
        self._followers: set[Follower] = set()
        self._number = 0

    def write(self, record: Record) -> None:
        """Take in one record, already clean and redacted."""
        self._number += 1
        self._tails.setdefault(record.module, Tail()).add(self._number, record)
        self._show(record)
        for follower in tuple(self._followers):
            follower(record)

    def say(self, message: str, *, module: str = OURSELVES, level: str = "info", **fields: object) -> None:
        """An event of the orchestrator's own, about itself or about a module."""
        plain = {key: safe_value(value) for key, value in fields.items()}
        self.write(Record(timestamp=timestamp(), module=module, level=level, message=safe(message, lines=True), fields=plain))

    def last(self, modules: Collection[str], count: int) -> list[Record]:
        """The last `count` records of `modules` together, oldest first."""
        found = [entry for name in modules if name in self._tails for entry in self._tails[name].numbered()]
        found.sort(key=lambda entry: entry[0])
        return [record for _, record in found][-count:] if count > 0 else []

    def follow(self, follower: Follower) -> Callable[[], None]:
        """Pass on every record from now on, until the function that is returned is called."""
        self._followers.add(follower)
        return lambda: self._followers.discard(follower)

    def forward_logging(self) -> logging.Handler:
        """A handler that brings the orchestrator's own `logging` into the stream."""
        return _Forward(self)


class _Forward(logging.Handler):
    def __init__(self, journal: Journal) -> None:
        super().__init__(logging.INFO)
        self._journal = journal
        self._loop = asyncio.get_running_loop()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = shorten(safe(record.getMessage(), lines=True))
            trace = redact(logging.Formatter().formatException(record.exc_info)) if record.exc_info and record.exc_info[0] else ""
            level = {"WARNING": "warning", "ERROR": "error", "CRITICAL": "critical", "DEBUG": "debug"}.get(record.levelname, "info")
            entry = Record(
                timestamp=timestamp(record.created),
                module=OURSELVES,
                level=level,
                message=message,
                fields=_extras(record),
                trace="\n".join(safe(line) for line in trace.split("\n")),
            )
            try:
                inside = asyncio.get_running_loop() is self._loop
            except RuntimeError:
                inside = False
            if inside:
                self._journal.write(entry)
            else:
                self._loop.call_soon_threadsafe(self._journal.write, entry)
        except Exception:
            self.handleError(record)


_STANDARD = frozenset(vars(logging.LogRecord("", 0, "", 0, "", (), None))) | {"message", "asctime", "taskName"}


def _extras(record: logging.LogRecord) -> dict[str, Any]:
    """What was given as ``extra=``, and which logger it was."""
    given = {key: value for key, value in vars(record).items() if key not in _STANDARD}
    return {"logger": safe(record.name), **{safe(key): safe_value(value) for key, value in given.items()}}


class Source:
    """What one instance prints, on standard error or astray on standard output, within one budget."""

    def __init__(self, journal: Journal, module: str) -> None:
        self._journal, self._module = journal, module
        self._budget = Budget()
        self._lines = LineSplitter()
        self._loop = asyncio.get_running_loop()
        self._summary: asyncio.TimerHandle | None = None
        self._together: dict[str, _Together] = {}

    def feed(self, data: bytes) -> None:
        """Bytes from standard error."""
        if not self._budget.refill(self._loop.time()):
            self._budget.lose(self._lines.skip(data), len(data))
        else:
            for line in self._lines.feed(data):
                self._take(line.removesuffix(b"\r"), "stderr")
        self._plan_summary()

    def stray(self, text: str) -> None:
        """One line that stood on standard output and was no message."""
        self._budget.refill(self._loop.time())
        self._take(text.encode("utf-8", "backslashreplace").strip(), "stdout")
        self._plan_summary()

    def note(self, text: str, *, level: str) -> None:
        """What the orchestrator has to say about something that the process did; a flood of it is a flood too."""
        self._budget.refill(self._loop.time())
        if self._budget.spend(len(text)):
            self._journal.say(text, module=self._module, level=level)
        self._plan_summary()

    def end(self) -> None:
        """Nothing more will come."""
        for line in self._lines.rest():
            self._take(line, "stderr")
        for stream in self._together:
            self._release(stream)
        if self._summary is not None:
            self._summary.cancel()
        self._summarise()

    def _take(self, line: bytes, stream: str) -> None:
        if not line or not self._budget.spend(len(line)):
            return
        text = redact(line[:MAX_KEPT].decode("utf-8", "backslashreplace"))
        if len(line) > MAX_KEPT:  # it was cut there, perhaps within a secret; what follows says so
            text = text[: max(0, len(text) - redactor.longest)] + line[MAX_KEPT:].decode()
        together = self._together.get(stream)
        if text.endswith(redactor.first_lines) or (together is not None and together.waiting):
            together = self._together[stream] = together or _Together()
            for one in together.feed(text):
                self._write(one, stream)
            if together.release is not None:
                together.release.cancel()
            together.release = self._loop.call_later(LINES_TOGETHER, self._release, stream) if together.waiting else None
        else:
            self._write(text, stream)

    def _release(self, stream: str) -> None:
        together = self._together[stream]
        if together.release is not None:
            together.release.cancel()
            together.release = None
        for line in together.rest():
            self._write(line, stream)

    def _write(self, text: str, stream: str) -> None:
        if not text.isprintable():
            text = redact(clean(text)) if not text.startswith("{") else text
        if "\\" in text:
            text = redact(_plainly_escaped(text))
        self._journal.write(parse(text, module=self._module, stream=stream, now=timestamp()))

    def _plan_summary(self) -> None:
        if self._summary is None and self._budget.lost_bytes:
            self._summary = self._loop.call_later(1.0, self._summarise)

    def _summarise(self) -> None:
        self._summary = None
        if (text := self._budget.summary()) is not None:
            self._journal.say(text, module=self._module, level="warning")


class _Together:
    """Lines in which a secret of several lines is hidden."""

    def __init__(self) -> None:
        self._stream = RedactedStream(redactor)
        self._begun = ""
        self.release: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> bool:
        return self._stream.waiting or bool(self._begun)

    def feed(self, line: str) -> list[str]:
        """The lines that are clear now."""
        *lines, self._begun = (self._begun + self._stream.feed(line + "\n")).split("\n")
        return lines

    def rest(self) -> list[str]:
        """What waits, when the other lines of the secret do not come."""
        text, self._begun = self._begun + self._stream.rest(), ""
        return [line for line in text.split("\n") if line]


def _plainly_escaped(text: str) -> str:
    """JSON with no escapes but those that it needs, in which a secret is found; other text as it is."""
    if not text.startswith("{"):
        return text
    try:
        return msgspec.json.encode(msgspec.json.decode(text)).decode()
    except (msgspec.MsgspecError, RecursionError, UnicodeError, OverflowError):
        return text


class Pump(asyncio.Protocol):
    """Reads standard error of one process to its end."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self._source.feed(data)

    def connection_lost(self, error: Exception | None) -> None:
        self._source.end()
        if not self.ended.done():
            self.ended.set_result(None)
