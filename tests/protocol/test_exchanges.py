"""Exchanges whose answers carry a key, a name, or nothing at all."""

from __future__ import annotations

import pytest

from pywatt_core.errors import LocalProtocolError
from pywatt_core.protocol import exchanges
from pywatt_core.protocol.exchanges import (
    LATE,
    Exchange,
    PortExchange,
    QueueExchange,
    RotationExchange,
    RouteExchange,
    SecretExchange,
    Stray,
)
from pywatt_core.protocol.messages import (
    RESPONSE_ENDPOINT,
    EncodedMessage,
    GetSecret,
    PortRequest,
    PortResponse,
    RegisterServiceProvider,
    RegisterServiceProviderResponse,
    Rotated,
    RotationAck,
    RoutedModuleResponse,
    RouteToModule,
    Secret,
    ServiceType,
)

UUID = "11111111-2222-4333-8444-555555555555"
REGISTER = RegisterServiceProvider(service_type=ServiceType.CACHE, name="n", address="a")
REGISTERED = RegisterServiceProviderResponse(True, "p")


@pytest.fixture
def rotations() -> Exchange:
    return Exchange(Rotated, RotationAck, "rotation_id")


@pytest.fixture
def secrets() -> SecretExchange:
    return SecretExchange(GetSecret, Secret, "name")


@pytest.fixture
def ports() -> PortExchange:
    return PortExchange(PortRequest, PortResponse, "request_id")


@pytest.fixture
def queue() -> QueueExchange:
    return QueueExchange(RegisterServiceProvider, RegisterServiceProviderResponse, "op")


# ── by id ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_was_asked_twice_by_a_careless_peer_may_be_answered_twice(rotations: Exchange) -> None:
    for _ in range(2):
        rotations.owe(Rotated([], "r"))
    for _ in range(2):
        rotations.settle(RotationAck("r", "success"))
    with pytest.raises(LocalProtocolError, match="no request with this rotation_id"):
        rotations.settle(RotationAck("r", "success"))


def test_only_so_much_is_remembered(rotations: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchanges, "REMEMBERED", 3)
    for number in range(5):
        rotations.forget(rotations.expect(Rotated([], str(number))))  # type: ignore[arg-type]
        rotations.owe(Rotated([], str(number)))
    with pytest.raises(Stray):
        rotations.resolve(RotationAck("0", "success"))
    assert rotations.resolve(RotationAck("4", "success")) is LATE
    with pytest.raises(LocalProtocolError):
        rotations.settle(RotationAck("1", "success"))
    rotations.settle(RotationAck("2", "success"))


def test_a_malformed_answer_is_found_by_its_id_alone(rotations: Exchange) -> None:
    key = rotations.expect(Rotated([], "r"))
    for members in ({}, {"rotation_id": None}, {"rotation_id": ["r"]}, {"rotation_id": "x"}):
        assert rotations.find(members) is None
    assert rotations.find({"rotation_id": "r"}) == key
    assert rotations.find({"rotation_id": "r"}) is None


# ── ports ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_auto_assigned_answers_the_oldest_port_request(ports: PortExchange) -> None:
    auto = PortResponse("auto-assigned", True, 80)
    first, second = ports.expect(PortRequest("1")), ports.expect(PortRequest("2"))
    assert ports.resolve(auto) == first
    assert ports.resolve(PortResponse("2", True, 80)) == second
    with pytest.raises(Stray):
        ports.resolve(auto)
    ports.forget(ports.expect(PortRequest("3")))  # type: ignore[arg-type]
    assert ports.resolve(auto) is LATE


# ── routed messages ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_reply_to_a_routed_message_waits_for_nothing() -> None:
    routes = RouteExchange(RouteToModule, RoutedModuleResponse, "request_id")
    reply = RouteToModule("b", RESPONSE_ENDPOINT, UUID, EncodedMessage(b"", "Json"))
    assert routes.expect(reply) is None
    routes.owe(reply)
    with pytest.raises(LocalProtocolError):
        routes.settle(RoutedModuleResponse("b", UUID, reply.payload))


