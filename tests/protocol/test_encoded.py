"""`Message` and `EncodedMessage`: every form, every conversion, and what is guessed without decoding."""

from __future__ import annotations

import base64
import contextlib
import json
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywatt_core.errors import LocalProtocolError, RemoteProtocolError
from pywatt_core.protocol.encoded import EncodedMessage, EncodingFormat, Message, MessageMetadata
from pywatt_core.protocol.values import UUID_FORM, UUID_SHAPE

ID = "11111111-2222-4333-8444-555555555555"
FULL = MessageMetadata(id="msg1", timestamp=1718900000, source="mod-a", destination="mod-b", properties={"priority": "high", "n": 1})


@dataclass
class Greeting:
    name: str
    loud: bool = False


def encoded(text: str, format: Any = "Json") -> EncodedMessage:
    return EncodedMessage(text.encode(), format)


# ── Message ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_message_has_an_id_of_its_own() -> None:
    ids = [Message("hi").id for _ in range(100)]
    assert len(set(ids)) == 100
    assert all(id.encode().translate(UUID_SHAPE) == UUID_FORM for id in ids)
    assert Message("hi", id=ID.upper()).id == ID
    with pytest.raises(ValueError, match="Expected a UUID in `id`"):
        Message("hi", id="1")


def test_messages_are_equal_by_what_they_hold_and_show_nothing_of_it() -> None:
    assert Message("a", FULL, id=ID) == Message("a", FULL, id=ID)
    assert Message("a", id=ID) != Message("b", id=ID)
    assert Message("a", id=ID) != "a"
    assert "canary" not in repr(Message({"k": "canary"}, MessageMetadata(properties={"k": "canary"})))


def test_an_envelope_is_written_as_the_reference_does() -> None:
    data = (
        Message({"k": "v"}, MessageMetadata("msg1", 1718900000, "mod-a", "orchestrator", {"n": 1, "priority": "high"}), id=ID).encode().data
    )
    assert data.decode() == (
        '{"id":"11111111-2222-4333-8444-555555555555","content":{"k":"v"},"metadata":{"id":"msg1","timestamp":1718900000,'
        '"source":"mod-a","destination":"orchestrator","properties":{"n":1,"priority":"high"}}}'
    )


# ── formats ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_formats_have_the_codes_of_the_wire() -> None:
    assert {one.value: one.code for one in EncodingFormat} == {
        "Json": 1, "Binary": 2, "Base64": 3, "Auto": 0, "MessagePack": 4, "Cbor": 5,
    }  # fmt: skip
    assert EncodingFormat.JSON == "Json"
    assert str(EncodingFormat.JSON) == "Json"


def test_a_format_is_parsed_from_its_name_in_any_case() -> None:
    assert EncodingFormat.parse("BASE64") is EncodingFormat.BASE64
    with pytest.raises(ValueError, match="no format is called 'yaml'; there are Json, Binary, Base64, Auto, MessagePack, Cbor"):
        EncodingFormat.parse("yaml")


# ── constructors and reading ────────────────────────────────────────────────────────────────────────────────────────

GREETING = Message(Greeting("ada", True), id=ID)
FORMS = {
    "json": EncodedMessage.from_message(GREETING),
    "bincode": EncodedMessage.from_message_binary(GREETING),
    "bincode in base64": EncodedMessage.from_message_base64(GREETING),
    "json called binary": EncodedMessage.from_message(GREETING).to_format("Binary"),
    "json in base64": EncodedMessage.from_message(GREETING).to_format("Base64"),
    "messagepack": GREETING.encode("MessagePack"),
}


@pytest.mark.parametrize("payload", FORMS.values(), ids=FORMS)
def test_every_form_is_read_with_and_without_its_envelope(payload: EncodedMessage) -> None:
    assert payload.decode(Greeting) == GREETING.content
    full = payload.decode_full(Greeting)
    assert (full.content, full.metadata) == (GREETING.content, GREETING.metadata)
    if payload.format != "Binary" and payload is not FORMS["bincode in base64"]:
        assert full.id == ID, "bincode alone does not carry it"


def test_bincode_is_content_and_five_zeros() -> None:
    assert EncodedMessage.from_message_binary(Message("hi")) == EncodedMessage(b"\x02hi" + bytes(5), "Binary")
    assert EncodedMessage.from_message_base64(Message("hi")) == EncodedMessage(base64.b64encode(b"\x02hi" + bytes(5)), "Base64")
    assert EncodedMessage.from_message_binary(Message(300), int).data == b"\xfb\x58\x02" + bytes(5), "an int is an i64"


