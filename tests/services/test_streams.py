from __future__ import annotations

import asyncio
import random
import threading
from pathlib import Path
from typing import Any

import pytest

from pywatt_core.errors import LocalProtocolError, RemoteError, RequestTimeout
from pywatt_core.held import Blocking
from pywatt_core.protocol.durations import Duration
from pywatt_core.protocol.payloads import Payload
from pywatt_core.protocol.streams import StreamChunk, StreamConfig
from pywatt_core.services.receivers import Receivers
from pywatt_core.services.streams import AT_ONCE, Streams

from .switchboard import Switchboard

QUICK = StreamConfig(max_chunk_size=100, window_size=4, ack_timeout=Duration.of(0.05), max_retries=20)
PATIENT = StreamConfig(max_chunk_size=100, window_size=4, ack_timeout=Duration(600))


class Pair:
    """A module that sends, ``a``, and one that receives, ``b``."""

    def __init__(self, config: StreamConfig = PATIENT, *, pywatt: bool = True) -> None:
        self.board = Switchboard()
        self.receivers = Receivers()
        self.a = Streams(self.board.add("a", pywatt=pywatt), config)
        self.config, self.pywatt = config, pywatt

    def begin(self) -> Streams:
        self.b = Streams(self.board.add("b", self.receivers, pywatt=self.pywatt), self.config)
        self.b.begin()
        return self.b

    def keep(self, *, max_size: int | None = 1 << 30) -> list[bytes]:
        """Receive at ``b:keep`` into a list."""
        kept: list[bytes] = []

        @self.receivers.on_stream("keep", max_size=max_size)
        async def keep(stream: Any) -> int:
            async for piece in stream:
                kept.append(piece)
            return len(kept)

        self.begin()
        return kept


@pytest.mark.parametrize("total", [None, 950])
@pytest.mark.parametrize("pywatt", [True, False])
async def test_pieces_of_any_size_arrive_as_the_same_bytes_in_either_format(total: int | None, pywatt: bool) -> None:
    pair = Pair(pywatt=pywatt)
    kept = pair.keep()
    data = random.Random(1).randbytes(950)
    async with pair.a.open("b:keep", total_size=total) as stream:
        for start, end in ((0, 1), (1, 1), (1, 300), (300, 950)):
            await stream.write(data[start:end])
    assert b"".join(kept) == data
    assert stream.result == len(kept)
    assert stream.format == ("MessagePack" if pywatt else "Json")
    assert stream.receiver == "b"
    if total is not None:
        assert [len(piece) for piece in kept] == [100] * 9 + [50], "cut as the reference cuts it"


async def test_what_the_wire_loses_or_damages_is_sent_again() -> None:
    pair = Pair(QUICK)
    kept = pair.keep()
    chance = random.Random(7)
    pair.board.loses = lambda endpoint, payload: endpoint.startswith("__stream") and endpoint != "__stream_open__" and chance.random() < 0.3
    data = chance.randbytes(5000)
    async with pair.a.open("b:keep") as stream:
        for start in range(0, 5000, 250):
            await stream.write(data[start : start + 250])
    assert b"".join(kept) == data
    assert pair.board.carried.count("__stream__") > 50


async def test_a_stream_of_higher_priority_goes_first() -> None:
    pair = Pair()
    order: list[str] = []

    @pair.receivers.on_stream("note")
    async def note(stream: Any) -> None:
        await stream.read()

    pair.begin()
    seen = pair.board.loses

    def watch(endpoint: str, payload: Payload) -> bool:
        if endpoint == "__stream__":
            order.append(ids[payload.decode(StreamChunk).stream_id])
        return seen(endpoint, payload)

    pair.board.loses = watch
    streams = {name: pair.a.open("b:note", priority=name) for name in ("low", "normal", "high", "critical")}
    ids = {stream.id: name for name, stream in streams.items()}
    for stream in streams.values():
        await stream.__aenter__()
    pair.board.gate.clear()
    first = asyncio.create_task(streams["low"].write(bytes(100)))
    await first
    for name in ("low", "normal", "high", "critical"):
        await streams[name].write(bytes(100))
    pair.board.gate.set()
    for name in ("critical", "high", "normal", "low"):
        await streams[name].__aexit__(None, None, None)
    assert order[:5] == ["low", "critical", "high", "normal", "low"], "the first was on its way when the others came"


async def test_too_many_streams_are_refused() -> None:
    pair = Pair()
    go = asyncio.Event()

    @pair.receivers.on_stream("wait")
    async def wait(stream: Any) -> None:
        await go.wait()
        await stream.read()

    b = pair.begin()
    c = Streams(pair.board.add("c"))
    streams = [await pair.a.open("b:wait").__aenter__() for _ in range(AT_ONCE)]
    assert len(b._inbound) == AT_ONCE
    with pytest.raises(RemoteError, match="b receives 100 streams already") as caught:
        await c.open("b:wait").__aenter__()
    assert caught.value.code == "overloaded"
    with pytest.raises(RequestTimeout, match="the stream to b:wait had to wait for other streams for longer than 0.01 s"):
        await pair.a.open("b:wait", timeout=0.01).__aenter__()
    go.set()
    for stream in streams:
        await stream.__aexit__(None, None, None)
    assert not b._inbound


async def test_a_module_that_receives_no_streams_says_so() -> None:
    pair = Pair()
    pair.board.add("b")
    with pytest.raises(RemoteError, match="^b receives no streams$") as caught:
        await pair.a.open("b:keep").__aenter__()
    assert caught.value.code == "endpoint_not_found"


@pytest.mark.parametrize(
    ("target", "options", "text"),
    [
        ("b", {}, "a target is 'module:endpoint'"),
        ("b:c", {"total_size": -1}, "total_size is a number of bytes or None, not -1"),
        ("b:c", {"total_size": True}, "total_size is a number of bytes or None, not True"),
        ("b:c", {"priority": "urgent"}, "a priority is one of"),
        ("b:c", {"properties": {"k": 1}}, "no stream: Expected `str`, got `int`"),
    ],
)
async def test_arguments_that_make_no_sense_are_named(target: str, options: Any, text: str) -> None:
    with pytest.raises(LocalProtocolError, match=text):
        Pair().a.open(target, **options)


async def test_a_file_that_does_not_exist_is_an_os_error(tmp_path: Path) -> None:
    pair = Pair()
    kept = pair.keep()
    with pytest.raises(FileNotFoundError):
        await pair.a.send_file("b:keep", tmp_path / "none")
    (tmp_path / "some").write_bytes(b"some bytes")
    assert await pair.a.send_file("b:keep", str(tmp_path / "some")) == 1
    assert kept == [b"some bytes"]


async def test_a_thread_sends_through_the_blocking_face() -> None:
    pair = Pair()
    kept = pair.keep()
    face = Blocking(pair.a, asyncio.get_running_loop(), threading.get_ident(), 30)

    def send() -> Any:
        with face.open("b:keep", total_size=3) as stream:
            stream.write(b"abc")
        return stream.result

    assert await asyncio.to_thread(send) == 1
    assert kept == [b"abc"]


async def test_a_plain_function_cannot_receive_a_stream() -> None:
    pair = Pair()

    @pair.receivers.on_stream("plain")
    def plain(stream: Any) -> None: ...

    with pytest.raises(TypeError, match="the function for the stream 'plain' has to be an 'async def'"):
        pair.begin()
