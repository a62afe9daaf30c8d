"""Every golden vector is a test by its name, or stands in one of the tables below with the reason why it is not.

The vectors say what the reference emits, accepts and refuses; their member ``ours`` says where we deliberately do otherwise.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import pytest

from pywatt_core.errors import RemoteProtocolError
from pywatt_core.protocol import bincode, codec
from pywatt_core.protocol.encoded import BincodeMetadata, Message, read_bincode, write_bincode
from pywatt_core.protocol.framing import LengthFraming
from pywatt_core.protocol.messages import (
    Announce,
    EncodedMessage,
    Heartbeat,
    HttpRequest,
    HttpResponse,
    Init,
    Metadata,
    PortResponse,
    RouteToModule,
    Secret,
    ServiceOperationResult,
    ServiceType,
)
from pywatt_core.protocol.session import Facts, Problem, Role, Session, Wire

if TYPE_CHECKING:
    from collections.abc import Callable

VECTORS: list[dict[str, Any]] = json.loads((Path(__file__).parents[1] / "data" / "vectors.json").read_text())
SENDERS = {"module_to_orchestrator": Role.MODULE, "orchestrator_to_module": Role.ORCHESTRATOR}
UUID = "11111111-2222-4333-8444-555555555555"

LATER_KINDS = {
    "sql": "the model manager's SQL",
    "http_body": "response helpers, no wire messages: tests/http/test_api.py, tests/http/test_tcp_router.py, tests/http/test_bearer.py",
}
"""Kinds of vectors whose feature is not part of the wire core."""

LATER_DIRECTIONS = {
    "registration": "service registration, a protocol of its own: tests/protocol/test_registration.py",
    "http_tcp": "HTTP over TCP, whose messages have no op: tests/protocol/test_http_tcp.py",
    "streaming": "chunked streams and publish/subscribe, whose messages have no op: tests/protocol/test_stream_bytes.py",
    "routing": "advanced routing",
    "metrics": "channel metrics",
    "model": "the model manager",
}
"""Directions of messages whose feature comes later; frames with such payloads are tested as frames."""

OTHERWISE = {
    "identify_rust_serialize_error": "the reference cannot write it; ours is opt-in, see test_an_identify_is_written_in_either_spelling",
    "channel_identify_rust_serialize_error": "the same in an envelope",
    "reject_secret_dup_name": "a repeated key outside the init line: the last one counts, as in every JSON reader but the reference's",
    "reject_port_negative_zero": "-0 is read as the integer 0",
}
"""What we treat otherwise on purpose."""


def _named(kind: str, *, where: Callable[[dict[str, Any]], bool] = lambda vector: True) -> list[Any]:
    chosen = [v for v in VECTORS if v["kind"] == kind and v["name"] not in OTHERWISE and where(v)]
    return [pytest.param(vector, id=vector["name"]) for vector in chosen]


MESSAGES = _named("message", where=lambda v: v["direction"] in SENDERS and v["name"] != "service_operation_result_correlatable")
ENVELOPES = _named("message", where=lambda v: v["direction"] == "envelope" and v["name"].startswith("message_"))
PAYLOADS = _named("message", where=lambda v: v["direction"] == "envelope" and v["name"].startswith("encoded_message_"))
FRAMES = _named("frame")
INVALID = _named("invalid")
ACCEPTED = _named("accept")
INVALID_FRAMES = _named("invalid_frame")
BINCODE = _named("bincode")
BINCODE_READ = _named("bincode_decode")


def test_every_vector_is_tested_or_listed_with_a_reason() -> None:
    tested = {p.id for p in [*MESSAGES, *ENVELOPES, *PAYLOADS, *FRAMES, *INVALID, *ACCEPTED, *INVALID_FRAMES, *BINCODE, *BINCODE_READ]}
    tested.add("service_operation_result_correlatable")
    for vector in VECTORS:
        later = vector["kind"] in LATER_KINDS or (vector["kind"] == "message" and vector["direction"] in LATER_DIRECTIONS)
        ways = [vector["name"] in tested, later, vector["name"] in OTHERWISE]
        assert ways.count(True) == 1, f"{vector['name']} is tested, put off and treated otherwise: {ways}"
    assert {vector["name"] for vector in VECTORS} >= OTHERWISE.keys()


# ── what the reference emits ────────────────────────────────────────────────────────────────────────────────────────


def written_again(text: bytes, sender: Role) -> bytes:
    """Read `text` and write what was read, in the form that `text` has."""
    raw = json.loads(text)
    if "op" not in raw and "orchestrator_api" in raw:
        return codec.encode_init(read_line(text + b"\n"))
    found = codec.decode(text, sender)
    if "op" in raw:
        return codec.encode(found.content)
    assert found.metadata is not None
    if "id" in raw:
        return codec.encode_enveloped(found.content, found.id, found.metadata)
    assert isinstance(found.content, HttpResponse)
    return codec.encode_wrapped(found.content, found.metadata.id or "", found.metadata.source or "")


def read_line(line: bytes) -> Init:
    """The init message that a module's session makes of its first line."""
    (received,) = Session(Role.MODULE).receive(line)
    assert isinstance(received.message, Init)
    return received.message


