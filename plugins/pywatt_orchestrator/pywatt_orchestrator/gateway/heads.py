"""Heads of requests and responses: accepted by httptools, then checked for what httptools lets through.

httptools (llhttp without leniencies) says whether a head is well formed: lines end with CRLF, none is folded, names are
tokens, no value holds a control character. One regular expression then takes out the lines that frame the message, that
concern one connection only, or that the gateway sets itself; the others are forwarded as they came.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import httptools

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .routing import Match

HEAD_END = b"\r\n\r\n"
IDEMPOTENT = frozenset({b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"})
"""Methods of requests that may be sent a second time without being asked (RFC 9110 9.2.2)."""
NO_BODY = frozenset({204, 304})
"""Final statuses without a body, whatever the headers say."""

REQUEST_LINES = re.compile(
    rb"\r\n((?i:host|con(?:tent[-_]length|nection)|t(?:ransfer[-_]encoding|race(?:parent|state)|e|railer)|upgrade|expect"
    rb"|x[-_](?:request[-_]id|forwarded[-_][^:]*|real[-_]ip)|keep[-_]alive|proxy(?:[-_](?:connection|authorization))?"
    rb"|http2[-_]settings|forwarded)):[ \t]*([^\r]*)"
)
"""The header lines of a request that are taken out. CGI and WSGI make ``_`` and ``-`` one, so both spellings are."""
RESPONSE_LINES = re.compile(
    rb"\r\n((?i:con(?:tent-length|nection)|t(?:ransfer-encoding|e|railer)|upgrade|keep-alive|server|x-request-id|proxy-connection))"
    rb":[ \t]*([^\r]*)"
)

VERSIONS = {b"HTTP/1.1": False, b"HTTP/1.0": True}
COMMON_METHODS = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"})
METHOD = re.compile(rb"[A-Z]+(?:-[A-Z]+)?")
"""What httptools knows are names of this form, but it skips line ends before them."""
HOST = re.compile(rb"(?:[A-Za-z0-9\-._~!$&'()*+,;=]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{0,5})?")
ABSOLUTE = re.compile(rb"(?i:https?)://([^/?#@]+)(/[^?]*)?(\?.*)?", re.DOTALL)
STATUS_LINE = re.compile(rb"HTTP/1\.[01] [1-9][0-9]{2} [\t\x20-\x7e\x80-\xff]*")
REQUEST_ID = re.compile(rb"[A-Za-z0-9._~:/+=@-]{1,128}")
TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:(?<!^00.{53})-[!-~]*)?")
NAME = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_`|~]+")
CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
REFUSED_UPGRADES = frozenset({b"h2c", b"http", b"tls"})
"""Protocols whose requests the gateway could not check; a client that asks for one is served without the upgrade."""


REMEMBERED = 1024
"""Parsed heads that are kept for the next time."""
REMEMBERED_SIZE = 1024
"""Bytes that such a head may have."""


class Refused(Exception):
    """The client's request cannot be served; the connection is closed after the reply."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


class BadResponse(Exception):
    """The module's response cannot be forwarded; the text says why."""


class Connection(NamedTuple):
    """What a ``Connection`` header says."""

    close: bool
    keep_alive: bool
    upgrade: bool
    named: tuple[bytes, ...]
    """The other headers that concern one connection only, in lower case."""


NOT_SAID = Connection(close=False, keep_alive=False, upgrade=False, named=())


def read_connection(value: bytes) -> Connection:
    """Take the comma-separated list apart."""
    return _usual_connection(value) if len(value) <= 64 else _read_connection(value)


def _read_connection(value: bytes) -> Connection:
    tokens = [token.strip(b" \t") for token in value.lower().split(b",")]
    named = tuple(token for token in tokens if token not in (b"close", b"keep-alive", b"upgrade", b""))
    return Connection(b"close" in tokens, b"keep-alive" in tokens, b"upgrade" in tokens, named)


