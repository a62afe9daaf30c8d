"""Where a request came from, under what name it is known, what is counted of it; and the paths that a server answers itself."""

from __future__ import annotations

import logging
import re
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import telemetry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..interfaces import PlainReply

logger = logging.getLogger("pywatt.http")

AUTH_MARK = "__pywatt_auth__"
"""A dependency or view function with this attribute guards its routes; the value (``"jwt"``) is announced as `auth`."""

BARE_MARK = "__pywatt_bare__"
"""A view with this attribute was decorated to be guarded, and is itself what the decorator guards: nobody may serve it as it is."""

PREFIX = r"(?:/[A-Za-z0-9\-._~!$&'()*+,;=:@%]+)+"
HOST = r"[A-Za-z0-9\-._~:\[\]]{1,255}"
ADDRESS = r"(?=.*[.:])[0-9A-Fa-f.:]{2,45}"


# ── paths ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def under(prefix: str, path: str) -> str:
    """`path` as it is reached below `prefix` (``""`` or ``"/v1"``)."""
    return prefix + path if path.startswith("/") or not path else f"{prefix}/{path}"


def below(prefix: str, path: str) -> str | None:
    """What is left of `path` below `prefix`, at least ``"/"``; None where it is not below it."""
    if not prefix:
        return path
    if path == prefix:
        return "/"
    return path[len(prefix) :] if path.startswith(prefix + "/") else None


def clean_prefix(prefix: str) -> str:
    """``"v1"``, ``"/v1"`` and ``"/v1/"`` are all ``"/v1"``; ``"/"`` is no prefix."""
    stripped = prefix.strip("/")
    return f"/{stripped}" if stripped else ""


def literal_path(path: str) -> str:
    """`path` in the form in which two spellings of one literal route compare equal: no slash at its end."""
    return path.rstrip("/") or "/"


# ── what the headers say ────────────────────────────────────────────────────────────────────────────────────────────


class Arrival(NamedTuple):
    """What the gateway says about a request; empty where it says nothing, or nothing that makes sense."""

    prefix: str = ""
    client: str = ""
    scheme: str = ""
    host: str = ""


NOTHING_SAID = Arrival()


@lru_cache(maxsize=1024)
def arrival(prefix: str = "", client: str = "", scheme: str = "", host: str = "") -> Arrival:
    """Read the values of ``X-Forwarded-Prefix``, ``-For``, ``-Proto`` and ``-Host``. Call it only where the sender is believed.

    Of several addresses the last counts: it is the one that the believed sender saw itself, the others were told to it.
    """
    prefix = prefix.strip().rstrip("/")
    client = client.rpartition(",")[2].strip().strip("[]")
    scheme = scheme.rpartition(",")[2].strip().lower()
    host = host.rpartition(",")[2].strip()
    return Arrival(
        prefix if re.fullmatch(PREFIX, prefix) else "",
        client if re.fullmatch(ADDRESS, client) else "",
        scheme if scheme in ("http", "https") else "",
        host if re.fullmatch(HOST, host) else "",
    )


def named(request_id: str | None, traceparent: str | None) -> telemetry.context:
    """Bind the request's id (made here where it has none that can be logged) and its trace id to what is logged."""
    known = request_id if telemetry.valid_request_id(request_id) else telemetry.new_request_id()
    trace = telemetry.parse_traceparent(traceparent) if traceparent else None
    return telemetry.context(request_id=known, trace_id=trace.trace_id if trace else None)


# ── figures ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class Figures:
    """Requests counted by method and status, their duration by method: ``pywatt_http_requests_total`` and ``…_duration_seconds``."""

    METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

    def __init__(self) -> None:
        self._bound: dict[tuple[str, int], tuple[Any, Any]] = {}

    def count(self, method: str, status: int, seconds: float) -> None:
        """One request answered; anything but the usual methods counts as ``OTHER``, so that clients cannot invent series."""
        bound = self._bound.get((method, status))
        if bound is None:
            name = method if method in self.METHODS else "OTHER"
            bound = self._bound.get((name, status)) or self._bind(name, status)
        bound[0].inc()
        bound[1].observe(seconds)

    def _bind(self, method: str, status: int) -> tuple[Any, Any]:
        metrics = telemetry.metrics
        requests = metrics.counter("pywatt_http_requests_total", "HTTP requests answered.", ("method", "status"))
        durations = metrics.histogram(
            "pywatt_http_request_duration_seconds", "Time from a request to the end of its response.", ("method",)
        )
        bound = self._bound[method, status] = (requests.labels(method, status), durations.labels(method))
        return bound


figures = Figures()


# ── routes of our own ───────────────────────────────────────────────────────────────────────────────────────────────


class ExtraRoutes:
    """Paths such as ``/health`` that a server answers itself, GET and HEAD alone, whatever the application is."""

    def __init__(self) -> None:
        self._handlers: dict[str, Callable[[], PlainReply]] = {}

    def __contains__(self, path: str) -> bool:
        return path in self._handlers

    def __iter__(self) -> Iterator[str]:
        return iter(self._handlers)

    def add(self, path: str, handler: Callable[[], PlainReply]) -> None:
        self._handlers[path] = handler

    def answer(self, path: str, method: str) -> tuple[int, list[tuple[str, str]], bytes]:
        """Status, headers and body; the body is empty for HEAD, its length is told all the same."""
        if method not in ("GET", "HEAD"):
            return 405, [("allow", "GET, HEAD"), ("content-length", "0")], b""
        try:
            status, content_type, body = self._handlers[path]()
        except Exception:
            logger.exception("the handler of %s failed", path)
            status, content_type, body = 500, "text/plain; charset=utf-8", HTTPStatus(500).phrase.encode()
        headers = [("content-type", content_type), ("content-length", str(len(body)))]
        return status, headers, b"" if method == "HEAD" else body