@pytest.mark.parametrize("vector", MESSAGES)
def test_what_the_reference_emits_is_read_and_written_byte_for_byte(vector: dict[str, Any]) -> None:
    text = vector["json"].encode()
    sender = SENDERS[vector["direction"]]
    assert written_again(text, sender) == text
    if vector["op"] and vector["op"] != "init":
        assert codec.decode(text, sender).content.op == vector["op"]


@pytest.mark.parametrize("vector", ENVELOPES)
def test_an_envelope_around_any_content_is_written_as_the_reference_does(vector: dict[str, Any]) -> None:
    text = vector["json"].encode()
    assert msgspec.json.encode(msgspec.json.decode(text, type=codec.Envelope[Any])) == text


@pytest.mark.parametrize("vector", PAYLOADS)
def test_a_payload_is_written_as_the_reference_does(vector: dict[str, Any]) -> None:
    text = vector["json"].encode()
    payload = msgspec.json.decode(text, type=EncodedMessage)
    route = codec.encode(RouteToModule("b", "e", UUID, payload))
    assert route.endswith(b',"payload":' + text + b"}")


def test_service_operation_result_correlatable() -> None:
    (vector,) = [v for v in VECTORS if v["name"] == "service_operation_result_correlatable"]
    message = codec.decode(vector["json"].encode(), Role.ORCHESTRATOR).content
    assert isinstance(message, ServiceOperationResult)
    assert json.loads(codec.encode(message)) == json.loads(vector["json"]), "key order is not significant here"


# ── frames ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("vector", FRAMES)
def test_a_frame_is_read_and_written_byte_for_byte(vector: dict[str, Any]) -> None:
    wire = bytes.fromhex(vector["hex"])
    framing = LengthFraming()
    ((code, payload),) = framing.feed(wire)
    assert code == vector["format_code"]
    assert vector["name"] == "frame_bincode_message_hi" or payload == vector["json"].encode()
    assert framing.wrap(payload, code) == wire


@pytest.mark.parametrize("vector", [p for p in FRAMES if p.values[0]["direction"] in SENDERS])
def test_a_frame_arrives_as_its_message(vector: dict[str, Any]) -> None:
    sender = SENDERS[vector["direction"]]
    problems: list[Problem] = []
    facts = Facts(complete=True)
    session = Session(sender.other, Wire.CHANNEL, facts=facts, on_problem=problems.append)
    if sender is Role.MODULE:
        session.send(Heartbeat())
        session.send(HttpRequest("req-1", "GET", "/"))
    else:
        session.send(RouteToModule("b", "e", UUID, EncodedMessage(b"", "Json")))
    (received,) = session.receive(bytes.fromhex(vector["hex"]))
    assert received.message.op == vector["op"]
    assert not problems


BAD_FRAMES: dict[str, str] = {
    "bad_frame_format_0_auto": "encoding",
    "bad_frame_format_4": "encoding",
    "bad_frame_format_255": "encoding",
    "bad_frame_truncated_header": "closed",
    "bad_frame_truncated_no_format": "closed",
    "bad_frame_truncated_payload": "closed",
    "bad_frame_too_large_4gib": "lost",
    "bad_frame_too_large_tcp": "lost",
    "bad_frame_little_endian_length": "closed",
    "bad_frame_invalid_utf8_payload": "encoding",
    "bad_frame_code3_not_base64": "encoding",
    "bad_frame_code2_garbage": "encoding",
}


