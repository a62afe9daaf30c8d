"""What modules ask of the orchestrator itself, and what they may not ask."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from pywatt_core.protocol.messages import EncodedMessage, Message, RoutedModuleResponse, RouteToModule
from pywatt_core.protocol.payloads import read_payload, write_payload
from pywatt_orchestrator.counter import Counter

ID = "11111111-2222-4333-8444-555555555555"


class Line:
    """The link that a question came over."""

    keeps_up = True

    def __init__(self) -> None:
        self.sent: list[Message] = []

    async def send(self, message: Message) -> None:
        self.sent.append(message)


class Module:
    module_id = "shop"


async def ask(counter: Counter, payload: EncodedMessage) -> Any:
    line = Line()
    await counter.answer(Module(), RouteToModule("__orchestrator__", "size", ID, payload), line)  # type: ignore[arg-type]
    (answer,) = line.sent
    assert isinstance(answer, RoutedModuleResponse)
    return read_payload(answer.payload).decode()


def counting() -> Counter:
    async def size(peer: Any, asked: Any, properties: Any) -> int:
        return len(asked)

    counter = Counter()
    counter.serve("size", size)
    return counter


@pytest.mark.parametrize("format", ["Json", "Base64", "Binary", "MessagePack"])
async def test_what_would_take_many_times_its_bytes_is_refused_before_it_is_read(format: str) -> None:
    counter = counting()
    assert await ask(counter, write_payload([{}] * 400_000, id=ID, format=format)) == 400_000
    refused = await ask(counter, write_payload([{}] * 1_100_000, id=ID, format=format))
    assert refused == {"Err": "the request holds more than 500000 values"}


async def test_many_numbers_in_json_are_bytes_and_no_base64_is_said_to_be_none() -> None:
    counter = counting()
    assert await ask(counter, write_payload([7] * 2_000_000, id=ID)) == 2_000_000
    garbage = EncodedMessage(base64.b64encode(b"x" * 2_000_000) + b"!", "Base64")
    assert await ask(counter, garbage) == {"Err": "the payload is not Base64"}


def test_an_endpoint_has_one_function() -> None:
    counter = counting()
    with pytest.raises(TypeError, match="two functions answer __orchestrator__:size"):
        counter.serve("size", lambda peer, asked, properties: None)  # type: ignore[arg-type, return-value]
