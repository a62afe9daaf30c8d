"""Endpoints that are told beside a payload, and have to be told within it."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from pywatt_core.protocol.messages import EncodedMessage, Metadata, RouteToModule
from pywatt_core.protocol.payloads import read_payload, write_payload
from pywatt_orchestrator.addressing import addressed, asks_for_an_envelope

UUID = "11111111-2222-4333-8444-555555555555"
OTHER = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"


def routed(data: bytes, format: str = "Json") -> RouteToModule:
    return RouteToModule("users", "find", OTHER, EncodedMessage(data, format))  # type: ignore[arg-type]


def enveloped(**metadata: Any) -> bytes:
    return json.dumps({"id": UUID, "content": {"name": "Zoë"}, "metadata": metadata}).encode()


@pytest.mark.parametrize("format", ["Json", "Binary", "Base64"])
def test_the_endpoint_and_the_source_are_added_and_everything_else_stays(format: str) -> None:
    data = enveloped(id="msg1", timestamp=7, properties={"n": 1})
    payload = addressed(routed(base64.b64encode(data) if format == "Base64" else data, format), "billing")
    assert payload.format == "Json"
    found = read_payload(payload)
    assert (found.id, found.decode(), found.metadata.id, found.metadata.timestamp) == (UUID, {"name": "Zoë"}, "msg1", 7)
    assert (found.metadata.source, found.metadata.properties) == ("billing", {"n": 1, "endpoint": "find"})


def test_a_bare_value_gets_an_envelope_with_the_requests_id() -> None:
    found = read_payload(addressed(routed(b'{"name":"x"}'), "billing"))
    assert (found.enveloped, found.id, found.decode()) == (True, OTHER, {"name": "x"})
    assert found.metadata.properties == {"endpoint": "find"}


@pytest.mark.parametrize(
    ("data", "format"),
    [
        (enveloped(properties={"endpoint": "own"}), "Json"),
        (b"no JSON", "Json"),
        (b"\xff", "Json"),
        (b"", "Json"),
        (b"!!!!", "Base64"),
        (bytes.fromhex("026869"), "Binary"),
        (b"\x81\xa1a\x01", "MessagePack"),
    ],
)
def test_what_says_its_endpoint_or_cannot_be_read_stays_as_it_is(data: bytes, format: str) -> None:
    message = routed(data, format)
    assert addressed(message, "billing") is message.payload


@pytest.mark.parametrize(
    ("content", "said", "expected"),
    [
        ("x" * 70_000, {"reply": "envelope", "endpoint": "e"}, True),
        (1, {"endpoint": "e"}, False),
        (1, {"endpoint": "e", "notification": True}, False),
        ({"reply": "envelope"}, {"endpoint": "e", "notification": True}, False),
        ({"reply": "envelope", "notification": True}, {"reply": "envelope"}, True),
        ("notification", {"reply": "envelope", "traceparent": "t"}, True),
        (1, {"reply": "envelope", "notification": False}, False),  # it is looked into
    ],
)
def test_a_request_of_a_pywatt_module_shows_in_its_last_words(content: Any, said: dict[str, Any], expected: bool) -> None:
    payload = write_payload(content, Metadata(source="a", destination="b", properties=said), id=OTHER)
    assert asks_for_an_envelope(payload.data) is expected


def test_what_has_its_parts_in_another_order_is_not_guessed_at() -> None:
    data = b'{"id":"%s","metadata":{"properties":{"notification":true}},"content":{"reply":"envelope"}}' % OTHER.encode()
    assert not asks_for_an_envelope(data)
    assert not asks_for_an_envelope(b'{"reply":"envelope"}')
    assert not asks_for_an_envelope(b"")