@pytest.mark.parametrize("vector", INVALID_FRAMES)
def test_a_bad_frame_costs_itself_or_the_connection_never_more(vector: dict[str, Any]) -> None:
    problems: list[Problem] = []
    session = Session(Role.MODULE, Wire.CHANNEL, facts=Facts(), on_problem=problems.append)
    wire, verdict = bytes.fromhex(vector["hex"]), BAD_FRAMES[vector["name"]]
    if verdict == "lost":
        with pytest.raises(RemoteProtocolError, match="over the limit of 67108864"):
            session.receive(wire)
        assert session.closed
    elif verdict == "closed":
        assert session.receive(wire) == []
        assert session.receive(b"") == []
        assert [problem.detail for problem in problems] == ["the stream ended within a frame"]
    else:
        received = session.receive(wire + b'\x00\x00\x00\x12\x01{"op":"heartbeat"}')
        assert [problem.kind for problem in problems] == [verdict]
        assert [one.message.op for one in received] == ["heartbeat"], "the stream goes on"


# ── bincode ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Named:
    name: str
    value: bincode.I32


@dataclass
class Empty:
    pass


@dataclass
class A:
    pass


@dataclass
class B:
    inner: bincode.U32


@dataclass
class C:
    s: str


RUST: dict[str, Any] = {
    **{name: getattr(bincode, name.upper()) for name in ("u8", "u16", "u32", "u64", "u128", "i8", "i32", "i64", "f32", "f64")},
    "bool": bool,
    "char": bincode.Char,
    "String": str,
    "()": None,
    "Option<String>": str | None,
    "Option<u8>": bincode.U8 | None,
    "Vec<u8>": bytes,
    "Vec<u32>": list[bincode.U32],
    "[u8;4]": Annotated[bytes, bincode.Length(4)],
    "[u32;2]": Annotated[list[bincode.U32], bincode.Length(2)],
    "(u8,String)": tuple[bincode.U8, str],
    "enum E{A,B(u32),C{s:String}}": A | B | C,
    "struct{name:String,value:i32}": Named,
    "struct{}": Empty,
    "MessageMetadata": BincodeMetadata,
    "Option<MessageMetadata>": BincodeMetadata | None,
}
"""The vectors' Rust types in Python."""


def python_value(rust: str, value: Any) -> Any:
    """A vector's value, as a caller of ours has it."""
    kind = RUST[rust]
    if rust.endswith(("MessageMetadata", "MessageMetadata>")):
        return BincodeMetadata.of(msgspec.convert(value, Metadata))
    if kind is bytes or rust == "[u8;4]":
        return bytes(value)
    if rust.startswith("enum"):
        return {"A": A(), "B": B(300), "C": C("q")}[value if isinstance(value, str) else next(iter(value))]
    return int(value) if rust[0] in "ui" else msgspec.convert(value, kind)


def message_type(rust: str) -> tuple[str, str] | None:
    """The content's type and the layout of a vector whose type is a message's."""
    found = re.fullmatch(r"Message<(.*)>( \(decoder-side layout\))?", rust)
    return None if found is None else (found[1], "decoder" if found[2] else "encoder")


@pytest.mark.parametrize("vector", BINCODE)
def test_bincode_is_written_as_the_reference_does_and_read_back(vector: dict[str, Any]) -> None:
    wire, value = bytes.fromhex(vector["hex"]), vector["value"]
    if message := message_type(vector["type"]):
        rust, layout = message
        content = Message(python_value(rust, value["content"]), msgspec.convert(value["metadata"], Metadata))
        assert write_bincode(content, RUST[rust], layout=layout) == wire
        back = EncodedMessage(wire, "Binary").decode_full(RUST[rust])
        assert (back.content, back.metadata) == (content.content, content.metadata), "whichever layout it is in"
        return
    value = python_value(vector["type"], value)
    assert bincode.encode(value, RUST[vector["type"]]) == wire
    assert bincode.decode_from(wire, RUST[vector["type"]]) == (value, len(wire))


