from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pywatt_core.errors import LocalProtocolError, RequestTimeout
from pywatt_core.protocol.durations import Duration
from pywatt_core.protocol.streams import StreamConfig

from .test_streams import Pair


async def test_leaving_with_an_error_ends_the_function_and_leaves_nothing() -> None:
    pair = Pair()
    ended = asyncio.Event()

    @pair.receivers.on_stream("wait")
    async def wait(stream: Any) -> None:
        try:
            async for _piece in stream:
                pass
        finally:
            ended.set()

    b = pair.begin()
    with pytest.raises(ValueError, match="mine"):
        async with pair.a.open("b:wait") as stream:
            await stream.write(b"x")
            raise ValueError("mine")
    await ended.wait()
    for _ in range(10):
        await asyncio.sleep(0)
    assert not b._inbound
    assert not pair.a._outbound
    assert not pair.board.waiting


async def test_being_cancelled_is_leaving_with_an_error() -> None:
    pair = Pair()
    begun, ended = asyncio.Event(), asyncio.Event()

    @pair.receivers.on_stream("wait")
    async def wait(stream: Any) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    pair.begin()

    async def send() -> None:
        async with pair.a.open("b:wait") as stream:
            await stream.write(bytes(10_000))

    sending = asyncio.create_task(send())
    await begun.wait()
    sending.cancel()
    await asyncio.wait([sending])
    await ended.wait()
    assert not pair.a._outbound


async def test_a_receiver_that_never_says_that_anything_arrives_is_given_up() -> None:
    pair = Pair(StreamConfig(max_chunk_size=100, ack_timeout=Duration.of(0.01), max_retries=2))
    pair.keep()
    pair.board.loses = lambda endpoint, payload: endpoint == "__stream__"
    with pytest.raises(RequestTimeout) as caught:
        async with pair.a.open("b:keep") as stream:
            await stream.write(b"x")
    assert str(caught.value) == "the stream to b:keep: chunk 0 of the stream was sent 3 times and never acknowledged as taken"


async def test_a_stream_is_written_within_its_block_and_entered_once() -> None:
    pair = Pair()
    pair.keep()
    stream = pair.a.open("b:keep")
    with pytest.raises(LocalProtocolError, match="the stream to b:keep is not open: write within 'async with'"):
        await stream.write(b"x")
    async with stream:
        pass
    with pytest.raises(LocalProtocolError, match="is entered once"):
        await stream.__aenter__()
