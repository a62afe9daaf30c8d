"""A request message becomes parts, parts become a message (protocol 6.3)."""

from __future__ import annotations

import logging

import pytest

from pywatt_core.http.mapping import BadRequest, plain, put_together, take_apart
from pywatt_core.protocol.messages import HttpRequest


def message(method: str = "GET", uri: str = "/", headers: dict[str, str] | None = None, body: bytes | None = None) -> HttpRequest:
    return HttpRequest(request_id="r", method=method, uri=uri, headers=headers or {}, body=body)


@pytest.mark.parametrize(
    ("uri", "path", "raw_path", "query"),
    [
        ("/a/b?x=1&y=%20", "/a/b", b"/a/b", b"x=1&y=%20"),
        ("/a%20b/%C3%A9", "/a b/é", b"/a%20b/%C3%A9", b""),
        ("/a%2Fb", "/a/b", b"/a%2Fb", b""),
        ("/?a?b", "/", b"/", b"a?b"),
        ("/%zz", "/%zz", b"/%zz", b""),
        ("/a#fragment", "/a", b"/a", b""),
        ("http://host:8080/a?b", "/a", b"/a", b"b"),
        ("HTTPS://host", "/", b"/", b""),
        ("http://host?q", "/", b"/", b"q"),
        ("/é", "/é", "/é".encode(), b""),
    ],
)
def test_a_uri_is_path_raw_path_and_query(uri: str, path: str, raw_path: bytes, query: bytes) -> None:
    parts = take_apart(message(uri=uri))
    assert (parts.path, parts.raw_path, parts.query) == (path, raw_path, query)


def test_a_wsgi_path_is_bytes_as_characters() -> None:
    assert take_apart(message(uri="/%C3%A9")).wsgi_path == "/é".encode().decode("latin-1")


def test_options_may_ask_for_the_server_itself() -> None:
    assert take_apart(message("OPTIONS", "*")).path == "*"


@pytest.mark.parametrize(
    "uri", ["", "a", "*", "ftp://host/a", "http:///a", "/a b", "/a\tb", "/a\x00", "/a\r\nx", "/\x7f", "/\ud800", "host:80"]
)
def test_other_uris_are_refused(uri: str) -> None:
    with pytest.raises(BadRequest, match="^invalid uri$"):
        take_apart(message(uri=uri))


@pytest.mark.parametrize("method", ["", "GET ", "G\r\nT", "GÉT", "GET/1"])
def test_other_methods_are_refused(method: str) -> None:
    with pytest.raises(BadRequest, match="^invalid method$"):
        take_apart(message(method))


def test_unusual_methods_pass() -> None:
    assert take_apart(message("purge")).method == "purge"


@pytest.mark.parametrize("name", ["", "a b", "a:", "a\n", "é"])
def test_other_header_names_are_refused(name: str) -> None:
    with pytest.raises(BadRequest, match="^invalid header name$"):
        take_apart(message(headers={name: "x"}))


@pytest.mark.parametrize("value", ["a\r\nb: c", "a\nb", "\x00", "a\x7f"])
def test_other_header_values_are_refused_and_not_shown(value: str) -> None:
    with pytest.raises(BadRequest, match="^invalid value of header x-secret$"):
        take_apart(message(headers={"X-Secret": value}))


def test_header_values_beyond_latin_are_dropped_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "pywatt.http"):
        assert take_apart(message(headers={"X-A": "日本", "X-B": "é"})).headers == [("x-b", "é")]
    assert "request r: header x-a is dropped, its value is not latin-1" in caplog.text
    assert "日本" not in caplog.text


def test_headers_about_a_connection_are_not_passed_on() -> None:
    headers = {"Connection": "close", "Transfer-Encoding": "chunked", "Upgrade": "websocket", "TE": "trailers", "X-A": " 1\t"}
    assert take_apart(message(headers=headers)).headers == [("x-a", "1")]


@pytest.mark.parametrize(
    ("method", "body", "length"), [("GET", None, []), ("POST", None, ["0"]), ("POST", b"abc", ["3"]), ("GET", b"abc", ["3"])]
)
def test_the_length_is_that_of_the_body_whatever_the_headers_say(method: str, body: bytes | None, length: list[str]) -> None:
    headers = take_apart(message(method, headers={"Content-Length": "7"}, body=body)).headers
    assert [value for name, value in headers if name == "content-length"] == length


def test_duplicate_response_headers_are_joined_and_the_last_cookie_stays(caplog: pytest.LogCaptureFixture) -> None:
    headers = [("Vary", "a"), ("vary", "b"), ("Set-Cookie", "a=1"), ("set-cookie", "b=2"), ("Connection", "close")]
    with caplog.at_level(logging.WARNING, "pywatt.http"):
        response = put_together(message(), 200, headers, b"body")
    assert response.headers == {"vary": "a, b", "set-cookie": "b=2"}
    assert "several cookies are set" in caplog.text
    assert "b=2" not in caplog.text


def test_response_header_values_beyond_latin_are_dropped() -> None:
    assert put_together(message(), 200, [("X-A", "日本"), ("X-B", "é")], b"").headers == {"x-b": "é"}


@pytest.mark.parametrize(
    ("method", "status", "body"), [("GET", 200, b"x"), ("HEAD", 200, b""), ("GET", 204, b""), ("GET", 304, b""), ("GET", 101, b"")]
)
def test_the_body_is_always_there_and_empty_where_http_says_so(method: str, status: int, body: bytes) -> None:
    response = put_together(message(method), status, [], b"x")
    assert response.body == body
    assert response.body is not None


def test_a_plain_answer_is_the_phrase_of_its_status() -> None:
    response = plain(message(), 503, headers=[("Retry-After", "1")])
    assert (response.request_id, response.status_code, response.body) == ("r", 503, b"Service Unavailable")
    assert response.headers == {"content-type": "text/plain; charset=utf-8", "content-length": "19", "retry-after": "1"}
