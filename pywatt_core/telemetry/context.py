"""Which request is being worked on: ids that every log event carries, in coroutines, tasks and `asyncio.to_thread` alike."""

from __future__ import annotations

import os
import re
from contextvars import ContextVar
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from contextvars import Token
    from types import TracebackType


class Ids(NamedTuple):
    """The ids of the present context; an empty one is left out of log events."""

    request_id: str = ""
    trace_id: str = ""
    span_id: str = ""


_NONE = Ids()
_ids: ContextVar[Ids] = ContextVar("pywatt_ids", default=_NONE)


def current() -> Ids:
    """The ids in force here."""
    return _ids.get()


class context:
    """``with context(request_id=…, trace_id=…, span_id=…):`` — events inside carry these ids; what is not given stays as it was."""

    __slots__ = ("_given", "_token")

    def __init__(self, *, request_id: str | None = None, trace_id: str | None = None, span_id: str | None = None) -> None:
        self._given = (request_id, trace_id, span_id)
        self._token: Token[Ids] | None = None

    def __enter__(self) -> Ids:
        request_id, trace_id, span_id = self._given
        old = _ids.get()
        ids = Ids(
            old.request_id if request_id is None else request_id,
            old.trace_id if trace_id is None else trace_id,
            old.span_id if span_id is None else span_id,
        )
        self._token = _ids.set(ids)
        return ids

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._token is not None:
            _ids.reset(self._token)
            self._token = None


_REQUEST_ID = re.compile(r"[A-Za-z0-9._~:/+=@\-]{1,128}")


def valid_request_id(text: str | None) -> bool:
    """True for 1 to 128 characters out of ASCII letters, digits and ``._~:/+=@-``: safe in a header, a log and a file name's part."""
    return text is not None and _REQUEST_ID.fullmatch(text) is not None


def new_request_id() -> str:
    """32 random hexadecimal digits."""
    return os.urandom(16).hex()


class TraceParent(NamedTuple):
    """The W3C header ``traceparent``; `str` gives its text."""

    trace_id: str
    span_id: str
    flags: int = 1

    @property
    def sampled(self) -> bool:
        """True where the caller may have recorded its part."""
        return bool(self.flags & 1)

    def __str__(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{self.flags:02x}"


_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


def parse_traceparent(text: str | None) -> TraceParent | None:
    """Read a ``traceparent`` header; None where it is absent or not valid, and a new trace has to begin."""
    found = _TRACEPARENT.fullmatch(text.strip(" \t")) if text else None
    if found is None:
        return None
    version, trace_id, span_id, flags, rest = found.groups()
    if version == "ff" or (version == "00" and rest) or not trace_id.strip("0") or not span_id.strip("0"):
        return None
    return TraceParent(trace_id, span_id, int(flags, 16) & 1)


def new_traceparent(parent: TraceParent | None = None) -> TraceParent:
    """A new span: in the trace of `parent`, with its sampled flag, or else at the root of a new, sampled trace."""
    span_id = _random_id(8)
    if parent is not None:
        return TraceParent(parent.trace_id, span_id, parent.flags)
    return TraceParent(_random_id(16), span_id)


def _random_id(size: int) -> str:
    while True:
        text = os.urandom(size).hex()
        if text.strip("0"):
            return text
