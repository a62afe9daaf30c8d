"""A session: bytes in, messages out; what is illegal raises at home and is a problem from abroad; problems cost themselves alone."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pywatt_core.errors import LocalProtocolError, RemoteProtocolError
from pywatt_core.protocol.framing import LengthFraming
from pywatt_core.protocol.messages import (
    Announce,
    EncodedMessage,
    Extension,
    GetSecret,
    Heartbeat,
    HeartbeatAck,
    HttpRequest,
    HttpResponse,
    Init,
    Message,
    Metadata,
    PortRequest,
    PortResponse,
    Role,
    Rotated,
    RotationAck,
    RoutedModuleResponse,
    RouteToModule,
    Secret,
    ServiceOperation,
    ServiceOperationResult,
    ServiceType,
    Shutdown,
)
from pywatt_core.protocol.session import Facts, Problem, Session, Wire, id_sequence

UUID = "11111111-2222-4333-8444-555555555555"
INIT = Init("http://h", "m", {}, "127.0.0.1:0")
ANNOUNCE = Announce("127.0.0.1:80", [])
REQUEST = HttpRequest("r", "GET", "/")


class Pair:
    """Both ends of one link, and what either complained of."""

    def __init__(self, wire: Wire = Wire.STDIO, **options: Any) -> None:
        self.problems: list[Problem] = []
        self.module = Session(Role.MODULE, wire, on_problem=self.problems.append, **options)
        self.orchestrator = Session(Role.ORCHESTRATOR, wire, on_problem=self.problems.append, **options)

    def end(self, role: Role) -> Session:
        return self.module if role is Role.MODULE else self.orchestrator

    def pass_on(self, message: Message, **options: Any) -> Any:
        """Send from the end that may, and return what the other received, if anything."""
        data, key = self.end(message.sender).send(message, **options)
        received = self.end(message.sender.other).receive(data) if data else []
        return (received[0] if received else None), key


@pytest.fixture
def pair() -> Pair:
    """Both ends of stdio, up to and with the announce."""
    ends = Pair()
    ends.pass_on(INIT)
    ends.pass_on(ANNOUNCE)
    return ends


# ── the handshake ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_init_line_and_what_follows_it_in_one_chunk_are_all_received() -> None:
    module = Session(Role.MODULE)
    line = (
        b'{"orchestrator_api":"h","module_id":"m","listen":"127.0.0.1:0"}\n{"op":"heartbeat"}\n\n{"op":"secret","name":"A","value":"v"}\n'
    )
    assert [one.message.op for one in module.receive(line)] == ["init", "heartbeat", "secret"]
    assert module.module_id == "m"


@pytest.mark.parametrize("line", [b"hello\n", b"{}\n", b'{"op":"heartbeat"}\n', b"\xff\n", b"x" * (2**20 + 1), b" " * (2**20 + 1) + b"\n"])
def test_a_bad_init_line_is_the_end(line: bytes) -> None:
    module = Session(Role.MODULE)
    with pytest.raises(RemoteProtocolError) as first:
        module.receive(line)
    assert module.closed
    with pytest.raises(RemoteProtocolError) as second:
        module.receive(b'{"orchestrator_api":"h","module_id":"m","listen":"127.0.0.1:0"}\n')
    assert second.value is first.value


def test_the_end_of_the_stream_before_the_init_line_is_a_bad_init_line() -> None:
    module = Session(Role.MODULE)
    module.receive(b'{"orchestrator_api":"h","module_id":"m","listen":"127.0.0.1:0"}')
    with pytest.raises(RemoteProtocolError, match="ended before a whole init line"):
        module.receive(b"")


def test_a_module_says_nothing_before_the_init_line_and_an_orchestrator_nothing_but_it() -> None:
    with pytest.raises(LocalProtocolError, match="the module may not send 'get_secret' before it has received 'init'"):
        Session(Role.MODULE).send(GetSecret("A"))
    with pytest.raises(LocalProtocolError, match="the orchestrator may not send 'heartbeat' on stdio while 'new'"):
        Session(Role.ORCHESTRATOR).send(Heartbeat())


def test_a_second_init_and_a_second_announce_are_illegal_at_either_end(pair: Pair) -> None:
    for message in (INIT, ANNOUNCE):
        with pytest.raises(LocalProtocolError, match=f"may not send '{message.op}' on stdio while"):
            pair.end(message.sender).send(message)
    assert pair.module.receive(b'{"op":"init","orchestrator_api":"h","module_id":"m","env":{},"listen":"127.0.0.1:0"}\n') == []
    assert pair.orchestrator.receive(b'{"op":"announce","listen":"127.0.0.1:1","endpoints":[]}\n') == []
    assert [problem.kind for problem in pair.problems] == ["illegal", "illegal"]
    assert "'announce'" in pair.problems[1].detail
    assert pair.pass_on(Heartbeat())[0].message == Heartbeat(), "the session goes on"


def test_the_init_line_is_checked_before_it_is_sent() -> None:
    orchestrator = Session(Role.ORCHESTRATOR)
    with pytest.raises(LocalProtocolError, match="listen"):
        orchestrator.send(Init("h", "m", {}, "localhost:80"))
    assert orchestrator.send(INIT)[0].startswith(b'{"orchestrator_api":'), "a refusal has changed nothing"


def test_no_request_for_http_before_the_announce() -> None:
    pair = Pair()
    pair.pass_on(INIT)
    with pytest.raises(LocalProtocolError, match="the orchestrator may not send 'http_request' before it has received 'announce'"):
        pair.orchestrator.send(REQUEST)
    assert pair.module.receive(b'{"op":"http_request","request_id":"r","method":"GET","uri":"/","headers":{}}\n') == []
    assert [problem.kind for problem in pair.problems] == ["illegal"]


def test_after_a_shutdown_there_is_no_new_work_but_answers_still_come(pair: Pair) -> None:
    pair.pass_on(REQUEST)
    pair.pass_on(GetSecret("A"))
    pair.pass_on(Shutdown())
    for work in (HttpRequest("2", "GET", "/"), Rotated(["A"], "r")):
        with pytest.raises(LocalProtocolError, match="while 'closing'"):
            pair.orchestrator.send(work)
    assert pair.pass_on(HttpResponse("r", 200, {}, b"late but here"))[0].answers is not None
    assert pair.pass_on(Secret("A", "v"))[0].answers is not None
    assert pair.pass_on(Shutdown())[0].message == Shutdown(), "saying it again does no harm"
    assert pair.problems == []


# ── several links of one module ─────────────────────────────────────────────────────────────────────────────────────


def test_what_one_link_has_seen_counts_on_the_others() -> None:
    facts = {role: Facts() for role in Role}
    stdio = {role: Session(role, facts=facts[role]) for role in Role}
    channel = {role: Session(role, Wire.CHANNEL, facts=facts[role]) for role in Role}
    with pytest.raises(LocalProtocolError, match="before it has received 'announce'"):
        channel[Role.ORCHESTRATOR].send(REQUEST)
    stdio[Role.MODULE].receive(stdio[Role.ORCHESTRATOR].send(INIT)[0])
    stdio[Role.ORCHESTRATOR].receive(stdio[Role.MODULE].send(ANNOUNCE)[0])
    (received,) = channel[Role.MODULE].receive(channel[Role.ORCHESTRATOR].send(REQUEST)[0])
    assert received.message == REQUEST
    with pytest.raises(LocalProtocolError, match="no request with this request_id is waiting for it"):
        stdio[Role.MODULE].send(HttpResponse("r", 200, {}))
    channel[Role.MODULE].send(HttpResponse("r", 200, {}))


def test_a_channel_by_itself_is_open() -> None:
    assert Pair(Wire.CHANNEL).pass_on(REQUEST)[0].message == REQUEST


def test_a_channel_takes_neither_init_nor_announce() -> None:
    for message in (INIT, ANNOUNCE):
        with pytest.raises(LocalProtocolError, match="on channel"):
            Session(message.sender, Wire.CHANNEL).send(message)


# ── correlation ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_answer_carries_the_key_of_its_request(pair: Pair) -> None:
    _, first = pair.pass_on(REQUEST)
    _, second = pair.pass_on(HttpRequest("2", "GET", "/"))
    assert pair.pass_on(HttpResponse("2", 200, {}))[0].answers == second != first
    assert pair.pass_on(HttpResponse("r", 200, {}))[0].answers == first


def test_the_same_id_serves_requests_of_different_kinds_at_once(pair: Pair) -> None:
    keys = {pair.pass_on(message)[1] for message in (HttpRequest(UUID, "GET", "/"), Rotated([], UUID))}
    keys |= {pair.pass_on(message)[1] for message in (PortRequest(UUID), RouteToModule("b", "e", UUID, EncodedMessage(b"", "Json")))}
    assert len(keys) == 4
    routed = RoutedModuleResponse("b", UUID, EncodedMessage(b"", "Json"))
    answers = [PortResponse(UUID, True, 1), HttpResponse(UUID, 200, {}), RotationAck(UUID, "success"), routed]
    assert {pair.pass_on(answer)[0].answers for answer in answers} == keys


def test_a_stray_answer_is_refused_at_home_and_dropped_from_abroad(pair: Pair) -> None:
    with pytest.raises(LocalProtocolError, match="'http_response' may not be sent: no request with this request_id"):
        pair.module.send(HttpResponse("zz", 200, {}))
    assert pair.orchestrator.receive(b'{"op":"http_response","request_id":"zz","status_code":200,"headers":{},"body":null}\n') == []
    assert [(problem.kind, problem.detail) for problem in pair.problems] == [
        ("illegal", "nothing that waits for 'http_response' has this request_id")
    ]


def test_a_late_answer_is_dropped_in_silence_and_its_id_is_not_used_again_before(pair: Pair) -> None:
    _, key = pair.pass_on(REQUEST)
    pair.orchestrator.forget(key)
    with pytest.raises(LocalProtocolError, match="an earlier one with the same request_id"):
        pair.orchestrator.send(REQUEST)
    assert pair.pass_on(HttpResponse("r", 200, {})) == (None, None)
    assert pair.problems == []
    assert pair.pass_on(REQUEST)[1] == key


def test_an_answer_that_nobody_waits_for_is_dropped(pair: Pair) -> None:
    assert pair.pass_on(REQUEST, wait=False)[1] is None
    assert pair.pass_on(HttpResponse("r", 200, {})) == (None, None)
    assert pair.problems == []


def test_abandoning_gives_the_keys_of_all_that_waits_once(pair: Pair) -> None:
    keys = {pair.pass_on(message)[1] for message in (REQUEST, Rotated([], "r"))}
    _, given_up = pair.pass_on(HttpRequest("2", "GET", "/"))
    pair.orchestrator.forget(given_up)
    assert set(pair.orchestrator.abandon()) == keys
    assert pair.orchestrator.abandon() == []


@pytest.mark.parametrize("key", [None, "x", (), (Secret, "x"), (HttpResponse, "zz"), 5])
def test_forgetting_what_does_not_wait_does_nothing(pair: Pair, key: Any) -> None:
    pair.module.forget(key)
    pair.orchestrator.forget(key)


def test_a_response_has_a_status_that_http_knows(pair: Pair) -> None:
    pair.pass_on(REQUEST)
    for status in (99, 600):
        with pytest.raises(LocalProtocolError, match="status_code is not between 100 and 599"):
            pair.module.send(HttpResponse("r", status, {}))
    assert pair.pass_on(HttpResponse("r", 599, {}))[0].answers


# ── problems ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_stray_print_is_text_and_a_message_after_it_in_the_same_line_is_still_read(pair: Pair) -> None:
    pair.pass_on(Heartbeat())
    pair.pass_on(REQUEST)
    wrapper = pair.module.send(HttpResponse("r", 200, {}, b"x"))[0]
    for line, text, op in (
        (b"Listening\n", "Listening", None),
        (b'{"level":"info"}\n', '{"level":"info"}', None),
        (b'50%{"op":"heartbeat_ack"}\n', "50%", "heartbeat_ack"),
        (b'\xff{"op": {"op":"heartbeat_ack"}\n', '\ufffd{"op": ', "heartbeat_ack"),
        (b'50%{"op":"heartbeat_ack"} done\n', '50%{"op":"heartbeat_ack"} done', None),
        (b"50%" + wrapper, "50%", "http_response"),
    ):
        received = pair.orchestrator.receive(line)
        assert [one.message.op for one in received] == ([op] if op else [])
        problem = pair.problems.pop()
        assert (problem.kind, problem.text) == ("text", text)
        assert text not in problem.detail
    assert pair.problems == []


def test_very_long_text_is_cut(pair: Pair) -> None:
    pair.orchestrator.receive(b"x" * 100_000 + b"\n")
    assert pair.problems[0].text == "x" * 8192


def test_what_is_not_a_message_is_no_text_where_nobody_prints(pair: Pair) -> None:
    pair.module.receive(b"hush\n\xff\n")
    assert [problem.kind for problem in pair.problems] == ["invalid", "encoding"]
    assert all(problem.text == "" and "hush" not in problem.detail for problem in pair.problems)


def test_an_unknown_op_is_ignored(pair: Pair) -> None:
    assert pair.module.receive(b'{"op":"health_check"}\n{"op":"announce","listen":"","endpoints":[]}\n') == []
    assert [problem.kind for problem in pair.problems] == ["unknown", "unknown"]


def test_a_line_over_the_limit_is_reported_once_and_the_next_one_is_read() -> None:
    problems: list[Problem] = []
    orchestrator = Session(Role.ORCHESTRATOR, limit=200, on_problem=problems.append)
    orchestrator.send(INIT)
    for _ in range(50):
        assert orchestrator.receive(b"x" * 100) == []
    assert orchestrator.receive(b"\n" + b'{"op":"get_secret","name":"A"}\n')[0].message == GetSecret("A")
    assert [(problem.kind, problem.detail) for problem in problems] == [("too long", "a line over the limit of 200 bytes was thrown away")]


def test_lost_framing_is_raised_after_the_messages_before_it() -> None:
    session = Session(Role.MODULE, Wire.CHANNEL, limit=100)
    wire = LengthFraming().wrap(b'{"op":"heartbeat"}') + b"\x00\x00\x00\x65\x01"
    assert [one.message.op for one in session.receive(wire)] == ["heartbeat"]
    assert session.closed
    assert session.failure is not None
    with pytest.raises(RemoteProtocolError, match="a frame of 101 bytes is over the limit of 100"):
        session.receive(b"")


@pytest.mark.parametrize("role", Role)
def test_what_is_unfinished_at_the_end_is_reported(role: Role) -> None:
    pair = Pair()
    pair.pass_on(INIT)
    session = pair.end(role)
    session.receive(b'{"op":"get_sec')
    assert session.receive(b"") == []
    assert session.closed
    assert [problem.kind for problem in pair.problems] == (["text"] if role is Role.ORCHESTRATOR else ["invalid"])
    session.receive(b"")
    assert len(pair.problems) == 1, "an end is an end"


def test_a_malformed_answer_names_the_request_that_it_was_for(pair: Pair) -> None:
    _, key = pair.pass_on(PortRequest("p"))
    assert pair.module.receive(b'{"op":"port_response","request_id":"p","success":true,"port":"80"}\n') == []
    assert pair.problems[0].answers == key
    assert pair.problems[0].detail == "port_response: Expected `int`, got `str` - at `$.port`"
    assert pair.module.abandon() == [], "it no longer waits"


def test_a_malformed_request_comes_with_the_refusal_that_may_be_sent(pair: Pair) -> None:
    pair.module.send(ServiceOperation("c", ServiceType.CACHE, "ping", None))
    assert pair.orchestrator.receive(b'{"op":"service_operation","connection_id":"c","service_type":"Cache","operation":"ping"}\n') == []
    refusal = pair.problems[0].refusal
    assert isinstance(refusal, ServiceOperationResult)
    assert (refusal.success, refusal.error) == (False, "Object missing required field `params` - at `$`")
    (received,) = pair.module.receive(pair.orchestrator.send(refusal)[0])
    assert received.answers is not None
    with pytest.raises(LocalProtocolError):
        pair.orchestrator.send(refusal)


def test_a_malformed_request_that_would_be_illegal_anyway_is_not_refused_but_dropped() -> None:
    pair = Pair()
    pair.pass_on(INIT)
    pair.module.receive(b'{"op":"http_request","request_id":"r"}\n')
    assert pair.problems[0].refusal is None


# ── forms and formats ───────────────────────────────────────────────────────────────────────────────────────────────


def test_each_wire_has_its_form() -> None:
    ids = iter([UUID] * 9)
    stdio, channel = Pair(new_id=lambda: next(ids)), Pair(Wire.CHANNEL, new_id=lambda: next(ids), module_id="m")
    assert stdio.orchestrator.send(INIT)[0].startswith(b'{"orchestrator_api"')
    stdio.module.receive(Session(Role.ORCHESTRATOR).send(INIT)[0])
    assert stdio.module.send(GetSecret("A"))[0] == b'{"op":"get_secret","name":"A"}\n'
    assert channel.orchestrator.send(Heartbeat())[0][5:] == b'{"op":"heartbeat"}'
    assert channel.module.send(GetSecret("A"))[0][5:] == (
        b'{"id":"11111111-2222-4333-8444-555555555555","content":{"op":"get_secret","name":"A"},"metadata":{"source":"m"}}'
    )


def test_a_response_on_stdout_is_wrapped_with_the_modules_id_from_its_init_line(pair: Pair) -> None:
    pair.pass_on(REQUEST)
    line = json.loads(pair.module.send(HttpResponse("r", 200, {"b": "1", "a": "2"}, b"OK"))[0])
    assert list(line["content"]) == ["body", "headers", "request_id", "status_code"]
    assert line["metadata"]["source"] == "m"


def test_metadata_travels_from_a_module_on_a_channel_and_comes_with_the_message() -> None:
    pair = Pair(Wire.CHANNEL, module_id="m")
    received, _ = pair.pass_on(GetSecret("A"), metadata=Metadata(properties={"n": 1}))
    assert received.metadata == Metadata(source="m", properties={"n": 1})
    assert pair.pass_on(Heartbeat(), metadata=Metadata(id="x"))[0].metadata is None, "a Rust module would not read it"
    assert pair.pass_on(GetSecret("B"), metadata=Metadata(source="other"))[0].metadata == Metadata(source="other")


def test_a_notification_expects_no_answer() -> None:
    pair = Pair(Wire.CHANNEL)
    message = RouteToModule("b", "e", UUID, EncodedMessage(b"", "Json"))
    assert pair.pass_on(message, metadata=Metadata(properties={"notification": True}))[1] is None
    assert pair.pass_on(RoutedModuleResponse("b", UUID, message.payload)) == (None, None)
    assert pair.problems == []


def test_peers_that_have_both_offered_it_speak_messagepack() -> None:
    pair = Pair(Wire.CHANNEL, module_id="m")
    for session in (pair.module, pair.orchestrator):
        session.use_format("msgpack")
    data, _ = pair.module.send(GetSecret("A"))
    assert data == b"\x00\x00\x00\x16\x04\x82\xa2op\xaaget_secret\xa4name\xa1A"
    assert pair.orchestrator.receive(data)[0].message == GetSecret("A")
    received, _ = pair.pass_on(Heartbeat(), metadata=Metadata(id="x"))
    assert received.metadata == Metadata(id="x")
    pair.module.use_format("json")
    assert pair.module.send(HeartbeatAck())[0][4:6] == b"\x01{"


def test_messagepack_is_neither_sent_nor_read_where_it_was_not_offered() -> None:
    facts = {role: Facts() for role in Role}
    stdio = {role: Session(role, facts=facts[role]) for role in Role}
    problems: list[Problem] = []
    channel = {role: Session(role, Wire.CHANNEL, facts=facts[role], on_problem=problems.append) for role in Role}
    stdio[Role.MODULE].receive(stdio[Role.ORCHESTRATOR].send(Init("h", "m", {}, "127.0.0.1:0", pywatt=Extension(formats=("msgpack",))))[0])
    channel[Role.MODULE].use_format("msgpack")
    (received,) = channel[Role.ORCHESTRATOR].receive(channel[Role.MODULE].send(GetSecret("A"))[0])
    assert received.message == GetSecret("A"), "the orchestrator has offered to read it"
    with pytest.raises(LocalProtocolError, match="the module has not offered the frame format 'msgpack'"):
        channel[Role.ORCHESTRATOR].use_format("msgpack")
    assert channel[Role.MODULE].receive(b"\x00\x00\x00\x05\x04\x81\xa2op\xa1") == []
    assert [problem.kind for problem in problems] == ["encoding"]


def test_stdio_stays_json() -> None:
    with pytest.raises(LocalProtocolError, match="stdio is JSON lines always"):
        Session(Role.MODULE).use_format("msgpack")
    with pytest.raises(LocalProtocolError, match="no frame format 'bson'; there are json, msgpack, cbor"):
        Session(Role.MODULE, Wire.CHANNEL).use_format("bson")
    with pytest.raises(LocalProtocolError, match="has not offered the frame format 'cbor'"):
        Session(Role.MODULE, Wire.CHANNEL).use_format("cbor")


def test_a_message_over_the_limit_is_refused_and_does_not_wait() -> None:
    session = Session(Role.ORCHESTRATOR, Wire.CHANNEL, limit=100)
    with pytest.raises(LocalProtocolError, match="does not fit into a frame of at most 100"):
        session.send(HttpRequest("r", "GET", "/" * 100))
    assert session.abandon() == []


def test_what_cannot_travel_is_refused_and_does_not_wait(pair: Pair) -> None:
    for _ in range(2):
        with pytest.raises(LocalProtocolError, match="'http_request' cannot be sent: text with a lone surrogate"):
            pair.orchestrator.send(HttpRequest("r", "GET", "/\ud800"))
    assert pair.orchestrator.abandon() == []


def test_ids_are_of_the_shape_of_random_uuids_and_differ_between_sessions() -> None:
    sequences = [id_sequence(0), id_sequence(2**74 - 1), id_sequence(12345)]
    ids = [make() for make in sequences for _ in range(3)]
    assert len(set(ids)) == 9
    assert ids[0] == "00000000-0000-4000-8000-000000000001"
    assert ids[3] == "ffffffff-ffff-4fff-bfff-000000000001"
    first, second = (json.loads(Session(Role.MODULE, Wire.CHANNEL).send(GetSecret("A"))[0][5:])["id"] for _ in range(2))
    assert first != second


# ── chunking and hostility ──────────────────────────────────────────────────────────────────────────────────────────

PIECES = st.sampled_from([
    b'{"op":"heartbeat_ack"}\n', b'{"op":"get_secret","name":"A"}\r\n', b"stray print\n", b"\n", b"\xff\n", b"z" * 300 + b"\n",
    b'x{"op":"get_secret","name":"B"}\n', b'{"op":"zz"}\n', b'{"op":"announce","listen":"127.0.0.1:1","endpoints":[]}\n',
    b'{"op":"http_response","request_id":"r","status_code":200,"headers":{}}\n',
    b'{"content":{"body":[79,75],"headers":{},"request_id":"r","status_code":200},"metadata":{}}\n', b'{"op":"get_secret"}\n', b"no end",
])  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(PIECES, max_size=10), st.lists(st.integers(1, 400), max_size=15))
def test_what_is_received_does_not_depend_on_chunking(pieces: list[bytes], sizes: list[int]) -> None:
    def run(chunks: list[bytes]) -> tuple[list[Any], list[Problem]]:
        problems: list[Problem] = []
        session = Session(Role.ORCHESTRATOR, limit=250, on_problem=problems.append)
        session.send(INIT)
        session.send(Heartbeat())
        return [one for chunk in [*chunks, b""] for one in session.receive(chunk)], problems

    wire = b"".join(pieces)
    chunks, rest = [], wire
    for size in sizes:
        chunks.append(rest[:size])
        rest = rest[size:]
    chunked = run([chunk for chunk in [*chunks, rest] if chunk])
    assert chunked == run([wire] if wire else []) == run([wire[i : i + 1] for i in range(len(wire))])


@settings(max_examples=150, deadline=None)
@given(st.lists(st.binary(max_size=60) | PIECES, max_size=6), st.sampled_from(Role), st.sampled_from(Wire))
def test_hostile_bytes_raise_nothing_but_a_remote_protocol_error(chunks: list[bytes], role: Role, wire: Wire) -> None:
    session = Session(role, wire, limit=200, on_problem=repr)  # type: ignore[arg-type]
    try:
        for chunk in [*chunks, b"", b""]:
            session.receive(chunk)
    except RemoteProtocolError:
        assert session.closed
