"""Heads of requests: what is accepted, what is taken out, what is refused and why."""

from __future__ import annotations

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pywatt_orchestrator.gateway.options import GatewayOptions
from pywatt_orchestrator.gateway.request import Refused, RequestHead, RequestParser


def request(*lines: str, first: str = "GET /a HTTP/1.1", host: str = "Host: x") -> bytes:
    return "\r\n".join([first, *([host] if host else []), *lines, "", ""]).encode("latin-1")


def parse(data: bytes) -> RequestHead:
    return RequestParser(GatewayOptions()).parse(data)


REFUSED = {
    "bare LF after the request line": (b"GET / HTTP/1.1\nHost: x\r\n\r\n", 400, "request line|malformed"),
    "bare LF after a header": (b"GET / HTTP/1.1\r\nHost: x\nA: b\r\n\r\n", 400, "malformed"),
    "bare CR in a value": (b"GET / HTTP/1.1\r\nHost: x\r\nA: b\rc\r\n\r\n", 400, "malformed"),
    "folded value": (b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n", 400, "malformed"),
    "folded with tab": (b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n\tc\r\n\r\n", 400, "malformed"),
    "folded transfer encoding": (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\r\n chunked\r\n\r\n", 400, "malformed"),
    "first header indented": (b"GET / HTTP/1.1\r\n Host: x\r\n\r\n", 400, "malformed"),
    "space before the colon": (b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400, "malformed"),
    "space before the colon of a length": (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length : 3\r\n\r\n", 400, "malformed"),
    "empty header name": (b"GET / HTTP/1.1\r\nHost: x\r\n: b\r\n\r\n", 400, "malformed"),
    "header without colon": (b"GET / HTTP/1.1\r\nHost: x\r\nabc\r\n\r\n", 400, "malformed"),
    "NUL in a value": (b"GET / HTTP/1.1\r\nHost: x\r\nA: b\0\r\n\r\n", 400, "malformed"),
    "DEL in a value": (b"GET / HTTP/1.1\r\nHost: x\r\nA: b\x7f\r\n\r\n", 400, "malformed"),
    "control character in a value": (b"GET / HTTP/1.1\r\nHost: x\r\nA: \x1b[31m\r\n\r\n", 400, "malformed"),
    "NUL in a name": (b"GET / HTTP/1.1\r\nHost: x\r\nA\0: b\r\n\r\n", 400, "malformed"),
    "non-ASCII name": (b"GET / HTTP/1.1\r\nHost: x\r\nT\xe9: b\r\n\r\n", 400, "malformed"),
    "both framings": (request("Transfer-Encoding: chunked", "Content-Length: 3"), 400, "malformed|both"),
    "both framings, the other way": (request("Content-Length: 3", "Transfer-Encoding: chunked"), 400, "malformed|both"),
    "two lengths": (request("Content-Length: 3", "Content-Length: 4"), 400, "malformed"),
    "the same length twice": (request("Content-Length: 3", "Content-Length: 3"), 400, "malformed"),
    "a list of lengths": (request("Content-Length: 3, 3"), 400, "malformed"),
    "signed length": (request("Content-Length: +3"), 400, "malformed"),
    "negative length": (request("Content-Length: -3"), 400, "malformed"),
    "hexadecimal length": (request("Content-Length: 0x3"), 400, "malformed"),
    "empty length": (request("Content-Length:"), 400, "malformed"),
    "huge length": (request("Content-Length: 99999999999999999999"), 400, "malformed"),
    "underscored digits": (request("Content-Length: 1_0"), 400, "malformed"),
    "no host": (request(host=""), 400, "no Host"),
    "two hosts": (request("Host: y"), 400, "more than one Host"),
    "the same host twice": (request("host: x"), 400, "more than one Host"),
    "empty host": (request(host="Host:"), 400, "Host header is malformed"),
    "host with a path": (request(host="Host: x/y"), 400, "Host header is malformed"),
    "host with credentials": (request(host="Host: a@b"), 400, "Host header is malformed"),
    "host with a space": (request(host="Host: a b"), 400, "Host header is malformed"),
    "long host": (request(host=f"Host: {'a' * 256}"), 400, "Host header is malformed"),
    "two hosts in one": (request(host="Host: a,b@c"), 400, "Host header is malformed"),
    "transfer encoding in HTTP/1.0": (request("Transfer-Encoding: chunked", first="POST / HTTP/1.0"), 400, "HTTP/1.0"),
    "gzip, chunked": (request("Transfer-Encoding: gzip, chunked"), 400, "only Transfer-Encoding"),
    "chunked, identity": (request("Transfer-Encoding: chunked, identity"), 400, "malformed"),
    "xchunked": (request("Transfer-Encoding: xchunked"), 400, "malformed"),
    "identity": (request("Transfer-Encoding: identity"), 400, "malformed|only"),
    "chunked twice": (request("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"), 400, "malformed|only"),
    "chunked twice in one": (request("Transfer-Encoding: chunked, chunked"), 400, "malformed|only"),
    "quoted chunked": (request('Transfer-Encoding: "chunked"'), 400, "malformed|only"),
    "vertical tab before chunked": (request("Transfer-Encoding: \x0bchunked"), 400, "malformed"),
    "empty transfer encoding": (request("Transfer-Encoding:"), 400, "malformed|only"),
    "HTTP/0.9": (b"GET /\r\n\r\n", 400, "request line"),
    "HTTP/2.0": (request(first="GET / HTTP/2.0"), 505, "HTTP/1.1 and HTTP/1.0"),
    "HTTP/1.2": (request(first="GET / HTTP/1.2"), 505, "HTTP/1.1 and HTTP/1.0"),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\n", 505, "HTTP/1.1 and HTTP/1.0"),
    "lower-case version": (request(first="GET / http/1.1"), 400, "HTTP/1.1 and HTTP/1.0"),
    "RTSP": (request(first="SETUP / RTSP/1.0"), 400, "HTTP/1.1 and HTTP/1.0"),
    "ICE": (request(first="SOURCE / ICE/1.0"), 400, "HTTP/1.1 and HTTP/1.0"),
    "two spaces": (request(first="GET  / HTTP/1.1"), 400, "one space"),
    "tab": (request(first="GET\t/ HTTP/1.1"), 400, "one space"),
    "space at the end": (request(first="GET / HTTP/1.1 "), 400, "one space"),
    "space in the target": (request(first="GET /a b HTTP/1.1"), 400, "one space"),
    "unknown method": (request(first="BREW / HTTP/1.1"), 400, "malformed"),
    "lower-case method": (request(first="get / HTTP/1.1"), 400, "capital letters"),
    "LF before the method": (b"\n" + request(), 400, "capital letters"),
    "CR LF and LF before the method": (b"\r\n\n" + request(), 400, "capital letters"),
    "CR before the method": (b"\r" + request(), 400, "capital letters"),
    "two empty lines before the method": (b"\r\n\r\n" + request(), 400, "request line"),
    "tab in the target": (request(first="GET /a\tb HTTP/1.1"), 400, "malformed"),
    "control character in the target": (request(first="GET /a\x01 HTTP/1.1"), 400, "malformed"),
    "DEL in the query": (request(first="GET /a?\x7f HTTP/1.1"), 400, "malformed"),
    "non-ASCII target": (request(first="GET /\xe9 HTTP/1.1"), 400, "malformed"),
    "CONNECT": (request(first="CONNECT x:443 HTTP/1.1"), 405, "CONNECT"),
    "asterisk for GET": (request(first="GET * HTTP/1.1"), 400, "malformed|begin with /"),
    "relative target": (request(first="GET a HTTP/1.1"), 400, "malformed|begin with /"),
    "another host in the target": (request(first="GET http://y/ HTTP/1.1"), 400, "different hosts"),
    "credentials in the target": (request(first="GET http://u@x/ HTTP/1.1"), 400, "begin with /"),
    "another scheme": (request(first="GET ftp://x/ HTTP/1.1"), 400, "begin with /"),
    "odd expectation": (request("Expect: 200-maybe"), 417, "100-continue"),
    "two expectations": (request("Expect: 100-continue", "Expect: 100-continue"), 417, "100-continue"),
    "long target": (request(first=f"GET /{'a' * 8192} HTTP/1.1"), 414, "8192"),
    "many headers": (request(*[f"A{n}: b" for n in range(128)]), 431, "128"),
    "two empty lines first": (b"\r\n\r\n", 400, "request line"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_request_that_could_be_read_in_two_ways_is_refused(name: str) -> None:
    data, status, reason = REFUSED[name]
    with pytest.raises(Refused, match=reason) as refused:
        parse(data)
    assert refused.value.status == status


def test_a_plain_request_is_taken_apart() -> None:
    head = parse(request("Accept: text/html", "Content-Length: 12 ", first="POST /a/b?c=d?e HTTP/1.1"))
    assert (head.method, head.path, head.query, head.lines.host, head.lines.length) == (b"POST", b"/a/b", b"?c=d?e", b"x", 12)
    assert not head.lines.chunked and not head.empty and head.keep_alive and head.ordinary
    assert head.lines.kept == b"\r\nAccept: text/html\r\nHost: x\r\nX-Forwarded-Host: x\r\nContent-Length: 12"


@pytest.mark.parametrize("value", ["chunked", "Chunked", "CHUNKED", " chunked "])
def test_chunked_is_recognised_however_it_is_written(value: str) -> None:
    head = parse(request(f"transfer-ENCODING: {value}", first="POST / HTTP/1.1"))
    assert head.lines.chunked and head.lines.length is None
    assert head.lines.kept.endswith(b"\r\nTransfer-Encoding: chunked")


DROPPED = [
    "Connection: keep-alive",
    "Keep-Alive: timeout=5",
    "Proxy-Connection: keep-alive",
    "Proxy-Authorization: Basic eA==",
    "Proxy: http://evil",
    "TE: trailers",
    "Trailer: Expires",
    "Upgrade: h2c",
    "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA",
    "X-Forwarded-For: 1.2.3.4",
    "x-forwarded-proto: https",
    "X-Forwarded-Host: evil",
    "X-Forwarded-Prefix: /evil",
    "X-Forwarded-User: root",
    "X-Forwarded: for=1.2.3.4",
    "X_Forwarded_For: 1.2.3.4",
    "X-Forwarded_Prefix: /evil",
    "Content_Length: 5",
    "Transfer_Encoding: chunked",
    "Forwarded: for=1.2.3.4",
    "X-Real-IP: 1.2.3.4",
    "tracestate: a=b",
    "Expect: 100-continue",
]


@pytest.mark.parametrize("line", DROPPED)
def test_what_concerns_one_connection_or_is_ours_to_say_is_not_forwarded(line: str) -> None:
    head = parse(request("A: 1", line, "B: 2"))
    assert head.lines.kept == b"\r\nA: 1\r\nB: 2\r\nHost: x\r\nX-Forwarded-Host: x"
    assert head.lines.length is None and not head.lines.chunked


@pytest.mark.parametrize("line", [*DROPPED, "Via: 1.1 front", "X-Via: 1", "Forward: 1"])
def test_it_is_known_who_came_through_a_proxy(line: str) -> None:
    added_by_proxies = line.lower().replace("_", "-").startswith(("forwarded", "x-forwarded", "x-real-ip", "via:"))
    assert parse(request("A: 1", line, "B: 2")).lines.passed_on is added_by_proxies


def test_what_connection_names_is_not_forwarded_but_what_routes_and_frames_is() -> None:
    head = parse(
        request("Connection: close, X-Secret, host", "connection: Content-Length", "x-secret: 1", "X-Secret-Too: 2", "Content-Length: 3")
    )
    assert head.lines.kept == b"\r\nX-Secret-Too: 2\r\nHost: x\r\nX-Forwarded-Host: x\r\nContent-Length: 3"
    assert not head.keep_alive


def test_a_connection_header_that_names_thousands_costs_little() -> None:
    """It is read once and applied in one pass: quadratic work here would stop the gateway."""
    names = [f"x-{number}" for number in range(8000)]
    lines = [f"Connection: {','.join(names[at : at + 2000])}" for at in range(0, 8000, 2000)]
    head = parse(request(*lines, *(f"X-{number}: y" for number in range(7990, 8010))))
    assert head.lines.kept.startswith(b"\r\nX-8000: y") and b"X-7999" not in head.lines.kept and b"X-8009: y" in head.lines.kept


@pytest.mark.parametrize(
    ("first", "lines", "keep_alive"),
    [
        ("GET / HTTP/1.1", [], True),
        ("GET / HTTP/1.1", ["Connection: close"], False),
        ("GET / HTTP/1.1", ["Connection: Close , x"], False),
        ("GET / HTTP/1.0", [], False),
        ("GET / HTTP/1.0", ["Connection: keep-alive"], True),
        ("GET / HTTP/1.0", ["Connection: keep-alive, close"], False),
    ],
)
def test_the_connection_stays_where_the_client_wants_it(first: str, lines: list[str], keep_alive: bool) -> None:
    assert parse(request(*lines, first=first)).keep_alive is keep_alive


def test_a_host_may_be_missing_in_http_1_0() -> None:
    head = parse(request(first="GET / HTTP/1.0", host=""))
    assert head.lines.host is None and not head.ordinary


@pytest.mark.parametrize("host", ["example.org", "example.org:8000", "127.0.0.1", "[::1]:80", "xn--bcher-kva.example", "a_b.c"])
def test_hosts_are_taken_as_they_are(host: str) -> None:
    assert parse(request(host=f"Host: {host}")).lines.host == host.encode()


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("http://x/a?b", b"/a", b"?b"),
        ("HTTPS://X", b"/", b""),
        ("http://x?y=/z", b"/", b"?y=/z"),
        ("/a?", b"/a", b"?"),
        ("/?a=http://y/", b"/", b"?a=http://y/"),
    ],
)
def test_an_absolute_target_becomes_a_path(target: str, path: bytes, query: bytes) -> None:
    head = parse(request(first=f"GET {target} HTTP/1.1"))
    assert (head.path, head.query) == (path, query)


def test_one_empty_line_before_a_request_is_let_pass() -> None:
    assert parse(b"\r\n" + request()).path == b"/a"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["Connection: upgrade", "Upgrade: websocket"], b"websocket"),
        (["Connection: keep-alive, Upgrade", "upgrade: WebSocket"], b"WebSocket"),
        (["Connection: Upgrade", "Upgrade: MyProto/2"], b"MyProto/2"),
        (["Upgrade: websocket"], b""),
        (["Connection: upgrade", "Upgrade: h2c"], b""),
        (["Connection: upgrade", "Upgrade: H2C"], b""),
        (["Connection: upgrade", "Upgrade: TLS/1.0"], b""),
        (["Connection: upgrade", "Upgrade: websocket, h2c"], b""),
        (["Connection: upgrade", "Upgrade: websocket", "Content-Length: 3"], b""),
    ],
)
def test_upgrades_are_tunnelled_unless_requests_could_hide_in_them(lines: list[str], expected: bytes) -> None:
    assert parse(request(*lines)).wanted_upgrade == expected


TRACE = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"


@pytest.mark.parametrize(
    ("lines", "request_id", "traceparent"),
    [
        ([], b"", None),
        (["X-Request-ID: abc-1", f"traceparent: {TRACE}"], b"abc-1", TRACE.encode()),
        (["X-Request-ID: two words"], b"", None),
        ([f"X-Request-ID: {'a' * 129}"], b"", None),
        ([f"traceparent: {TRACE}x"], b"", b""),
        ([f"traceparent: {TRACE.upper()}"], b"", b""),
        ([f"traceparent: ff{TRACE[2:]}"], b"", b""),
        ([f"traceparent: 01{TRACE[2:]}-more"], b"", f"01{TRACE[2:]}-more".encode()),
        ([f"traceparent: 00-{'0' * 32}-{'b' * 16}-01"], b"", b""),
        ([f"traceparent: {TRACE}", f"traceparent: {TRACE}"], b"", b""),
    ],
)
def test_ids_are_believed_only_where_they_are_well_formed(lines: list[str], request_id: bytes, traceparent: bytes | None) -> None:
    head = parse(request(*lines))
    assert (head.lines.request_id, head.lines.traceparent) == (request_id, traceparent)
    assert b"request-id" not in head.lines.kept.lower() and b"trace" not in head.lines.kept


NASTY = st.sampled_from(
    [b"\r", b"\n", b"\r\n", b" ", b"\t", b":", b"\0", b"\x0b", b"\x7f", b"\xff", b",", b";", b"0", b"a", b"chunked", b"Host: y\r\n"]
)
WHOLE = [
    request("Content-Length: 3", "Accept: */*", first="POST /a/b?c=d HTTP/1.1"),
    request("Transfer-Encoding: chunked", "Connection: keep-alive", first="PUT /a HTTP/1.1"),
    request("Connection: close, x-a", "X-A: b", "Cookie: a=b; c=d"),
    request(first="GET http://x/a HTTP/1.1"),
    b"\r\n" + request(first="GET /a HTTP/1.0"),
]


@given(st.sampled_from(WHOLE), st.lists(st.tuples(st.integers(0, 200), st.integers(0, 3), NASTY), min_size=1, max_size=3))
@settings(max_examples=1000, deadline=None)
def test_whatever_is_accepted_is_forwarded_so_that_a_stricter_parser_reads_the_same(
    data: bytes, changes: list[tuple[int, int, bytes]]
) -> None:
    for place, removed, added in changes:
        place %= len(data)
        data = data[:place] + added + data[place + removed :]
    end = data.find(b"\r\n\r\n", 1)
    try:
        head = parse(data[: end + 4])
    except Refused:
        return
    lines = (head.method + b" " + head.path + head.query + b" HTTP/1.1").join((b"", head.lines.kept))
    if head.lines.host is None:
        lines += b"\r\nHost: ours"
    strict = h11.Connection(h11.SERVER)
    strict.receive_data(lines + b"\r\n\r\n" + (b"0\r\n\r\n" if head.lines.chunked else b"x" * (head.lines.length or 0)))
    event = strict.next_event()
    assert isinstance(event, h11.Request)
    assert (event.method, event.target) == (head.method, head.path + head.query)
    names = [name for name, _ in event.headers]
    assert names.count(b"host") == 1 and b"connection" not in names
    while not isinstance(event := strict.next_event(), h11.EndOfMessage):
        assert isinstance(event, h11.Data)
    assert strict.trailing_data == (b"", False)


def outcome(parser: RequestParser, data: bytes) -> object:
    """Everything that a head says, or the status with which it is refused."""
    try:
        head = parser.heads[data]
    except Refused as refused:
        return refused.status
    lines = head.lines
    return (head.method, head.path, head.query, head.keep_alive, head.empty, lines.kept, lines.length, lines.chunked, lines.traceparent)


@given(st.sampled_from(WHOLE), st.lists(st.tuples(st.integers(0, 30), st.integers(0, 2), NASTY), max_size=2))
@settings(max_examples=1000, deadline=None)
def test_a_parser_that_remembers_decides_as_one_that_does_not(data: bytes, changes: list[tuple[int, int, bytes]]) -> None:
    for place, removed, added in changes:
        data = data[:place] + added + data[place + removed :]
    fresh = outcome(RequestParser(GatewayOptions()), data)
    for _ in range(3):
        assert outcome(EXPERIENCED, data) == fresh


EXPERIENCED = RequestParser(GatewayOptions())
for known in WHOLE * 3:
    EXPERIENCED.parse(known)
