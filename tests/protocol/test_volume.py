"""How many values a text holds: counted before it is read, and as the libraries would read it."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from typing import Any

import cbor2
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pywatt_core.protocol import volume
from pywatt_core.protocol.volume import too_many_in_cbor, too_many_in_json, too_many_in_msgpack

MANY = 20
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=300)
    | st.binary(max_size=300),
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(max_size=40), inner, max_size=20),
    max_leaves=40,
)


@pytest.fixture
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits that a test can reach."""
    monkeypatch.setattr(volume, "LARGE", 0)
    monkeypatch.setattr(volume, "MOST_VALUES", MANY)


def weight(value: Any) -> int:
    """Eighths of a value: an item of a container is one, what takes memory of its own seven, another value one."""
    if isinstance(value, dict):
        return 7 + sum(2 + 7 + weight(inner) for inner in value.values())
    if isinstance(value, list):
        return 7 + sum(1 + weight(inner) for inner in value)
    return 7 if isinstance(value, str | bytes) else 1


@settings(max_examples=200)
@given(value=VALUES)
def test_binary_formats_are_counted_as_their_libraries_read_them(value: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(volume, "LARGE", 0)
        patch.setattr(volume, "MOST_VALUES", MANY)
        assert too_many_in_msgpack(msgspec.msgpack.encode(value)) is (weight(value) > 8 * MANY)
        assert too_many_in_cbor(cbor2.dumps(value)) is (weight(value) > 8 * MANY)


@pytest.mark.usefixtures("little")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (json.dumps([{}] * (MANY - 1)), False),
        (json.dumps([{}] * (MANY + 1)), True),
        (json.dumps(["a"] * MANY), False),
        (json.dumps(["a"] * (MANY + 1)), True),
        (json.dumps(['"' * 1000]), False),
        (json.dumps(list(range(1000))), False),
    ],
)
def test_json_is_counted_by_its_containers_and_its_texts(text: str, expected: bool) -> None:
    assert too_many_in_json(text.encode()) is expected


@pytest.mark.usefixtures("little")
@pytest.mark.parametrize(
    ("counted", "data"),
    [
        (too_many_in_msgpack, b"\xdd" + struct.pack(">I", 2**32 - 1)),
        (too_many_in_msgpack, b"\xde\xff\xff"),
        (too_many_in_cbor, b"\x9b" + b"\xff" * 8),
        (too_many_in_cbor, b"\xba\xff\xff\xff\xff"),
        (too_many_in_cbor, b"\x9f" + b"\xa0" * 2 * MANY),
    ],
)
def test_what_a_container_only_promises_counts_too(counted: Callable[[bytes], bool], data: bytes) -> None:
    assert counted(data)


@pytest.mark.usefixtures("little")
@pytest.mark.parametrize("counted", [(too_many_in_msgpack, msgspec.msgpack.encode), (too_many_in_cbor, cbor2.dumps)])
def test_four_numbers_count_as_one_value(counted: tuple[Callable[[bytes], bool], Callable[[Any], bytes]]) -> None:
    too_many, encode = counted
    assert not too_many(encode([1.5] * (4 * MANY - 4)))
    assert too_many(encode([1.5] * (4 * MANY)))


@pytest.mark.usefixtures("little")
def test_what_containers_promise_within_each_other_adds_up() -> None:
    assert too_many_in_msgpack(b"\xdc\x00\x40" * 3)
    assert too_many_in_cbor(b"\x98\x40" * 3)


@given(st.binary(max_size=200))
def test_any_bytes_are_counted_to_their_end(data: bytes) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(volume, "LARGE", 0)
        for counted in (too_many_in_json, too_many_in_msgpack, too_many_in_cbor):
            assert counted(data) in (True, False)


def test_what_is_small_is_not_looked_at() -> None:
    assert not too_many_in_json(b"{" * volume.LARGE)
    assert too_many_in_json(b"{" * (volume.LARGE + 1))
