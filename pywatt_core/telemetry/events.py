"""A log record becomes one line: of JSON for machines, of text for people. No line holds a secret, a line end or a control character."""

from __future__ import annotations

import logging
import re
import time
import traceback
from typing import TYPE_CHECKING, Any

import msgspec

from ..redaction import redact, redact_framed, redactor
from .context import current

if TYPE_CHECKING:
    from collections.abc import Mapping

TRACE = 5
"""The level below DEBUG."""

MESSAGE_LIMIT = 32 * 1024
"""Characters of a message that are kept."""

FIELD_LIMIT = 8 * 1024
"""Characters of one text in an extra field that are kept."""

TRACEBACK_LIMIT = 64 * 1024
"""Characters of a traceback that are kept: a quarter from its beginning, the rest from its end."""

FIELDS_LIMIT = 64
"""Items that are kept of the extra fields and of each list or mapping in them."""

DEPTH_LIMIT = 5
"""Levels of lists and mappings in an extra field; what lies deeper is shown as text."""

_OWN = frozenset(vars(logging.LogRecord("", 0, "", 0, "", None, None))) | {"message", "asctime", "taskName", "color_message"}
"""Attributes of every record; all others are extra fields."""

_MARKS = "\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff"
"""Controls beyond U+001F that JSON leaves as they are, invisible and bidirectional marks, lone surrogates."""

# Not compiled before an event holds something else than ASCII.
_UNSAFE = f"[\x00-\x1f{_MARKS}]"
_UNSAFE_BUT_TAB = f"[\x00-\x08\x0a-\x1f{_MARKS}]"

_COLOURS = {"ERROR": "31", "WARN": "33", "INFO": "32", "DEBUG": "36", "TRACE": "2"}


def level_name(number: int) -> str:
    """``TRACE``, ``DEBUG``, ``INFO``, ``WARN`` or ``ERROR``, as the Rust SDK writes them; CRITICAL is ``ERROR``."""
    if number >= logging.ERROR:
        return "ERROR"
    if number >= logging.WARNING:
        return "WARN"
    if number >= logging.INFO:
        return "INFO"
    return "DEBUG" if number >= logging.DEBUG else "TRACE"


def shortened(text: str, head: int, tail: int = 0) -> str:
    """`text` redacted and, where it is longer than `head` + `tail`, cut with a word about it, never through a secret."""
    if len(text) <= head + tail:
        return redact_framed(text)
    margin = redactor.longest
    first = redact_framed(text[: head + margin])
    first = first[: max(0, len(first) - margin)][:head]
    last = redact_framed(text[-(tail + margin) :])[margin:][-tail:] if tail else ""
    return f"{first}… [cut: {len(text)} characters in all] {last}".rstrip()


