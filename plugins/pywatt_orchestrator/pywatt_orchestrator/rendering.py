"""A record as one line for a person or for a program."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from .lines import Record

_NAME_COLOURS = (36, 32, 34, 35, 96, 92, 94, 95)
_LEVEL_COLOURS = {"warning": 33, "error": 31, "critical": 31, "debug": 90, "trace": 90}

_FOR_PROGRAMS = frozenset({"target", "logger"})
"""Which part of a program speaks: in the JSON form only."""


def as_json(record: Record) -> str:
    """One JSON object on one line: ``timestamp``, ``module``, ``level``, ``message``, and the event's own fields beside them."""
    event: dict[str, Any] = {"timestamp": record.timestamp, "module": record.module, "level": record.level, "message": record.message}
    if record.stream:
        event["stream"] = record.stream
    if record.trace:
        event["exception"] = record.trace
    event.update((key, value) for key, value in record.fields.items() if key not in event)
    return msgspec.json.encode(event).decode()


def as_text(record: Record, *, width: int = 10, colour: bool = False) -> str:
    """One line that begins with the time and the module's name; further lines, and those of a traceback, follow under the same name."""
    name = f"{record.module:<{width}}"
    moment = _clock(record.timestamp)
    level = "" if record.stream or record.level == "info" else f"{record.level.upper()} "
    first, *further = record.message.split("\n")
    text = first + "".join(f" {key}={_value(value)}" for key, value in record.fields.items() if key not in _FOR_PROGRAMS)
    if colour:
        name = f"\x1b[{_NAME_COLOURS[zlib.crc32(record.module.encode()) % len(_NAME_COLOURS)]}m{name}\x1b[0m"
        moment = f"\x1b[90m{moment}\x1b[0m"
        level = f"\x1b[{_LEVEL_COLOURS.get(record.level, 0)}m{level}\x1b[0m" if level else ""
    lines = [f"{moment} {name} {level}{text}"]
    lines += [f"{moment} {name}   | {part}" for part in [*further, *record.trace.split("\n")] if part]
    return "\n".join(lines)


def _clock(timestamp: str) -> str:
    """``2026-01-31T12:00:01.123456Z`` as ``12:00:01.123``; another layout stays as it is."""
    _, found, time = timestamp.partition("T")
    return time[:12].rstrip("Z") if found else timestamp[:23]


def _value(value: Any) -> str:
    text = str(value)
    return f'"{text}"' if " " in text or not text else text