_usual_connection = lru_cache(maxsize=256)(_read_connection)


class Head:
    """What requests and responses share. The class attributes are what holds without the header in question."""

    kept: bytes
    """The lines to forward, each after its CRLF."""
    length: int | None = None
    chunked = False
    codings: bytes | None = None
    """All of Transfer-Encoding."""
    connection = NOT_SAID
    upgrade: bytes = b""

    def field(self, name: bytes) -> bytes:
        """The first of the `kept` lines with this lower-case name, or nothing."""
        found = re.search(rb"\r\n(?i:%b):[ \t]*([^\r]*)" % re.escape(name), self.kept)
        return found[1].rstrip() if found is not None else b""

    def read(self, fields: dict[bytes, Callable[[Any, bytes], None]], lines: list[bytes]) -> None:
        """Sort the result of splitting at the lines that are taken out: what is between them, and their names and values."""
        self.kept = b"".join(lines[0::3])
        for position in range(1, len(lines), 3):
            name = lines[position]
            read = fields.get(name) or fields.get(name.lower())
            if read is not None:
                read(self, lines[position + 1].rstrip(b" \t"))
        if self.connection.named:
            named = set(self.connection.named)
            self.kept = b"\r\n".join(line for line in self.kept.split(b"\r\n") if line.partition(b":")[0].lower() not in named)


def _length(head: Head, value: bytes) -> None:
    if head.length is not None or not value.isdigit():
        raise ValueError("it has two Content-Length headers, or one that is not a number")
    head.length = int(value)


def _codings(head: Head, value: bytes) -> None:
    head.codings = value if head.codings is None else head.codings + b"," + value


def _connection(head: Head, value: bytes) -> None:
    said, more = head.connection, read_connection(value)
    if said is not NOT_SAID:
        named = said.named + more.named
        more = Connection(said.close or more.close, said.keep_alive or more.keep_alive, said.upgrade or more.upgrade, named)
    head.connection = more


def _upgrade(head: Head, value: bytes) -> None:
    head.upgrade += b"," + value if head.upgrade else value


FRAMING: dict[bytes, Callable[[Any, bytes], None]] = {
    b"content-length": _length,
    b"transfer-encoding": _codings,
    b"connection": _connection,
    b"upgrade": _upgrade,
}
"""Who reads a line that was taken out; one that nobody reads is dropped."""


# ── requests ────────────────────────────────────────────────────────────────────────────────────────────────────────


class RequestHead(Head):
    """One request."""

    method: bytes
    path: bytes
    query: bytes = b""
    """With its question mark, or empty."""
    http10: bool
    host: bytes | None = None
    host_lines: bytes = b""
    expect: bytes = b""
    request_id: bytes | None = None
    traceparent: bytes | None = None
    tracestate: bytes = b""
    keep_alive: bool
    """Whether the client wants the connection to stay."""
    empty: bool
    """Whether there is no body."""
    ordinary: bool
    """Whether it is like most: it has a Host, but no ids, no expectation and no wish to change protocols."""
    route: Match | None = None
    """Where the gateway found that it leads, until the routes change."""
    start: bytes
    """What the module is sent of it: the request line and the `kept` lines."""

    @property
    def wanted_upgrade(self) -> bytes:
        """The protocol that the client asks to change to, or nothing where the gateway does not let it."""
        if not self.connection.upgrade or self.http10 or not self.empty or b"," in self.upgrade:
            return b""
        return b"" if self.upgrade.lower().partition(b"/")[0] in REFUSED_UPGRADES else self.upgrade


@lru_cache(maxsize=256)
def read_host(value: bytes) -> bytes:
    """The header lines that tell the module this host. Raises ValueError for a malformed one."""
    if HOST.fullmatch(value) is None:
        raise ValueError("its Host header is malformed")
    return b"\r\nHost: %b\r\nX-Forwarded-Host: %b" % (value, value)


