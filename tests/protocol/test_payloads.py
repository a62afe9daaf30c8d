"""Payloads: what is written is read again in every format, lazily; what does not fit is named and not shown."""

from __future__ import annotations

import base64
import enum
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, NamedTuple, TypedDict
from uuid import UUID

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywatt_core.errors import LocalProtocolError
from pywatt_core.protocol.formats import Codec, install
from pywatt_core.protocol.lenient import Unreadable
from pywatt_core.protocol.payloads import plain, read_payload, reader, write_bare, write_payload
from pywatt_core.protocol.values import EncodedMessage, Metadata, ServiceType

ID = "11111111-2222-4333-8444-555555555555"
FORMATS = ["Json", "Binary", "Base64", "MessagePack", "Cbor"]


@pytest.fixture(autouse=True)
def _codec() -> Any:
    """A stand-in for a plugin's codec, so that this room is tested without one."""

    def decode(data: bytes) -> Any:
        try:
            return msgspec.msgpack.decode(data)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise Unreadable("no stand-in") from error

    remove = install(Codec("cbor", msgspec.msgpack.encode, decode))
    yield
    remove()


class Kind(enum.Enum):
    BIG = "big"


class Pair(NamedTuple):
    left: int
    right: str


class Address(TypedDict):
    street: str
    number: int


class Point(msgspec.Struct):
    x: int
    y: int = 0


class Model(pydantic.BaseModel):
    number: int
    when: datetime | None = None
    url: pydantic.AnyUrl | None = None
    inner: list[Model] = []


@pydantic.dataclasses.dataclass
class Checked:
    number: Annotated[int, pydantic.Field(ge=0)]


@dataclass
class Order:
    id: int
    place: Address
    points: list[Point] = field(default_factory=list)
    model: Model | None = None
    kind: Kind = Kind.BIG
    pair: Pair = Pair(1, "a")  # noqa: RUF009  # as frozen as it gets
    data: bytes = b"\x00\xff"
    tags: frozenset[str] = frozenset({"t"})
    key: UUID = UUID(ID)  # noqa: RUF009
    at: datetime = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    service: ServiceType = ServiceType.CACHE


ORDER = Order(7, {"street": "Broad", "number": 1}, [Point(1)], Model(number=1, url="https://a.test/", inner=[Model(number=2)]))  # type: ignore[arg-type]
VALUES: list[tuple[Any, Any]] = [
    (Order, ORDER),
    (Point, Point(1, 2)),
    (list[Point], [Point(1), Point(2)]),
    (Model, Model(number=5, when=datetime(2026, 1, 1, tzinfo=UTC), inner=[Model(number=6)])),
    (Checked, Checked(1)),
    (Address, {"street": "Broad", "number": 7}),
    (Pair, Pair(1, "a")),
    (Kind, Kind.BIG),
    (bytes, b"\x00\xff"),
    (dict[int, str], {1: "a"}),
    (int | None, None),
    (Any, {"a": [1, None, "x", 2.5, True]}),
]


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(("kind", "value"), VALUES, ids=lambda one: getattr(one, "__name__", None))
def test_a_value_comes_back_as_its_type_in_an_envelope_and_bare(format: str, kind: Any, value: Any) -> None:
    metadata = Metadata(source="a", destination="b", properties={"endpoint": "e", "n": 1})
    enveloped = read_payload(write_payload(value, metadata, format=format, id=ID))
    assert (enveloped.enveloped, enveloped.id, enveloped.metadata) == (True, ID, metadata)
    assert enveloped.decode(kind) == value
    assert type(enveloped.decode(kind)) is type(value)
    bare = read_payload(write_bare(value, format))
    assert (bare.enveloped, bare.id, bare.metadata) == (False, "", Metadata())
    assert bare.decode(kind) == value


def test_json_is_the_envelope_of_the_reference() -> None:
    payload = write_payload({"q": 1}, Metadata(source="a", properties={"endpoint": "e"}), id=ID)
    text = '{"id":"%s","content":{"q":1},"metadata":{"source":"a","properties":{"endpoint":"e"}}}' % ID  # noqa: UP031
    assert payload == EncodedMessage(text.encode(), "Json")
    assert write_payload("hi", id=ID).data.decode() == '{"id":"%s","content":"hi","metadata":{}}' % ID  # noqa: UP031
    assert write_bare([1, None]) == EncodedMessage(b"[1,null]", "Json")


