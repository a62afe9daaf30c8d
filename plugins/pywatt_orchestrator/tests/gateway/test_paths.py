"""Paths: one meaning, or none."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywatt_orchestrator.gateway.paths import BadPath, canonical

REFUSED = {
    b"/a/../b": "segment",
    b"/..": "segment",
    b"/.": "segment",
    b"/a/.": "segment",
    b"/a/./b": "segment",
    b"/a/%2e%2e/b": "segment",
    b"/a/%2E%2e": "segment",
    b"/a/.%2e/b": "segment",
    b"/%2e": "segment",
    b"//": "empty segment",
    b"//evil.test/a": "empty segment",
    b"/a//b": "empty segment",
    b"/a%2fb": "%2F",
    b"/a%2F..%2Fb": "%2F",
    b"/a%5cb": "%5C",
    b"/a\\b": "backslash",
    b"/..\\..\\a": "backslash",
    b"/a%00": "%00",
    b"/a%0d%0aX:%20y": "%0D",
    b"/a%7f": "%7F",
    b"/a%": "two hexadecimal digits",
    b"/a%2": "two hexadecimal digits",
    b"/a%g0": "two hexadecimal digits",
    b"/a%u002e": "two hexadecimal digits",
    b"/a#b": "fragment",
    b"/\xff": "percent-encoded",
    b"/a b": "percent-encoded",
    b"": "begin with /",
    b"a": "begin with /",
}


@pytest.mark.parametrize("path", REFUSED)
def test_a_path_that_could_be_read_in_two_ways_is_refused(path: bytes) -> None:
    with pytest.raises(BadPath, match=REFUSED[path]):
        canonical(path)


@pytest.mark.parametrize(
    ("path", "forwarded", "decoded"),
    [
        (b"/a/b", b"/a/b", b"/a/b"),
        (b"/a/", b"/a/", b"/a/"),
        (b"/%61/%7Eb", b"/a/~b", b"/a/~b"),
        (b"/a%20b", b"/a%20b", b"/a b"),
        (b"/%c3%a9", b"/%C3%A9", "/é".encode()),
        (b"/a%252e%252e/b", b"/a%252e%252e/b", b"/a%2e%2e/b"),
        (b"/a;b=c,d", b"/a;b=c,d", b"/a;b=c,d"),
        (b"/...", b"/...", b"/..."),
        (b"/.well-known/x", b"/.well-known/x", b"/.well-known/x"),
        (b"/a/..b", b"/a/..b", b"/a/..b"),
    ],
)
def test_a_path_is_brought_into_one_form(path: bytes, forwarded: bytes, decoded: bytes) -> None:
    assert canonical(path) == (forwarded, decoded)


pieces = st.sampled_from([b"/", b"a", b"b", b".", b"..", b"%2e", b"%2f", b"%5C", b"\\", b"%61", b"%20", b"%", b"2", b"%25", b"%00", b";"])


@given(st.lists(pieces, max_size=8))
def test_what_is_accepted_means_the_same_to_everybody(parts: list[bytes]) -> None:
    path = b"/" + b"".join(parts)
    try:
        forwarded, decoded = canonical(path)
    except BadPath:
        return
    assert canonical(forwarded) == (forwarded, decoded), "the form is final"
    assert unquote_to_bytes(forwarded) == decoded
    assert decoded.count(b"/") == forwarded.count(b"/"), "decoding adds no segment"
    assert b"\\" not in decoded
    assert not {b"", b".", b".."} & set(decoded.split(b"/")[1:-1])
    assert decoded.split(b"/")[-1] not in (b".", b"..")
