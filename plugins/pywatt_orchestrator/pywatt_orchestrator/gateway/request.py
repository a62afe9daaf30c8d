"""Heads of requests: accepted by httptools, then checked for what httptools lets through."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

import httptools

from .lines import FRAMING, Lines, Remembered, too_many, with_usual_spelling

if TYPE_CHECKING:
    from .options import GatewayOptions
    from .routing import Match

IDEMPOTENT = frozenset({b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"})
"""Methods of requests that may be sent a second time without being asked (RFC 9110 9.2.2)."""
COMMON_METHODS = IDEMPOTENT | {b"POST", b"PATCH"}
METHOD = re.compile(rb"[A-Z]+(?:-[A-Z]+)?")
"""What httptools knows are names of this form, but it skips line ends before them."""
PLAIN_TARGET = re.compile(rb"/[A-Za-z0-9\-._~!$&'()*+,;=:@/?%]*")
"""Targets that httptools need not be asked about."""
ABSOLUTE = re.compile(rb"(?i:https?)://([^/?#@]+)(/[^?]*)?(\?.*)?", re.DOTALL)
VERSIONS = {b"HTTP/1.1": False, b"HTTP/1.0": True}
HOST = re.compile(rb"(?:[A-Za-z0-9\-._~!$&'()*+,;=]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{0,5})?")
REQUEST_ID = re.compile(rb"[A-Za-z0-9._~:/+=@-]{1,128}")
TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:(?<!^00.{53})-[!-~]*)?")
REFUSED_UPGRADES = frozenset({b"h2c", b"http", b"tls"})
"""Protocols whose requests the gateway could not check; a client that asks for one is served without the upgrade."""

TAKEN_OUT = re.compile(
    rb"\r\n((?i:host|con(?:tent[-_]length|nection)|t(?:ransfer[-_]encoding|race(?:parent|state)|e|railer)|upgrade|expect"
    rb"|x[-_](?:request[-_]id|forwarded(?:[-_][^:]*)?|real[-_]ip)|keep[-_]alive|proxy(?:[-_](?:connection|authorization))?"
    rb"|http2[-_]settings|forwarded)):[ \t]*([^\r]*)"
)
"""Header lines that are not forwarded as they came. CGI and WSGI make ``_`` and ``-`` one, so both spellings are meant."""
PASSED_ON = re.compile(rb"(?i:forwarded|x[-_](?:forwarded|real))")
"""What the names of those begin with that proxies add; they are all among `TAKEN_OUT`."""


class Refused(Exception):
    """The client's request cannot be served; the connection is closed after the reply."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


# ── header lines ────────────────────────────────────────────────────────────────────────────────────────────────────


class RequestLines(Lines):
    """The header lines of a request."""

    chunked = False
    empty = True
    """Whether there is no body."""
    ordinary = True
    """Whether they are like most: a Host, but no ids, no expectation and no wish to change protocols."""
    host: bytes | None = None
    host_lines: bytes = b""
    """How the module is told the host."""
    expect: bytes = b""
    request_id: bytes = b""
    traceparent: bytes | None = None
    """Empty where it is there and cannot be used."""
    tracestate: bytes = b""

    @property
    def passed_on(self) -> bool:
        """Whether somebody in between says that it has passed the request on."""
        return any(PASSED_ON.match(name) for name in self.dropped) or bool(self.fields(b"via"))


@lru_cache(maxsize=256)
def _tell_host(value: bytes) -> bytes:
    if HOST.fullmatch(value) is None:
        raise ValueError("its Host header is malformed")
    return b"\r\nHost: %b\r\nX-Forwarded-Host: %b" % (value, value)


def _host(lines: RequestLines, value: bytes) -> None:
    if lines.host is not None:
        raise ValueError("it has more than one Host header")
    lines.host = value
    lines.host_lines = _tell_host(value)


def _expect(lines: RequestLines, value: bytes) -> None:
    lines.expect += b"," + value if lines.expect else value


def _request_id(lines: RequestLines, value: bytes) -> None:
    if not lines.request_id and REQUEST_ID.fullmatch(value):
        lines.request_id = value


def _traceparent(lines: RequestLines, value: bytes) -> None:
    lines.traceparent = value if lines.traceparent is None and TRACEPARENT.fullmatch(value) else b""


def _tracestate(lines: RequestLines, value: bytes) -> None:
    lines.tracestate += b"," + value if lines.tracestate else value


READERS = with_usual_spelling(
    FRAMING
    | {
        b"host": _host,
        b"expect": _expect,
        b"x-request-id": _request_id,
        b"traceparent": _traceparent,
        b"tracestate": _tracestate,
    }
)


def parse_lines(data: bytes) -> RequestLines:
    """Everything from the CRLF of the request line on, which httptools has accepted. Raises `Refused`."""
    lines = RequestLines()
    try:
        lines.read(READERS, TAKEN_OUT.split(data[:-4]))
        lines.kept += lines.host_lines
        lines.chunked = lines.frame()
    except ValueError as error:
        raise Refused(400, f"the request is malformed: {error}") from error
    if lines.chunked:
        lines.kept += b"\r\nTransfer-Encoding: chunked"
    if lines.expect and lines.expect.lower() != b"100-continue":
        raise Refused(417, "the only expectation that can be met is 100-continue")
    lines.empty = not lines.chunked and not lines.length
    lines.ordinary = lines.host is not None and not (lines.upgrade or lines.expect or lines.request_id or lines.traceparent)
    return lines