def test_binary_and_base64_hold_json_text_as_the_reference_makes_it() -> None:
    assert write_bare({"a": 1}, "Binary") == EncodedMessage(b'{"a":1}', "Binary")
    assert write_bare({"a": 1}, "Base64") == EncodedMessage(base64.b64encode(b'{"a":1}'), "Base64")
    assert read_payload(write_bare({"a": 1}, "Base64")).format == "Json"


def test_messagepack_holds_bytes_as_they_are() -> None:
    payload = write_payload({"data": bytes(1000)}, format="MessagePack", id=ID)
    assert len(payload.data) < 1100
    assert read_payload(payload).decode() == {"data": bytes(1000)}
    assert read_payload(write_bare(memoryview(b"ab"), "MessagePack")).decode(bytes) == b"ab"


def test_what_is_encoded_already_is_taken_as_it_is() -> None:
    for format in FORMATS:
        inner = write_bare({"a": 1}, format if format != "Base64" else "Json").data
        found = read_payload(write_payload(msgspec.Raw(inner), format=format, id=ID))
        assert found.decode() == {"a": 1}
    assert write_bare(msgspec.Raw(b"[1]")).data == b"[1]"


def test_the_content_is_there_still_encoded() -> None:
    for format in ("Json", "MessagePack", "Cbor"):
        found = read_payload(write_payload({"a": 1}, format=format, id=ID))
        assert found.content == write_bare({"a": 1}, format).data


@pytest.mark.parametrize(
    "text",
    [
        '{"id":"not a uuid","content":1,"metadata":{}}',
        '{"id":"%s","content":1,"metadata":{},"more":1}',
        '{"id":"%s","metadata":{}}',
        '{"content":1,"metadata":{}}',
        '{"id":"%s","content":1,"metadata":null}',
        '{"id":"%s","content":1,"metadata":{"timestamp":"1"}}',
        '{"id":1,"content":1}',
        "[1]",
        '"text"',
    ],
)
def test_what_has_not_exactly_the_members_of_an_envelope_is_a_bare_value(text: str) -> None:
    text = text.replace("%s", ID)
    value = json.loads(text)
    for payload in (EncodedMessage(text.encode(), "Json"), write_bare(value, "MessagePack"), write_bare(value, "Cbor")):
        found = read_payload(payload)
        assert not found.enveloped
        assert found.decode() == value


@pytest.mark.parametrize("id", [ID.upper(), ID.replace("-", ""), f"urn:uuid:{ID}", f"{{{ID}}}"])
def test_an_envelope_names_its_id_in_any_spelling(id: str) -> None:
    assert read_payload(EncodedMessage(b'{"metadata":{},"content":5,"id":"%s"}' % id.encode(), "Json")).enveloped


WRONG: list[tuple[Any, Any, str]] = [
    (Order, {"id": 1, "place": {"street": "canary", "number": "canary"}}, r"\$\.place\.number"),
    (Order, {"id": 1}, "missing required field `place`"),
    (Order, {"id": 1, "place": {"street": "a", "number": 1}, "model": {"number": "canary"}}, r"number: Input should be .* at `\$\.model`"),
    (Point, {"x": None}, r"\$\.x"),
    (list[Point], [{"x": 1}, {"x": "canary"}], r"\$\[1\]\.x|\$\[\.\.\.\]\.x"),
    (Model, {"number": "canary"}, r"valid integer.* - at `\$\.number`"),
    (Model, {"number": 1, "inner": [{"number": 1}, {}]}, r"Field required - at `\$\.inner\.1\.number`"),
    (Model, ["canary"], "valid dictionary|Input should be"),
    (Checked, {"number": -5}, r"greater than or equal to 0 - at `\$\.number`"),
    (Kind, "canary", "Invalid enum value"),
    (bytes, 5, "Expected `bytes`"),
    (int, "canary", "Expected `int`, got `str`"),
    (ServiceType, "canary", 'Expected "Database"'),
]


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(("kind", "value", "named"), WRONG, ids=lambda one: getattr(one, "__name__", None))
def test_a_mistake_is_named_by_its_field_and_not_shown(format: str, kind: Any, value: Any, named: str) -> None:
    for payload in (write_payload(value, format=format, id=ID), write_bare(value, format)):
        with pytest.raises(Unreadable, match=named) as caught:
            read_payload(payload).decode(kind)
        assert "canary" not in str(caught.value)


