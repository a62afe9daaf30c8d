"""Which request is being worked on: ids that every log event carries, in coroutines, tasks and `asyncio.to_thread` alike."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextvars import ContextVar
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from contextvars import Token
    from types import TracebackType


class Ids(NamedTuple):
    """The ids of the present context; an empty one is left out of log events."""

    request_id: str = ""
    trace_id: str = ""
    span_id: str = ""


class Received:
    """The ids of a request that came from elsewhere, as its sender wrote them: read when somebody asks, and most do not.

    `request_id` and `traceparent` may be anything at all; `otherwise` is the request id where the first is none. What is not
    given stays as it was.
    """

    __slots__ = ("_before", "_ids", "_otherwise", "_request_id", "_token", "_traceparent")

    def __init__(self, request_id: object, traceparent: object, otherwise: str) -> None:
        self._request_id, self._traceparent, self._otherwise = request_id, traceparent, otherwise
        self._ids: Ids | None = None

    def begin(self) -> None:
        """From now on these ids are in force here."""
        self._before = _ids.get()
        self._token = _ids.set(self)

    def end(self) -> None:
        """From now on those are that were before `begin`."""
        _ids.reset(self._token)

    def read(self) -> Ids:
        """The ids themselves."""
        if self._ids is None:
            before = self._before if isinstance(self._before, Ids) else self._before.read()
            given, trace = self._request_id, self._traceparent
            known = given if isinstance(given, str) and valid_request_id(given) else self._otherwise
            parent = parse_traceparent(trace) if isinstance(trace, str) else None
            self._ids = Ids(known, parent.trace_id, parent.span_id) if parent else Ids(known, before.trace_id, before.span_id)
        return self._ids


_NONE = Ids()
_ids: ContextVar[Ids | Received] = ContextVar("pywatt_ids", default=_NONE)


def current() -> Ids:
    """The ids in force here."""
    found = _ids.get()
    return found if isinstance(found, Ids) else found.read()


class context:
    """``with context(request_id=…, trace_id=…, span_id=…):`` — events inside carry these ids; what is not given stays as it was."""

    __slots__ = ("_given", "_token")

    def __init__(self, *, request_id: str | None = None, trace_id: str | None = None, span_id: str | None = None) -> None:
        self._given = (request_id, trace_id, span_id)
        self._token: Token[Ids | Received] | None = None

    def __enter__(self) -> Ids:
        request_id, trace_id, span_id = self._given
        old = current()
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


def next_traceparent(trace_id: str) -> str:
    """The text of a `traceparent` for a new span in a sampled trace: its id is random for the process, then counted."""
    return f"00-{trace_id}-{next(_spans)}-01"


def _spans_anew() -> None:
    """A process forked from this one counts from elsewhere."""
    global _spans
    _spans = map("%016x".__mod__, count(int.from_bytes(os.urandom(8)) >> 1 | 1 << 62))


_spans: Iterator[str]
_spans_anew()
os.register_at_fork(after_in_child=_spans_anew)


def _random_id(size: int) -> str:
    while True:
        text = os.urandom(size).hex()
        if text.strip("0"):
            return text
