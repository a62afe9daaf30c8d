"""Heads of responses: accepted by httptools, then checked, because a module may be as wrong as a client."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

import httptools

from .lines import FRAMING, Lines, Remembered, too_many, with_usual_spelling

if TYPE_CHECKING:
    from .options import GatewayOptions

NO_BODY = frozenset({204, 304})
"""Final statuses without a body, whatever the headers say."""
STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2}) [\t\x20-\x7e\x80-\xff]*")
TAKEN_OUT = re.compile(
    rb"\r\n((?i:con(?:tent-length|nection)|t(?:ransfer-encoding|e|railer)|upgrade|keep-alive|server|x-request-id|proxy-connection))"
    rb":[ \t]*([^\r]*)"
)
"""Header lines that are not forwarded as they came."""
READERS = with_usual_spelling(FRAMING)


class BadResponse(Exception):
    """The module's response cannot be forwarded; the text says why."""


class ResponseHead(Lines):
    """One response of a module. All responses with the same bytes may share one."""

    status: int
    chunked: bool
    reusable: bool
    """Whether the connection may carry another request."""
    bodiless: bool
    """Whether the status says that there is no body."""
    start: bytes
    """What the client is sent of it: the status line, in HTTP/1.1, and the lines that are forwarded."""


@lru_cache(maxsize=256)
def _read_status_line(line: bytes) -> tuple[int, bool, bytes]:
    """The status, whether it is HTTP/1.0, and the line in HTTP/1.1."""
    found = STATUS_LINE.fullmatch(line)
    if found is None:
        raise BadResponse("its status line is malformed")
    return int(found[2]), found[1] == b"0", b"HTTP/1.1" + line[8:]


def parse_response(data: bytes, max_headers: int) -> ResponseHead:
    """Take one complete head, up to and with its empty line. Raises `BadResponse`."""
    if too_many(data, max_headers):
        raise BadResponse(f"it has more than {max_headers} headers")
    head = ResponseHead()
    end = data.find(b"\r\n")
    head.status, http10, line = _read_status_line(data[:end])
    try:
        httptools.HttpResponseParser(None).feed_data(data)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError as error:
        raise BadResponse(f"its head is malformed: {error}") from error
    try:
        head.read(READERS, TAKEN_OUT.split(data[end:-4]))
        if head.status == 204 and head.codings is None:
            head.length = None
        head.chunked = head.frame()
    except ValueError as error:
        raise BadResponse(str(error)) from error
    if head.chunked and http10:
        raise BadResponse("Transfer-Encoding does not exist in HTTP/1.0")
    head.bodiless = head.status in NO_BODY
    head.reusable = not http10 and not head.connection.close
    head.start = line + head.kept
    return head


def response_heads(options: GatewayOptions) -> Remembered[ResponseHead]:
    """Heads of responses within the limits of `options`; looking one up raises `BadResponse`."""

    def parse(data: bytes) -> ResponseHead:
        if len(data) > options.max_head_bytes:
            raise BadResponse("its head is too long")
        return parse_response(data, options.max_headers)

    return Remembered(parse)