class Guarded(pydantic.BaseModel):
    word: str

    @pydantic.field_validator("word")
    @classmethod
    def _check(cls, word: str) -> str:
        raise ValueError(f"{word} is not welcome")


@dataclass
class Careless:
    number: int

    def __post_init__(self) -> None:
        raise KeyError("canary")


@pytest.mark.parametrize("format", FORMATS)
def test_what_a_types_own_checks_say_is_a_refusal_and_their_quotes_are_left_out(format: str) -> None:
    for kind, value in ((Guarded, {"word": "canary"}), (Careless, {"number": 1})):
        with pytest.raises(Unreadable, match="refused|not readable") as caught:
            read_payload(write_bare(value, format)).decode(kind)
        assert "canary" not in str(caught.value)


class Foreign:
    pass


@pytest.mark.parametrize("format", FORMATS)
def test_a_type_that_nobody_can_read_or_write_is_our_mistake(format: str) -> None:
    with pytest.raises(LocalProtocolError, match="no way to read a Foreign: use a dataclass"):
        read_payload(write_bare(1, format)).decode(Foreign)
    for value in (Foreign(), [Foreign()], print, "\ud800", {(1, 2): Foreign()}):
        for write in (write_bare, lambda value, format: write_payload(value, format=format, id=ID)):
            with pytest.raises(LocalProtocolError, match="cannot be sent"):
                write(value, format)


def test_a_type_that_cannot_be_read_is_found_out_when_its_reader_is_made() -> None:
    with pytest.raises(TypeError):
        reader(int | str | list[int] | list[str])


@pytest.mark.parametrize("value", [float("nan"), [float("inf")], {"a": float("-inf")}, Point(1, float("nan"))])  # type: ignore[arg-type]
def test_what_json_has_no_form_for_is_refused_and_not_made_null(value: Any) -> None:
    for format in ("Json", "Binary", "Base64"):
        with pytest.raises(LocalProtocolError, match="NaN and infinity have no form in JSON"):
            write_bare(value, format)
    assert repr(plain(read_payload(write_bare(value, "MessagePack")).decode())) == repr(plain(value))
    assert write_bare([None, "null"]).data == b'[null,"null"]'


def test_metadata_that_cannot_travel_is_refused() -> None:
    for format in FORMATS:
        with pytest.raises(LocalProtocolError, match="cannot be sent"):
            write_payload(1, Metadata(properties={"a": Foreign()}), format=format, id=ID)


@pytest.mark.parametrize(
    ("data", "format", "complaint"),
    [
        (b"!!!", "Base64", "not Base64"),
        (b"{}", "Auto", "nothing is read in the format 'Auto'"),
        (b"\xc1", "Cbor", "no stand-in"),
    ],
)
def test_what_is_not_in_its_format_is_unreadable_at_once(data: bytes, format: Any, complaint: str) -> None:
    with pytest.raises(Unreadable, match=complaint):
        read_payload(EncodedMessage(data, format))


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b'"\xff"', "not UTF-8"),
        (b'{"id":"11111111-2222-4333-8444-555555555555","content":"\xff"}', "not UTF-8"),
        (b"[" * 128 + b"]" * 128 + b" " * 256, "nested deeper than 127"),
        (b"[" * 200_000, "malformed|nested|truncated"),
        (b"", "truncated|malformed|empty"),
        (b"[1", "truncated"),
        (b"[1]]", "malformed"),
    ],
)
def test_text_that_is_no_json_is_unreadable_when_it_is_decoded(data: bytes, complaint: str) -> None:
    with pytest.raises(Unreadable, match=complaint):
        read_payload(EncodedMessage(data, "Json")).decode()


def test_text_is_utf_8_also_where_nobody_asks_for_it() -> None:
    with pytest.raises(Unreadable, match="not UTF-8"):
        read_payload(EncodedMessage(b'{"x":1,"more":"\xff"}', "Json")).decode(Point)


def test_messagepack_extensions_are_refused() -> None:
    with pytest.raises(Unreadable):
        read_payload(EncodedMessage(b"\xd4\x05a", "MessagePack")).decode()