def _host(head: RequestHead, value: bytes) -> None:
    if head.host is not None:
        raise ValueError("it has more than one Host header")
    head.host = value
    head.host_lines = read_host(value)


def _expect(head: RequestHead, value: bytes) -> None:
    head.expect += b"," + value if head.expect else value


def _request_id(head: RequestHead, value: bytes) -> None:
    if head.request_id is None and REQUEST_ID.fullmatch(value):
        head.request_id = value


def _traceparent(head: RequestHead, value: bytes) -> None:
    head.traceparent = value if head.traceparent is None and TRACEPARENT.fullmatch(value) else b""


def _tracestate(head: RequestHead, value: bytes) -> None:
    head.tracestate += b"," + value if head.tracestate else value


REQUEST_FIELDS = FRAMING | {
    b"host": _host,
    b"expect": _expect,
    b"x-request-id": _request_id,
    b"traceparent": _traceparent,
    b"tracestate": _tracestate,
}
REQUEST_FIELDS |= {name.title(): read for name, read in REQUEST_FIELDS.items()}


def parse_request(data: bytes, max_headers: int, max_target: int) -> RequestHead:
    """Take one complete head, up to and with its empty line; one empty line before it is let pass. Raises `Refused`."""
    if data[:2] == b"\r\n":
        data = data[2:]
    end = data.find(b"\r\n")
    parts = data[:end].split(b" ")
    if len(parts) != 3:
        raise Refused(400, "the request line must be a method, a target and a version with one space between them")
    head = RequestHead()
    head.method, target, version = parts
    if head.method not in COMMON_METHODS and METHOD.fullmatch(head.method) is None:
        raise Refused(400, "the request line must begin with a method in capital letters")
    http10 = VERSIONS.get(version)
    if http10 is None:
        raise Refused(505 if version.startswith(b"HTTP/") else 400, "the gateway speaks HTTP/1.1 and HTTP/1.0")
    head.http10 = http10
    if len(target) > max_target:
        raise Refused(414, f"the request target is longer than {max_target} bytes")
    if too_many_lines(data, max_headers):
        raise Refused(431, f"the request has more than {max_headers} headers")
    try:
        httptools.HttpRequestParser(head).feed_data(data)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError as error:
        raise Refused(400, f"the request is malformed: {error}") from error
    try:
        head.read(REQUEST_FIELDS, REQUEST_LINES.split(data[end:-4]))
    except ValueError as error:
        raise Refused(400, f"the request is malformed: {error}") from error
    if head.host is None or head.codings is not None or head.expect or target[:1] != b"/":
        target = _check_unusual(head, target)
    head.path, mark, query = target.partition(b"?")
    head.query = mark + query
    head.keep_alive = not head.connection.close and (not http10 or head.connection.keep_alive)
    head.kept += head.host_lines
    if head.chunked:
        head.kept += b"\r\nTransfer-Encoding: chunked"
    elif head.length is not None:
        head.kept += b"\r\nContent-Length: %d" % head.length
    head.empty = not head.chunked and not head.length
    head.ordinary = head.host is not None and not (head.upgrade or head.expect or head.request_id or head.traceparent)
    return head


def _check_unusual(head: RequestHead, target: bytes) -> bytes:
    """Whatever most requests have not. Returns the target in origin form."""
    if head.method == b"CONNECT":
        raise Refused(405, "the gateway is no forward proxy: CONNECT is refused")
    if head.host is None and not head.http10:
        raise Refused(400, "the request has no Host header")
    if head.codings is not None:
        if head.http10:
            raise Refused(400, "Transfer-Encoding does not exist in HTTP/1.0")
        if head.length is not None:
            raise Refused(400, "the request has both Transfer-Encoding and Content-Length")
        if head.codings.lower() != b"chunked":
            raise Refused(400, "the only Transfer-Encoding that is accepted is chunked")
        head.chunked = True
    if head.expect and head.expect.lower() != b"100-continue":
        raise Refused(417, "the only expectation that can be met is 100-continue")
    absolute = ABSOLUTE.fullmatch(target)
    if absolute is not None:
        if head.host is not None and absolute[1].lower() != head.host.lower():
            raise Refused(400, "the request target and the Host header name different hosts")
        return (absolute[2] or b"/") + (absolute[3] or b"")
    if target[:1] != b"/" and (target != b"*" or head.method != b"OPTIONS"):
        raise Refused(400, "the request target must begin with /")
    return target


