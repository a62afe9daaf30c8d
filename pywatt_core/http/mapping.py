"""A request message becomes the parts of a request; the parts of a response become a message (protocol 6.3)."""

from __future__ import annotations

import logging
import re
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote, unquote_to_bytes

from ..protocol.messages import HttpRequest, HttpResponse

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..protocol.messages import HttpStreamRequest

logger = logging.getLogger("pywatt.http")

MAX_BODY = 16 * 1024 * 1024
"""Bytes that a response over a link may have unless the caller says otherwise: as JSON numbers it still fits one line."""

TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
FORBIDDEN_IN_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
LENGTH = re.compile(r"[0-9]{1,18}")
FORBIDDEN_IN_URI = re.compile(r"[\x00-\x20\x7f]")

CONNECTION_HEADERS = frozenset({"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"})
"""Headers about one connection: a link is none, so they are not passed on in either direction."""


class BadRequest(Exception):
    """The message cannot be made into a request; the text says which part, never its value."""


class Parts(NamedTuple):
    """One request, checked."""

    method: str
    raw_path: bytes
    """The path as it came, percent-escapes and all."""
    query: bytes
    headers: list[tuple[str, str]]
    """Lower-case names, latin-1 values; `content-length` is that of the body where that is known."""
    body: bytes
    """All of it, or its first piece."""

    @property
    def path(self) -> str:
        """The path with percent-escapes decoded as UTF-8."""
        return unquote(self.raw_path.decode("utf-8"))

    @property
    def wsgi_path(self) -> str:
        """The path with percent-escapes decoded into bytes, each byte one character (PEP 3333)."""
        return unquote_to_bytes(self.raw_path).decode("latin-1")


def take_apart(request: HttpRequest | HttpStreamRequest) -> Parts:
    """The parts of `request`. Raises `BadRequest` for a method, uri or header that HTTP does not allow."""
    if not TOKEN.fullmatch(request.method):
        raise BadRequest("invalid method")
    target = _origin_form(request.uri, request.method)
    path, _, query = target.partition("?")
    body = request.body or b""
    given, more = (request.headers.items(), False) if isinstance(request, HttpRequest) else (request.headers, request.more)
    headers = _request_headers(request, given, None if more else len(body))
    return Parts(request.method, path.encode(), query.encode(), headers, body)


def _origin_form(uri: str, method: str) -> str:
    if not uri or FORBIDDEN_IN_URI.search(uri):
        raise BadRequest("invalid uri")
    try:
        uri.encode()
    except UnicodeEncodeError as exc:
        raise BadRequest("invalid uri") from exc
    uri = uri.partition("#")[0]
    if uri.startswith("/") or (uri == "*" and method == "OPTIONS"):
        return uri
    scheme, separator, rest = uri.partition("://")
    if not separator or scheme.lower() not in ("http", "https"):
        raise BadRequest("invalid uri")
    authority = re.split(r"[/?]", rest, maxsplit=1)[0]
    target = rest[len(authority) :]
    if not authority:
        raise BadRequest("invalid uri")
    return target if target.startswith("/") else "/" + target


def _request_headers(
    request: HttpRequest | HttpStreamRequest, given: Iterable[tuple[str, str]], length: int | None
) -> list[tuple[str, str]]:
    """`length` is None where the body has not arrived whole; what the sender says of its length is then passed on."""
    headers: list[tuple[str, str]] = []
    for name, value in given:
        lowered = name.lower()
        if not TOKEN.fullmatch(name):
            raise BadRequest("invalid header name")
        if FORBIDDEN_IN_VALUE.search(value):
            raise BadRequest(f"invalid value of header {lowered}")
        if lowered in CONNECTION_HEADERS or (lowered == "content-length" and (length is not None or not LENGTH.fullmatch(value))):
            continue
        if not _is_latin(value):
            logger.warning("request %s: header %s is dropped, its value is not latin-1", request.request_id, lowered)
            continue
        headers.append((lowered, value.strip(" \t")))
    if length or (length is not None and request.method in ("POST", "PUT", "PATCH")):
        headers.append(("content-length", str(length)))
    return headers


def _is_latin(value: str) -> bool:
    try:
        value.encode("latin-1")
    except UnicodeEncodeError:
        return False
    return True


def put_together(request: HttpRequest, status: int, headers: Iterable[tuple[str, str]], body: bytes) -> HttpResponse:
    """The answer to `request`: names lower-case, duplicates joined by a comma, of several cookies the last one."""
    joined: dict[str, str] = {}
    for name, value in headers:
        lowered = name.lower()
        if lowered in CONNECTION_HEADERS:
            continue
        if not _is_latin(value):
            logger.warning("request %s: response header %s is dropped, its value is not latin-1", request.request_id, lowered)
        elif lowered not in joined:
            joined[lowered] = value
        elif lowered == "set-cookie":
            logger.warning("request %s: several cookies are set, a link can carry the last one only", request.request_id)
            joined[lowered] = value
        else:
            joined[lowered] += ", " + value
    if bodiless(request.method, status):
        body = b""
    return HttpResponse(request_id=request.request_id, status_code=status, headers=joined, body=body)


def bodiless(method: str, status: int) -> bool:
    """Whether such a response has no body, whatever the application sends."""
    return method == "HEAD" or status in (204, 304) or status < 200


def passable(request: HttpStreamRequest, headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """What of a response's headers travels beside a body in pieces: names lower-case, several of one name apart."""
    kept: list[tuple[str, str]] = []
    for name, value in headers:
        lowered = name.lower()
        if lowered in CONNECTION_HEADERS:
            continue
        if not _is_latin(value):
            logger.warning("request %s: response header %s is dropped, its value is not latin-1", request.request_id, lowered)
            continue
        kept.append((lowered, value))
    return kept


def plain(request: HttpRequest, status: int, text: str = "", *, headers: Iterable[tuple[str, str]] = ()) -> HttpResponse:
    """A short answer in plain text; without `text` the status' own phrase."""
    body = (text or HTTPStatus(status).phrase).encode()
    own = [("content-type", "text/plain; charset=utf-8"), ("content-length", str(len(body)))]
    return put_together(request, status, [*own, *headers], body)
