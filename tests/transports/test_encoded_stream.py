"""Streams of encoded messages over real sockets: bounded, in order, and with one end of everything."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from pywatt_core.errors import ChannelClosed, LocalProtocolError, RemoteProtocolError
from pywatt_core.protocol.encoded import EncodedMessage, Message
from pywatt_core.protocol.framing import LengthFraming
from pywatt_core.transports import encoded_stream
from pywatt_core.transports.encoded_stream import CAPACITY, EncodedStream

DEADLINE = 20


class Wire:
    """Both ends of one TCP connection on the loopback."""

    def __init__(
        self, near: tuple[asyncio.StreamReader, asyncio.StreamWriter], far: tuple[asyncio.StreamReader, asyncio.StreamWriter]
    ) -> None:
        (self.reader, self.writer), (self.far_reader, self.far_writer) = near, far


@asynccontextmanager
async def connected() -> AsyncIterator[Wire]:
    arrived: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    server = await asyncio.start_server(lambda *pair: arrived.set_result(pair), "127.0.0.1", 0)
    near = await asyncio.open_connection(*server.sockets[0].getsockname())
    wire = Wire(near, await arrived)
    try:
        yield wire
    finally:
        for writer in (wire.writer, wire.far_writer):
            writer.transport.abort()
        server.close()
        await server.wait_closed()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not condition():
            await asyncio.sleep(0.005)


def frame(data: bytes, code: int = 1) -> bytes:
    return LengthFraming().wrap(data, code)


async def test_what_one_end_sends_the_other_receives_in_order() -> None:
    async with connected() as wire, EncodedStream.to_writer(wire.writer) as out, EncodedStream.from_reader(wire.far_reader) as arriving:
        async with asyncio.timeout(DEADLINE):
            for number in range(250):
                await out.send(Message(number))
                if number % 50 == 49:
                    for expected in range(number - 49, number + 1):
                        received = await arriving.receive()
                        assert received is not None
                        assert (received.format, received.decode(int)) == ("Json", expected)
            await out.send(EncodedMessage(b"\xff", "MessagePack"))
            assert await arriving.receive() == EncodedMessage(b"\xff", "MessagePack")


async def test_what_waits_is_written_before_the_stream_closes() -> None:
    async with connected() as wire:
        async with EncodedStream.to_writer(wire.writer) as out:
            for number in range(CAPACITY):
                await out.send(Message(number))
        wire.writer.close()
        async with EncodedStream.from_reader(wire.far_reader) as arriving, asyncio.timeout(DEADLINE):
            assert [message.decode(int) async for message in arriving] == list(range(CAPACITY))
            assert await arriving.receive() is None
        await out.close()


async def test_a_stream_holds_a_hundred_messages_and_its_sender_waits() -> None:
    async with connected():
        stream = EncodedStream()
        sender, receiver = stream.split()
        assert sender is not None and receiver is not None
        for number in range(CAPACITY):
            await sender.send(Message(number))
        waiting = asyncio.create_task(sender.send(Message(CAPACITY)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not waiting.done()
        first = await receiver.receive()
        assert first is not None and first.decode(int) == 0
        async with asyncio.timeout(DEADLINE):
            await waiting
        await sender.close()
        assert [one.decode(int) async for one in receiver] == list(range(1, CAPACITY + 1))


async def test_a_stream_is_bounded_in_bytes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoded_stream, "CAPACITY_BYTES", 10)
    stream = EncodedStream()
    await stream.send(EncodedMessage(bytes(20), "Binary"))
    waiting = asyncio.create_task(stream.send(EncodedMessage(b"", "Binary")))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not waiting.done()
    await stream.receive()
    async with asyncio.timeout(DEADLINE):
        await waiting


async def test_a_reader_is_not_read_while_nobody_receives() -> None:
    async with connected() as wire, EncodedStream.from_reader(wire.far_reader) as arriving:
        sent = 0
        with contextlib.suppress(TimeoutError):
            while True:  # until the kernel's buffers and the stream are full
                wire.writer.write(frame(b'"%s"' % (b"x" * 65536)))
                await asyncio.wait_for(wire.writer.drain(), 0.5)
                sent += 1
                assert sent < 5000, "the peer is never made to wait"
        assert len(arriving._queue.messages) <= CAPACITY
        async with asyncio.timeout(DEADLINE):
            for _ in range(sent):
                assert await arriving.receive() is not None


async def test_each_end_is_taken_once() -> None:
    stream = EncodedStream()
    assert all(stream.split())
    assert stream.split() == (None, None)
    assert await stream.receive() is None
    with pytest.raises(ChannelClosed, match="it was taken") as caught:
        await stream.send(Message(1))
    assert caught.value.executed == "no"


async def test_the_working_end_is_not_there_to_take() -> None:
    async with connected() as wire, EncodedStream.to_writer(wire.writer) as out, EncodedStream.from_reader(wire.far_reader) as arriving:
        with pytest.raises(ChannelClosed, match="a reader fills it"):
            await arriving.send(Message(1))
        assert await out.receive() is None
        assert out.split()[1] is None
        assert arriving.split()[0] is None


async def test_nothing_is_sent_on_a_closed_stream() -> None:
    stream = EncodedStream()
    await stream.send(Message(1))
    await stream.close()
    await stream.close()
    with pytest.raises(ChannelClosed, match="the stream is closed"):
        await stream.send(Message(2))
    received = await stream.receive()
    assert received is not None and received.decode(int) == 1, "what was there is still delivered"
    assert await stream.receive() is None


async def test_closing_wakes_whoever_waits() -> None:
    stream = EncodedStream(capacity=1)
    await stream.send(Message(1))
    sending = asyncio.create_task(stream.send(Message(2)))
    await asyncio.sleep(0)
    await stream.close()
    async with asyncio.timeout(DEADLINE):
        with pytest.raises(ChannelClosed):
            await sending
    empty = EncodedStream()
    receiving = asyncio.create_task(empty.receive())
    await asyncio.sleep(0)
    await empty.close()
    async with asyncio.timeout(DEADLINE):
        assert await receiving is None


@pytest.mark.parametrize(
    ("data", "kind", "complaint"),
    [
        (frame(b"{}", 0), RemoteProtocolError, "a frame of the unknown format 0"),
        (frame(b"{}", 9), RemoteProtocolError, "a frame of the unknown format 9"),
        (b"\xff\xff\xff\xff\x01", RemoteProtocolError, "over the limit of 67108864"),
        (frame(b"{}")[:-1], ChannelClosed, "ended within a frame"),
        (b"\x00\x00", ChannelClosed, "ended within a frame"),
    ],
)
async def test_the_first_error_is_delivered_once_after_what_came_before(data: bytes, kind: type[Exception], complaint: str) -> None:
    async with connected() as wire:
        wire.writer.write(frame(b"1") + data)
        wire.writer.write_eof()
        async with EncodedStream.from_reader(wire.far_reader) as arriving, asyncio.timeout(DEADLINE):
            assert await arriving.receive() == EncodedMessage(b"1", "Json")
            with pytest.raises(kind, match=complaint):
                await arriving.receive()
            assert await arriving.receive() is None


async def test_a_connection_that_breaks_is_an_error() -> None:
    async with connected() as wire, EncodedStream.from_reader(wire.far_reader) as arriving, asyncio.timeout(DEADLINE):
        wire.far_reader.set_exception(ConnectionResetError("reset"))
        with pytest.raises(ChannelClosed, match="reading failed: reset"):
            await arriving.receive()


async def test_a_writer_that_fails_ends_the_stream_and_closing_says_so() -> None:
    async with connected() as wire:
        out = EncodedStream.to_writer(wire.writer)
        wire.writer.transport.abort()
        with pytest.raises(ChannelClosed, match="the stream is closed"):
            async with asyncio.timeout(DEADLINE):
                while True:
                    await out.send(EncodedMessage(bytes(100_000), "Binary"))
                    await asyncio.sleep(0)
        with pytest.raises(ChannelClosed, match=r"not every message of the stream could be written \(writing failed"):
            await out.close()
        await out.close()


async def test_messages_that_cannot_be_framed_end_the_stream() -> None:
    async with connected() as wire:
        for message, complaint in ((EncodedMessage(b"", "Auto"), "Auto is no format"), (EncodedMessage(bytes(11), "Json"), "does not fit")):
            out = EncodedStream.to_writer(wire.writer, limit=10)
            await out.send(message)
            await until(lambda out=out: out._queue.ended)  # type: ignore[misc]
            with pytest.raises(ChannelClosed, match=complaint):
                await out.close()


async def test_a_peer_that_reads_nothing_does_not_keep_a_stream_open(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected() as wire:
        monkeypatch.setattr(encoded_stream, "LINGER", 0.1)
        out = EncodedStream.to_writer(wire.writer)
        filling = asyncio.create_task(_fill(out))
        await until(lambda: len(out._queue.messages) == CAPACITY)
        filling.cancel()
        async with asyncio.timeout(DEADLINE):
            with pytest.raises(ChannelClosed, match="could be written within 0.1 s"):
                await out.close()


async def _fill(out: EncodedStream) -> None:
    while True:
        await out.send(EncodedMessage(bytes(200_000), "Binary"))


async def test_an_error_inside_the_block_is_not_hidden_by_the_one_of_closing() -> None:
    async with connected() as wire:
        with pytest.raises(KeyError):
            async with EncodedStream.to_writer(wire.writer, limit=1) as out:
                await out.send(Message("too long"))
                raise KeyError("mine")


async def test_what_cannot_travel_is_refused_where_it_is_sent() -> None:
    with pytest.raises(LocalProtocolError, match="cannot be sent"):
        await EncodedStream().send(Message(object()))
