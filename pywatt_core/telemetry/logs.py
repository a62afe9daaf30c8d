"""Setting up logging: one handler on the root logger, so that every library's events take the same way out."""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
from typing import TYPE_CHECKING, Any, Literal, TextIO

from ..errors import ConfigError
from ..redaction import redact_framed, redactor
from .events import TRACE, JsonFormatter, TextFormatter, hidden, level_name
from .sink import PATIENCE, Sink
from .stray import guard_streams

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

LEVELS = {
    "trace": TRACE,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
    "off": logging.CRITICAL + 10,
}

FRAMEWORK_LOGGERS = ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi", "waitress", "waitress.queue", "py.warnings")
"""Loggers whose libraries like to attach handlers of their own; their events go to the root, once."""

_log = logging.getLogger("pywatt")


class Events(logging.Handler):
    """The handler that `configure` installs."""

    def __init__(self, stream: TextIO, formatter: logging.Formatter, *, patience: float = PATIENCE) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self.sink = Sink(stream, self._notice, patience=patience)
        self.counts: dict[str, int] = {}
        """Events by level name, written or dropped."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one event. Whatever goes wrong here never reaches the code that logged."""
        level = level_name(record.levelno)
        self.counts[level] = self.counts.get(level, 0) + 1
        try:
            line = self._line(record)
        except Exception as error:  # deep recursion, no memory
            line = f'{{"level":"ERROR","fields":{{"message":"a log event could not be formatted ({type(error).__name__})"}}}}'
        self.sink.write(line)

    def _notice(self, count: int) -> str:
        record = logging.LogRecord(
            "pywatt", logging.WARNING, __file__, 0, "%d log events were dropped: nobody read them in time", (count,), None
        )
        return self._line(record)

    def _line(self, record: logging.LogRecord) -> str:
        assert self.formatter is not None
        return self.formatter.format(record)


class Configured:
    """What `configure` changed; `close` puts everything back as it was."""

    def __init__(self, handler: Events) -> None:
        self.handler = handler
        self._undo: list[Callable[[], None]] = []

    def close(self) -> None:
        """Undo; calling it twice does no harm."""
        while self._undo:
            self._undo.pop()()

    def _set(self, holder: Any, name: str, value: Any) -> None:
        old = getattr(holder, name)
        setattr(holder, name, value)
        self._undo.append(lambda: setattr(holder, name, old))

    def _level(self, logger: logging.Logger, level: int) -> None:
        old = logger.level
        logger.setLevel(level)
        self._undo.append(lambda: logger.setLevel(old))

    def _handlers(self, logger: logging.Logger, handlers: list[logging.Handler]) -> None:
        old = logger.handlers[:]
        logger.handlers[:] = handlers
        self._undo.append(lambda: logger.handlers.__setitem__(slice(None), old))


_configured: Configured | None = None


