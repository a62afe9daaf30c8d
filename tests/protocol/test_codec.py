"""The codec: what is written is read again in every form; what is hostile is refused, and nothing is shown of it."""

from __future__ import annotations

import base64
import json
from functools import partial
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pywatt_core.errors import LocalProtocolError, RemoteProtocolError
from pywatt_core.protocol import codec
from pywatt_core.protocol.framing import BASE64, BINARY, JSON, MSGPACK
from pywatt_core.protocol.messages import (
    MESSAGES,
    Announce,
    AnnouncedEndpoint,
    DiscoverServiceProviders,
    DiscoverServiceProvidersResponse,
    EncodedMessage,
    Extension,
    GetSecret,
    Heartbeat,
    HeartbeatAck,
    HttpRequest,
    HttpRequestCancel,
    HttpRequestCredit,
    HttpRequestPiece,
    HttpResponse,
    HttpResponseAbort,
    HttpResponseCredit,
    HttpResponsePiece,
    HttpResponseStart,
    HttpStreamRequest,
    Identify,
    Init,
    IpcChannel,
    Message,
    Metadata,
    PortRequest,
    PortResponse,
    ProviderInfo,
    RegisterServiceProvider,
    RegisterServiceProviderResponse,
    Role,
    Rotated,
    RotationAck,
    RoutedModuleMessage,
    RoutedModuleResponse,
    RouteToModule,
    Secret,
    ServiceOperation,
    ServiceOperationResult,
    ServiceRequest,
    ServiceResponse,
    ServiceType,
    Shutdown,
    TcpChannel,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
MAYBE = st.none() | TEXT
PAIRS = st.dictionaries(TEXT, TEXT, max_size=3)
PORTS = st.integers(0, 65535)
UUIDS = st.uuids().map(str)
KINDS = st.sampled_from([ServiceType.DATABASE, ServiceType.CACHE, ServiceType.JWT]) | TEXT.map(ServiceType.custom)
ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
PAYLOADS = st.builds(EncodedMessage, st.binary(max_size=20), st.sampled_from(["Json", "Binary", "Base64", "Auto"]))
EXTENSIONS = st.none() | st.builds(
    Extension,
    api=st.integers(1, 3),
    formats=st.lists(TEXT, max_size=2).map(tuple),
    features=st.lists(TEXT, max_size=2).map(tuple),
    config=st.none() | st.dictionaries(TEXT, ANY, max_size=2),
)
ENDPOINTS = st.lists(st.builds(AnnouncedEndpoint, TEXT, st.lists(TEXT, max_size=2), MAYBE), max_size=3)
PROVIDERS = st.lists(
    st.builds(
        ProviderInfo,
        provider_id=TEXT,
        module_id=TEXT,
        service_type=KINDS,
        name=TEXT,
        version=MAYBE,
        address=TEXT,
        metadata=PAIRS,
        is_healthy=st.booleans(),
    ),
    max_size=2,
)
PIECES = st.binary(max_size=300)
HEADERS = st.lists(st.tuples(TEXT, TEXT), max_size=3)
AMOUNTS = st.integers(1, 2**31)
BODIES = st.none() | st.binary(max_size=300)
METADATA = st.builds(
    Metadata,
    id=MAYBE,
    timestamp=st.none() | st.integers(-(2**63), 2**63 - 1),
    source=MAYBE,
    destination=MAYBE,
    properties=st.none() | st.dictionaries(TEXT, ANY, max_size=2),
)

EVERY: dict[type[Message], st.SearchStrategy[Message]] = {
    Identify: st.builds(Identify, TEXT) | st.builds(Identify, identify=TEXT),
    Announce: st.builds(Announce, TEXT, ENDPOINTS, EXTENSIONS),
    GetSecret: st.builds(GetSecret, TEXT),
    RotationAck: st.builds(RotationAck, TEXT, TEXT, MAYBE),
    RegisterServiceProvider: st.builds(
        RegisterServiceProvider, service_type=KINDS, name=TEXT, version=MAYBE, address=TEXT, metadata=st.none() | PAIRS
    ),
    DiscoverServiceProviders: st.builds(DiscoverServiceProviders, KINDS, st.none() | st.booleans()),
    ServiceRequest: st.builds(ServiceRequest, TEXT, KINDS, ANY),
    ServiceOperation: st.builds(ServiceOperation, TEXT, KINDS, TEXT, ANY, MAYBE),
    HttpResponse: st.builds(HttpResponse, TEXT, PORTS, PAIRS, BODIES),
    PortRequest: st.builds(PortRequest, TEXT, st.none() | PORTS),
    RouteToModule: st.builds(RouteToModule, TEXT, TEXT, UUIDS, PAYLOADS),
    HeartbeatAck: st.builds(HeartbeatAck),
    Init: st.builds(
        Init, TEXT, TEXT, PAIRS, TEXT, st.none() | st.builds(TcpChannel, TEXT, st.booleans(), st.booleans()),
        st.none() | st.builds(IpcChannel, TEXT, st.booleans()), MAYBE, st.sampled_from(["None", "Token", "Mtls"]), EXTENSIONS,
    ),
    Secret: st.builds(Secret, TEXT, TEXT, MAYBE, MAYBE) | st.builds(Secret, TEXT, error=TEXT),
    Rotated: st.builds(Rotated, st.lists(TEXT, max_size=3), TEXT),
    Shutdown: st.builds(Shutdown),
    RegisterServiceProviderResponse: st.builds(RegisterServiceProviderResponse, st.booleans(), MAYBE, MAYBE),
    DiscoverServiceProvidersResponse: st.builds(DiscoverServiceProvidersResponse, st.booleans(), PROVIDERS, MAYBE),
    ServiceResponse: st.builds(ServiceResponse, TEXT, KINDS, st.booleans(), MAYBE, MAYBE),
    ServiceOperationResult: st.builds(ServiceOperationResult, st.booleans(), ANY, MAYBE, ANY, MAYBE, MAYBE, MAYBE),
    HttpRequest: st.builds(HttpRequest, TEXT, TEXT, TEXT, PAIRS, BODIES),
    PortResponse: st.builds(PortResponse, TEXT, st.booleans(), PORTS, MAYBE),
    RoutedModuleMessage: st.builds(RoutedModuleMessage, TEXT, UUIDS, PAYLOADS),
    RoutedModuleResponse: st.builds(RoutedModuleResponse, TEXT, UUIDS, PAYLOADS),
    Heartbeat: st.builds(Heartbeat),
    HttpStreamRequest: st.builds(HttpStreamRequest, TEXT, TEXT, TEXT, HEADERS, AMOUNTS, PIECES, st.booleans()),
    HttpRequestPiece: st.builds(HttpRequestPiece, TEXT, PIECES, st.booleans()),
    HttpResponseCredit: st.builds(HttpResponseCredit, TEXT, AMOUNTS),
    HttpRequestCancel: st.builds(HttpRequestCancel, TEXT),
    HttpResponseStart: st.builds(HttpResponseStart, TEXT, PORTS, HEADERS, PIECES, st.booleans()),
    HttpResponsePiece: st.builds(HttpResponsePiece, TEXT, PIECES, st.booleans()),
    HttpRequestCredit: st.builds(HttpRequestCredit, TEXT, AMOUNTS),
    HttpResponseAbort: st.builds(HttpResponseAbort, TEXT),
}  # fmt: skip
MESSAGE = st.one_of(list(EVERY.values()))


# ── round trips ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_message_makes_the_round_trip() -> None:
    assert EVERY.keys() == {kind for role in Role for kind in MESSAGES[role].values()}


@pytest.mark.parametrize("kind", EVERY, ids=lambda kind: kind.op)
@settings(max_examples=25, deadline=None)
@given(st.data())
def test_what_is_written_bare_or_enveloped_in_either_format_is_read_again(kind: type[Message], data: st.DataObject) -> None:
    message, metadata = data.draw(EVERY[kind]), data.draw(METADATA)
    for code in (JSON, MSGPACK):
        assert codec.decode(codec.encode(message, code), kind.sender, code).content == message
        found = codec.decode(codec.encode_enveloped(message, "an id", metadata, code), kind.sender, code)
        assert (found.content, found.metadata, found.id) == (message, metadata, "an id")
    for enveloped in (True, False):
        read = codec.decoder(kind.sender, enveloped=enveloped)
        once = read(codec.encode(message))
        again = read(codec.encode_enveloped(message, None, metadata))
        assert getattr(once, "content", once) == message == again.content  # type: ignore[union-attr]


@given(EVERY[HttpResponse], TEXT, TEXT)
def test_what_is_written_in_the_stdout_wrapper_is_read_again(response: HttpResponse, id: str, source: str) -> None:
    data = codec.encode_wrapped(response, id, source)
    assert json.dumps(json.loads(data), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() == data, "keys are sorted"
    found = codec.decode(data, Role.MODULE)
    assert (found.content, found.metadata) == (response, Metadata(id, None, source, None, {"correlation_id": response.request_id}))


@given(MESSAGE)
def test_json_text_is_read_in_frames_of_the_formats_that_peers_label_it_with(message: Message) -> None:
    data = codec.encode(message)
    assert codec.decode(data, message.sender, BINARY).content == message
    assert codec.decode(base64.b64encode(data), message.sender, BASE64).content == message


def test_bodies_are_number_arrays_in_json_and_byte_strings_in_messagepack() -> None:
    request = HttpRequest("r", "POST", "/", {}, b"\x00\xffA")
    assert codec.encode(request).endswith(b'"body":[0,255,65]}')
    assert b"\xc4\x03\x00\xffA" in codec.encode(request, MSGPACK)
    assert type(codec.decode(codec.encode(request), Role.ORCHESTRATOR).content.body) is bytes  # type: ignore[attr-defined]


# ── hostile input ───────────────────────────────────────────────────────────────────────────────────────────────────


def read_or_refuse(data: bytes, sender: Role, code: int) -> None:
    """Read hostile bytes: they are refused with `Unreadable`, or can be written again."""
    try:
        found = codec.decode(data, sender, code)
    except codec.Unreadable as error:
        assert isinstance(error, RemoteProtocolError)
        assert error.kind in ("text", "encoding", "unknown", "invalid")
        assert len(str(error)) < 300
        return
    codec.encode(found.content)
    if found.metadata is not None:
        codec.encode_enveloped(found.content, found.id, found.metadata)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=80), st.sampled_from(Role), st.sampled_from([JSON, BINARY, BASE64, MSGPACK]))