def test_metadata_is_not_lost_in_bincode_by_accident() -> None:
    message = Message("hi", FULL)
    with pytest.raises(ValueError, match='metadata is lost in bincode: leave it out, or say layout="decoder"'):
        EncodedMessage.from_message_binary(message)
    for layout in ("decoder", "encoder"):
        assert EncodedMessage.from_message_binary(message, layout=layout).decode_full(str).metadata == FULL
    with pytest.raises(ValueError, match="no layout is called 'other'"):
        EncodedMessage.from_message_binary(message, layout="other")


def test_properties_in_bincode_are_sorted_json_and_nothing_where_they_are_none() -> None:
    wire = EncodedMessage.from_message_binary(Message("", MessageMetadata(properties={"b": 1, "a": 2})), layout="encoder").data
    assert wire == b"\x00" + b"\x00\x00\x00\x00" + b'\x0d{"a":2,"b":1}'
    broken = EncodedMessage(b"\x00" + b"\x00\x00\x00\x00" + b"\x03[1]", "Binary")
    assert broken.decode_full(str).metadata == MessageMetadata()
    with pytest.raises(LocalProtocolError, match="NaN"):
        EncodedMessage.from_message_binary(Message("", MessageMetadata(properties={"a": float("nan")})), layout="encoder")


def test_encode_with_format_is_json_whatever_is_asked_for() -> None:
    for format in EncodingFormat:
        assert EncodedMessage.encode_with_format(GREETING, format) == EncodedMessage.from_message(GREETING)
    with pytest.raises(ValueError, match="'Yaml' is not a valid EncodingFormat"):
        EncodedMessage.encode_with_format(GREETING, "Yaml")


def test_a_bare_value_is_decoded_but_is_no_full_message() -> None:
    for payload in (encoded('{"name":"ada"}'), encoded('{"name":"ada"}', "Binary"), encoded('{"name":"ada"}', "Auto")):
        assert payload.decode(Greeting) == Greeting("ada")
    with pytest.raises(RemoteProtocolError, match="not an envelope"):
        encoded('{"name":"ada"}').decode_full(Greeting)
    with pytest.raises(RemoteProtocolError):
        encoded('{"name":"ada"}', "Binary").decode_full(Greeting)


class Envelopelike(msgspec.Struct):
    id: str
    content: str


def test_a_value_that_looks_like_an_envelope_is_read_as_its_type_where_the_content_does_not_fit() -> None:
    payload = encoded('{"id":"%s","content":"c"}' % ID)  # noqa: UP031
    assert payload.decode(Envelopelike) == Envelopelike(ID, "c")
    assert payload.decode(str) == "c"
    with pytest.raises(RemoteProtocolError, match="Expected `int`, got `str`"):
        payload.decode(int)


def test_auto_is_a_bare_json_value_and_nothing_else() -> None:
    payload = EncodedMessage(EncodedMessage.from_message(Message(5)).data, "Auto")
    with pytest.raises(RemoteProtocolError, match="Expected `int`, got `object`"):
        payload.decode(int)
    with pytest.raises(RemoteProtocolError, match="Auto"):
        payload.decode_full(int)


# ── conversions ─────────────────────────────────────────────────────────────────────────────────────────────────────

TEXT = '{"b": 1, "a": [2]}'


@pytest.mark.parametrize(
    ("source", "target", "result"),
    [
        (encoded(TEXT), "Json", encoded(TEXT)),
        (encoded(TEXT), "Binary", encoded(TEXT, "Binary")),
        (encoded(TEXT), "Base64", EncodedMessage(base64.b64encode(TEXT.encode()), "Base64")),
        (encoded(TEXT, "Binary"), "Json", encoded('{"a":[2],"b":1}')),
        (encoded(TEXT, "Binary"), "Base64", EncodedMessage(base64.b64encode(TEXT.encode()), "Base64")),
        (EncodedMessage(base64.b64encode(TEXT.encode()), "Base64"), "Json", encoded('{"a":[2],"b":1}')),
        (EncodedMessage(base64.b64encode(b"\xff"), "Base64"), "Binary", EncodedMessage(b"\xff", "Binary")),
        (EncodedMessage(b"\x80", "MessagePack"), "MessagePack", EncodedMessage(b"\x80", "MessagePack")),
    ],
)
def test_the_table_of_conversions(source: EncodedMessage, target: str, result: EncodedMessage) -> None:
    assert source.to_format(target) == result


