"""Modules in one process: real `Messaging` on both sides, and between them an orchestrator that can lose what it carries."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from pywatt_core.errors import RequestTimeout
from pywatt_core.protocol.failures import NO_MODULE, Failure, failure_reply, success_reply
from pywatt_core.protocol.messages import (
    ORCHESTRATOR,
    RESPONSE_ENDPOINT,
    EncodedMessage,
    RoutedModuleMessage,
    RoutedModuleResponse,
    RouteToModule,
)
from pywatt_core.protocol.payloads import Payload, read_payload
from pywatt_core.services.messaging import Messaging
from pywatt_core.services.receivers import Receivers


class Ways:
    """What a module has instead of channels."""

    names = ("switchboard",)
    stdio = None

    def __init__(self, board: Switchboard, module: str) -> None:
        self._board, self._module = board, module

    async def send(self, message: RouteToModule, *, metadata: Any = None) -> None:
        await self._board.gate.wait()
        self._board.carry(self._module, message)

    async def request(self, message: RouteToModule, *, timeout: float, metadata: Any = None) -> RoutedModuleResponse:
        answer = self._board.waiting[message.request_id] = asyncio.get_running_loop().create_future()
        self._board.carry(self._module, message)
        try:
            async with asyncio.timeout(timeout):
                return await answer  # type: ignore[no-any-return]
        except TimeoutError:
            raise RequestTimeout("late") from None
        finally:
            del self._board.waiting[message.request_id]


class Switchboard:
    """Carries everything at once and in order, but for what `loses` says of (endpoint, payload). `carried` counts endpoints."""

    def __init__(self) -> None:
        self.modules: dict[str, Messaging] = {}
        self.waiting: dict[str, asyncio.Future[Any]] = {}
        self.loses: Callable[[str, Payload], bool] = lambda endpoint, payload: False
        self.carried: list[str] = []
        self.services: dict[str, Any] = {}
        self.gate = asyncio.Event()
        """Cleared, nobody can send."""
        self.gate.set()
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, name: str, receivers: Receivers | None = None, *, pywatt: bool = True) -> Messaging:
        """One more module."""
        state = SimpleNamespace(init=None if pywatt else SimpleNamespace(pywatt=None), module_id=name)
        messaging = self.modules[name] = Messaging(Ways(self, name), name, receivers or Receivers(), state)  # type: ignore[arg-type]
        return messaging

    def carry(self, source: str, message: RouteToModule) -> None:
        payload = read_payload(message.payload)
        endpoint = message.target_endpoint.partition("/")[0]
        self.carried.append(endpoint)
        if self.loses(endpoint, payload):
            return
        if message.target_endpoint == RESPONSE_ENDPOINT:
            self._answer(source, message.request_id, message.payload)
        elif message.target_module_id == ORCHESTRATOR:
            self._start(self._serve(source, message, payload))
        elif message.target_module_id not in self.modules:
            failure = Failure(NO_MODULE, f"module {message.target_module_id!r} not found", executed="no")
            reply = failure_reply(failure, {"reply": "envelope"}, id=message.request_id, source=ORCHESTRATOR, destination=source)
            self._answer(ORCHESTRATOR, message.request_id, reply)
        else:
            self._start(self._deliver(source, message))

    async def _deliver(self, source: str, message: RouteToModule) -> None:
        target = self.modules[message.target_module_id]
        reply = await target.take(RoutedModuleMessage(source, message.request_id, message.payload))
        if reply is not None:
            self.carry(message.target_module_id, reply)

    async def _serve(self, source: str, message: RouteToModule, payload: Payload) -> None:
        value = await self.services[message.target_endpoint](source, payload.decode())
        replied = failure_reply if isinstance(value, Failure) else success_reply
        reply = replied(value, {"reply": "envelope"}, id=message.request_id, source=ORCHESTRATOR, destination=source)
        self._answer(ORCHESTRATOR, message.request_id, reply)

    def _answer(self, source: str, id: str, payload: EncodedMessage) -> None:
        answer = self.waiting.get(id)
        if answer is not None and not answer.done():
            answer.set_result(RoutedModuleResponse(source, id, payload))

    def _start(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
