"""Services that the orchestrator hosts: values and errors on the wire (protocol 11).

An orchestrator that is not PyWatt's, or a module that is not, knows JSON's values alone: bytes are Base64 text, and nobody can tell
them from text (`plain`). Between PyWatt peers a value that JSON does not have is an object with one member, whose name begins with
``$`` (`tagged`), so that what is stored comes back as it was, whatever format the frames have.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Final
from uuid import UUID

from ..errors import (
    AuthError,
    ConfigError,
    Conflict,
    ExpiredToken,
    Forbidden,
    InvalidToken,
    NotFound,
    PyWattError,
    RemoteProtocolError,
    RequestTimeout,
    StorageError,
    Unavailable,
)
from .values import with_article

HOSTING: Final = "hosted_services"
"""The feature of an orchestrator that understands what goes beyond the inherited protocol: request ids, tags, `CANCEL` and more."""

TAGGED: Final = "pywatt_values"
"""The member of a `service_request`'s config that asks for tagged values, and for errors with their kinds."""

CANCEL: Final = "cancel"
"""The operation that calls off another one of the same connection, by its request id; what that one has made is undone."""

SMALLEST, LARGEST = -(2**63), 2**63 - 1
"""The integers that travel as they are."""

_AS_THEY_ARE = frozenset({str, int, bool, type(None)})


# ── bytes ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def to_base64(data: bytes | bytearray | memoryview) -> str:
    """Standard Base64 with padding."""
    return base64.b64encode(data).decode("ascii")


def from_base64(text: Any, name: str) -> bytes:
    """The bytes of a Base64 text, or of an array of numbers up to 255. Raises `RemoteProtocolError` that names the member."""
    try:
        if isinstance(text, str):
            return base64.b64decode(text, validate=True)
        if isinstance(text, list) and all(type(number) is int for number in text):
            return bytes(text)
    except (binascii.Error, ValueError):
        pass
    raise RemoteProtocolError(f"`{name}` is neither Base64 nor an array of bytes")


# ── between PyWatt peers ────────────────────────────────────────────────────────────────────────────────────────────


def tagged(value: Any) -> Any:
    """A value as it travels between PyWatt peers. Raises `StorageError` for what cannot, and shows nothing of it."""
    kind = type(value)
    if kind in _AS_THEY_ARE:
        if kind is str and not value.isascii():
            _check_text(value)
        elif kind is int and not SMALLEST <= value <= LARGEST:
            return {"$int": str(value)}
        return value
    if kind is float:
        return value if math.isfinite(value) else {"$float": str(value)}
    write = _WRITERS.get(kind)
    if write is not None:
        return write(value)
    if isinstance(value, list | tuple):
        return [tagged(one) for one in value]
    if isinstance(value, Mapping):
        return {"$json": {str(key): tagged(one) for key, one in value.items()}}
    for base in (bool, int, str, float, bytes, datetime, date, time, timedelta, Decimal, UUID):  # its own kind of one of these
        if isinstance(value, base):
            return tagged(_plainly(value, base))
    raise StorageError(
        f"{with_article(kind.__name__)} cannot travel through the orchestrator: pass text, a number or bytes, or CAST it in the statement"
    )


def untagged(value: Any) -> Any:
    """What `tagged` was given. Raises `RemoteProtocolError` that names the tag."""
    if type(value) is list:
        return [untagged(one) for one in value]
    if type(value) is not dict:
        return value
    if len(value) == 1:
        ((tag, inner),) = value.items()
        if tag == "$json" and type(inner) is dict:
            return {key: untagged(one) for key, one in inner.items()}
        read = _READERS.get(tag)
        if read is not None and isinstance(inner, list if tag == "$interval" else str):
            try:
                return read(inner)
            except (ValueError, TypeError, OverflowError, KeyError, InvalidOperation):
                pass
        raise RemoteProtocolError(f"a value with the tag {str(tag)[:40]!r} cannot be read")
    raise RemoteProtocolError("an object stands where a value was expected")


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise StorageError("a text holds characters that UTF-8 cannot express") from None


def _plainly(value: Any, base: type) -> Any:
    """A value of a type derived from `base` as one of `base` itself."""
    if base is datetime:
        return datetime.combine(date(value.year, value.month, value.day), _time(value))
    if base is date:
        return date(value.year, value.month, value.day)
    if base is time:
        return _time(value)
    if base is timedelta:
        return timedelta(value.days, value.seconds, value.microseconds)
    return base(str(value)) if base in (UUID, Decimal) else base.__new__(base, value)


