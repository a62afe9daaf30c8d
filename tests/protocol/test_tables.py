"""The tables against themselves, and the crossing test: whatever may be sent is welcome, however slow the wire."""

from __future__ import annotations

import contextlib
import functools
from collections import deque
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pywatt_core.errors import LocalProtocolError
from pywatt_core.protocol.messages import (
    MESSAGES,
    RESPONSE_ENDPOINT,
    Announce,
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
    Message,
    Metadata,
    PortRequest,
    PortResponse,
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
)
from pywatt_core.protocol.session import ORDER, REPLIES, REQUIRES, Facts, Problem, Session, Wire

if TYPE_CHECKING:
    from collections.abc import Hashable

IDS = ["11111111-2222-4333-8444-555555555555", "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"]
CACHE = ServiceType.CACHE


def init() -> Init:
    return Init("http://127.0.0.1:1", "m", {}, "127.0.0.1:0", pywatt=Extension(formats=("msgpack",)))


def announce() -> Announce:
    return Announce("127.0.0.1:1", [], Extension(formats=("msgpack",)))


# ── the tables ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("wire", Wire)
def test_every_phase_that_can_be_reached_exists(wire: Wire) -> None:
    for phases in ORDER[wire].values():
        assert {following for row in phases.values() for following in row.values()} <= phases.keys()


@pytest.mark.parametrize("role", Role)
def test_every_message_may_be_sent_on_stdio_and_on_no_wire_by_the_other_side(role: Role) -> None:
    assert {kind for row in ORDER[Wire.STDIO][role].values() for kind in row} == set(MESSAGES[role].values())
    for wire in Wire:
        assert all(kind.sender is role for row in ORDER[wire][role].values() for kind in row)


def test_a_channel_has_neither_init_nor_announce() -> None:
    kinds = {kind for phases in ORDER[Wire.CHANNEL].values() for row in phases.values() for kind in row}
    every = {kind for role in Role for kind in MESSAGES[role].values()}
    assert every - kinds == {Init, Announce}


def test_a_requirement_is_always_for_a_message_of_the_other_side() -> None:
    assert all(needed.sender is kind.sender.other for kind, needed in REQUIRES.items())


def test_an_answer_comes_from_the_other_side_and_both_carry_the_member_that_pairs_them() -> None:
    for request, reply in REPLIES.items():
        assert reply.answer.sender is request.sender.other
        assert hasattr(request, reply.member)
        assert hasattr(reply.answer, reply.member)


# ── the crossing ────────────────────────────────────────────────────────────────────────────────────────────────────


def note(problems: list[tuple[Role, Problem]], role: Role, problem: Problem) -> None:
    problems.append((role, problem))


class Link:
    """Two sessions and a wire that holds everything back until it is told to deliver."""

    def __init__(self, wire: Wire, facts: dict[Role, Facts], problems: list[tuple[Role, Problem]]) -> None:
        self.ends = {
            role: Session(role, wire, facts=facts[role], module_id="m", on_problem=functools.partial(note, problems, role)) for role in Role
        }
        self.wire: dict[Role, deque[bytes]] = {role: deque() for role in Role}
        self.unanswered: dict[Role, list[Message]] = {role: [] for role in Role}
        self.waiting: dict[Role, dict[Hashable, Message]] = {role: {} for role in Role}

    def send(self, role: Role, message: Message, **options: Any) -> bool:
        try:
            data, key = self.ends[role].send(message, **options)
        except LocalProtocolError:
            return False
        if data:
            self.wire[role.other].append(data)
        if key is not None:
            self.waiting[role][key] = message
        return True

    def deliver(self, role: Role) -> None:
        """Let the oldest bytes on their way to `role` arrive."""
        for message, key, _ in self.ends[role].receive(self.wire[role].popleft()):
            if type(message) in REPLIES and not (isinstance(message, RouteToModule) and message.target_endpoint == RESPONSE_ENDPOINT):
                self.unanswered[role].append(message)
            if key is not None:
                request = self.waiting[role].pop(key)
                assert REPLIES[type(request)].answer is type(message)
                assert belongs(message, request), f"{message} answers {request}?"

    def answer(self, role: Role, index: int) -> None:
        """Answer one of the requests that have arrived; those that carry no key are answered in their order."""
        request = self.unanswered[role][index % len(self.unanswered[role])]
        if not has_key(request):
            alike = [one for one in self.unanswered[role] if type(one) is type(request) and not has_key(one) and same_queue(one, request)]
            request = alike[0]
        if not self.send(role, answer_to(request)):
            late = isinstance(request, HttpRequest | HttpStreamRequest | Rotated)
            assert role is Role.ORCHESTRATOR or late, f"{request} cannot be answered"
        self.unanswered[role].remove(request)