# ── responses ───────────────────────────────────────────────────────────────────────────────────────────────────────


class ResponseHead(Head):
    """One response of a module."""

    status: int
    start: bytes
    """What the client is sent of it: the status line, in HTTP/1.1, and the `kept` lines."""
    reusable: bool
    """Whether the connection may carry another request."""
    bodiless: bool
    """Whether the status says that there is no body."""


RESPONSE_FIELDS = FRAMING | {name.title(): read for name, read in FRAMING.items()}


def parse_response(data: bytes, max_headers: int) -> ResponseHead:
    """Take one complete head, up to and with its empty line. Raises `BadResponse`."""
    end = data.find(b"\r\n")
    line = data[:end]
    if STATUS_LINE.fullmatch(line) is None:
        raise BadResponse("its status line is malformed")
    if too_many_lines(data, max_headers):
        raise BadResponse(f"it has more than {max_headers} headers")
    head = ResponseHead()
    head.status = int(line[9:12])
    http10 = line.startswith(b"HTTP/1.0")
    try:
        httptools.HttpResponseParser(head).feed_data(data)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError as error:
        raise BadResponse(f"its head is malformed: {error}") from error
    try:
        head.read(RESPONSE_FIELDS, RESPONSE_LINES.split(data[end:-4]))
    except ValueError as error:
        raise BadResponse(str(error)) from error
    if head.codings is not None:
        if head.length is not None or http10 or head.codings.lower() != b"chunked":
            raise BadResponse("its Transfer-Encoding is not chunked alone")
        head.chunked = True
    if head.length is not None and head.status != 204:
        head.kept += b"\r\nContent-Length: %d" % head.length
    head.start = b"HTTP/1.1" + line[8:] + head.kept
    head.bodiless = head.status in NO_BODY
    head.reusable = not http10 and not head.connection.close
    return head


# ── both ────────────────────────────────────────────────────────────────────────────────────────────────────────────


H = TypeVar("H", bound=Head)


class Heads(dict[bytes, H]):
    """Heads that came more than once, taken apart, by their bytes: clients, and modules even more, repeat themselves.

    All requests with the same bytes share one, in which nothing changes but the `route`.
    """

    def __init__(self, parse: Callable[[bytes], H]) -> None:
        super().__init__()
        self._parse = parse
        self._came_once: set[int] = set()

    def __missing__(self, data: bytes) -> H:
        head = self._parse(data)
        if len(data) <= REMEMBERED_SIZE:
            mark = hash(data)
            if mark not in self._came_once:
                self._came_once.add(mark)
                if len(self._came_once) > 4 * REMEMBERED:
                    self._came_once.clear()
            else:
                if len(self) >= REMEMBERED:
                    self.clear()
                self[data] = head
        return head


def too_many_lines(data: bytes, limit: int) -> bool:
    """Whether a head has more than `limit` header lines; the shortest has four bytes."""
    return len(data) > 4 * limit and data.count(b"\r\n") > limit + 2


def header_lines(headers: Iterable[tuple[str, str]]) -> bytes:
    """Header lines, each after its CRLF; one that would break out of its line, or cannot be written, is left out."""
    lines = [f"\r\n{name}: {value}" for name, value in headers if NAME.fullmatch(name) and not CONTROL.search(value)]
    return "".join(lines).encode("latin-1", "replace")