@pytest.mark.parametrize(
    ("source", "target", "kind", "complaint"),
    [
        (encoded(TEXT), "Auto", LocalProtocolError, "Auto is no format"),
        (encoded(TEXT, "Auto"), "Json", LocalProtocolError, "Auto is no format"),
        (encoded(TEXT), "json", LocalProtocolError, "no format is called 'json'; there are Json, Binary"),
        (encoded(TEXT, "Auto"), "Auto", LocalProtocolError, "Auto is no format"),
        (encoded(TEXT), "MessagePack", LocalProtocolError, "Json does not become MessagePack: decode it"),
        (EncodedMessage(b"\xa0", "Cbor"), "Json", LocalProtocolError, "Cbor does not become Json"),
        (EncodedMessage(b"\x02hi", "Binary"), "Json", RemoteProtocolError, "no JSON text does not become JSON"),
        (EncodedMessage(b'"\xff"', "Binary"), "Json", RemoteProtocolError, "not UTF-8"),
        (EncodedMessage(b"[" * 128 + b"]" * 128, "Binary"), "Json", RemoteProtocolError, "nested deeper than 127"),
        (EncodedMessage(b"!", "Base64"), "Binary", RemoteProtocolError, "not Base64"),
        (EncodedMessage(base64.b64encode(b"\xff"), "Base64"), "Json", RemoteProtocolError, "not UTF-8"),
    ],
)
def test_conversions_that_there_are_not(source: EncodedMessage, target: str, kind: type[Exception], complaint: str) -> None:
    with pytest.raises(kind, match=complaint):
        source.to_format(target)


def test_text_is_what_json_and_base64_are() -> None:
    assert encoded(TEXT).to_string() == TEXT
    assert encoded("YQ==", "Base64").to_string() == "YQ=="
    for format in ("Binary", "Auto", "MessagePack", "Cbor"):
        with pytest.raises(LocalProtocolError, match=f"data in {format} is no text"):
            encoded(TEXT, format).to_string()
    with pytest.raises(RemoteProtocolError, match="not UTF-8"):
        EncodedMessage(b"\xff", "Json").to_string()


# ── guessing ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ({"kind": "k", "op": "o"}, "k"),
        ({"kind": 1, "op": "o", "metadata": {"id": "m"}}, "o"),
        ({"content": {"op": "announce"}, "metadata": {"id": "m"}}, "announce"),
        ({"content": 1, "metadata": {"id": "m"}}, "m"),
        ({"metadata": {"id": 5}}, "Unknown"),
        ({"content": {"kind": "k"}}, "Unknown"),
        ([], "Unknown"),
        ("kind", "Unknown"),
    ],
)
def test_the_kind_is_guessed_from_the_top(value: Any, kind: str) -> None:
    text = json.dumps(value)
    assert encoded(text).peek_kind() == kind
    assert encoded(text, "Binary").peek_kind() == kind
    assert encoded(text).to_format("Base64").peek_kind() == kind
    assert EncodedMessage(msgspec.msgpack.encode(value), "MessagePack").peek_kind() == kind


def test_a_message_is_written_in_no_format_that_there_is_not() -> None:
    with pytest.raises(LocalProtocolError, match="no format is called 'yaml'; there are Json, Binary"):
        Message(5).encode("yaml")


def test_what_cannot_be_guessed_says_why() -> None:
    assert encoded("{").peek_kind() == "Invalid JSON"
    assert encoded("!", "Base64").peek_kind() == "Invalid Base64"
    assert EncodedMessage.from_message_binary(Message("hi")).peek_kind() == "Unknown"
    assert EncodedMessage(b"\xc1", "MessagePack").peek_kind() == "Unknown"
    assert EncodedMessage(b"\xa1", "Cbor").peek_kind() == "Unknown", "no plugin reads it here"
    with pytest.raises(LocalProtocolError, match="Auto is no format"):
        encoded("{}", "Auto").peek_kind()


@dataclass
class Empty:
    pass


def test_the_metadatas_id_is_seen_in_bincode_without_content() -> None:
    message = Message(Empty(), MessageMetadata(id="msg1"))
    assert EncodedMessage.from_message_binary(message, layout="encoder").peek_kind() == "msg1"
    assert EncodedMessage.from_message_base64(message, layout="decoder").peek_kind() == "msg1"


METADATA = st.builds(
    MessageMetadata,
    st.none() | st.text(),
    st.none() | st.integers(-(2**63), 2**63 - 1),
    st.none() | st.text(),
    st.none() | st.text(),
    st.none() | st.dictionaries(st.text(), st.integers() | st.text(), min_size=1),
)


@given(st.text(), METADATA)
def test_every_message_comes_back_from_bincode_in_the_layout_that_its_reader_wants(content: str, metadata: MessageMetadata) -> None:
    payload = EncodedMessage.from_message_binary(Message(content, metadata), layout="decoder")
    found = payload.decode_full(str)
    assert (found.content, found.metadata) == (content, metadata)


@given(st.binary(max_size=60), st.sampled_from(["Json", "Binary", "Base64", "Auto", "MessagePack", "Cbor"]))
def test_any_bytes_are_guessed_converted_and_read_or_refused(data: bytes, format: Any) -> None:
    payload = EncodedMessage(data, format)
    for use in (payload.peek_kind, lambda: payload.to_format("Json"), lambda: payload.decode(str), lambda: payload.decode_full(str)):
        with contextlib.suppress(RemoteProtocolError, LocalProtocolError):
            use()
