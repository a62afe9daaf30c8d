"""Formats that plugins bring: known while they are installed, spoken where both ends offered them, and refused everywhere else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywatt_core.errors import LocalProtocolError
from pywatt_core.protocol import formats
from pywatt_core.protocol.formats import CODECS, Codec, agreed, install, offered_formats
from pywatt_core.protocol.lenient import Unreadable
from pywatt_core.protocol.messages import (
    Extension,
    GetSecret,
    Heartbeat,
    HttpRequest,
    HttpResponse,
    Init,
    Metadata,
    Role,
    ServiceOperation,
    ServiceType,
)
from pywatt_core.protocol.session import Facts, Problem, Session, Wire


def read(data: bytes) -> Any:
    try:
        return msgspec.msgpack.decode(data)
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError):
        raise Unreadable("no stand-in") from None


STAND_IN = Codec("cbor", msgspec.msgpack.encode, read)
"""The wire core does not know CBOR: any pair of functions does."""


@pytest.fixture
def installed() -> Iterator[None]:
    remove = install(STAND_IN)
    yield
    remove()


class Channel:
    """Both ends of a channel whose sides offered these formats."""

    def __init__(self, module: tuple[str, ...], orchestrator: tuple[str, ...]) -> None:
        self.problems: list[Problem] = []
        self.ends = {}
        for role in Role:
            facts = Facts(complete=True)
            facts.offered = {Role.MODULE: frozenset(module), Role.ORCHESTRATOR: frozenset(orchestrator)}
            self.ends[role] = Session(role, Wire.CHANNEL, facts=facts, module_id="m", on_problem=self.problems.append)

    def pass_on(self, sender: Role, message: Any, **more: Any) -> Any:
        data, _ = self.ends[sender].send(message, **more)
        found = self.ends[sender.other].receive(data)
        return data, found[0] if found else None


def test_nothing_is_offered_but_messagepack_until_a_codec_is_installed() -> None:
    assert offered_formats() == ("msgpack",)
    remove = install(STAND_IN)
    assert offered_formats() == ("msgpack", "cbor")
    remove()
    remove()
    assert offered_formats() == ("msgpack",)
    assert not CODECS


def test_a_codec_that_was_replaced_stays_when_the_earlier_one_goes() -> None:
    first = install(STAND_IN)
    second = install(Codec("cbor", msgspec.json.encode, msgspec.json.decode))
    first()
    assert CODECS["cbor"].encode is msgspec.json.encode
    second()
    assert not CODECS


@pytest.mark.parametrize("name", ["json", "msgpack", "bson", ""])
def test_a_codec_has_a_name_that_the_wire_knows(name: str) -> None:
    with pytest.raises(ValueError, match="no frame format is called"):
        install(Codec(name, msgspec.msgpack.encode, read))


def test_what_is_agreed_is_the_preferred_of_what_the_peer_reads() -> None:
    assert agreed(()) == agreed(("cbor", "bson")) == "json"
    assert agreed(("cbor", "msgpack")) == "msgpack"
    remove = install(STAND_IN)
    assert agreed(("cbor", "msgpack")) == "msgpack"
    assert agreed(("cbor",)) == "cbor"
    assert agreed(()) == "json"
    remove()
    remove = install(STAND_IN, preferred=True)
    assert agreed(("cbor", "msgpack")) == "cbor"
    assert agreed(("msgpack",)) == "msgpack"
    remove()
    assert agreed(("cbor", "msgpack")) == "msgpack"


def test_a_codec_that_is_not_there_says_how_it_would_be() -> None:
    with pytest.raises(LocalProtocolError, match=r"install pywatt-cbor and add \[serializers.cbor\] use = \"cbor\""):
        formats.codec_of("cbor")


# ── on channels ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("installed")
def test_frames_of_format_5_carry_messages_with_and_without_an_envelope() -> None:
    channel = Channel(("cbor",), ("cbor",))
    for role in Role:
        channel.ends[role].use_format("cbor")
    data, received = channel.pass_on(Role.ORCHESTRATOR, Heartbeat())
    assert (data[4], received.message) == (5, Heartbeat())
    channel.pass_on(Role.ORCHESTRATOR, HttpRequest("r", "GET", "/"))
    answer = HttpResponse("r", 200, {"a": "b"}, b"\x00\xff")
    data, received = channel.pass_on(Role.MODULE, answer)
    assert (data[4], received.message) == (5, answer)
    assert b"\x00\xff" in data, "a body is a byte string"
    operation = ServiceOperation("c", ServiceType.custom("s"), "op", {"a": [1, None, 2.5]})
    data, received = channel.pass_on(Role.MODULE, operation, metadata=Metadata(properties={"k": 1}))
    assert (data[4], received.message) == (5, operation)
    assert received.metadata == Metadata(source="m", properties={"k": 1})
    assert not channel.problems


@pytest.mark.usefixtures("installed")
def test_a_format_is_spoken_only_to_a_peer_that_offered_it() -> None:
    channel = Channel(("msgpack",), ("cbor",))
    channel.ends[Role.MODULE].use_format("cbor")
    with pytest.raises(LocalProtocolError, match="the module has not offered the frame format 'cbor'"):
        channel.ends[Role.ORCHESTRATOR].use_format("cbor")


def test_a_format_is_not_spoken_where_its_plugin_is_not() -> None:
    channel = Channel(("cbor",), ("cbor",))
    with pytest.raises(LocalProtocolError, match="install pywatt-cbor"):
        channel.ends[Role.MODULE].use_format("cbor")


@pytest.mark.usefixtures("installed")
def test_a_frame_in_a_format_that_was_not_offered_is_skipped() -> None:
    channel = Channel(("msgpack",), ())
    payload = msgspec.msgpack.encode({"op": "heartbeat"})
    frames = len(payload).to_bytes(4, "big") + b"\x05" + payload + b'\x00\x00\x00\x12\x01{"op":"heartbeat"}'
    assert [one.message for one in channel.ends[Role.MODULE].receive(frames)] == [Heartbeat()]
    assert [problem.detail for problem in channel.problems] == ["a frame of format 5, which was not agreed on, was skipped"]


@pytest.mark.usefixtures("installed")
def test_stdio_stays_json_whatever_was_offered() -> None:
    facts = Facts()
    session = Session(Role.MODULE, facts=facts)
    session.receive(Session(Role.ORCHESTRATOR).send(Init("h", "m", {}, "127.0.0.1:0", pywatt=Extension(formats=("cbor", "msgpack"))))[0])
    with pytest.raises(LocalProtocolError, match="stdio is JSON lines always"):
        session.use_format("cbor")


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("value", [float("nan"), [float("inf")], {"a": object()}, 2**70])
def test_what_other_formats_refuse_is_refused_here_too(value: Any) -> None:
    channel = Channel(("cbor",), ("cbor",))
    channel.ends[Role.MODULE].use_format("cbor")
    message = ServiceOperation("c", ServiceType.CACHE, "op", value)
    for metadata in (None, Metadata(id="m")):
        with pytest.raises(LocalProtocolError, match="'service_operation' cannot be sent"):
            channel.ends[Role.MODULE].send(message, metadata=metadata)
    with pytest.raises(LocalProtocolError, match="cannot be sent"):
        channel.ends[Role.MODULE].send(GetSecret("A"), metadata=Metadata(properties={"p": value}))


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (
            {"op": "service_operation", "connection_id": "c", "service_type": "Cache", "operation": "o", "params": float("nan")},
            "out of range",
        ),
        ({"op": "get_secret", "name": 5}, r"get_secret: Expected `str`, got `int` - at `\$.name`"),
        ({"op": "no_such_op"}, "no message that the module may send"),
        ([1], "Expected a JSON object"),
        ({"content": {"op": "get_secret"}}, "missing required field `name`"),
    ],
)
def test_what_does_not_fit_is_named_and_dropped(value: Any, complaint: str) -> None:
    channel = Channel((), ("cbor",))
    payload = msgspec.msgpack.encode(value)
    assert channel.ends[Role.ORCHESTRATOR].receive(len(payload).to_bytes(4, "big") + b"\x05" + payload) == []
    assert len(channel.problems) == 1
    assert re.search(complaint, channel.problems[0].detail)


@given(st.binary(max_size=60))
def test_any_frame_of_format_5_is_a_message_or_a_problem(data: bytes) -> None:
    remove = install(STAND_IN)
    try:
        channel = Channel((), ("cbor",))
        received = channel.ends[Role.ORCHESTRATOR].receive(len(data).to_bytes(4, "big") + b"\x05" + data)
        assert len(received) + len(channel.problems) == 1
    finally:
        remove()
