"""Bodies: where they end, however they are cut."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywatt_orchestrator.gateway.bodies import LAST_CHUNK, BadBody, ChunkedBody, EndlessBody, LengthBody, chunk


def feed(body: ChunkedBody | LengthBody, *parts: bytes) -> tuple[bytes, bytes | None]:
    payload, after = b"", None
    for part in parts:
        more, after = body.feed(part) if after is None else (b"", after + part)
        payload += more
    return payload, after


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


@given(st.lists(st.binary(max_size=30)), st.binary(max_size=10), st.lists(st.integers(0, 10_000), max_size=12))
def test_chunks_come_out_as_they_went_in(payloads: list[bytes], after: bytes, places: list[int]) -> None:
    data = b"".join(map(chunk, payloads)) + LAST_CHUNK + after
    assert feed(ChunkedBody(), *cut(data, places)) == (b"".join(payloads), after)


@given(st.binary(max_size=50), st.binary(max_size=10), st.lists(st.integers(0, 10_000), max_size=12))
def test_a_length_is_kept_to(payload: bytes, after: bytes, places: list[int]) -> None:
    assert feed(LengthBody(len(payload)), *cut(payload + after, places)) == (payload, after)


def test_an_endless_body_never_ends() -> None:
    assert EndlessBody().feed(b"abc") == (b"abc", None)


@pytest.mark.parametrize(
    "data",
    [
        b"3;ext=1\r\nabc\r\n0\r\n\r\n",
        b'3 ; a="b;c"\r\nabc\r\n0\r\n\r\n',
        b"003\r\nabc\r\n000\r\n\r\n",
        b"3\r\nabc\r\n0\r\nExpires: never\r\nX-Sum: 1\r\n\r\n",
        b"3\r\nabc\r\n0\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
def test_extensions_and_trailers_are_left_behind(data: bytes) -> None:
    assert feed(ChunkedBody(), data + b"next") == (b"abc", b"next")


BAD = [
    b"3\nabc\r\n0\r\n\r\n",
    b"3\r\nabc\n0\r\n\r\n",
    b"3\r\nabcd\r\n0\r\n\r\n",
    b"3\r\nab\r\n0\r\n\r\n",
    b"3\r\nabc0\r\n\r\n",
    b"3\r\nabc\r\n0\n\n",
    b"3\r\nabc\r\n0\r\n\n",
    b"\r\nabc",
    b"0x3\r\nabc",
    b"+3\r\nabc",
    b"-3\r\nabc",
    b" 3\r\nabc",
    b"3 \r\nabc",
    b"3_0\r\nabc",
    b"3,3\r\nabc",
    b"g\r\n",
    b"1" * 16 + b"\r\n",
    b"3;a\x00\r\nabc",
    b"3;a\rb\r\nabc",
    b"3;" + b"a" * 300,
    b"f" * 300,
    b"0\r\nbad trailer\r\n\r\n",
    b"0\r\n: x\r\n\r\n",
    b"0\r\nA : x\r\n\r\n",
    b"0\r\nA: \x00\r\n\r\n",
    b"0\r\n folded\r\n\r\n",
    b"0\r\n" + b"A: b\r\n" * 2000 + b"\r\n",
    b"0\r\n" + b"A: " + b"b" * 9000,
]


@pytest.mark.parametrize("data", BAD, ids=lambda data: repr(data[:24]))
@pytest.mark.parametrize("size", [1, 3, 100_000])
def test_framing_that_could_be_read_in_two_ways_is_refused(data: bytes, size: int) -> None:
    with pytest.raises(BadBody):
        feed(ChunkedBody(), *(data[at : at + size] for at in range(0, len(data), size)))


def test_an_empty_chunk_would_end_the_body_and_is_not_written() -> None:
    assert chunk(b"") == b""
    assert chunk(b"a" * 26) == b"1a\r\n" + b"a" * 26 + b"\r\n"