def test_hostile_bytes_raise_nothing_but_unreadable(data: bytes, sender: Role, code: int) -> None:
    read_or_refuse(data, sender, code)


@settings(max_examples=300, deadline=None)
@given(
    MESSAGE,
    st.sampled_from([JSON, MSGPACK]),
    st.booleans(),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=4),
    st.integers(0, 50),
)
def test_a_damaged_message_raises_nothing_but_unreadable(
    message: Message, code: int, enveloped: bool, damage: list[tuple[int, int]], cut: int
) -> None:
    data = bytearray(codec.encode_enveloped(message, "id", Metadata(), code) if enveloped else codec.encode(message, code))
    for place, value in damage:
        data[place % len(data)] = value
    for role in Role:
        read_or_refuse(bytes(data[: len(data) - cut]), role, code)


SHAPES = st.recursive(
    ANY,
    lambda inner: st.dictionaries(
        st.sampled_from(["op", "content", "metadata", "id", "pywatt", *MESSAGES[Role.MODULE]]), inner, max_size=4
    ),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(
    SHAPES, ANY, st.sampled_from([op for role in Role for op in MESSAGES[role]]), st.sampled_from(Role), st.sampled_from([JSON, MSGPACK])
)
def test_any_value_in_any_place_raises_nothing_but_unreadable(value: Any, member: Any, op: str, sender: Role, code: int) -> None:
    write = msgspec.json.encode if code == JSON else msgspec.msgpack.encode
    members = dict.fromkeys(("listen", "payload", "providers", "port", "content", "service_type", "body", "request_id"), member)
    within = member if isinstance(member, dict) else {}
    for hostile in (
        value,
        {"op": op, op: member},
        {"op": op, "success": False, **members},
        {"content": {"op": op, **within}, "metadata": member},
        {"content": {"status_code": member, "request_id": "r", "headers": within}, "id": member},
        {"op": member},
        [op, member],
    ):
        read_or_refuse(write(hostile), sender, code)


@pytest.mark.parametrize(
    "bomb",
    [
        b"[" * 1_000_000,
        b'{"op":"service_operation_result","success":true,"result":' + b"[" * 500_000 + b"]" * 500_000 + b"}",
        b'{"op":' * 100_000,
        b'{"op":"service_operation_result","success":true,"result":' + b'{"a":[' * 64 + b"]}" * 64 + b"}",
        b'{"op":"service_operation_result","success":true,"result":' + b"9" * 5000 + b"}",
        b'{"op":"service_operation_result","success":true,"result":1e400}',
        b'{"op":"service_operation_result","success":true,"result":[NaN]}',
        b'{"op":"service_operation_result","success":true,"result":-Infinity}',
        b'{"op":"service_operation_result","success":true,"zz":"\xff"}',
        b'{"op":"service_operation_result","success":true,"result":"\\ud800"}',
        b'\xef\xbb\xbf{"op":"heartbeat"}',
        b'{"op":"heartbeat"}\x00',
        b"\x00" * 100,
        b'"' + b'\\"[' * 300_000,
    ],
    ids=lambda bomb: repr(bomb[:60] + b"..."),
)
def test_bombs_are_refused(bomb: bytes) -> None:
    for sender in Role:
        with pytest.raises(codec.Unreadable):
            codec.decode(bomb, sender)


@pytest.mark.parametrize("depth", [100, 126, 127])
def test_what_nests_within_the_limit_is_read_and_can_be_written_again(depth: int) -> None:
    inner = depth - 1
    text = b'{"op":"service_operation_result","success":true,"result":' + b"[" * inner + b'"]]]]"' + b"]" * inner + b"}"
    codec.encode(codec.decode(text, Role.ORCHESTRATOR).content)
    if depth == 127:
        with pytest.raises(codec.Unreadable, match="deeper than 127"):
            codec.decode(text.replace(b'"]]]]"', b"[]"), Role.ORCHESTRATOR)


def test_integers_beyond_64_bits_are_kept_exactly() -> None:
    text = b'{"op":"service_operation_result","success":true,"result":123456789012345678901234567890,"error":null}'
    assert codec.encode(codec.decode(text, Role.ORCHESTRATOR).content) == text


NESTED: Any = 1
for _ in range(400):
    NESTED = [NESTED]


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (float("nan"), "Number out of range"),
        ([float("inf")], "Number out of range"),
        ({"a": {"b": -float("inf")}}, "Number out of range"),
        (NESTED, "nested deeper than 127"),
        (msgspec.msgpack.Ext(5, b"x"), "extension types are not read"),
        ({(1, 2): 3}, "not readable|hashable|at `"),
    ],
)
def test_messagepack_may_not_carry_what_json_could_not_carry_on(value: object, why: str) -> None:
    data = msgspec.msgpack.encode({"op": "service_operation_result", "success": True, "result": value})
    with pytest.raises(codec.Unreadable, match=why):
        codec.decode(data, Role.ORCHESTRATOR, MSGPACK)
    with pytest.raises(codec.Unreadable):
        codec.decode(msgspec.msgpack.encode({"content": msgspec.Raw(data)}), Role.ORCHESTRATOR, MSGPACK)


