"""Whole frames over a connection: sent, received, cut, too long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from pywatt_core.errors import ChannelClosed, LocalProtocolError, RemoteProtocolError
from pywatt_core.protocol.framing import BINARY, JSON, LengthFraming
from pywatt_core.transports.frames import FrameStream

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def connected(serve: Serve, *, limit: int = 1000) -> AsyncIterator[FrameStream]:
    """A stream to a server on which `serve` runs for the one connection."""
    done = asyncio.Event()

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await serve(reader, writer)
        await done.wait()
        writer.close()

    server = await asyncio.start_server(run, "127.0.0.1", 0)
    stream = await FrameStream.connect("127.0.0.1", server.sockets[0].getsockname()[1], limit=limit)
    try:
        yield stream
    finally:
        done.set()
        await stream.close()
        server.close()


def frame(data: bytes, code: int = JSON) -> bytes:
    return LengthFraming().wrap(data, code)


async def test_frames_arrive_whole_however_they_were_cut() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for byte in frame(b"first") + frame(b"second", BINARY)[:-2]:
            writer.write(bytes([byte]))
            await writer.drain()
        writer.write(b"nd")

    async with connected(serve) as stream:
        assert await stream.receive() == (JSON, b"first")
        assert await stream.receive() == (BINARY, b"second")


async def test_what_is_sent_is_one_frame() -> None:
    got: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.set_result(await reader.readexactly(10))

    async with connected(serve) as stream:
        await stream.send(b"hello")
        assert await got == b"\0\0\0\5\1hello"


async def test_a_receive_that_is_cancelled_within_a_frame_loses_nothing() -> None:
    more = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(frame(b"slow")[:6])
        await more.wait()
        writer.write(frame(b"slow")[6:])

    async with connected(serve) as stream:
        receiving = asyncio.create_task(stream.receive())
        while stream._framing.partial < 6:
            await asyncio.sleep(0)
        receiving.cancel()
        await asyncio.wait({receiving})
        more.set()
        assert await stream.receive() == (JSON, b"slow")


async def test_the_end_between_frames_is_the_end_and_within_one_it_is_a_loss() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(frame(b"last") if await reader.readexactly(1) == b"\0" else frame(b"torn")[:-1])
        writer.write_eof()

    async with connected(serve) as stream:
        await stream.send(b"")
        assert await stream.receive() == (JSON, b"last")
        assert await stream.receive() is None
        assert stream.ended
    async with connected(serve) as stream:
        stream._writer.write(b"\1")
        with pytest.raises(ChannelClosed, match="ended within a frame"):
            await stream.receive()


async def test_a_length_over_the_limit_is_refused_before_anything_is_kept() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(frame(b"good") + b"\xff\xff\xff\xff\1" + b"x" * 100)

    async with connected(serve) as stream:
        assert await stream.receive() == (JSON, b"good")
        for _ in range(2):
            with pytest.raises(RemoteProtocolError, match="4294967295 bytes is over the limit of 1000"):
                await stream.receive()
        with pytest.raises(LocalProtocolError, match="at most 1000"):
            await stream.send(b"x" * 1001)


async def test_a_connection_that_is_closed_here_sends_nothing_and_says_so() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pass

    async with connected(serve) as stream:
        assert not stream.ended
        await stream.close()
        assert stream.ended
        with pytest.raises(ChannelClosed) as caught:
            await stream.send(b"late")
        assert caught.value.executed == "no"
        await stream.close()


async def test_who_gives_up_waiting_for_a_peer_that_does_not_read_has_sent_nothing() -> None:
    reads = asyncio.Event()
    counted: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reads.wait()
        count = 0
        while (length := int.from_bytes((await reader.readexactly(5))[:4])) != 3:
            await reader.readexactly(length)
            count += 1
        counted.set_result(count)

    async with connected(serve, limit=1_000_000) as stream:
        sent = 0
        with pytest.raises(TimeoutError):
            while True:
                sent += 1  # the one that is cut short included: it has begun
                async with asyncio.timeout(0.2):
                    await stream.send(bytes(1_000_000))
        for _ in range(20):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.001):
                    await stream.send(bytes(1_000_000))
        reads.set()
        async with asyncio.timeout(30):
            await stream.send(b"end")
            assert await counted == sent