def has_key(request: Message) -> bool:
    if isinstance(request, ServiceOperation):
        return request.request_id is not None
    return not isinstance(request, RegisterServiceProvider | DiscoverServiceProviders)


def same_queue(one: Message, other: Message) -> bool:
    return getattr(one, "connection_id", None) == getattr(other, "connection_id", None)


def token_of(request: Message) -> str:
    """What tells requests of the same key apart; it comes back in the answer."""
    match request:
        case ServiceOperation():
            return str(request.params)
        case RegisterServiceProvider() | DiscoverServiceProviders():
            return str(request.service_type)
        case _:
            return ""


def answer_to(request: Message) -> Message:
    match request:
        case GetSecret():
            return Secret(request.name, "v") if request.name == "A" else Secret(request.name, error="no such secret")
        case ServiceRequest():
            return ServiceResponse(request.id, CACHE, success=True)
        case ServiceOperation():
            return ServiceOperationResult(True, token_of(request), None, connection_id=request.connection_id, request_id=request.request_id)
        case RegisterServiceProvider():
            return RegisterServiceProviderResponse(True, token_of(request))
        case DiscoverServiceProviders():
            return DiscoverServiceProvidersResponse(True, [], token_of(request))
        case PortRequest():
            return PortResponse(request.request_id, True, 1)
        case RouteToModule():
            return RoutedModuleResponse("b", request.request_id, request.payload)
        case HttpRequest():
            return HttpResponse(request.request_id, 200, {}, None)
        case HttpStreamRequest():
            return HttpResponseStart(request.request_id, 200, [], b"x", more=True)
        case Rotated():
            return RotationAck(request.rotation_id, "success")
    raise AssertionError(request)


def belongs(answer: Message, request: Message) -> bool:
    match answer:
        case ServiceOperationResult():
            return bool(answer.result == token_of(request))
        case RegisterServiceProviderResponse():
            return answer.provider_id == token_of(request)
        case DiscoverServiceProvidersResponse():
            return answer.error == token_of(request)
        case _:
            member = REPLIES[type(request)].member
            return bool(getattr(answer, member) == getattr(request, member))


@functools.cache
def sample(number: int) -> dict[Role, list[Message]]:
    """One message of every kind and with every key, legal or not; `number` makes operations distinguishable."""
    kind = ServiceType.custom(str(number))
    payload = EncodedMessage(b"1", "Json")
    module: list[Message] = [announce(), HeartbeatAck(), Identify("m")]
    orchestrator: list[Message] = [init(), Heartbeat(), Shutdown(), Secret("A", "pushed"), Secret("B", error="gone")]
    for id in IDS:
        module += [
            GetSecret("A"), GetSecret("B"), RotationAck(id, "success"), ServiceRequest(id, CACHE), PortRequest(id),
            RegisterServiceProvider(service_type=kind, name="n", address="a"), DiscoverServiceProviders(kind),
            ServiceOperation(id, CACHE, "get", number), ServiceOperation(id, CACHE, "get", number, request_id=f"r{id[0]}"),
            RouteToModule("b", "e", id, payload), RouteToModule("b", RESPONSE_ENDPOINT, id, payload), HttpResponse(id, 200, {}, b"x"),
            HttpResponseStart(id, 200, [("a", "b")], b"x"), HttpResponsePiece(id, b"x"), HttpRequestCredit(id, 1), HttpResponseAbort(id),
        ]  # fmt: skip
        orchestrator += [
            HttpStreamRequest(id, "GET", "/", [("a", "b")], 1), HttpRequestPiece(id, b"x"), HttpResponseCredit(id, 1),
            HttpRequestCancel(id),
            Rotated(["A"], id), HttpRequest(id, "GET", "/"), RoutedModuleMessage("b", id, payload), RoutedModuleResponse("b", id, payload),
            PortResponse(id, True, 1), ServiceResponse(id, CACHE, True),
            ServiceOperationResult(True), ServiceOperationResult(True, connection_id=id),
            RegisterServiceProviderResponse(True), DiscoverServiceProvidersResponse(True),
        ]  # fmt: skip
    return {Role.MODULE: module, Role.ORCHESTRATOR: orchestrator}