def _time(value: datetime | time) -> time:
    return time(value.hour, value.minute, value.second, value.microsecond, value.tzinfo, fold=value.fold)


def _interval(parts: Any) -> timedelta:
    days, seconds, microseconds = parts
    return timedelta(days=days, seconds=seconds, microseconds=microseconds)


_WRITERS: Final[dict[type, Callable[[Any], Any]]] = {
    bytes: lambda value: {"$bytes": to_base64(value)},
    bytearray: lambda value: {"$bytes": to_base64(value)},
    memoryview: lambda value: {"$bytes": to_base64(value)},
    datetime: lambda value: {"$datetime": value.isoformat()},
    date: lambda value: {"$date": value.isoformat()},
    time: lambda value: {"$time": value.isoformat()},
    timedelta: lambda value: {"$interval": [value.days, value.seconds, value.microseconds]},
    Decimal: lambda value: {"$decimal": str(value)},
    UUID: lambda value: {"$uuid": str(value)},
}

_READERS: Final[dict[str, Callable[[Any], Any]]] = {
    "$bytes": lambda text: base64.b64decode(text, validate=True),
    "$datetime": datetime.fromisoformat,
    "$date": date.fromisoformat,
    "$time": time.fromisoformat,
    "$interval": _interval,
    "$decimal": Decimal,
    "$uuid": UUID,
    "$int": lambda text: _integer(text),
    "$float": lambda text: {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}[text],
}


def _integer(text: str) -> int:
    if len(text) > 1000:  # longer ones take ever longer to read
        raise ValueError
    return int(text)


# ── with everybody else ─────────────────────────────────────────────────────────────────────────────────────────────


def plain_parameter(value: Any, *, inside: bool = False) -> Any:
    """A parameter in the inherited protocol. Raises `StorageError` for what it does not have: it is refused here, not guessed at there."""
    kind = type(value)
    if kind in (bytes, bytearray, memoryview):
        return to_base64(value)
    if kind is int and not SMALLEST <= value <= LARGEST:
        raise StorageError("an integer parameter does not fit 64 bits")
    if kind is float and not math.isfinite(value):
        raise StorageError("NaN and infinity cannot be parameters here")
    if kind is str:
        _check_text(value)
    if kind in _AS_THEY_ARE or kind is float:
        return value
    if kind in (list, tuple) and not inside:
        return [plain_parameter(one, inside=True) for one in value]
    raise StorageError(
        f"{with_article(kind.__name__)} cannot be a parameter with this orchestrator, which knows JSON's values and bytes: pass text"
    )


def plain_result(value: Any) -> Any:
    """A value of a row for somebody who knows JSON alone: bytes as Base64, everything else without a form of its own as text."""
    kind = type(value)
    if kind in _AS_THEY_ARE:
        return value if kind is not int or SMALLEST <= value <= 2**64 - 1 else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes | bytearray | memoryview):
        return to_base64(value)
    if isinstance(value, Mapping):
        return {str(key): plain_result(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain_result(one) for one in value]
    return value.isoformat() if isinstance(value, datetime | date | time) else str(value)


# ── errors ──────────────────────────────────────────────────────────────────────────────────────────────────────────

_KINDS: Final[dict[str, type[PyWattError]]] = {
    "conflict": Conflict,
    "not_found": NotFound,
    "unavailable": Unavailable,
    "timeout": RequestTimeout,
    "forbidden": Forbidden,
    "expired_token": ExpiredToken,
    "invalid_token": InvalidToken,
    "auth": AuthError,
    "config": ConfigError,
    "storage": StorageError,
}
"""Kinds by their names on the wire; each before what it is a kind of."""


def failure_of(error: PyWattError) -> dict[str, Any]:
    """What `service_operation_result.result` says about a failure, beside the text in ``error``."""
    kind = next((name for name, known in _KINDS.items() if isinstance(error, known)), "storage")
    if isinstance(error, Conflict):
        return {"kind": kind, "conflict": error.kind}
    return {"kind": kind, "reason": error.reason} if isinstance(error, InvalidToken) and error.reason else {"kind": kind}


def error_of(text: str, failure: Any) -> PyWattError:
    """The error that a failure stands for; a `StorageError` where it does not say."""
    said = failure if isinstance(failure, dict) else {}
    known = _KINDS.get(str(said.get("kind")), StorageError)
    if known is Conflict:
        return Conflict(text, kind=str(said.get("conflict") or ""))
    if issubclass(known, InvalidToken):
        reason = said.get("reason")
        return known(text, reason=reason if isinstance(reason, str) else "")
    return known(text)
