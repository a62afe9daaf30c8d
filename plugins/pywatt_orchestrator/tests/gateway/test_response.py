"""Heads of responses: a module may be as wrong as a client."""

from __future__ import annotations

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pywatt_orchestrator.gateway.response import BadResponse, parse_response


def response(*lines: str, first: str = "HTTP/1.1 200 OK") -> bytes:
    return "\r\n".join([first, *lines, "", ""]).encode("latin-1")


def test_a_plain_response_is_taken_apart() -> None:
    head = parse_response(response("Server: uvicorn", "Content-Length: 3", "X-A: b", "X-Request-ID: y", "Connection: keep-alive"), 128)
    assert (head.status, head.length, head.chunked, head.reusable, head.bodiless) == (200, 3, False, True, False)
    assert head.start == b"HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: 3"


@pytest.mark.parametrize(
    ("first", "lines", "reusable"),
    [
        ("HTTP/1.1 200 OK", ["Connection: close"], False),
        ("HTTP/1.0 200 OK", [], False),
        ("HTTP/1.0 200 OK", ["Connection: keep-alive"], False),
    ],
)
def test_a_module_s_connection_is_used_again_only_where_it_stays(first: str, lines: list[str], reusable: bool) -> None:
    head = parse_response(response(*lines, first=first), 128)
    assert head.reusable is reusable
    assert head.start.startswith(b"HTTP/1.1 200 OK")


def test_a_204_has_no_length() -> None:
    head = parse_response(response("Content-Length: 0", first="HTTP/1.1 204 No Content"), 128)
    assert head.start == b"HTTP/1.1 204 No Content" and head.bodiless


BAD_RESPONSES = {
    "both framings": response("Content-Length: 3", "Transfer-Encoding: chunked"),
    "two lengths": response("Content-Length: 3", "Content-Length: 3"),
    "negative length": response("Content-Length: -1"),
    "a list of lengths": response("Content-Length: 3, 3"),
    "gzip, chunked": response("Transfer-Encoding: gzip, chunked"),
    "chunked in HTTP/1.0": response("Transfer-Encoding: chunked", first="HTTP/1.0 200 OK"),
    "xchunked": response("Transfer-Encoding: xchunked"),
    "folded": b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
    "bare LF": b"HTTP/1.1 200 OK\r\nA: b\nC: d\r\n\r\n",
    "NUL": response("A: b\0"),
    "no status": response(first="HTTP/1.1 OK"),
    "short status": response(first="HTTP/1.1 20 OK"),
    "status zero": response(first="HTTP/1.1 000 OK"),
    "control character in the reason": response(first="HTTP/1.1 200 O\x07K"),
    "another protocol": response(first="ICY 200 OK"),
    "HTTP/2": response(first="HTTP/2.0 200 OK"),
    "many headers": response(*[f"A{n}: b" for n in range(129)]),
    "space before the colon": response("A : b"),
}


@pytest.mark.parametrize("name", BAD_RESPONSES)
def test_a_response_that_could_be_read_in_two_ways_is_refused(name: str) -> None:
    with pytest.raises(BadResponse):
        parse_response(BAD_RESPONSES[name], 128)


NASTY = st.sampled_from([b"\r", b"\n", b"\r\n", b" ", b"\t", b":", b"\0", b"\xff", b",", b";", b"0", b"chunked", b"Content-Length: 4"])
WHOLE = [
    response("Content-Length: 3", "Server: x", "Set-Cookie: a=b"),
    response("Transfer-Encoding: chunked", "Connection: keep-alive", first="HTTP/1.1 404 Not Found"),
    response("Connection: close, x-a", "X-A: b", first="HTTP/1.0 200 OK"),
]


@given(st.sampled_from(WHOLE), st.lists(st.tuples(st.integers(0, 200), st.integers(0, 3), NASTY), min_size=1, max_size=3))
@settings(max_examples=1000, deadline=None)
def test_whatever_is_accepted_means_the_same_to_a_stricter_parser(data: bytes, changes: list[tuple[int, int, bytes]]) -> None:
    for place, removed, added in changes:
        place %= len(data)
        data = data[:place] + added + data[place + removed :]
    try:
        head = parse_response(data[: data.find(b"\r\n\r\n", 1) + 4], 128)
    except BadResponse:
        return
    strict = h11.Connection(h11.CLIENT)
    strict.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
    strict.send(h11.EndOfMessage())
    chunked = b"\r\nTransfer-Encoding: chunked" if head.chunked else b""
    strict.receive_data(head.start + chunked + b"\r\n\r\n" + (b"0\r\n\r\n" if head.chunked else b"x" * (head.length or 0)))
    event = strict.next_event()
    assert isinstance(event, h11.Response if head.status >= 200 else h11.InformationalResponse)
    assert event.status_code == head.status
    if head.chunked or head.length is not None:
        while not isinstance(event := strict.next_event(), h11.EndOfMessage):
            assert isinstance(event, h11.Data)
        assert strict.trailing_data == (b"", False)
