"""bincode from Python types: the vectors are in test_vectors; here what types mean, and what does not fit them."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, NamedTuple, NewType, NotRequired, Optional, TypedDict, Union

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywatt_core.errors import LocalProtocolError
from pywatt_core.protocol import bincode
from pywatt_core.protocol.bincode import F32, I8, I16, I64, U8, U16, U32, U64, U128, Char, Length
from pywatt_core.protocol.lenient import Unreadable
from pywatt_core.protocol.values import I64 as VALUES_I64
from pywatt_core.protocol.values import U16 as VALUES_U16


class Colour(enum.Enum):
    RED = "r"
    GREEN = "g"


class Pair(NamedTuple):
    number: U8
    text: str


class Member(TypedDict):
    name: str
    age: U8


class Point(msgspec.Struct):
    x: int
    y: int = 0


class Model(pydantic.BaseModel):
    number: U32
    names: list[str] = []


@dataclass
class Tree:
    value: U8
    children: list[Tree] = field(default_factory=list)
    parent: Tree | None = None


@dataclass
class Circle:
    radius: float


@dataclass
class Square:
    side: float


@dataclass
class Drawing:
    title: str
    shapes: list[Circle | Square]
    colour: Colour = Colour.RED
    notes: dict[str, U16] = field(default_factory=dict)


Id = NewType("Id", int)


@pytest.mark.parametrize(
    ("kind", "value", "wire"),
    [
        (Colour, Colour.GREEN, "01"),
        (Pair, Pair(1, "a"), "010161"),
        (Member, {"name": "a", "age": 7}, "016107"),
        (Point, Point(1, -1), "0201"),
        (Model, Model(number=300, names=["a"]), "fb2c01010161"),
        (Tree, Tree(1, [Tree(2)]), "0101" + "020000" + "00"),
        (Drawing, Drawing("d", [Square(1.5)], Colour.GREEN, {"n": 300}), "0164" + "0101000000000000f83f" + "01" + "01016efb2c01"),
        (int, -1, "01"),
        (float, 1.5, "000000000000f83f"),
        (float, 1, "000000000000f03f"),
        (Id, 1, "02"),
        (I8, -128, "80"),
        (VALUES_U16, 251, "fbfb00"),
        (VALUES_I64, -1, "01"),
        (Optional[str], None, "00"),  # noqa: UP045  # the older spelling is another object
        (Union[str, None], "a", "010161"),  # noqa: UP007
        (Circle | Square | None, Square(0.0), "0101" + "00" * 8),
        (set[U8], {5}, "0105"),
        (frozenset[U8], frozenset({5}), "0105"),
        (tuple[U8, ...], (5, 6), "020506"),
        (tuple[()], (), ""),
        (Sequence[U8], [5], "0105"),
        (Mapping[str, U8], {"a": 5}, "01016105"),
        (dict[U8, bool], {5: True}, "010501"),
        (Annotated[list[U8], Length(2)], [1, 2], "0102"),
        (Annotated[tuple[U8, ...], Length(2)], (1, 2), "0102"),
        (Annotated[str, "a note that says nothing here"], "a", "0161"),
        (list[None], [None] * 3, "03"),
        (bytes, b"\x00\xff", "0200ff"),
    ],
    ids=lambda one: getattr(one, "__name__", None),
)
def test_a_type_says_how_its_values_are_written(kind: Any, value: Any, wire: str) -> None:
    assert bincode.encode(value, kind).hex() == wire
    back, end = bincode.decode_from(bytes.fromhex(wire) + b"rest", kind)
    assert (back, end) == (value, len(wire) // 2)
    assert type(back) is type(value) or isinstance(value, int)


def test_without_a_type_the_value_is_its_own() -> None:
    assert bincode.encode(Point(1)) == bincode.encode(Point(1), Point)
    assert bincode.encode("hi") == b"\x02hi"


@pytest.mark.parametrize(
    ("kind", "value", "complaint"),
    [
        (U8, 256, r"expected a whole number from 0 to 255 - at `\$`"),
        (U8, -1, "from 0 to 255"),
        (I16, 2**15, "from -32768 to 32767"),
        (U128, 2**128, "whole number from 0"),
        (U8, True, "expected a whole number, got bool"),
        (U8, "1", "got str"),
        (float, True, "expected a number, got bool"),
        (F32, 1e300, "fits into 32 bits"),
        (bool, 1, "expected a bool, got int"),
        (str, b"a", "expected text, got bytes"),
        (str, "\ud800", "lone surrogate"),
        (Char, "ab", "exactly one character"),
        (Char, "\ud800", "exactly one character"),
        (bytes, "a", "expected bytes, got str"),
        (type(None), 0, "expected None, got int"),
        (Annotated[bytes, Length(4)], b"abc", "expected 4 bytes, got 3"),
        (Annotated[list[U8], Length(2)], [1], "expected 2 elements, got 1"),
        (tuple[U8, U8], (1,), "expected 2 elements, got 1"),
        (list[U8], {1: 2}, "expected list or tuple, got dict"),
        (dict[str, U8], [], "expected a dict, got list"),
        (Point, Pair(1, "a"), "expected Point, got Pair"),
        (Colour, "r", "expected a Colour, got str"),
        (Circle | Square, Point(1), "expected Circle or Square, got Point"),
        (Member, {"name": "a"}, "the member 'age' is missing"),
        (Drawing, Drawing("d", [Circle(1.0), Square("x")]), r"expected a number, got str - at `\$\.shapes\[1\]\.side`"),  # type: ignore[arg-type]
        (dict[str, U8], {"a": 1, "b": 300}, r"- at `\$\[1\]`"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_and_its_place_named(kind: Any, value: Any, complaint: str) -> None:
    with pytest.raises(LocalProtocolError, match=complaint):
        bincode.encode(value, kind)


class Picky(msgspec.Struct):
    name: str

    def __post_init__(self) -> None:
        raise ValueError(f"{self.name} is not welcome")


@pytest.mark.parametrize(
    ("kind", "wire", "complaint"),
    [
        (str, "", r"the data ends 1 bytes early - at `\$`"),
        (str, "0561", "the data ends 4 bytes early"),
        (str, "01ff", "text that is not UTF-8"),
        (Char, "ff", "the data ends 3 bytes early"),
        (Char, "e282", "the data ends 1 bytes early"),
        (bool, "02", "0x02 is no bool"),
        (U8 | None, "02", "says neither that there is a value"),
        (U16, "fc00000100", "a number of 32 bits where one of 16 belongs"),
        (U32, "ff", "0xff begins no number"),
        (U64, "fb01", "the data ends 1 bytes early"),
        (float, "00", "the data ends 7 bytes early"),
        (Colour, "02", "there is no variant 2, only 2"),
        (Circle | Square, "05", "there is no variant 5"),
        (list[U8], "fd" + "ff" * 8, "a length over what the data holds"),
        (list[str], "fc00000010" + "00" * 9, "a length over what the data holds"),
        (list[None], "fd" + "ff" * 8, "more than 4096 elements that take no bytes"),
        (dict[str, U8], "fb0010", "a length over what the data holds"),
        (dict[str, U8], "0201610101", r"ends 1 bytes early - at `\$\[1\]`"),
        (bytes, "fd" + "ff" * 8, "the data ends"),
        (Annotated[bytes, Length(4)], "0102", "ends 2 bytes early"),
        (Drawing, "0164" + "0101000000000000f83f" + "07", r"no variant 7, only 2 of them - at `\$\.colour`"),
        (Tree, "01" + "01" * 4000, "nested too deeply"),
        (Picky, "0161", r"refused \(ValueError\)"),
        (dict[tuple[list[U8], U8], U8], "01010101" + "00" * 4, "a key that can be none"),
    ],
)
def test_bytes_that_do_not_fit_are_refused_and_the_place_named(kind: Any, wire: str, complaint: str) -> None:
    with pytest.raises(Unreadable, match=complaint):
        bincode.decode(bytes.fromhex(wire), kind)


def test_a_refusal_shows_no_value() -> None:
    with pytest.raises(Unreadable) as caught:
        bincode.decode(b"\x06canary", Picky)
    assert "canary" not in str(caught.value)


class Partial(TypedDict):
    there: str
    maybe: NotRequired[str]


@dataclass
class Computed:
    value: int
    double: int = field(init=False, default=0)


@pytest.mark.parametrize(
    ("kind", "complaint"),
    [
        (Any, "cannot write a Any"),
        (object, "cannot write a object"),
        (list, "cannot write a list"),
        (complex, "cannot write a complex"),
        (Partial, "members that may be missing"),
        (Computed, "that its constructor does not take"),
        (int | str, "variants of an enum are classes of their own, and int is none"),
        (Circle | Member, "and Member is none"),
        (Annotated[str, Length(3)], "Length is for bytes and lists"),
    ],
)
def test_a_type_without_a_form_is_a_type_error(kind: Any, complaint: str) -> None:
    for _ in range(2):
        with pytest.raises(TypeError, match=complaint):
            bincode.decode(b"", kind)


NUMBERS = {U8: (0, 255), U16: (0, 2**16 - 1), U32: (0, 2**32 - 1), U64: (0, 2**64 - 1), U128: (0, 2**128 - 1), I64: (-(2**63), 2**63 - 1)}


@given(st.sampled_from(list(NUMBERS)).flatmap(lambda kind: st.tuples(st.just(kind), st.integers(*NUMBERS[kind]))))
def test_every_number_comes_back(case: tuple[Any, int]) -> None:
    kind, value = case
    assert bincode.decode_from(bincode.encode(value, kind), kind)[0] == value


DRAWINGS = st.builds(
    Drawing,
    st.text(),
    st.lists(st.builds(Circle, st.floats(allow_nan=False)) | st.builds(Square, st.floats(allow_nan=False)), max_size=5),
    st.sampled_from(Colour),
    st.dictionaries(st.text(), st.integers(0, 2**16 - 1), max_size=5),
)


@given(DRAWINGS)
def test_whatever_is_written_is_read_again_and_nothing_of_it_can_be_cut_off(drawing: Drawing) -> None:
    wire = bincode.encode(drawing)
    assert bincode.decode_from(wire, Drawing) == (drawing, len(wire))
    for end in range(len(wire)):
        with pytest.raises(Unreadable):
            bincode.decode(wire[:end], Drawing)


@given(st.binary(max_size=80), st.sampled_from([Drawing, Tree, Model, Member, dict[str, list[U8 | None]], list[Circle | Square]]))
def test_any_bytes_are_a_value_or_unreadable(data: bytes, kind: Any) -> None:
    try:
        value, end = bincode.decode_from(data, kind)
    except Unreadable:
        return
    assert end <= len(data)
    assert bincode.decode(bincode.encode(value, kind), kind) == value or "nan" in repr(value)