class JsonFormatter(logging.Formatter):
    """One JSON object a line, in the shape of the Rust SDK (protocol 1.1) with the module's id and the request's ids.

    ``{"timestamp": RFC 3339 in µs and UTC, "level": …, "fields": {"message": …, extra fields, "exception": traceback},
    "target": the logger's name, "module_id": …, "request_id": …, "trace_id": …, "span_id": …}``. It never raises.
    """

    def __init__(self, module_id: str = "") -> None:
        super().__init__()
        self.module_id = module_id
        self._second = (0, "")

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its line end."""
        seconds, digits = divmod(int(record.created * 1e6), 1_000_000)
        stamp = self._second
        if stamp[0] != seconds:
            stamp = self._second = (seconds, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)))
        rest: dict[str, Any] = {"fields": fields_of(record), "target": record.name}
        if self.module_id:
            rest["module_id"] = self.module_id
        ids = current()
        if ids.request_id:
            rest["request_id"] = ids.request_id
        if ids.trace_id:
            rest["trace_id"] = ids.trace_id
        if ids.span_id:
            rest["span_id"] = ids.span_id
        return f'{{"timestamp":"{stamp[1]}.{digits:06d}Z","level":"{level_name(record.levelno)}",{hidden_json(rest)[1:]}'


def hidden_json(value: dict[str, Any]) -> str:
    """An event as one line of JSON in which nothing registered for redaction is left.

    The usual event holds no secret: then one search through the finished line is all. Otherwise each text and number in it
    is redacted by itself, so that the line keeps its shape, and the new line is searched again.
    """
    text = _json(value)
    if redactor.has_tokens or redact(text) != text:
        by_parts = _json(hidden(value))
        text = redact(by_parts)
        if text != by_parts and not _is_json(text):  # a secret that reached over several fields: what is left of them, as text
            text = _json({"fields": {"message": text}, "target": redact(value["target"])})
    return _without_controls(text)


def _is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text)
    except msgspec.DecodeError:
        return False
    return True


def _json(value: object) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except UnicodeEncodeError:  # lone surrogates
        return msgspec.json.encode(_encodable(value)).decode()


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_encodable(key): _encodable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_encodable(item) for item in value]
    return value


def hidden(value: Any) -> Any:
    """Plain values with every text redacted, and every number whose digits are a secret."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {hidden(key): hidden(item) for key, item in value.items()}
    if isinstance(value, list):
        return [hidden(item) for item in value]
    if type(value) is tuple:
        return tuple(map(hidden, value))
    if isinstance(value, bytes):
        return redactor.redact_bytes(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        text = redact(repr(value))
        return value if text == repr(value) else text
    return value


def _without_controls(text: str) -> str:
    """JSON itself escapes below U+0020; terminals and editors also obey C1 controls, bidirectional marks and line separators."""
    if text.isascii() and "\x7f" not in text:
        return text
    return re.sub(_UNSAFE, lambda found: f"\\u{ord(found[0]):04x}", text)


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """Message, extra fields and exception of a record as plain JSON values of bounded size."""
    message, wrong = _message(record)
    fields: dict[str, Any] = {"message": message}
    if wrong:
        fields["logging_error"] = wrong
    attributes = vars(record)
    if len(attributes) > len(_OWN) - 4:
        extra = [key for key in attributes if key not in _OWN]
        for key in extra[: FIELDS_LIMIT - 1]:
            fields[key if key not in fields else key + "_"] = plain(attributes[key])
        if len(extra) >= FIELDS_LIMIT:
            fields["fields_left_out"] = len(extra) - (FIELDS_LIMIT - 1)
    if record.exc_info and record.exc_info[0] is not None:
        fields["exception"] = _exception(record.exc_info)
    if record.stack_info:
        fields["stack"] = shortened(str(record.stack_info), TRACEBACK_LIMIT // 4, TRACEBACK_LIMIT * 3 // 4)
    return fields


def _message(record: logging.LogRecord) -> tuple[str, str]:
    """The message, and what is wrong with the call that logged it."""
    try:
        message = record.getMessage()
        wrong = ""
    except Exception as error:
        message = f"{_repr(record.msg)!r} with the arguments {_repr(record.args)}"
        wrong = f"the arguments do not fit the message ({type(error).__name__}), {record.filename}:{record.lineno}"
    return _text(message, MESSAGE_LIMIT), wrong


def _exception(exc_info: Any) -> str:
    try:
        text = "".join(traceback.format_exception(*exc_info)).rstrip("\n")
    except Exception as error:
        text = f"{exc_info[0].__name__} (its traceback cannot be shown: {type(error).__name__})"
    return shortened(text, TRACEBACK_LIMIT // 4, TRACEBACK_LIMIT * 3 // 4)


def _text(text: str, limit: int) -> str:
    """Text of an event, which is redacted as a whole later: here what that does not find, and what is too long."""
    return shortened(text, limit) if len(text) > limit or "\n" in text or "\x1b" in text else text


def plain(value: Any, depth: int = 0) -> Any:
    """`value` as text, number, boolean, None, list or mapping; anything else as its `repr`. Bounded, and it never raises."""
    kind = type(value)
    if kind is str:
        return _text(value, FIELD_LIMIT)
    if value is None or kind is bool or kind is float:
        return value
    if kind is int:
        return value if -(2**63) <= value < 2**64 else _repr(value)
    if depth < DEPTH_LIMIT and kind in (list, tuple, set, frozenset, dict):
        try:
            return _container(value, depth)
        except Exception:
            return _repr(value)
    return _repr(value)


def _container(value: Any, depth: int) -> Any:
    more = len(value) - FIELDS_LIMIT
    if isinstance(value, dict):
        shown = {}
        for key in list(value)[:FIELDS_LIMIT]:
            shown[key if isinstance(key, str) and len(key) <= FIELD_LIMIT else _repr(key)] = plain(value[key], depth + 1)
        if more > 0:
            shown["…"] = f"{more} more"
        return shown
    items = [plain(item, depth + 1) for item in list(value)[:FIELDS_LIMIT]]
    return items if more <= 0 else [*items, f"… {more} more"]


def _repr(value: object) -> str:
    try:
        text = value if type(value) is str else repr(value)
        return shortened(text, FIELD_LIMIT)
    except Exception as error:
        return f"<{type(value).__name__}, whose repr raises {type(error).__name__}>"


class TextFormatter(logging.Formatter):
    """One line a record for people, then the traceback, indented: ``time level target: message key=value``. It never raises."""

    def __init__(self, module_id: str = "", *, colour: bool = False) -> None:
        super().__init__()
        self.module_id = module_id
        self.colour = colour

    def format(self, record: logging.LogRecord) -> str:
        """The lines, without the last line end; only lines that continue a record begin with a blank."""
        fields = hidden(fields_of(record))
        blocks = [str(fields.pop(name, "")) for name in ("message", "exception", "stack")]
        ids = current()
        marks = {name: value for name, value in (("request", ids.request_id), ("trace", ids.trace_id)) if value}
        pairs = "".join(f" {one_line(key)}={_shown(value)}" for key, value in {**fields, **hidden(marks)}.items())
        clock = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        level = level_name(record.levelno)
        name = one_line(self.module_id if record.name == "root" and self.module_id else record.name)
        text = f"{name}: {one_line(blocks[0])}{pairs}"
        body = "".join(f"\n    {one_line(line)}" for block in blocks[1:] for line in block.splitlines())
        painted = f"\x1b[{_COLOURS[level]}m{level:<5}\x1b[0m" if self.colour else f"{level:<5}"
        return f"{clock}.{int(record.msecs):03d} {painted} {redact(text + body)}"


def _shown(value: object) -> str:
    """A value of a field: text bare where it is one word, anything else as JSON."""
    bare = isinstance(value, str) and value and not re.search(r'[\s"=]', value)
    return one_line(value) if bare and isinstance(value, str) else _without_controls(_json(value))


def one_line(text: str) -> str:
    """`text` with line ends, escape sequences, bidirectional marks and the like made visible; tabs stay."""
    if text.isascii() and text.isprintable():
        return text
    return re.sub(_UNSAFE_BUT_TAB, _visible, text)


def _visible(found: re.Match[str]) -> str:
    code = ord(found[0])
    return _NAMED.get(code) or (f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")


_NAMED: Mapping[int, str] = {10: "\\n", 13: "\\r", 27: "\\e"}