# ── what is not sent ────────────────────────────────────────────────────────────────────────────────────────────────


class Odd:
    pass


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (ServiceOperation("c", ServiceType.CACHE, "set", {"v": [float("nan")]}), r"NaN and infinity cannot be sent - at `\$.params`"),
        (ServiceOperationResult(True, float("-inf")), r"NaN and infinity cannot be sent - at `\$.result`"),
        (ServiceRequest("r", ServiceType.CACHE, {"a": Odd()}), "an Odd cannot be sent"),
        (Announce("127.0.0.1:1", [], Extension(config={"a": float("nan")})), r"NaN and infinity cannot be sent - at `\$.pywatt`"),
        (GetSecret("\ud800hush"), "text with a lone surrogate"),
    ],
)
@pytest.mark.parametrize("code", [JSON, MSGPACK])
def test_what_cannot_travel_is_refused_with_the_messages_name(message: Message, why: str, code: int) -> None:
    for write in (partial(codec.encode, message, code), partial(codec.encode_enveloped, message, "id", Metadata(), code)):
        with pytest.raises(LocalProtocolError, match=why) as caught:
            write()
        assert message.op in str(caught.value)
        assert "hush" not in str(caught.value)
    with pytest.raises(LocalProtocolError, match=r"metadata\.properties"):
        codec.encode_enveloped(Heartbeat(), "id", Metadata(properties={"a": float("nan")}), code)


