"""The text of a token is read strictly, and whatever it is, nothing but a `ValueError` comes of it."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywatt_jwt.tokens import DEEPEST, Header, check_members, header_of, is_time, json_object, unbase64

from .making import part


def header(**said: Any) -> Header:
    return header_of(part(said).encode())


# ── base64 ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@given(st.binary(max_size=100))
def test_bytes_come_back(data: bytes) -> None:
    assert unbase64(base64.urlsafe_b64encode(data).rstrip(b"=")) == data


@given(st.text(alphabet="ABwQgx-_09+/= \n.", max_size=12))
def test_each_sequence_of_bytes_has_exactly_one_text(text: str) -> None:
    try:
        data = unbase64(text.encode())
    except ValueError:
        return
    assert base64.urlsafe_b64encode(data).rstrip(b"=").decode() == text


@pytest.mark.parametrize("text", ["A", "AAAAA", "AA==", "AA=", "AB", "AAB", "A A", "AA\n", "AA+A", "AA/A", "AÄ", "=", "A.A", "AAAA="])
def test_what_is_not_canonical_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not base64url"):
        unbase64(text.encode())


# ── JSON ────────────────────────────────────────────────────────────────────────────────────────────────────────────

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=6), JSON, max_size=6), st.booleans(), st.sampled_from([None, 1]))
def test_every_object_comes_back(said: dict[str, Any], ascii_only: bool, indent: int | None) -> None:
    assert json_object(json.dumps(said, ensure_ascii=ascii_only, indent=indent).encode()) == said


@given(st.dictionaries(st.text(max_size=6), JSON, min_size=1, max_size=5), st.data())
def test_a_member_that_is_said_twice_is_refused_wherever_it_stands(said: dict[str, Any], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(said)))
    twice = json.dumps(said)[:-1] + f", {json.dumps(name)}: {json.dumps(data.draw(JSON))}}}"
    for text in (twice, f'{{"a": {twice}}}', f'{{"a": [1, {twice}], "b:": "::"}}'):
        with pytest.raises(ValueError, match="twice"):
            json_object(text.encode())


@pytest.mark.parametrize(
    "text",
    [
        '{"exp": 1, "exp": 2}',
        '{"exp": 1, "\\u0065xp": 2}',
        '{"a": ":", "a": 1}',
        '{"a:b": 1, "a:b": 1}',
        '{"a": {"b": 1, "b": 2}}',
        '{"a": [{"b": 1, "b": 2}]}',
        '{"a": 1,"a":{"x:":":"}}',
        '{"a": "\\u003a", "b": 1, "b": 2}',  # a colon that is not written as one makes up for the one too many
        '{"\\u003a": 1, "b": 1, "b": 2}',
    ],
)
def test_a_member_that_is_said_twice_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="twice"):
        json_object(text.encode())
    with pytest.raises(ValueError, match="twice"):
        check_members(text)


@pytest.mark.parametrize(
    "data",
    [
        b"", b" ", b"null", b"[]", b"5", b'"text"', b"true", b"{", b"}", b"{}{}", b"{} x", b"{'a': 1}", b"{a: 1}", b'{"a": 1,}',
        b'{"a": NaN}', b'{"a": Infinity}', b'{"a": -Infinity}', b'{"a": 1e999}', b'{"a": -1e999}', b'{"a": 01}', b'{"a": +1}', b'{"a": .5}',
        b'{"a": 0x10}', b'{"a": "\xff"}', b'{"a": "\xed\xa0\x80"}', b'{"a": "\\ud800"}', b'{"a": "\n"}', b'{"\x00": 1}', b"/**/{}",
        '{"a": 1}'.encode("utf-16"), '{"a": 1}'.encode("utf-32"), b"\xef\xbb\xbf{}", b"\x00{}", b"{}\x00",
    ],
)  # fmt: skip
def test_what_is_not_a_json_object_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="JSON"):
        json_object(data)


@pytest.mark.parametrize("opening", ['{"a":', "["])
def test_deep_nesting_is_refused_and_ends_nothing(opening: str) -> None:
    closing = "}" if opening != "[" else "]"
    for levels, fits in ((DEEPEST - 1, True), (DEEPEST, False), (DEEPEST + 1, False), (1000, False), (100_000, False)):
        text = f'{{"x": {opening * levels}1{closing * levels}}}'
        if fits:
            assert json_object(text.encode())
        else:
            with pytest.raises(ValueError, match="nested|not JSON"):
                json_object(text.encode())


def test_many_brackets_that_are_not_deep_are_fine() -> None:
    said = {"a": [[] for _ in range(1000)], "b": "[" * 1000, "c": {str(n): {} for n in range(100)}}
    assert json_object(json.dumps(said).encode()) == said


@given(st.binary(max_size=40))
def test_any_bytes_are_an_object_or_a_value_error(data: bytes) -> None:
    for read in (json_object, header_of, unbase64):
        try:
            read(data)
        except ValueError as error:
            assert not data or len(data) < 4 or data.decode("latin-1") not in str(error)


# ── the header ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_header_is_read() -> None:
    assert header(alg="HS256") == Header("HS256", None, "jwt")
    assert header(alg="RS256", typ="JWT", kid="a") == Header("RS256", "a", "jwt")
    assert header(alg="EdDSA", typ="application/at+JWT") == Header("Ed25519", None, "at+jwt")
    assert header(alg="Ed25519") == header(alg="EdDSA")


def test_where_a_key_could_be_found_is_passed_over() -> None:
    said = {"jku": "https://evil.example", "x5u": "https://evil.example", "jwk": {"kty": "oct", "k": "AA"}, "x5c": ["AA"], "x5t": "AA"}
    assert header(alg="HS256", kid="a", **said) == Header("HS256", "a", "jwt")


@pytest.mark.parametrize("name", ["crit", "b64", "zip", "enc"])
@pytest.mark.parametrize("value", [None, [], ["exp"], "DEF", False, True, "A256GCM", {}, 1])
def test_what_would_change_the_meaning_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"the header has {name}"):
        header(alg="HS256", **{name: value})


@pytest.mark.parametrize("value", [None, 5, True, [], ["HS256"], {}, 1.5])
def test_an_algorithm_is_text(value: Any) -> None:
    with pytest.raises(ValueError, match="algorithm"):
        header(alg=value)
    with pytest.raises(ValueError, match="algorithm"):
        header()


@pytest.mark.parametrize("name", ["kid", "typ"])
@pytest.mark.parametrize("value", [5, True, [], {}, ["a"], "x" * 257, 1.5])
def test_names_are_texts_of_bounded_length(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"the header's {name}"):
        header(alg="HS256", **{name: value})


def test_times_are_finite_numbers() -> None:
    assert all(is_time(value) for value in (0, 1, -1, 1.5, 10**400, 1e300))
    others: list[Any] = [None, True, False, "1", "", [], {}, float("nan"), float("inf"), float("-inf")]
    assert not any(is_time(value) for value in others)
