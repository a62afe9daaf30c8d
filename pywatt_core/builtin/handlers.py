"""What every module does with the orchestrator's messages, registered through the same hook as any plugin's handlers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..interfaces import Handler
from ..protocol.messages import Heartbeat, HeartbeatAck, Message, Rotated, RotationAck, RoutedModuleMessage, RouteToModule, Secret


def handlers(state: Any) -> Mapping[type[Message], Handler]:
    """Heartbeats are acknowledged, pushed secrets stored, rotations carried out and then acknowledged, messages of
    other modules handed to the functions that receive them (protocol 3.4, 9, 12)."""

    async def heartbeat(_message: Heartbeat) -> HeartbeatAck:
        return HeartbeatAck()

    async def secret(message: Secret) -> None:
        if message.value is not None:
            await state.secrets.deliver(message.name, message.value)

    async def rotated(message: Rotated) -> RotationAck | None:
        acknowledgement: RotationAck | None = await state.secrets.rotated(message.keys, message.rotation_id)
        return acknowledgement

    async def routed(message: RoutedModuleMessage) -> RouteToModule | None:
        reply: RouteToModule | None = await state.messaging.handle(message)
        return reply

    return {Heartbeat: heartbeat, Secret: secret, Rotated: rotated, RoutedModuleMessage: routed}
