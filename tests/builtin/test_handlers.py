"""What every module does with the orchestrator's messages, in a module inside this process."""

from __future__ import annotations

import json
from typing import Any

from starlette.applications import Starlette

from pywatt_core import pywatt_module
from pywatt_core.protocol.messages import (
    EncodedMessage,
    Heartbeat,
    HeartbeatAck,
    Rotated,
    RotationAck,
    RoutedModuleMessage,
    RouteToModule,
    Secret,
)
from pywatt_core.testing import app

ID = "11111111-2222-4333-8444-555555555555"


@pywatt_module
def module(state: Any) -> Starlette:
    return Starlette()


@module.on("double")
async def double(number: int) -> int:
    return number * 2


async def test_heartbeats_secrets_and_rotations_are_dealt_with() -> None:
    async with app(module, secrets={"KEY": "old-value"}) as client:
        assert await client.deliver(Heartbeat()) == HeartbeatAck()
        assert await client.deliver(Secret(name="PUSHED", value="pushed-value")) is None
        assert (await client.state.get_secret("PUSHED")).expose_secret() == "pushed-value"
        assert await client.deliver(Secret(name="NONE", error="there is none")) is None
        assert await client.deliver(Rotated(keys=["KEY"], rotation_id="r1")) == RotationAck("r1", "success")


async def test_a_message_of_another_module_reaches_its_function_and_the_reply_is_returned_where_nobody_carries_it() -> None:
    async with app(module) as client:
        payload = {"id": ID, "content": 21, "metadata": {"properties": {"endpoint": "double"}}}
        reply = await client.deliver(RoutedModuleMessage("asker", ID, EncodedMessage(json.dumps(payload).encode(), "Json")))
        assert reply == RouteToModule("asker", "__response__", ID, EncodedMessage(b"42", "Json"))
