from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pywatt_core.errors import LocalProtocolError, RemoteError

from .test_streams import Pair


async def test_a_receiver_that_takes_nothing_holds_the_sender_back() -> None:
    pair = Pair()
    go = asyncio.Event()
    sizes: list[int] = []

    @pair.receivers.on_stream("late")
    async def late(stream: Any) -> int:
        await go.wait()
        async for piece in stream:
            sizes.append(len(piece))
        return stream.size  # type: ignore[no-any-return]

    pair.begin()
    async with pair.a.open("b:late") as stream:
        writing = asyncio.create_task(stream.write(bytes(10_000)))
        for _ in range(500):
            await asyncio.sleep(0)
        assert not writing.done()
        assert pair.board.carried.count("__stream__") == 4, "the window, and no more"
        assert stream.size <= 600
        go.set()
        await writing
    assert stream.result == 10_000


async def test_a_function_that_has_read_enough_ends_the_stream() -> None:
    pair = Pair()

    @pair.receivers.on_stream("few")
    async def few(stream: Any) -> str:
        async for _piece in stream:
            break
        return "enough"

    pair.begin()
    with pytest.raises(RemoteError) as caught:
        async with pair.a.open("b:few") as stream:
            while True:
                await stream.write(bytes(100))
                await asyncio.sleep(0)
    assert caught.value.code == "stream_ended"
    assert str(caught.value) == "b has ended the stream to b:few after 100 bytes, before it was all sent"


async def test_who_has_read_all_bytes_need_not_wait_for_the_end() -> None:
    pair = Pair()

    @pair.receivers.on_stream("one")
    async def one(stream: Any) -> bytes:
        return await anext(stream)

    pair.begin()
    async with pair.a.open("b:one") as stream:
        await stream.write(b"x")
    assert stream.result == "eA=="


async def test_a_stream_is_read_only_while_its_function_runs() -> None:
    pair = Pair()
    taken: list[Any] = []

    @pair.receivers.on_stream("steal")
    async def steal(stream: Any) -> None:
        taken.append(stream)

    pair.begin()
    with pytest.raises(RemoteError, match="b has ended the stream to b:steal after 0 bytes"):
        async with pair.a.open("b:steal", content_type="text/plain", properties={"k": "v"}) as stream:
            await stream.write(b"x")
    (inbound,) = taken
    assert (inbound.size, inbound.complete, inbound.content_type, inbound.properties) == (0, False, "text/plain", {"k": "v"})
    assert repr(inbound) == "InboundStream('a', 'steal', size=0, total_size=None)"
    with pytest.raises(LocalProtocolError, match="the stream is over: it can only be read by the function that received it"):
        await anext(inbound)
