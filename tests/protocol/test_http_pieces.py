"""The messages of HTTP in pieces: bodies as bytes, several headers of one name, nothing shown in logs."""

from __future__ import annotations

import pytest

from pywatt_core.protocol.codec import Unreadable, decode, encode
from pywatt_core.protocol.framing import MSGPACK
from pywatt_core.protocol.messages import HttpResponseStart, HttpStreamRequest, Role


def test_bodies_are_base64_in_json_and_bytes_in_messagepack() -> None:
    start = HttpResponseStart("r", 200, [("set-cookie", "a=1"), ("set-cookie", "b=2")], b"\xff\x00", more=True)
    text = encode(start)
    assert b'"body":"/wA="' in text
    assert decode(text, Role.MODULE).content == start
    packed = encode(start, MSGPACK)
    assert b"\xff\x00" in packed
    assert decode(packed, Role.MODULE, MSGPACK).content == start


def test_an_enveloped_piece_is_read_too() -> None:
    start = HttpResponseStart("r", 200, [], b"ab")
    text = b'{"content":' + encode(start) + b',"metadata":{}}'
    assert decode(text, Role.MODULE).content == start


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ('"headers":[["a"]]', "headers"),
        ('"headers":{"a":"b"}', "headers"),
        ('"headers":[],"body":"?"', "body"),
        ('"headers":[],"body":[1]', "body"),
    ],
)
def test_a_malformed_request_is_refused_by_its_field(members: str, field: str) -> None:
    text = f'{{"op":"http_stream_request","request_id":"r","method":"GET","uri":"/","credit":1,{members}}}'.encode()
    with pytest.raises(Unreadable, match=field):
        decode(text, Role.ORCHESTRATOR)


@pytest.mark.parametrize("credit", [0, -1, 2**31 + 1])
def test_credit_is_at_least_one_byte_and_bounded(credit: int) -> None:
    text = f'{{"op":"http_stream_request","request_id":"r","method":"GET","uri":"/","headers":[],"credit":{credit}}}'.encode()
    with pytest.raises(Unreadable, match="credit"):
        decode(text, Role.ORCHESTRATOR)


def test_headers_and_bodies_do_not_show() -> None:
    assert "canary" not in repr(HttpStreamRequest("r", "GET", "/", [("authorization", "canary")], 1, b"canary"))