def test_a_null_is_no_nan() -> None:
    assert codec.encode(ServiceOperation("c", ServiceType.CACHE, "set", {"ttl": None})).endswith(b'"params":{"ttl":null}}')


# ── what is said about it ───────────────────────────────────────────────────────────────────────────────────────────

CANARY = "c4n4ry"
INIT = {"op": "init", "orchestrator_api": "h", "module_id": "m", "env": {}, "listen": "x"}
REQUEST = {"op": "http_request", "request_id": CANARY, "method": "GET", "uri": "/", "headers": {}}
ROUTED = {"op": "routed_module_response", "source_module_id": CANARY, "request_id": "1" * 32, "payload": {"data": [], "format": "Json"}}
WRONG: list[tuple[Role, dict[str, Any], str]] = [
    (Role.ORCHESTRATOR, {"op": "secret", "name": CANARY, "value": 5}, "`$.value`"),
    (Role.ORCHESTRATOR, {"op": "secret", "name": CANARY}, "`value`"),
    (Role.ORCHESTRATOR, {"op": CANARY}, "`$.op`"),
    (Role.ORCHESTRATOR, {"op": [CANARY]}, "`$.op`"),
    (Role.ORCHESTRATOR, {**INIT, "security_level": CANARY}, "`$.security_level`"),
    (Role.ORCHESTRATOR, {"op": "rotated", "keys": [CANARY, 5], "rotation_id": CANARY}, "`$.keys[1]`"),
    (Role.ORCHESTRATOR, {**REQUEST, "headers": {CANARY: [CANARY]}}, "`$.headers[...]`"),
    (Role.ORCHESTRATOR, {**REQUEST, "body": CANARY}, "`body`"),
    (Role.ORCHESTRATOR, {"op": "service_response", "id": "r", "service_type": CANARY, "success": True}, "`$.service_type`"),
    (Role.ORCHESTRATOR, {"op": "port_response", "request_id": "r", "success": True, "port": 70000}, "`$.port`"),
    (Role.ORCHESTRATOR, {**ROUTED, "request_id": CANARY}, "`request_id`"),
    (Role.ORCHESTRATOR, {**ROUTED, "payload": {"data": [], "format": CANARY}}, "`$.payload.format`"),
    (Role.MODULE, {"id": CANARY, "content": {"op": "get_secret", "name": [CANARY]}, "metadata": {}}, "`$.content.name`"),
    (Role.MODULE, {"content": {"op": "heartbeat_ack"}, "metadata": {"timestamp": CANARY}}, "`$.metadata.timestamp`"),
    (Role.MODULE, {"op": "get_secret", "get_secret": {"name": [CANARY]}}, "`$.get_secret.name`"),
    (Role.MODULE, {"content": {"request_id": CANARY, "status_code": CANARY, "headers": {}}, "metadata": {}}, "`$.content.status_code`"),
    (Role.MODULE, {"listen": CANARY, "endpoints": [{"path": CANARY, "methods": CANARY}]}, "`$.endpoints[0].methods`"),
    (Role.MODULE, {CANARY: CANARY}, "`op`"),
]  # fmt: skip