REFUSED_BINCODE = {
    "bincode_decode_json_text_as_string": "ends 117 bytes early",
    "bincode_decode_bool_2": "0x02 is no bool",
    "bincode_decode_string_truncated": "ends 4 bytes early",
    "bincode_decode_u32_tag_too_wide": "a number of 64 bits where one of 32 belongs",
    "bincode_decode_string_bad_utf8": "not UTF-8",
    "bincode_decode_option_tag_2": "0x02 says neither",
    "bincode_decode_varint_reserved_ff": "0xff begins no number",
}
READ_BINCODE: dict[str, Any] = {
    "bincode_decode_message_no_metadata": ("hi", Metadata()),
    "bincode_decode_message_timestamp_lost": ("hi", Metadata(timestamp=1)),
    "bincode_decode_message_with_id": ("hi", Metadata(id="msg1")),
    "bincode_decode_message_with_id_as_string": "hi",
    "bincode_decode_message_full": ("hi", Metadata("msg1", 1718900000, "mod-a", properties={"k": 1})),
    "bincode_decode_message_decoder_side": ("hi", Metadata("msg1", 1718900000, "mod-a", properties={"k": 1})),
    "bincode_decode_message_empty_id": ("hi", Metadata()),
    "bincode_decode_u32_noncanonical": 5,
    "bincode_decode_trailing_bytes": 5,
}
"""What we make of it: the reference loses metadata that its own encoder wrote, or refuses it; ours reads both layouts. An empty id
that its encoder wrote has the very bytes of no metadata in the layout that its decoder reads."""


@pytest.mark.parametrize("vector", BINCODE_READ)
def test_bincode_that_the_reference_reads_is_read_and_garbage_is_refused(vector: dict[str, Any]) -> None:
    wire, name = bytes.fromhex(vector["hex"]), vector["name"]
    if name in REFUSED_BINCODE:
        with pytest.raises(codec.Unreadable, match=REFUSED_BINCODE[name]):
            bincode.decode(wire, RUST[vector["type"]])
    elif message := message_type(vector["type"]):
        found = read_bincode(wire, RUST[message[0]])
        assert (found.content, found.metadata) == READ_BINCODE[name]
    else:
        assert bincode.decode(wire, RUST[vector["type"]]) == READ_BINCODE[name]


def test_the_frame_that_holds_bincode_is_read_once_its_type_is_known() -> None:
    (wire,) = [bytes.fromhex(p.values[0]["hex"]) for p in FRAMES if p.id == "frame_bincode_message_hi"]
    ((code, payload),) = LengthFraming().feed(wire)
    assert code == 2
    assert EncodedMessage(payload, "Binary").decode(str) == "hi"


# ── what is accepted, and what is refused ───────────────────────────────────────────────────────────────────────────


def read_target(vector: dict[str, Any]) -> Any:
    """Read a vector's text as what it is meant for."""
    if vector["name"] == "reject_init_too_long":
        return read_line(b'{"orchestrator_api":"h","module_id":"m","env":{},"listen":"127.0.0.1:1"}'.ljust(2**20 + 1) + b"\n")
    data = bytes.fromhex(vector["hex"]) if "hex" in vector else vector["json"].encode()
    match vector["target"]:
        case "init":
            if "EOF before newline" in vector["detail"]:
                session = Session(Role.MODULE)
                assert session.receive(data) == []
                return session.receive(b"")
            return (
                read_line(data.rstrip(b"\n") + b"\n") if data else Session(Role.MODULE).receive(b"\n") or Session(Role.MODULE).receive(b"")
            )
        case "o2m":
            return codec.decode(data, Role.ORCHESTRATOR).content
        case "m2o" | "msg_m2o":
            return codec.decode(data, Role.MODULE).content
        case "msg_str":
            EncodedMessage(data, "Json").decode_full(str)
            return msgspec.json.decode(data, type=codec.Envelope[str])
        case "enc":
            return msgspec.json.decode(data, type=EncodedMessage)
    raise AssertionError(vector["target"])


