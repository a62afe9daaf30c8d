"""The messages of HTTP over TCP, byte for byte as the reference writes them."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywatt_core.errors import LocalProtocolError, RemoteError, RemoteProtocolError
from pywatt_core.protocol.framing import JSON, LengthFraming
from pywatt_core.protocol.http_tcp import HttpTcpRequest, HttpTcpResponse, read_request, read_response, write
from pywatt_core.protocol.lenient import Unreadable

VECTORS = {
    vector["name"]: vector
    for vector in json.loads((Path(__file__).parents[1] / "data" / "vectors.json").read_text())
    if vector["direction"] == "http_tcp"
}
ID = "11111111-2222-4333-8444-555555555555"
REQUEST = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"


def test_every_vector_is_read_and_written_byte_for_byte() -> None:
    for vector in VECTORS.values():
        text = vector["json"].encode()
        message = read_response(text) if b"status_code" in text else read_request(text)
        assert write(message, id=ID) == text
        if vector["kind"] == "frame":
            assert LengthFraming(1000).wrap(text, JSON).hex() == vector["hex"]
    assert set(VECTORS) == {"http_tcp_request_get", "http_tcp_response", "frame_http_tcp_request"}


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
PAIRS = st.dictionaries(TEXT, TEXT, max_size=3)
BODIES = st.none() | st.binary(max_size=50)


@given(st.builds(HttpTcpRequest, TEXT, TEXT, TEXT, PAIRS, BODIES), st.builds(HttpTcpResponse, TEXT, st.integers(100, 599), PAIRS, BODIES))
def test_messages_make_the_round_trip_enveloped_and_bare(request: HttpTcpRequest, response: HttpTcpResponse) -> None:
    assert read_request(write(request, id=ID)) == request
    assert read_response(write(response, id=ID)) == response
    bare = msgspec.json.encode(msgspec.json.decode(write(response, id=ID))["content"])
    assert read_response(bare) == response


@given(st.binary(max_size=60) | TEXT.map(str.encode))
def test_hostile_bytes_raise_nothing_but_unreadable(data: bytes) -> None:
    for read in (read_request, read_response):
        with contextlib.suppress(Unreadable):
            read(data)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ({"request_id": "r", "method": "GET", "uri": 5}, r"content\.uri"),
        ({"request_id": "r", "method": "GET", "uri": "/", "headers": {"a": 1}}, r"content\.headers"),
        ({"request_id": "r", "method": "GET", "uri": "/", "body": "text"}, "body"),
        ({"request_id": "r", "method": "GET", "uri": "/", "body": [256]}, "body"),
        ({"request_id": "r", "uri": "/"}, "method"),
    ],
)
def test_a_malformed_message_names_its_field_and_keeps_its_id(content: dict[str, Any], complaint: str) -> None:
    with pytest.raises(Unreadable, match=complaint) as caught:
        read_request(json.dumps({"id": ID, "content": content}).encode())
    assert caught.value.members["request_id"] == "r"


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff", b"{" * 200, b'{"content":[]}', b'{"a":' + b"[" * 200 + b"]" * 200 + b"}"])
def test_what_is_no_message_at_all_is_refused(data: bytes) -> None:
    with pytest.raises(Unreadable):
        read_request(data)


@pytest.mark.parametrize("message", [HttpTcpResponse("r", 99), HttpTcpResponse("r", 600), HttpTcpRequest("r", "GET", "/", {"a": "\ud800"})])
def test_what_cannot_travel_is_refused(message: Any) -> None:
    with pytest.raises(LocalProtocolError):
        write(message, id=ID)


class Named(msgspec.Struct):
    a: str


def test_bodies_are_read_as_what_they_are_asked_for() -> None:
    response = HttpTcpResponse("r", 200, {"X-A": "b"}, b'{"a":1}')
    assert (response.text(), response.json(), response.json(dict[str, int]), response.header("x-a")) == ('{"a":1}', {"a": 1}, {"a": 1}, "b")
    assert HttpTcpResponse("r", 204).text() == ""
    with pytest.raises(RemoteProtocolError, match="has no body"):
        HttpTcpResponse("r", 204).json()
    with pytest.raises(RemoteProtocolError, match=r"\$\.a"):
        response.json(Named)
    with pytest.raises(RemoteProtocolError, match="not UTF-8"):
        HttpTcpResponse("r", 200, {}, b"\xff").text()


@pytest.mark.parametrize(("body", "text"), [(b"why", "Response error (404): why"), (None, "Response error (404): No response body")])
def test_a_failure_is_an_error_where_the_body_is_asked_for(body: bytes | None, text: str) -> None:
    response = HttpTcpResponse("r", 404, {}, body)
    assert not response.ok
    for read in (response.text, response.json, response.raise_for_status):
        with pytest.raises(RemoteError) as caught:
            read()
        assert (str(caught.value), caught.value.code) == (text, "404")


def test_headers_and_bodies_do_not_show() -> None:
    assert "canary" not in repr(HttpTcpRequest(REQUEST, "GET", "/", {"authorization": "canary"}, b"canary"))
