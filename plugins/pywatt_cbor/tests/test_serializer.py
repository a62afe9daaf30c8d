"""CBOR keeps the contract of a serializer, and hostile bytes cost nothing but a refusal."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING, Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywatt_cbor import Options, open_cbor
from pywatt_cbor.serializer import KNOWN_TAGS, CborSerializer
from pywatt_core.errors import RemoteProtocolError
from pywatt_core.interfaces import Context
from pywatt_core.testing.contracts import SerializerContract

if TYPE_CHECKING:
    from pywatt_core.testing.contracts.serializer import Backend

CBOR = CborSerializer(Options())


class TestCbor(SerializerContract):
    holds_bytes = True
    holds_nan = True

    @pytest.fixture
    def backend(self) -> Backend:
        return open_cbor(Options(), Context(module_id="test", section="serializers.cbor"))


HOSTILE = [
    ("a date", b"\xc0\x742013-03-21T20:04:00Z", "the tag 0 is not read"),
    ("a number without bounds", b"\xc2\x49" + b"\xff" * 9, "the tag 2 is not read"),
    ("a big float", b"\xc5\x82\x1b" + b"\xff" * 8 + b"\x03", "the tag 5 is not read"),
    ("a regular expression", b"\xd8\x23\x68(a+)+$aa", "the tag 35 is not read"),
    ("a message of mail", b"\xd8\x24\x61a", "the tag 36 is not read"),
    ("a circle", b"\xd8\x1c\x81\xd8\x1d\x00", "the tag 29 is not read"),
    ("a shared value", b"\xd8\x1c\x80", "the tag 28 is not read"),
    ("text by reference", b"\xd9\x01\x00\x82\x63abc\xd8\x19\x00", "the tag 25 is not read"),
    ("a set", b"\xd9\x01\x02\x81\x01", "the tag 258 is not read"),
    ("a tag nobody knows", b"\xd9\x30\x39\x01", "the tag 12345 is not read"),
    ("a tag within", b"\x81\xa1\x61a\xd8\x23\x61a", "the tag 35 is not read"),
    ("undefined", b"\xf7", "undefined, a simple value"),
    ("undefined within", b"\x81\xf7", "undefined, a simple value"),
    ("a simple value", b"\xf8\xff", "undefined, a simple value"),
    ("a key that is a number", b"\xa1\x01\x01", "must be a text string"),
    ("a key that is a list", b"\xa1\x81\x01\x01", "must be a text string"),
    ("a key that is bytes", b"\xa1\x41a\x01", "a key that is no text"),
    ("a key twice", b"\xa2\x61a\x01\x61a\x02", "Duplicate map key"),
    ("text that is not UTF-8", b"\x61\xff", "error decoding text"),
    ("half a surrogate pair", b"\x63\xed\xa0\x80", "error decoding text"),
    ("a list without end", b"\x9b\x7f" + b"\xff" * 7, "premature end"),
    ("text of an exabyte", b"\x7b\x7f" + b"\xff" * 7 + b"abc", "premature end"),
    ("bytes of four gigabytes", b"\x5b\x00\x00\x00\x00\xff\xff\xff\xffabc", "premature end"),
    ("an endless list cut off", b"\x9f\x01", "premature end"),
    ("deep lists", b"\x81" * 200_000, "nesting depth"),
    ("deep endless lists", b"\x9f" * 200_000, "nesting depth"),
    ("deep maps", b"\xa1\x61a" * 200_000, "nesting depth"),
    ("deep tags", b"\xd9\xd9\xf7" * 200_000 + b"\x01", "not CBOR that is read here"),
    ("an end without a beginning", b"\xff", "break code"),
    ("nothing", b"", "premature end"),
    ("something behind", b"\x01\x01", "something follows"),
]


@pytest.mark.parametrize(("data", "reason"), [pytest.param(data, reason, id=name) for name, data, reason in HOSTILE])
def test_hostile_bytes_are_refused_with_the_reason(data: bytes, reason: str) -> None:
    with pytest.raises(RemoteProtocolError, match=reason):
        CBOR.decode(data, Any)


def test_no_tag_but_one_is_read_whatever_the_library_knows() -> None:
    for number in [*range(70_000), 2**32, 2**63]:
        if number != 55799:
            with pytest.raises(RemoteProtocolError, match=f"the tag {number} is not read"):
                CBOR.decode(cbor2.dumps(cbor2.CBORTag(number, 1)), Any)
    assert CBOR.decode(cbor2.dumps(cbor2.CBORTag(55799, [1])), Any) == [1]
    assert set(range(6)) < set(KNOWN_TAGS)


def test_nesting_is_read_as_deep_as_in_json() -> None:
    value = CBOR.decode(b"\x81" * 127 + b"\x01", Any)
    for _ in range(127):
        (value,) = value
    assert value == 1
    with pytest.raises(RemoteProtocolError, match="nesting depth"):
        CBOR.decode(b"\x81" * 128 + b"\x01", Any)


def test_a_length_that_is_a_lie_takes_no_memory() -> None:
    tracemalloc.start()
    try:
        for _name, data, _reason in HOSTILE:
            with pytest.raises(RemoteProtocolError):
                CBOR.decode(data, Any)
        assert tracemalloc.get_traced_memory()[1] < 4 * 1024 * 1024
    finally:
        tracemalloc.stop()


def test_keys_made_to_collide_are_refused_at_the_first() -> None:
    """Whole numbers that are multiples of 2**61 - 1 have one hash: twenty thousand of them as keys of a dict cost seconds."""
    count = 20_000
    pairs = b"".join(b"\xc2\x4c" + (one * (2**61 - 1)).to_bytes(12, "big") + b"\x01" for one in range(1, count))
    with pytest.raises(RemoteProtocolError, match="the tag 2 is not read"):
        CBOR.decode(b"\xb9" + (count - 1).to_bytes(2, "big") + pairs, Any)
    with pytest.raises(RemoteProtocolError, match="must be a text string or byte string, not float"):
        CBOR.decode(b"\xb9\x00\x02" + b"\xfb\x43\xbf" + b"\xff" * 6 + b"\x01" + b"\xfb\x43\xcf" + b"\xff" * 6 + b"\x01", Any)


def test_what_is_longer_than_allowed_is_neither_read_nor_written() -> None:
    small, data = CborSerializer(Options(max_bytes=10)), CBOR.encode("x" * 10)
    assert small.decode(small.encode("x" * 9), str) == "x" * 9
    with pytest.raises(RemoteProtocolError, match=r"11 bytes of CBOR are over the limit of 10 \(max_bytes\)"):
        small.decode(data, str)
    with pytest.raises(TypeError, match=r"CBOR cannot hold this str: 11 bytes of CBOR are over the limit of 10 \(max_bytes\)"):
        small.encode("x" * 10)


def test_more_values_than_anybody_needs_are_neither_read_nor_written() -> None:
    with pytest.raises(RemoteProtocolError, match="more than 500000 values"):
        CBOR.decode(b"\x9a\x00\x10\x00\x00" + b"\x80" * 2**20, Any)
    with pytest.raises(TypeError, match="CBOR cannot hold this list: more than 500000 values"):
        CBOR.encode([[]] * 2**20)
    numbers = [0.5] * 1_000_000
    assert CBOR.decode(CBOR.encode(numbers), list[float]) == numbers


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="max_bytes is 0"):
        Options(max_bytes=0)


@pytest.mark.parametrize("value", [2**64, -(2**64) - 1, [{"a": 2**200}], "\ud800", {b"k": 1}, {(1, 2): 1}])
def test_what_cbor_cannot_hold_is_a_type_error(value: object) -> None:
    with pytest.raises(TypeError):
        CBOR.encode(value)


def test_bytes_that_look_like_a_big_number_are_bytes() -> None:
    assert CBOR.decode(CBOR.encode([b"\xc2\x49", 5]), Any) == [b"\xc2\x49", 5]


def test_numbers_as_keys_come_back_where_the_type_says_so() -> None:
    assert CBOR.decode(CBOR.encode({1: "a"}), dict[int, str]) == {1: "a"}
    assert CBOR.decode(CBOR.encode({1: "a"}), Any) == {"1": "a"}


def test_bytes_of_every_kind_are_bytes() -> None:
    for value in (b"\xff", bytearray(b"\xff"), memoryview(b"\xff")):
        assert CBOR.decode(CBOR.encode([value]), Any) == [b"\xff"]


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**64), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(PLAIN)
def test_plain_values_come_back_and_are_what_the_library_writes(value: Any) -> None:
    data = CBOR.encode(value)
    assert CBOR.decode(data, Any) == value
    assert data == cbor2.dumps(value)


@given(st.binary(max_size=64))
def test_any_bytes_are_a_value_that_can_be_written_again_or_a_refusal(data: bytes) -> None:
    try:
        value = CBOR.decode(data, Any)
    except RemoteProtocolError:
        return
    again = CBOR.encode(value)
    assert CBOR.encode(CBOR.decode(again, Any)) == again