ANSWERS = {reply.answer for reply in REPLIES.values()} - {Secret}
NOTIFICATION = Metadata(properties={"notification": True})
OPTIONS: list[dict[str, Any]] = [{}, {}, {}, {"wait": False}, {"metadata": NOTIFICATION}]
ACTIONS = ["send", "send", "send", "deliver", "deliver", "answer", "answer", "forget", "format"]

NUMBERS = st.integers(0, 79)  # more than there are messages of one role
STEPS = st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 2), st.sampled_from(Role), NUMBERS, NUMBERS), min_size=20, max_size=60)


def take(step: str, link: Link, role: Role, number: int, choice: int, count: int) -> None:
    """One step of the crossing test; what cannot be done now is passed over."""
    if step == "deliver" and link.wire[role]:
        link.deliver(role)
    elif step == "answer" and link.unanswered[role]:
        link.answer(role, number)
    elif step == "forget" and link.waiting[role]:
        keys = list(link.waiting[role])
        key = keys[number % len(keys)]
        link.ends[role].forget(key)
        del link.waiting[role][key]
    elif step == "format":
        with contextlib.suppress(LocalProtocolError):
            link.ends[role].use_format("msgpack")
    elif step == "send":
        messages = sample(count)[role]
        message = messages[number % len(messages)]
        if type(message) not in ANSWERS:
            link.send(role, message, **OPTIONS[choice % len(OPTIONS)])
        elif not any(REPLIES[type(request)].answer is type(message) for request in link.unanswered[role]):
            assert not link.send(role, message), f"{message} answers nothing and may be sent"


@pytest.mark.parametrize("wires", [[Wire.STDIO], [Wire.STDIO, Wire.CHANNEL, Wire.CHANNEL]], ids=["stdio", "stdio and two channels"])
@settings(max_examples=300, deadline=None)
@given(handshake=st.sampled_from([2, 2, 2, 1, 0]), steps=STEPS)
def test_whatever_may_be_sent_is_welcome_however_slow_the_wire(wires: list[Wire], handshake: int, steps: list[Any]) -> None:
    problems: list[tuple[Role, Problem]] = []
    facts = {role: Facts() for role in Role}
    links = [Link(wire, facts, problems) for wire in wires]
    if handshake:
        links[0].send(Role.ORCHESTRATOR, init())
        links[0].deliver(Role.MODULE)
        links[0].send(Role.MODULE, announce())
    if handshake == 2:
        links[0].deliver(Role.ORCHESTRATOR)
    for count, (step, link, role, number, choice) in enumerate(steps):
        take(step, links[link % len(links)], role, number, choice, count)
    for one in links:
        for role in Role:
            while one.wire[role]:
                one.deliver(role)
    assert problems == []


def test_the_crossing_reaches_every_message() -> None:
    """What the test above draws from is legal somewhere; a sample that is never legal would test nothing."""
    drawn = {type(message) for messages in sample(0).values() for message in messages}
    assert drawn == {kind for role in Role for kind in MESSAGES[role].values()}
