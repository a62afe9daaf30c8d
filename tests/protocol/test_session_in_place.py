"""What a session writes in place is what it would have sent; what it refuses leaves buffer and tables alone."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywatt_core.errors import LocalProtocolError
from pywatt_core.protocol.framing import LengthFraming
from pywatt_core.protocol.messages import (
    EncodedMessage,
    GetSecret,
    HeartbeatAck,
    Message,
    Metadata,
    Role,
    RoutedModuleResponse,
    RouteToModule,
    ServiceRequest,
    ServiceType,
)
from pywatt_core.protocol.session import Problem, Session, Wire, id_sequence


def uuid(number: int) -> str:
    return f"11111111-2222-4333-8444-{number:012x}"


def route(number: int, text: bytes = b"x", endpoint: str = "e") -> RouteToModule:
    return RouteToModule("b", endpoint, uuid(number), EncodedMessage(text, "Json"))


def session(role: Role = Role.MODULE, form: str = "msgpack", **options: Any) -> Session:
    made = Session(role, Wire.CHANNEL, module_id="m", new_id=id_sequence(1), **options)
    made.use_format(form)
    return made


MESSAGES: st.SearchStrategy[Message] = st.one_of(
    st.builds(route, st.integers(0, 5), st.binary(max_size=300), st.sampled_from(["e", "__response__"])),
    st.just(HeartbeatAck()),
    st.builds(GetSecret, st.sampled_from(["a", "b"])),
    st.builds(ServiceRequest, st.sampled_from(["1", "2"]), st.just(ServiceType.CACHE), st.sampled_from([None, {"a": 1}, float("nan")])),
    st.just(route(1, endpoint="\ud800")),
    st.just(route(2, b"x" * 2000)),
)
METADATA = st.one_of(st.none(), st.just(Metadata(destination="d")), st.just(Metadata(properties={"notification": True})))


@given(st.lists(st.tuples(MESSAGES, METADATA, st.booleans()), max_size=12), st.sampled_from(["msgpack", "json"]))
def test_what_is_written_in_place_is_what_would_have_been_sent(steps: list[tuple[Message, Metadata | None, bool]], form: str) -> None:
    sending, writing = session(form=form, limit=1500), session(form=form, limit=1500)
    buffer = bytearray()
    for message, metadata, wait in steps:
        before, problem = bytes(buffer), ""
        try:
            data, key = sending.send(message, metadata=metadata, wait=wait)
        except LocalProtocolError as error:
            problem = str(error)
        if problem:
            with pytest.raises(LocalProtocolError) as caught:
                writing.send_into(buffer, message, metadata, wait)
            assert str(caught.value) == problem
            assert buffer == before
        else:
            assert writing.send_into(buffer, message, metadata, wait) == key
            assert buffer == before + data
    assert sorted(map(str, sending.abandon())) == sorted(map(str, writing.abandon()))


def test_an_answer_may_be_written_in_place_once_for_each_request() -> None:
    module, orchestrator = session(), session(Role.ORCHESTRATOR)
    buffer = bytearray()
    for number in range(3):
        orchestrator.receive(module.send(route(number))[0])
        orchestrator.send_into(buffer, RoutedModuleResponse("b", uuid(number), EncodedMessage(b"y", "Json")))
    before = bytes(buffer)
    with pytest.raises(LocalProtocolError, match="no request with this request_id is waiting for it"):
        orchestrator.send_into(buffer, RoutedModuleResponse("b", uuid(1), EncodedMessage(b"y", "Json")))
    assert buffer == before
    assert [answers for _, answers, _ in module.receive(bytes(buffer))] == [(RoutedModuleResponse, uuid(number)) for number in range(3)]


def test_a_message_that_the_quick_reader_leaves_alone_is_read_with_care() -> None:
    problems: list[Problem] = []
    module, orchestrator = session(), session(Role.ORCHESTRATOR, on_problem=problems.append)
    orchestrator.receive(module.send(route(0))[0])  # now the quick reader is in place
    good = ServiceRequest("1", ServiceType.CACHE, {"deep": [1]})
    assert orchestrator.receive(module.send(good)[0])[0].message == good
    assert orchestrator.receive(module.send(route(1), metadata=Metadata(destination="d"))[0])[0].metadata == Metadata(
        source="m", destination="d"
    )
    frame = module.send(route(2))[0].replace(uuid(2).encode(), b"no UUID at all, although as long now")
    assert orchestrator.receive(frame) == []
    assert [(problem.kind, problem.detail) for problem in problems] == [
        ("invalid", "route_to_module: Expected a UUID in `request_id` - at `$`")
    ]


def test_a_new_format_is_used_for_what_was_written_in_place_before() -> None:
    writing = session()
    for number in range(2):
        writing.send_into(bytearray(), route(number))
    writing.use_format("json")
    buffer = bytearray()
    writing.send_into(buffer, route(2))
    assert LengthFraming().feed(bytes(buffer))[0][0] == 1
