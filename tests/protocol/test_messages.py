"""Messages: their names, what they take, and what they never show."""

from __future__ import annotations

import re
import traceback
from typing import Any

import pytest

from pywatt_core.protocol.codec import encode
from pywatt_core.protocol.messages import (
    MESSAGES,
    EncodedMessage,
    Extension,
    GetSecret,
    HttpRequest,
    HttpResponse,
    Identify,
    Init,
    Message,
    RegisterServiceProvider,
    Role,
    RoutedModuleMessage,
    RouteToModule,
    Secret,
    ServiceOperation,
    ServiceOperationResult,
    ServiceRequest,
    ServiceType,
)

UUID = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"
FROM_MODULE = [
    "http_response_start", "http_response_piece", "http_request_credit", "http_response_abort",
    "identify", "announce", "get_secret", "rotation_ack", "register_service_provider", "discover_service_providers", "service_request",
    "service_operation", "http_response", "port_request", "route_to_module", "heartbeat_ack",
]  # fmt: skip
FROM_ORCHESTRATOR = [
    "http_stream_request", "http_request_piece", "http_response_credit", "http_request_cancel",
    "init", "secret", "rotated", "shutdown", "register_service_provider_response", "discover_service_providers_response",
    "service_response", "service_operation_result", "http_request", "port_response",
    "routed_module_message", "routed_module_response", "heartbeat",
]  # fmt: skip


def test_there_is_one_type_for_each_message_of_the_protocol() -> None:
    assert list(MESSAGES[Role.MODULE]) == FROM_MODULE
    assert list(MESSAGES[Role.ORCHESTRATOR]) == FROM_ORCHESTRATOR


@pytest.mark.parametrize("role", Role)
def test_a_messages_name_is_its_tag_in_camel_case(role: Role) -> None:
    for op, kind in MESSAGES[role].items():
        assert kind.__name__ == re.sub(r"(^|_)([a-z])", lambda match: match[2].upper(), op)
        assert kind.op == op
        assert kind.sender is role
        assert kind.__doc__


def test_a_body_is_bytes_whatever_it_was_given_as() -> None:
    for given in (b"ab", bytearray(b"ab"), memoryview(b"ab"), [97, 98]):
        body: Any = given
        assert HttpRequest("r", "GET", "/", {}, body).body == b"ab"
        assert HttpResponse("r", 200, {}, body).body == b"ab"
        assert type(EncodedMessage(body, "Json").data) is bytes


@pytest.mark.parametrize("body", ["text", [True], [256], 5])
def test_a_body_that_is_not_bytes_is_refused_when_the_message_is_made(body: Any) -> None:
    with pytest.raises(ValueError, match="`body`"):
        HttpResponse("r", 200, {}, body)
    with pytest.raises(ValueError, match="`data`"):
        EncodedMessage(body, "Json")


def test_uuids_are_lower_case_whatever_they_were_given_as() -> None:
    payload = EncodedMessage(b"", "Json")
    assert RouteToModule("b", "e", UUID.upper(), payload).request_id == UUID
    assert RoutedModuleMessage("b", f"urn:uuid:{UUID}", payload).original_request_id == UUID
    with pytest.raises(ValueError, match="Expected a UUID"):
        RouteToModule("b", "e", "req-1", payload)


def test_a_service_type_may_be_given_by_name() -> None:
    given: Any = "cache"
    assert ServiceRequest("r", given).service_type is ServiceType.CACHE
    assert b'"service_type":{"Custom":"search"}' in encode(
        RegisterServiceProvider(service_type=ServiceType.custom("search"), name="s", address="a")
    )


def test_an_identify_is_written_in_either_spelling() -> None:
    assert encode(Identify("m")) == b'{"op":"identify","module_id":"m"}'
    assert encode(Identify(identify="m")) == b'{"op":"identify","identify":"m"}'
    assert Identify("m").claimed == Identify(identify="m").claimed == "m"
    with pytest.raises(ValueError, match="module_id"):
        Identify()


def test_a_secret_has_a_value_or_an_error() -> None:
    assert encode(Secret("A", "")) == b'{"op":"secret","name":"A","value":""}'
    assert encode(Secret("A", error="unknown")) == b'{"op":"secret","name":"A","error":"unknown"}'
    with pytest.raises(ValueError, match="value"):
        Secret("A")


def test_what_peers_of_ours_say_in_addition_is_left_out_where_there_is_nothing_to_say() -> None:
    init = Init("http://h", "m", {}, "127.0.0.1:1")
    assert b"pywatt" not in encode(init)
    extended = Init("http://h", "m", {}, "127.0.0.1:1", pywatt=Extension(formats=("msgpack",), features=("heartbeat",)))
    assert encode(extended).endswith(b',"pywatt":{"api":1,"formats":["msgpack"],"features":["heartbeat"]}}')


CANARY = "c4n4ry-v4lue"
SECRETIVE: list[Message] = [
    Secret("A", CANARY),
    Init("http://h", "m", {"K": CANARY}, "127.0.0.1:1", auth_token=CANARY, pywatt=Extension(config={"dsn": CANARY})),
    HttpRequest("r", "GET", "/", {"authorization": CANARY}, CANARY.encode()),
    HttpResponse("r", 200, {"set-cookie": CANARY}, CANARY.encode()),
    ServiceRequest("r", ServiceType.DATABASE, {"password": CANARY}),
    ServiceOperation("c", ServiceType.JWT, "validate", {"token": CANARY}),
    ServiceOperationResult(True, CANARY, params={"params": {"token": CANARY}}),
    RouteToModule("b", "e", UUID, EncodedMessage(CANARY.encode(), "Json")),
]


@pytest.mark.parametrize("message", SECRETIVE, ids=lambda message: message.op)
def test_no_repr_and_no_traceback_shows_what_may_be_secret(message: Message) -> None:
    shown = repr(message) + str(message) + f"{message}" + repr(message.__rich_repr__()) + repr([message])
    try:
        raise ValueError(message)
    except ValueError as error:
        shown += "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert CANARY not in shown
    assert type(message).__name__ in shown


def test_a_message_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        GetSecret("A").name = "B"  # type: ignore[misc]