MEANINGS: dict[str, Callable[[Any], bool]] = {
    "reject_init_security_level_null": lambda m: m.security_level == "None",
    "reject_init_security_level_lower": lambda m: m.security_level == "None",
    "reject_init_security_level_MTLS": lambda m: m.security_level == "Mtls",
    "accept_init_security_level_as_object": lambda m: m.security_level == "Token",
    "reject_init_missing_env": lambda m: m.env == {},
    "reject_init_env_null": lambda m: m.env == {},
    "reject_listen_object_unix": lambda m: m.listen == "/run/m.sock",
    "reject_listen_object_tcp": lambda m: m.listen == "127.0.0.1:80",
    "accept_listen_ipv6_scope": lambda m: m.listen == "[fe80::1%1]:80",
    "reject_tcp_channel_host_port": lambda m: m.tcp_channel.address == "127.0.0.1:9901",
    "reject_tcp_channel_missing_required": lambda m: m.tcp_channel.required is False,
    "reject_tcp_channel_missing_tls": lambda m: m.tcp_channel.tls_enabled is False,
    "reject_tcp_channel_hostname": lambda m: m.tcp_channel.address == "localhost:9901",
    "reject_ipc_channel_missing_required": lambda m: m.ipc_channel.required is False,
    "accept_init_unknown_fields": lambda m: (m.debug_mode, m.log_level) == (True, "info"),
    "reject_enveloped_o2m": lambda m: m.op == "heartbeat",
    "reject_secret_error_form": lambda m: m == Secret("a", error="not found"),
    "reject_http_headers_missing": lambda m: m == HttpRequest("r", "GET", "/", {}, None),
    "accept_http_headers_dup_key": lambda m: m.headers == {"a": "2"},
    "reject_port_null_on_failure": lambda m: m == PortResponse("r", success=False, port=0, error_message="x"),
    "reject_port_missing_on_failure": lambda m: m.port == 0,
    "accept_uuid_simple": lambda m: m.request_id == UUID,
    "accept_uuid_upper": lambda m: m.request_id == "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee",
    "accept_uuid_urn": lambda m: m.request_id == UUID,
    "accept_uuid_braced": lambda m: m.request_id == UUID,
    "accept_payload_format_object": lambda m: m.payload.format == "Json",
    "reject_stype_lower": lambda m: m.service_type is ServiceType.CACHE,
    "reject_stype_custom_paren": lambda m: m.service_type == ServiceType.custom("x"),
    "accept_stype_unit_obj": lambda m: m.service_type is ServiceType.CACHE,
    "reject_dsp_providers_missing": lambda m: m.providers == [],
    "reject_dsp_provider_metadata_null": lambda m: m.providers[0].metadata == {},
    "reject_m2o_announce_bare": lambda m: m == Announce("127.0.0.1:1", []),
    "reject_m2o_announce_nested_py": lambda m: m == Announce("127.0.0.1:1", []),
    "reject_m2o_announce_listen_obj": lambda m: m.listen == "/x",
    "reject_m2o_identify_flat_module_id": lambda m: m.claimed == "m",
    "reject_m2o_identify_py": lambda m: m.claimed == "m",
    "reject_m2o_identify_content": lambda m: m.claimed == "m",
    "reject_m2o_get_secret_nested_py": lambda m: m.name == "A",
    "reject_m2o_http_response_wrapper": lambda m: m == HttpResponse("r", 200, {}, None),
    "accept_raw_u2028_in_string": lambda m: m.value == "\u2028\x85\x7f",
}
"""What a tolerated spelling means."""


@pytest.mark.parametrize("vector", [*INVALID, *ACCEPTED])
def test_what_is_refused_is_refused_and_what_is_tolerated_is_understood(vector: dict[str, Any]) -> None:
    verdict = vector.get("ours", vector["expect"]).lower()
    if verdict.startswith("accept"):
        found = read_target(vector)
        assert MEANINGS.get(vector["name"], lambda message: message is not None)(found)
        return
    assert verdict.startswith(("reject", "log and ignore")), verdict
    with pytest.raises((RemoteProtocolError, msgspec.ValidationError)) as caught:
        read_target(vector)
    if "ignore" in verdict:
        assert isinstance(caught.value, codec.Unreadable)
        assert caught.value.kind == "unknown"


def test_every_tolerance_that_ours_promises_has_its_meaning_checked() -> None:
    tolerated = {p.id for p in INVALID if p.values[0].get("ours", "").startswith("accept")}
    envelopes = {name for name in tolerated if name.startswith("reject_msg_")}
    assert tolerated - envelopes <= MEANINGS.keys()
