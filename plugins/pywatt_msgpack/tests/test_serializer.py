"""MessagePack keeps the contract of a serializer, and hostile bytes cost nothing but a refusal."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING, Any

import msgpack
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywatt_core.errors import RemoteProtocolError
from pywatt_core.interfaces import Context
from pywatt_core.testing.contracts import SerializerContract
from pywatt_msgpack import Options, open_msgpack
from pywatt_msgpack.serializer import MsgpackSerializer

if TYPE_CHECKING:
    from pywatt_core.testing.contracts.serializer import Backend

MESSAGEPACK = MsgpackSerializer(Options())


class TestMsgpack(SerializerContract):
    holds_bytes = True
    holds_nan = True

    @pytest.fixture
    def backend(self) -> Backend:
        return open_msgpack(Options(), Context(module_id="test", section="serializers.msgpack"))


HOSTILE = [
    ("a timestamp of 32 bits", b"\xd6\xff\x00\x00\x00\x01", "the extension type -1 is not read"),
    ("a timestamp of 64 bits", b"\xd7\xff" + bytes(8), "the extension type -1 is not read"),
    ("a timestamp of 96 bits", b"\xc7\x0c\xff" + bytes(12), "the extension type -1 is not read"),
    ("a timestamp within", b"\x91\xd6\xff\x00\x00\x00\x01", "the extension type -1 is not read"),
    ("a timestamp in long form", b"\xc8\x00\x04\xff\x00\x00\x00\x01", "the extension type -1 is not read"),
    ("an extension", b"\xd4\x05a", "the extension type 5 is not read"),
    ("a key that is a number", b"\x81\x01\x02", "int is not allowed for map key"),
    ("a key that is bytes", b"\x81\xc4\x01a\x02", "a key that is no text"),
    ("a key twice", b"\x82\xa1a\x01\xa1a\x02", "a key is there twice"),
    ("text that is not UTF-8", b"\xa1\xff", "not UTF-8"),
    ("a list of four thousand million", b"\xdd\xff\xff\xff\xff", "exceeds max_array_len"),
    ("a map of four thousand million", b"\xdf\xff\xff\xff\xff", "exceeds max_map_len"),
    ("text of four gigabytes", b"\xdb\xff\xff\xff\xffabc", "incomplete input"),
    ("bytes of four gigabytes", b"\xc6\xff\xff\xff\xffabc", "incomplete input"),
    ("an extension of four gigabytes", b"\xc9\xff\xff\xff\xff\x01abc", "exceeds max_ext_len"),
    ("deep lists", b"\x91" * 200_000, "nested too deeply"),
    ("deep maps", b"\x81\xa1a" * 200_000, "nested too deeply"),
    ("the byte that is never used", b"\xc1", "not MessagePack"),
    ("nothing", b"", "not MessagePack"),
    ("something behind", b"\x01\x01", "something follows"),
]


@pytest.mark.parametrize(("data", "reason"), [pytest.param(data, reason, id=name) for name, data, reason in HOSTILE])
def test_hostile_bytes_are_refused_with_the_reason(data: bytes, reason: str) -> None:
    with pytest.raises(RemoteProtocolError, match=reason):
        MESSAGEPACK.decode(data, Any)


def test_a_length_that_is_a_lie_takes_no_memory() -> None:
    tracemalloc.start()
    try:
        for _name, data, _reason in HOSTILE:
            with pytest.raises(RemoteProtocolError):
                MESSAGEPACK.decode(data, Any)
        assert tracemalloc.get_traced_memory()[1] < 4 * 1024 * 1024
    finally:
        tracemalloc.stop()


def test_what_is_longer_than_allowed_is_neither_read_nor_written() -> None:
    small, data = MsgpackSerializer(Options(max_bytes=10)), MESSAGEPACK.encode("x" * 10)
    assert small.decode(small.encode("x" * 9), str) == "x" * 9
    with pytest.raises(RemoteProtocolError, match=r"11 bytes of MessagePack are over the limit of 10 \(max_bytes\)"):
        small.decode(data, str)
    with pytest.raises(TypeError, match=r"MessagePack cannot hold this str: 11 bytes .* limit of 10 \(max_bytes\)"):
        small.encode("x" * 10)


def test_more_values_than_anybody_needs_are_neither_read_nor_written() -> None:
    with pytest.raises(RemoteProtocolError, match="more than 500000 values"):
        MESSAGEPACK.decode(b"\xdd\x00\x10\x00\x00" + b"\x90" * 2**20, Any)
    with pytest.raises(TypeError, match="MessagePack cannot hold this list: more than 500000 values"):
        MESSAGEPACK.encode([[]] * 2**20)
    numbers = [0.5] * 1_000_000
    assert MESSAGEPACK.decode(MESSAGEPACK.encode(numbers), list[float]) == numbers


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="max_bytes is 0"):
        Options(max_bytes=0)


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1, "\ud800", {b"k": 1}, {(1, 2): 1}])
def test_what_messagepack_cannot_hold_is_a_type_error(value: object) -> None:
    with pytest.raises(TypeError):
        MESSAGEPACK.encode(value)


def test_numbers_as_keys_come_back_where_the_type_says_so() -> None:
    assert MESSAGEPACK.decode(MESSAGEPACK.encode({1: "a"}), dict[int, str]) == {1: "a"}
    assert MESSAGEPACK.decode(MESSAGEPACK.encode({1: "a"}), Any) == {"1": "a"}


def test_bytes_of_every_kind_are_bytes() -> None:
    for value in (b"\xff", bytearray(b"\xff"), memoryview(b"\xff")):
        assert MESSAGEPACK.decode(MESSAGEPACK.encode([value]), Any) == [b"\xff"]


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(PLAIN)
def test_other_implementations_read_what_is_written_and_ours_what_they_write(value: Any) -> None:
    assert msgspec.msgpack.decode(MESSAGEPACK.encode(value)) == value
    assert MESSAGEPACK.decode(msgspec.msgpack.encode(value), Any) == value
    assert MESSAGEPACK.decode(msgpack.packb(value), Any) == value


@given(st.binary(max_size=64))
def test_any_bytes_are_a_value_that_can_be_written_again_or_a_refusal(data: bytes) -> None:
    try:
        value = MESSAGEPACK.decode(data, Any)
    except RemoteProtocolError:
        return
    again = MESSAGEPACK.encode(value)
    assert MESSAGEPACK.encode(MESSAGEPACK.decode(again, Any)) == again
