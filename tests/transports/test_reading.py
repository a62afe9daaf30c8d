"""Who sends rubbish waits; who is behind reads nothing; and neither undoes what the other has said."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from pywatt_core.protocol.messages import Message
from pywatt_core.protocol.session import Facts, Role, Session, Wire
from pywatt_core.transports import reading
from pywatt_core.transports.link import Link


class Pair:
    """A link of an orchestrator, and the bare socket at its other end."""

    def __init__(self) -> None:
        self.arrived: list[Message] = []
        self.problems: list[Any] = []
        self.link: Any = None
        self.other: socket.socket

    async def open(self, role: Role = Role.ORCHESTRATOR) -> Pair:
        ours, self.other = socket.socketpair()
        self.other.setblocking(False)
        session = Session(role, Wire.CHANNEL, facts=Facts(complete=True), on_problem=self.problems.append)
        _, self.link = await asyncio.get_running_loop().create_unix_connection(
            lambda: Link(session, on_message=lambda message, _link: self.arrived.append(message)), sock=ours
        )
        return self

    async def close(self) -> None:
        await self.link.close()
        self.other.close()

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.other, data)

    async def until(self, condition: Any) -> None:
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(0.001)


def frame(text: bytes) -> bytes:
    return len(text).to_bytes(4, "big") + b"\x01" + text


HONEST = frame(b'{"op":"get_secret","name":"A"}')
RUBBISH = frame(b'{"op":"rubbish"}')


async def test_after_a_heap_of_rubbish_nothing_is_read_for_a_while_and_then_everything() -> None:
    pair = await Pair().open()
    try:
        await pair.send(RUBBISH * (reading.TOLERATED + 1) + HONEST)
        await pair.until(lambda: pair.link.paused)
        await pair.send(HONEST)
        await pair.until(lambda: len(pair.arrived) == 2)
        assert not pair.link.paused
        assert len(pair.problems) == reading.TOLERATED + 1
    finally:
        await pair.close()


async def test_a_little_rubbish_holds_up_nobody(monkeypatch: Any) -> None:
    monkeypatch.setattr(reading, "REST", 1e9)
    pair = await Pair().open()
    try:
        for _ in range(20):
            await pair.send(RUBBISH * (reading.TOLERATED // 10) + HONEST)
            await pair.until(lambda: not pair.link.paused)
        await pair.until(lambda: len(pair.arrived) == 20)
    finally:
        await pair.close()


async def test_the_owner_who_is_behind_and_the_rest_do_not_undo_each_other(monkeypatch: Any) -> None:
    pair = await Pair().open()
    try:
        pair.link.pause_reading()
        pair.link._rubbish = reading.TOLERATED + 1
        pair.link._weigh(asyncio.get_running_loop())
        await pair.until(lambda: pair.link._rest is None)
        assert pair.link.paused, "the rest is over, the owner is still behind"
        monkeypatch.setattr(reading, "LONGEST_REST", 1e9)
        monkeypatch.setattr(reading, "REST", 1e9)
        pair.link._rubbish = reading.TOLERATED + 1
        pair.link._weigh(asyncio.get_running_loop())
        pair.link.resume_reading()
        assert pair.link.paused, "the owner goes on, the rest is not over"
        pair.link._rest.cancel()
        pair.link._rested()
        assert not pair.link.paused
    finally:
        await pair.close()


async def test_a_question_that_can_be_neither_read_nor_refused_does_not_cost_what_came_with_it() -> None:
    pair = await Pair().open()
    try:
        pair.link.close_writing()
        malformed = frame(b'{"op":"port_request","request_id":"p","specific_port":70000}')
        await pair.send(malformed + HONEST)
        await pair.until(lambda: len(pair.arrived) == 1)
        assert "specific_port" in pair.problems[0].detail
        await pair.send(HONEST)
        await pair.until(lambda: len(pair.arrived) == 2)
    finally:
        await pair.close()
