"""Who sends faster than the other reads has to wait, and nothing piles up in between; modules, links and broker are the real ones."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from pywatt_core.errors import RemoteError
from pywatt_core.transports.link import UNREAD
from tests.hostile.material import MIB

from ..test_broker import House, Member, until

PIECE = "x" * (MIB // 4)


@asynccontextmanager
async def houses() -> AsyncIterator[House]:
    here = House()
    try:
        yield here
    finally:
        for task in asyncio.all_tasks():
            if task.get_name() == "producer":
                task.cancel()
        for member in here.members:
            member.wire.resume_reading()
            member.link.resume_reading()
        await here.close()


def unsent(member: Member) -> int:
    """Bytes that the orchestrator keeps for a module that does not read."""
    return int(member.link._writer.get_write_buffer_size())  # type: ignore[union-attr]


class Producer:
    """Sends as fast as it may, until stopped; `waits` tells whether it is held up."""

    def __init__(self, sending: Any) -> None:
        self.sent = 0
        self._sending = sending
        self._task = asyncio.get_running_loop().create_task(self._run(), name="producer")

    async def _run(self) -> None:
        while True:
            await self._sending()
            self.sent += 1

    async def is_held_up(self) -> int:
        """Wait until it makes no progress; what it has sent by then."""
        async with asyncio.timeout(20):
            before, still = -1, 0
            while still < 20:
                still = still + 1 if self.sent == before else 0
                before = self.sent
                await asyncio.sleep(0.01)
        return self.sent

    async def stop(self) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError, RemoteError):
            await self._task


async def test_a_module_that_does_not_read_holds_up_who_sends_to_it_and_nothing_is_lost_when_it_does() -> None:
    async with houses() as here:
        sender, slow = await here.join("sender"), await here.join("slow")
        heard: list[int] = []

        @slow.on("hear")
        async def hear(text: str) -> None:
            heard.append(len(text))

        slow.wire.pause_reading()
        producer = Producer(lambda: sender.messaging.send("slow:hear", PIECE))
        sent = await producer.is_held_up()
        # What one link keeps, what may be under way for one sender, and what the sender's own link keeps.
        assert sent * len(PIECE) < 16 * MIB
        assert unsent(slow) < 16 * MIB + 2 * UNREAD
        await producer.stop()
        slow.wire.resume_reading()
        await until(lambda: len(heard) >= sent)
        assert not slow.link.closed.done()


async def test_many_who_send_to_one_that_is_slow_do_not_cost_it_its_connection() -> None:
    async with houses() as here:
        slow = await here.join("slow")
        senders = [await here.join(f"sender{n}") for n in range(12)]
        heard: list[int] = []

        @slow.on("hear")
        async def hear(text: str) -> None:
            heard.append(len(text))

        slow.wire.pause_reading()
        producers = [Producer(lambda sender=sender: sender.messaging.send("slow:hear", PIECE)) for sender in senders]
        for producer in producers:
            await producer.is_held_up()
        assert not slow.link.closed.done(), slow.link.error
        assert unsent(slow) < 64 * MIB
        for producer in producers:
            await producer.stop()
        sent = sum(producer.sent for producer in producers)
        slow.wire.resume_reading()
        await until(lambda: len(heard) >= sent)


async def test_who_asks_for_what_is_not_there_without_reading_the_refusals_has_to_wait() -> None:
    async with houses() as here:
        deaf, honest = await here.join("deaf"), await here.join("honest")

        @honest.on("echo")
        async def echo(text: str) -> str:
            return text

        deaf.wire.pause_reading()
        producer = Producer(lambda: deaf.raw("nobody"))
        await producer.is_held_up()
        assert unsent(deaf) < 16 * MIB + 4 * UNREAD
        assert not deaf.link.closed.done()
        assert await honest.ask("honest:echo", "on") == "on"
        await producer.stop()


async def test_who_asks_the_orchestrator_itself_without_reading_the_answers_has_to_wait() -> None:
    async with houses() as here:
        deaf, honest = await here.join("deaf"), await here.join("honest")

        async def large(_peer: Any, _payload: Any, _properties: Any) -> Any:
            return PIECE[:20_000]

        here.hub.broker.serve("large", large)
        deaf.wire.pause_reading()
        producer = Producer(lambda: deaf.raw("__orchestrator__", endpoint="large"))
        await producer.is_held_up()
        assert unsent(deaf) < 4 * UNREAD
        assert not deaf.link.closed.done()
        honest.receivers.on("echo")(_echo)
        assert await honest.ask("honest:echo", "on") == "on"
        await producer.stop()


async def _echo(text: str) -> str:
    return text