def configure(
    module_id: str = "",
    *,
    level: str | int | None = None,
    format: Literal["json", "text", "auto"] = "json",
    stream: TextIO | None = None,
    patience: float = PATIENCE,
    weak_secrets: bool = True,
) -> Configured:
    """Send every log event, warning and uncaught exception of this process to `stream` (default: stderr), redacted.

    Handlers that somebody else has added stay, and what they format is redacted too. Without `stream`, so is what Python
    code writes to the standard streams itself. With `weak_secrets`, one warning names each secret that is too short to be
    hidden everywhere.

    `level` is a name (trace, debug, info, warn, error, off), a number, or directives in the manner of RUST_LOG:
    ``"info,users.db=debug"``; None takes RUST_LOG, and info where that is unset or cannot be read. `format` ``"auto"``
    is text on a terminal and JSON elsewhere. `patience` is how many seconds an event waits for a reader that has stopped
    reading; then events are dropped, counted, and their number reported when the reader is back. Calling it again
    replaces what the first call did. Raises `ConfigError` for a level or format that does not exist.
    """
    global _configured
    levels = _levels(level)
    if format not in ("json", "text", "auto"):
        raise ConfigError(f"the log format {format!r} does not exist: json, text or auto")
    target = stream or sys.stderr or open(os.devnull, "w")  # noqa: SIM115, PTH123 — a process without stderr logs nowhere
    terminal = target.isatty()
    formatter: logging.Formatter
    if format == "text" or (format == "auto" and terminal):
        formatter = TextFormatter(module_id, colour=terminal and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb")
    else:
        formatter = JsonFormatter(module_id)
    unguard = guard_streams() if stream is None else None
    if _configured is not None:
        _configured.close()
    _configured = _install(Events(target, formatter, patience=patience), levels)
    if unguard is not None:
        _configured._undo.append(unguard)
    redactor.on_weak(_tell_weak if weak_secrets else lambda name, why: None)
    return _configured


def _tell_weak(name: str, why: str) -> None:
    _log.warning("%s %s", f"the secret {name}" if name else "a secret without a name", why)


_format = logging.Handler.format


def _redacted_format(handler: logging.Handler, record: logging.LogRecord) -> Any:
    """What a handler of somebody else's writes."""
    shown: Any = _format(handler, record)
    return redact_framed(shown) if isinstance(shown, str) else hidden(shown)


def _install(handler: Events, levels: dict[str, int]) -> Configured:
    done = Configured(handler)
    done._set(logging.Handler, "format", _redacted_format)
    logging.addLevelName(TRACE, "TRACE")
    root = logging.getLogger()
    done._handlers(root, [other for other in root.handlers if type(other) is not logging.StreamHandler] + [handler])
    for name in FRAMEWORK_LOGGERS:
        logger = logging.getLogger(name)
        done._handlers(logger, [])
        done._set(logger, "propagate", True)
    for name, number in {"waitress.queue": logging.ERROR, **levels}.items():
        done._level(logging.getLogger(name), number)
    done._set(sys, "excepthook", _excepthook)
    done._set(threading, "excepthook", _thread_excepthook)
    done._set(sys, "unraisablehook", _unraisablehook)
    logging.captureWarnings(True)
    done._undo.append(lambda: logging.captureWarnings(False))
    done._undo.append(handler.close)
    return done


_DIRECTIVE = r"(?:(?P<target>[\w.:\-]+)(?:\[[^\]]*\])?=)?(?P<level>[A-Za-z]+|[0-9]+)"


def _levels(level: str | int | None) -> dict[str, int]:
    """Logger name (empty: the root) to level."""
    if isinstance(level, int):
        return {"": level}
    if level is None:
        try:
            return parse_level(os.environ.get("RUST_LOG") or "info")
        except ConfigError:
            return {"": logging.INFO}
    return parse_level(level)


def parse_level(text: str) -> dict[str, int]:
    """Read ``"info"`` or ``"warn,users.db=debug"``. Raises `ConfigError`, which names the part that cannot be read."""
    levels = {"": logging.INFO}
    for part in filter(None, (part.strip() for part in text.split(","))):
        plain = LEVELS.get(part.lower())
        if plain is not None:
            levels[""] = plain
            continue
        found = re.fullmatch(_DIRECTIVE, part)
        number = LEVELS.get(found["level"].lower()) if found else None
        if found is None or number is None:
            raise ConfigError(f"the log level {part!r} does not exist: {', '.join(LEVELS)}, or logger=level, separated by commas")
        levels[(found["target"] or "").replace("::", ".")] = number
    return levels


def _excepthook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    _log.critical("uncaught exception: %s", kind.__name__, exc_info=(kind, error, trace))


def _thread_excepthook(args: threading.ExceptHookArgs) -> None:
    if args.exc_type is SystemExit or args.exc_value is None:
        return
    name = args.thread.name if args.thread is not None else "?"
    exc_info = (args.exc_type, args.exc_value, args.exc_traceback)
    _log.error("uncaught exception in thread %s: %s", name, args.exc_type.__name__, exc_info=exc_info)


def _unraisablehook(args: Any) -> None:
    message = args.err_msg or "exception ignored in"
    error = args.exc_value
    _log.error("%s: %r", message, args.object, exc_info=(type(error), error, args.exc_traceback) if error is not None else None)


def handle_loop_exception(loop: Any, context: dict[str, Any]) -> None:
    """For ``loop.set_exception_handler``: what asyncio could not deliver anywhere becomes one event."""
    error = context.get("exception")
    details = {key: repr(value) for key, value in context.items() if key in ("task", "future", "handle", "transport", "protocol")}
    _log.error("%s", context.get("message") or "unhandled exception in the event loop", exc_info=error, extra=details)


def counts() -> tuple[dict[str, int], int]:
    """Events by level since `configure`, and how many of them were dropped."""
    if _configured is None:
        return {}, 0
    return dict(_configured.handler.counts), _configured.handler.sink.dropped
