"""One process is told of a rotation, over a real link; the test is the process."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from pywatt_core.errors import ChannelClosed, RequestTimeout
from pywatt_core.protocol.messages import Init, Rotated, RotationAck, Shutdown
from pywatt_core.protocol.messages import Secret as SecretMessage
from pywatt_core.protocol.session import Role, Session, Wire
from pywatt_core.transports.link import Link, new_id
from pywatt_orchestrator.telling import tell

ROTATED = Rotated(keys=["KEY"], rotation_id="r-1")


class End:
    """The module's end of the wire, line by line."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self.writer = reader, writer
        self.exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def read(self) -> dict[str, Any]:
        async with asyncio.timeout(30):
            return json.loads(await self._reader.readline())  # type: ignore[no-any-return]

    def say(self, **message: Any) -> None:
        self.writer.write(json.dumps(message).encode() + b"\n")

    def acknowledge(self, status: str = "success", **more: Any) -> None:
        self.say(op="rotation_ack", rotation_id="r-1", status=status, **more)


@asynccontextmanager
async def wire() -> AsyncIterator[tuple[Link, End]]:
    ours, theirs = socket.socketpair()
    session = Session(Role.ORCHESTRATOR, Wire.STDIO, module_id="users", new_id=new_id)
    _, link = await asyncio.get_running_loop().create_connection(lambda: Link(session, on_message=lambda *_: None), sock=ours)
    reader, writer = await asyncio.open_connection(sock=theirs)
    end = End(reader, writer)
    link.post(Init(orchestrator_api="", module_id="users", env={}, listen="127.0.0.1:1"))
    assert (await end.read())["module_id"] == "users"
    try:
        yield link, end
    finally:
        writer.close()
        link.abort(ChannelClosed("the test is over"))


def telling(link: Link, end: End, *, ends: bool = False, pad: bool = False, timeout: float = 30.0) -> asyncio.Task[RotationAck | None]:
    over = ends
    return asyncio.create_task(tell(link, end.exited, ROTATED, ends=lambda: over or end.exited.done(), pad=pad, timeout=timeout))


@pytest.mark.parametrize(("status", "message"), [("success", None), ("error", "no server takes it")])
async def test_what_it_acknowledges_is_the_answer(status: str, message: str | None) -> None:
    async with wire() as (link, end):
        asked = telling(link, end)
        assert await end.read() == {"op": "rotated", "keys": ["KEY"], "rotation_id": "r-1"}
        end.acknowledge(status, **({"message": message} if message else {}))
        assert await asked == RotationAck(rotation_id="r-1", status=status, message=message)


async def test_what_others_say_in_the_same_moment_does_not_come_between_the_two_lines_for_a_rust_module() -> None:
    async def chatter(link: Link) -> None:
        for number in range(20):
            link.post(SecretMessage(name=f"K{number}", value="v"))
            await asyncio.sleep(0)

    async with wire() as (link, end):
        others = [asyncio.create_task(chatter(link)) for _ in range(3)]
        await asyncio.sleep(0)
        asked = telling(link, end, pad=True)
        others += [asyncio.create_task(chatter(link)) for _ in range(3)]
        operations = [(await end.read())["op"] for _ in range(2 + 6 * 20)]
        at = operations.index("rotated")
        assert "secret" in operations[:at]
        assert operations[at + 1] == "heartbeat"
        assert "secret" in operations[at + 2 :]
        end.acknowledge()
        acknowledged = await asked
        assert acknowledged is not None
        assert acknowledged.status == "success"
        await asyncio.gather(*others)


async def test_a_process_that_is_about_to_end_is_told_nothing() -> None:
    async with wire() as (link, end):
        assert await telling(link, end, ends=True) is None
        link.post(SecretMessage(name="KEY", value="v"))
        assert (await end.read())["op"] == "secret"


async def test_a_process_that_ends_instead_of_answering_has_no_vote() -> None:
    async with wire() as (link, end):
        asked = telling(link, end)
        await end.read()
        end.exited.set_result(-9)
        assert await asked is None


async def test_a_process_whose_streams_close_just_before_it_ends_has_no_vote() -> None:
    async with wire() as (link, end):
        asked = telling(link, end)
        await end.read()
        end.writer.close()
        await asyncio.shield(link.closed)
        end.exited.set_result(0)
        assert await asked is None


async def test_a_process_that_lives_without_its_streams_refuses() -> None:
    async with wire() as (link, end):
        asked = telling(link, end)
        await end.read()
        end.writer.close()
        with pytest.raises(ChannelClosed, match=r"^its standard input or output is closed$"):
            await asked
        with pytest.raises(ChannelClosed, match="its standard input or output is closed"):
            await telling(link, end)


async def test_one_that_was_told_to_end_a_moment_ago_has_no_vote() -> None:
    async with wire() as (link, end):
        link.post(Shutdown())
        asked = telling(link, end)
        assert (await end.read())["op"] == "shutdown"
        end.exited.set_result(0)
        assert await asked is None


@pytest.mark.parametrize("pad", [False, True])
async def test_one_that_says_nothing_is_not_waited_for_for_ever(pad: bool) -> None:
    async with wire() as (link, end):
        with pytest.raises(RequestTimeout):
            await telling(link, end, pad=pad, timeout=0.05)
        end.acknowledge()  # too late, and of no harm
        assert (await end.read())["op"] == "rotated"


@pytest.mark.parametrize("pad", [False, True])
async def test_one_that_does_not_read_is_not_waited_for_for_ever(pad: bool) -> None:
    async with wire() as (link, end):
        while link.keeps_up:
            link.post(SecretMessage(name="K", value="v" * 100_000))
        with pytest.raises(RequestTimeout):
            await telling(link, end, pad=pad, timeout=0.05)
