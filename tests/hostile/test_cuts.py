"""A whole session over real pipes, cut after every single byte: each call ends once, and what is said of it is so."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import Counter
from typing import Any

import pytest

from pywatt_core.errors import ChannelClosed, PyWattError, RemoteProtocolError
from pywatt_core.protocol.messages import (
    Announce,
    GetSecret,
    HttpRequest,
    HttpResponse,
    Init,
    Message,
    Rotated,
    RotationAck,
    RoutedModuleResponse,
    RouteToModule,
    Secret,
    Shutdown,
)
from pywatt_core.protocol.messages import EncodedMessage as Payload
from pywatt_core.protocol.session import Role, Session
from pywatt_core.transports.link import Link
from pywatt_core.transports.stdio import open_pipes

UUID = "11111111-2222-4333-8444-555555555555"
CHUNK = 65_536


class Wire:
    """One direction: what is written into it comes out at the other end, up to `allowed` bytes; then both ends are gone."""

    def __init__(self, allowed: int | None, cut: Any) -> None:
        self.reader, self._out = os.pipe()
        self._in, self.writer = os.pipe()
        self._left, self._cut = allowed, cut
        self.passed = 0
        self._open = True
        os.set_blocking(self._in, False)
        asyncio.get_running_loop().add_reader(self._in, self._move)

    def _move(self) -> None:
        data = os.read(self._in, CHUNK)
        if self._left is not None:
            data = data[: self._left - self.passed]
        if data:
            self.passed += len(data)
            try:
                os.write(self._out, data)
            except BrokenPipeError:
                data = b""
        if not data or self.passed == self._left:
            self._cut()

    def close(self) -> None:
        if self._open:
            self._open = False
            asyncio.get_running_loop().remove_reader(self._in)
            os.close(self._in)
            os.close(self._out)


class Conversation:
    """Both ends of a session, init to shutdown, each asking the other; `executed` counts what was carried out, by its name."""

    def __init__(self, to_module: int | None, to_orchestrator: int | None) -> None:
        self.executed: Counter[str] = Counter()
        self.outcomes: dict[str, list[str]] = {}
        self.wires = [Wire(to_module, self.cut), Wire(to_orchestrator, self.cut)]
        self.announced = asyncio.get_running_loop().create_future()
        self.told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.closed: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.orchestrator: Link
        self.module: Link

    def cut(self) -> None:
        for wire in self.wires:
            wire.close()

    async def run(self) -> Conversation:
        down, up = self.wires
        ours, theirs = Session(Role.ORCHESTRATOR), Session(Role.MODULE)
        self.orchestrator = await open_pipes(ours, up.reader, down.writer, on_message=self._at_orchestrator, on_close=self._closed)
        self.module = await open_pipes(theirs, down.reader, up.writer, on_message=self._at_module, on_close=self._closed)
        try:
            async with asyncio.timeout(20):
                with contextlib.suppress(PyWattError):
                    self.orchestrator.post(Init(orchestrator_api="x", module_id="m", env={}, listen="127.0.0.1:0"))
                await asyncio.wait({self.announced, self.orchestrator.closed}, return_when=asyncio.FIRST_COMPLETED)
                if self.announced.done():
                    self._call("http", self.orchestrator, HttpRequest(request_id=UUID, method="GET", uri="/", headers={}))
                    self._call("rotated", self.orchestrator, Rotated(keys=["A"], rotation_id="r"))
                while self.tasks:
                    await self.tasks.pop(0)
                with contextlib.suppress(ChannelClosed):
                    await self.orchestrator.send(Shutdown())
                    await asyncio.wait({self.told, self.module.closed}, return_when=asyncio.FIRST_COMPLETED)
                while self.tasks:
                    await self.tasks.pop(0)
        finally:
            self.cut()
            await asyncio.wait({self.orchestrator.closed, self.module.closed}, timeout=20)
            await asyncio.gather(self.orchestrator.close(), self.module.close())
        return self

    def _closed(self, link: Link, _error: Exception | None) -> None:
        self.closed.append(link.session.role.value)

    def _call(self, name: str, link: Link, message: Message) -> None:
        self.tasks.append(asyncio.get_running_loop().create_task(self._ask(name, link, message)))

    async def _ask(self, name: str, link: Link, message: Message) -> None:
        try:
            await link.request(message, timeout=60)
        except ChannelClosed as error:
            outcome = error.executed
        except RemoteProtocolError:
            outcome = "unknown"
        else:
            outcome = "result"
        self.outcomes.setdefault(name, []).append(outcome)

    def _answer(self, name: str, link: Link, answer: Message) -> None:
        self.executed[name] += 1
        with contextlib.suppress(PyWattError):  # perhaps nobody is there to hear it
            link.post(answer)

    def _at_orchestrator(self, message: Message, link: Link) -> None:
        if isinstance(message, Announce):
            self.announced.set_result(None)
        elif isinstance(message, GetSecret):
            self._answer("secret", link, Secret(name=message.name, value="s"))
        elif isinstance(message, RouteToModule):
            self._answer("route", link, RoutedModuleResponse("b", message.request_id, message.payload))

    def _at_module(self, message: Message, link: Link) -> None:
        if isinstance(message, Init):
            self._call("secret", link, GetSecret(name="A"))
            try:
                link.post(Announce(listen="127.0.0.1:1", endpoints=[]))
            except PyWattError:
                return
            self._call("route", link, RouteToModule("b", "e", UUID, Payload(b"1", "Json")))
        elif isinstance(message, HttpRequest):
            self._answer("http", link, HttpResponse(request_id=UUID, status_code=200, headers={}))
        elif isinstance(message, Rotated):
            self._answer("rotated", link, RotationAck(rotation_id="r", status="success"))
        elif isinstance(message, Shutdown):
            self.told.set_result(None)


def check(done: Conversation) -> None:
    """Each call ended exactly once; a result was carried out once, what is called not executed never."""
    assert sorted(done.closed) == ["module", "orchestrator"]
    for name, outcomes in done.outcomes.items():
        assert len(outcomes) == 1, (name, outcomes)
        times = done.executed[name]
        assert times in {"result": {1}, "no": {0}, "unknown": {0, 1}, "yes": {1}}[outcomes[0]], (name, outcomes, times)
    assert set(done.executed) <= set(done.outcomes)
    assert not done.module._waiting
    assert not done.orchestrator._waiting


@pytest.mark.parametrize("direction", ["to the module", "to the orchestrator"])
async def test_a_session_that_is_cut_after_any_byte_ends_each_call_once_and_tells_the_truth(direction: str) -> None:
    whole = await Conversation(None, None).run()
    assert whole.outcomes == {name: ["result"] for name in ("secret", "route", "http", "rotated")}
    check(whole)
    length = whole.wires[direction == "to the orchestrator"].passed
    seen: Counter[str] = Counter()
    for offset in range(1, length):
        limits = (offset, None) if direction == "to the module" else (None, offset)
        done = await Conversation(*limits).run()
        check(done)
        seen.update(outcome for outcomes in done.outcomes.values() for outcome in outcomes)
    assert length > 300
    assert seen["result"] > 100
    assert seen["unknown"] > 100
