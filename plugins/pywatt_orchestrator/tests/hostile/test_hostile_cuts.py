"""A request from module to module whose connection is cut after every single byte, on either side of the broker, in either direction."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter

import pytest

from pywatt_core.errors import ChannelClosed, RemoteError

from .. import test_broker
from ..test_broker import House, Member, until

Pair = tuple[socket.socket, socket.socket]


class Cutter:
    """A relay between two socket pairs. It passes `allowed` bytes in one direction, then closes both ends."""

    def __init__(self) -> None:
        self.pairs: list[tuple[socket.socket, socket.socket]] = []
        self.passed = [0, 0]
        self.allowed: tuple[int | None, int | None] = (None, None)
        self.cut = False

    def socketpair(self) -> Pair:
        """What ``socket.socketpair`` returns: the orchestrator's end and the module's."""
        ours, inner = socket.socketpair()
        theirs, outer = socket.socketpair()
        for one in (inner, outer):
            one.setblocking(False)
        self.pairs = [(inner, outer), (outer, inner)]
        loop = asyncio.get_running_loop()
        for direction, (source, target) in enumerate(self.pairs):
            loop.add_reader(source, self._move, direction, source, target)
        return ours, theirs

    def _move(self, direction: int, source: socket.socket, target: socket.socket) -> None:
        try:
            data = source.recv(65_536)
            allowed = self.allowed[direction]
            if allowed is not None:
                data = data[: allowed - self.passed[direction]]
            self.passed[direction] += len(data)
            if data:
                target.send(data)
            if not data or self.passed[direction] == allowed:
                self.close()
        except OSError:
            self.close()

    def close(self) -> None:
        if not self.cut:
            self.cut = True
            for source, _ in self.pairs:
                asyncio.get_running_loop().remove_reader(source)
                source.close()


class Scene:
    """Two modules and the broker between them, who live on while a module's process and its connection come and go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.house = House()
        self.executed: Counter[int] = Counter()
        self._patch = monkeypatch
        self._number = 0

    async def join(self, module: str, cutter: Cutter) -> Member:
        with self._patch.context() as patch:
            patch.setattr(test_broker, "socket", cutter)
            member = await Member(self.house, module, module).connect()
        self.house.hub.ready(member)

        @member.on("work")
        async def work(number: int) -> int:
            self.executed[number] += 1
            return number

        return member

    async def leave(self, member: Member, cutter: Cutter) -> None:
        cutter.close()
        self.house.hub.gone(member)
        member.talk.end()
        await member.inbox.drain(0)
        await member.wire.close()
        await member.link.close()

    async def ask(self, side: str, allowed: tuple[int | None, int | None]) -> tuple[str, tuple[int, int]]:
        """One request, with the connection of `side` cut there; what became of it."""
        self._number += 1
        number = self._number
        cutters = {"asker": Cutter(), "worker": Cutter()}
        members = {name: await self.join(name, cutter) for name, cutter in cutters.items()}
        cutters[side].allowed = allowed
        asking = asyncio.ensure_future(members["asker"].ask("worker:work", number, int))
        lost = members[side].link.closed
        await asyncio.wait({asking, lost}, return_when=asyncio.FIRST_COMPLETED, timeout=20)
        if lost.done():  # its process ends with its connection
            self.house.hub.gone(members[side])
        try:
            async with asyncio.timeout(20):
                outcome = "result" if await asking == number else "wrong"
        except (RemoteError, ChannelClosed) as error:
            outcome = error.executed
        for name, member in members.items():
            await self.leave(member, cutters[name])
        times = self.executed[number]
        assert times in {"result": {1}, "yes": {1}, "no": {0}, "unknown": {0, 1}}[outcome], (side, allowed, outcome, times)
        assert self.house.broken() == (0, 0)
        return outcome, (cutters[side].passed[0], cutters[side].passed[1])


@pytest.mark.parametrize("direction", [0, 1], ids=["to the module", "to the orchestrator"])
@pytest.mark.parametrize("side", ["asker", "worker"])
async def test_a_request_that_is_cut_after_any_byte_ends_once_and_tells_the_truth(
    monkeypatch: pytest.MonkeyPatch, side: str, direction: int
) -> None:
    scene = Scene(monkeypatch)
    outcome, passed = await scene.ask(side, (None, None))
    assert outcome == "result"
    assert passed[direction] > 100
    seen: Counter[str] = Counter()
    for offset in range(1, passed[direction]):
        outcome, _ = await scene.ask(side, (offset, None) if direction == 0 else (None, offset))
        seen[outcome] += 1
    assert seen["result"] + seen["unknown"] + seen["no"] + seen["yes"] == passed[direction] - 1
    assert seen["unknown"] > 50
    await until(lambda: not scene.house.hub.broker.pending)
    scene.house.hub.close()