def test_nothing_is_sent_in_a_format_that_is_none() -> None:
    for format in ("Auto", "json", "Yaml"):
        with pytest.raises(LocalProtocolError, match=f"nothing is sent in the format '{format}'"):
            write_bare(1, format)


def test_bincode_is_read_where_the_type_is_known() -> None:
    payload = EncodedMessage(b"\x02hi\x00\x00\x00\x00\x00", "Binary")
    found = read_payload(payload)
    assert (found.format, found.enveloped) == ("Binary", False)
    assert found.decode(str) == "hi"
    assert read_payload(payload.to_format("Base64")).decode(str) == "hi"
    with pytest.raises(Unreadable, match="a length over what the data holds"):
        found.decode(list[float])
    with pytest.raises(Unreadable, match="read only into a type that bincode knows: bincode cannot write a Any"):
        found.decode()


def test_a_repr_shows_no_content() -> None:
    assert "canary" not in repr(read_payload(write_payload("canary", id=ID)))


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(PLAIN, st.sampled_from(FORMATS))
def test_every_plain_value_comes_back(value: Any, format: str) -> None:
    assert read_payload(write_payload(value, format=format, id=ID)).decode() == value


@given(
    st.binary(max_size=100),
    st.sampled_from(["Json", "Binary", "Base64", "MessagePack", "Cbor"]),
    st.sampled_from([Any, Point, Model, bytes]),
)
def test_any_bytes_are_a_value_or_unreadable(data: bytes, format: Any, kind: Any) -> None:
    try:
        read_payload(EncodedMessage(data, format)).decode(kind)
    except Unreadable:
        return


@pytest.mark.parametrize("format", ["Json", "Binary", "Base64", "MessagePack"])
def test_metadata_are_not_read_where_they_are_large(format: str) -> None:
    bomb = write_payload(1, Metadata(properties={"x": [{}] * 1_100_000}), format=format, id=ID)
    with pytest.raises(Unreadable, match=r"more than 1048576 bytes - at `\$\.metadata`"):
        read_payload(bomb)


@pytest.mark.parametrize("format", ["Json", "Binary", "Base64", "MessagePack"])
def test_a_large_content_is_parted_from_its_metadata_as_a_small_one(format: str) -> None:
    for metadata in (Metadata(source="a", properties={"k": [1]}), Metadata()):
        payload = read_payload(write_payload("x" * 2_000_000, metadata, format=format, id=ID))
        assert payload.enveloped
        assert (payload.id, payload.metadata) == (ID, metadata)
        assert payload.decode(str) == "x" * 2_000_000
    assert not read_payload(write_bare(["x" * 2_000_000], format)).enveloped


@pytest.mark.parametrize("type", [Any, list[list[int]], list[Point], Checked])
@pytest.mark.parametrize(
    ("format", "data"),
    [
        ("Json", b"[" + b"[]," * 500_000 + b"[]]"),
        ("Base64", base64.b64encode(b"[" + b"[]," * 500_000 + b"[]]")),
        ("MessagePack", b"\xdd\x00\x10\x00\x00" + b"\x90" * 2**20),
    ],
)
def test_a_payload_of_more_values_than_anybody_needs_is_not_decoded(format: str, data: bytes, type: Any) -> None:
    payload = read_payload(EncodedMessage(data, format))  # type: ignore[arg-type]
    with pytest.raises(Unreadable, match="more than 500000 values"):
        payload.decode(type)


def test_a_million_numbers_and_a_large_text_are_a_payload() -> None:
    numbers = [1.5] * 1_000_000
    for format in ("Json", "MessagePack"):
        assert read_payload(write_bare(numbers, format)).decode(list[float]) == numbers
        assert read_payload(write_bare("[" * 2_000_000, format)).decode(str if format == "MessagePack" else Any) == "[" * 2_000_000


@pytest.mark.parametrize(
    ("value", "text"),
    [(2**70, "^an int cannot be sent: "), ([object()], "^an object cannot be sent inside a list: "), (1j, "^a complex cannot")],
)
def test_what_cannot_be_sent_is_named_in_good_english(value: Any, text: str) -> None:
    with pytest.raises(LocalProtocolError, match=text):
        write_bare(value, "MessagePack")