# ── secrets ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_several_wait_for_one_secret_and_share_its_answer(secrets: SecretExchange) -> None:
    assert not secrets.is_asked(GetSecret("A"))
    key = secrets.expect(GetSecret("A"))
    assert secrets.is_asked(GetSecret("A"))
    assert secrets.expect(GetSecret("A")) is key
    assert secrets.resolve(Secret("A", "v")) == key
    assert not secrets.is_asked(GetSecret("A"))


def test_a_secret_may_be_pushed_and_a_refusal_that_nobody_waits_for_is_dropped(secrets: SecretExchange) -> None:
    assert secrets.resolve(Secret("A", "v")) is None
    assert secrets.resolve(Secret("A", error="unknown")) is LATE
    secrets.settle(Secret("A", "v"))
    key = secrets.expect(GetSecret("A"))
    assert secrets.resolve(Secret("A", error="unknown")) == key, "a refusal is an answer"


def test_a_secret_may_be_asked_for_again_after_it_was_given_up(secrets: SecretExchange) -> None:
    secrets.forget(secrets.expect(GetSecret("A")))  # type: ignore[arg-type]
    key = secrets.expect(GetSecret("A"))
    assert secrets.abandon() == [key]


def test_after_a_rotation_a_secret_is_asked_for_anew_and_does_not_take_the_answer_of_before(secrets: SecretExchange) -> None:
    rotations = RotationExchange(Rotated, RotationAck, "rotation_id")
    rotations.secrets = secrets
    before = secrets.expect(GetSecret("A"))
    other = secrets.expect(GetSecret("B"))
    rotations.owe(Rotated(["A", "C"], "r"))
    assert not secrets.is_asked(GetSecret("A"))
    assert secrets.is_asked(GetSecret("B"))
    after = secrets.expect(GetSecret("A"))
    assert secrets.resolve(Secret("A", "old")) == before != after
    assert secrets.resolve(Secret("A", "new")) == after
    assert secrets.resolve(Secret("B", "v")) == other


def test_a_request_of_before_a_rotation_may_be_given_up_or_abandoned(secrets: SecretExchange) -> None:
    before = secrets.expect(GetSecret("A"))
    secrets.rotate(["A"])
    after = secrets.expect(GetSecret("A"))
    secrets.rotate(["A"])
    secrets.forget(before)  # type: ignore[arg-type]
    assert secrets.find({"name": "A"}) == after
    assert secrets.find({"name": "A"}) is None
    secrets.expect(GetSecret("A"))
    secrets.rotate(["A"])
    assert len(secrets.abandon()) == 1
    assert secrets.abandon() == []


# ── answers without a key ───────────────────────────────────────────────────────────────────────────────────────────


def test_answers_without_a_key_come_in_the_order_of_their_requests_one_at_a_time(queue: QueueExchange) -> None:
    first = queue.expect(REGISTER)
    with pytest.raises(LocalProtocolError, match="answers carry no key"):
        queue.expect(REGISTER)
    queue.forget(first)  # type: ignore[arg-type]
    second = queue.expect(REGISTER)
    assert queue.resolve(REGISTERED) is LATE, "the answer to the one given up comes first"
    assert queue.resolve(REGISTERED) == second
    with pytest.raises(Stray, match="nothing waits for 'register_service_provider_response'"):
        queue.resolve(REGISTERED)


def test_a_malformed_answer_without_a_key_is_the_oldest_requests(queue: QueueExchange) -> None:
    assert queue.find({}) is None
    key = queue.expect(REGISTER)
    assert queue.find({}) == key
    queue.forget(queue.expect(REGISTER))  # type: ignore[arg-type]
    assert queue.find({}) is None
    assert queue.abandon() == []


def test_as_many_answers_as_requests_may_be_sent(queue: QueueExchange) -> None:
    queue.owe(REGISTER)
    queue.settle(REGISTERED)
    with pytest.raises(LocalProtocolError, match="no request is waiting for it"):
        queue.settle(REGISTERED)