# ── whole heads ─────────────────────────────────────────────────────────────────────────────────────────────────────


class RequestHead:
    """One request. All requests with the same bytes may share one; only `route`, `guarded` and `start` are set later."""

    __slots__ = ("empty", "guarded", "http10", "keep_alive", "lines", "method", "ordinary", "path", "query", "route", "start")

    def __init__(self, method: bytes, target: bytes, lines: RequestLines, *, http10: bool) -> None:
        self.method = method
        self.path, mark, query = target.partition(b"?")
        self.query = mark + query
        """With its question mark, or empty."""
        self.http10 = http10
        self.lines = lines
        self.empty = lines.empty
        self.ordinary = lines.ordinary
        self.keep_alive = not lines.connection.close and (not http10 or lines.connection.keep_alive)
        """Whether the client wants the connection to stay."""
        self.route: Match | None = None
        """Where the gateway found that it leads, until the routes change."""
        self.guarded = False
        """Whether it needs a token there."""
        self.start = b""
        """What the module is sent of it: the request line, and the lines that are forwarded."""

    @property
    def wanted_upgrade(self) -> bytes:
        """The protocol that the client asks to change to, or nothing where the gateway does not let it."""
        upgrade = self.lines.upgrade
        if not self.lines.connection.upgrade or self.http10 or not self.empty or b"," in upgrade:
            return b""
        return b"" if upgrade.lower().partition(b"/")[0] in REFUSED_UPGRADES else upgrade


UNREAD = RequestHead(b"", b"", RequestLines(), http10=False)
"""Stands for a request that could not be read."""
UNREAD.lines.kept = b""


class RequestParser:
    """Takes heads apart, within the limits of `options`.

    Two memories make that cheap: of whole heads, and of header lines, which the requests of one client share.
    """

    def __init__(self, options: GatewayOptions) -> None:
        self._options = options
        self.heads = Remembered(self.parse)
        """Whole heads, up to and with their empty line. Looking one up raises `Refused`."""
        self._lines = Remembered(self._parse_lines)

    def parse(self, data: bytes) -> RequestHead:
        """Take one whole head; one empty line before it is let pass. Raises `Refused`."""
        options = self._options
        if len(data) > options.max_head_bytes:
            raise Refused(431, f"the head of the request is longer than {options.max_head_bytes} bytes")
        if data[:2] == b"\r\n":
            data = data[2:]
        end = data.find(b"\r\n")
        parts = data[:end].split(b" ")
        if len(parts) != 3:
            raise Refused(400, "the request line must be a method, a target and a version with one space between them")
        method, target, version = parts
        http10 = VERSIONS.get(version)
        if http10 is None:
            raise Refused(505 if version.startswith(b"HTTP/") else 400, "the gateway speaks HTTP/1.1 and HTTP/1.0")
        if len(target) > options.max_target_bytes:
            raise Refused(414, f"the request target is longer than {options.max_target_bytes} bytes")
        lines = self._lines.get(data[end:])
        if lines is None or method not in COMMON_METHODS or PLAIN_TARGET.fullmatch(target) is None:
            _ask_httptools(data, method)
            lines = self._lines[data[end:]]
        if lines.host is None or lines.chunked or target[:1] != b"/":
            target = _check_unusual(method, target, lines, http10=http10)
        return RequestHead(method, target, lines, http10=http10)

    def _parse_lines(self, data: bytes) -> RequestLines:
        options = self._options
        if too_many(data, options.max_headers):
            raise Refused(431, f"the request has more than {options.max_headers} headers")
        lines = parse_lines(data)
        if lines.length is not None and lines.length > options.max_body_bytes:
            raise Refused(413, f"the body is longer than {options.max_body_bytes} bytes")
        return lines


def _ask_httptools(data: bytes, method: bytes) -> None:
    if method not in COMMON_METHODS and METHOD.fullmatch(method) is None:
        raise Refused(400, "the request line must begin with a method in capital letters")
    try:
        httptools.HttpRequestParser(None).feed_data(data)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError as error:
        raise Refused(400, f"the request is malformed: {error}") from error


def _check_unusual(method: bytes, target: bytes, lines: RequestLines, *, http10: bool) -> bytes:
    """What most requests have not. Returns the target in origin form, or ``*``. Raises `Refused`."""
    if method == b"CONNECT":
        raise Refused(405, "the gateway is no forward proxy: CONNECT is refused")
    if lines.host is None and not http10:
        raise Refused(400, "the request has no Host header")
    if lines.chunked and http10:
        raise Refused(400, "Transfer-Encoding does not exist in HTTP/1.0")
    absolute = ABSOLUTE.fullmatch(target)
    if absolute is not None:
        if lines.host is not None and absolute[1].lower() != lines.host.lower():
            raise Refused(400, "the request target and the Host header name different hosts")
        return (absolute[2] or b"/") + (absolute[3] or b"")
    if target[:1] != b"/" and (target != b"*" or method != b"OPTIONS"):
        raise Refused(400, "the request target must begin with /")
    return target