@pytest.mark.parametrize(("sender", "value", "names"), WRONG, ids=[str(names) for _, _, names in WRONG])
@pytest.mark.parametrize("code", [JSON, MSGPACK])
def test_an_error_names_the_field_and_never_shows_a_value(sender: Role, value: dict[str, Any], names: str, code: int) -> None:
    data = msgspec.json.encode(value) if code == JSON else msgspec.msgpack.encode(value)
    with pytest.raises(codec.Unreadable) as caught:
        codec.decode(data, sender, code)
    assert CANARY not in str(caught.value)
    assert CANARY not in repr(caught.value)
    assert names in str(caught.value), str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"Listening on port 80", "text"),
        (b"[1]", "text"),
        (b'{"level":"info"}', "text"),
        (b"\xff", "encoding"),
        (b'{"op":"health_check"}', "unknown"),
        (b'{"op":"heartbeat"}', "unknown"),
        (b'{"op":"get_secret"}', "invalid"),
        (b'{"op":5}', "invalid"),
        (b'{"op":"get_secret","name":"a","op":"heartbeat_ack"}', "text"),
    ],
)
def test_an_error_says_of_which_kind_it_is(data: bytes, kind: str) -> None:
    with pytest.raises(codec.Unreadable) as caught:
        codec.decode(data, Role.MODULE)
    assert caught.value.kind == kind
