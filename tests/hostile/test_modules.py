"""A module's process whose orchestrator is hostile: on standard input, and on the channels that it was told to connect to."""

from __future__ import annotations

import asyncio
import fcntl
import json
import struct
import termios
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from pywatt_core.protocol.messages import Heartbeat, HttpResponse, IpcChannel, TcpChannel
from pywatt_core.testing import ModuleRunner

from .material import BOMBS, BOUND, ENDLESS_BOUND, FATAL, FRAMES, LIMIT, LITTLE, MIB, TEXTS, Bad, Memory, frame, request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SMALL = Path(__file__).parents[1] / "modules" / "small.py"
CONFIG = {"serializers": {"cbor": {"use": "cbor"}}, "channels": {name: {"reconnect": "fixed", "delay": 0.01} for name in ("unix", "tcp")}}


async def write(module: ModuleRunner, data: bytes) -> None:
    """Bytes of any kind to its standard input; waits until it has taken nearly all of them."""
    link: Any = module.orchestrator.link
    link._writer.write(data)
    await link.caught_up()


async def serves(module: ModuleRunner) -> None:
    """It answers on its port and over standard input."""
    assert (await module.http("GET", "/hello")).status == 200
    assert (await module.ipc("GET", "/hello")).status == 200


async def says(module: ModuleRunner, *refusals: Bad) -> None:
    """Its log names what was wrong with each."""

    def missing() -> list[str]:
        told = "\n".join(str(event) for event in module.logs())
        return [f"{bad.name}: {bad.words}" for bad in refusals if bad.words not in told]

    try:
        await module.until(lambda: not missing())
    except TimeoutError:
        raise AssertionError(f"it did not say {missing()}; it wrote:\n{module.stderr[-5000:]}") from None


# ── standard input ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_each_hostile_line_is_refused_by_name_and_the_next_request_is_answered() -> None:
    async with ModuleRunner(SMALL, config={}) as module:
        memory = Memory(module.pid)
        for bad in TEXTS:
            await write(module, bad.data + b"\n")
            assert (await module.ipc("GET", "/hello")).status == 200, bad.name
        await says(module, *TEXTS)
        await write(module, request(request_id="crlf") + b"\r\n \t\r\n\n\r\n")
        await serves(module)
        assert memory.growth < LITTLE
        assert await module.stop() == 0


async def test_bombs_and_a_line_without_end_cost_no_more_memory_than_their_bytes() -> None:
    async with ModuleRunner(SMALL, config={}) as module:
        memory = Memory(module.pid)
        for bad in BOMBS:
            await write(module, bad.data + b"\n")
            await serves(module)
        await says(module, *BOMBS)
        assert memory.growth < BOUND
        for _ in range(3):
            await write(module, b"x" * LIMIT)
            assert (await module.http("GET", "/hello")).status == 200
        assert memory.growth < ENDLESS_BOUND, "what is thrown away in the end was kept until then"
        await write(module, b"\n")
        await says(module, Bad("endless", b"", f"a line over the limit of {LIMIT} bytes was thrown away"))
        await serves(module)
        assert await module.stop() == 0


async def test_a_flood_of_tiny_messages_is_answered_and_leaves_nothing_behind() -> None:
    async with ModuleRunner(SMALL, config={}) as module:
        memory = Memory(module.pid)
        await write(module, b"\n" * (8 * MIB))
        await write(module, b'{"op":"a"}\n' * 50_000)
        await module.orchestrator.send(Heartbeat())
        await write(module, b'{"op":"heartbeat"}\n' * 5_000)
        await serves(module)
        link: Any = module.orchestrator.link
        async with asyncio.timeout(30):
            while link.messages_received < 5_000:
                await asyncio.sleep(0.01)
        assert memory.growth < LITTLE
        assert await module.stop() == 0


async def test_it_does_not_matter_where_a_line_is_split() -> None:
    async with ModuleRunner(SMALL, config={}) as module:
        link: Any = module.orchestrator.link
        fd = link._writer.get_extra_info("pipe").fileno()
        line = request(request_id="REQUEST", headers={"x": "ä😀"}) + b"\r\n"
        line = json.dumps(json.loads(line), ensure_ascii=False).encode() + b"\r\n"

        async def read_by_it() -> None:
            while struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, b"\0\0\0\0"))[0]:
                await asyncio.sleep(0)

        answers: list[Any] = []
        link.session.on_problem = answers.append
        async with asyncio.timeout(60):
            for position in range(len(line) + 1):
                link._writer.write(line[:position])
                await read_by_it()
                link._writer.write(line[position:])
            while len(answers) < len(line) + 1:
                await asyncio.sleep(0.001)
        assert {problem.detail for problem in answers} == {"nothing that waits for 'http_response' has this request_id"}
        await serves(module)
        assert await module.stop() == 0


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"\n", "ended before a whole init line"),
        (b'{"op":"shutdown"}\n', "module_id"),
        (b"\xff\xfe\n", "UTF-8"),
        (b"\xef\xbb\xbf{}\n", "BOM"),
        (b"[" * 500_000 + b"\n", "nested deeper"),
        (b"x" * (2 * MIB), "over the limit"),
        (b'{"orchestrator_api":"x","module_id":"m","env":{},"listen":5}\n', "listen"),
        (b'{"orchestrator_api":"x"', "ended before a whole init line"),
    ],
    ids=["empty", "not an init line", "bad UTF-8", "byte order mark", "depth", "too long", "a member of another type", "cut"],
)
async def test_a_hostile_first_line_ends_the_module_with_a_reason(line: bytes, words: str) -> None:
    import sys

    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pywatt_core.launch", str(SMALL),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={"PYWATT_MODULE_ID": "m", "PATH": ""},
    )  # fmt: skip
    try:
        async with asyncio.timeout(30):
            out, err = await process.communicate(line)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert (process.returncode, out) == (3, b""), err.decode()
    assert words in err.decode()
    assert b"Traceback" not in err


# ── channels ────────────────────────────────────────────────────────────────────────────────────────────────────────


class Door:
    """What the module's channel connects to: the bytes of each connection as they are."""

    def __init__(self) -> None:
        self._connections: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
        self.answered: list[int] = []
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.put_nowait((reader, writer))

    async def accept(self) -> None:
        """The next connection."""
        async with asyncio.timeout(30):
            self.reader, self.writer = await self._connections.get()

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def is_answered(self) -> None:
        """An honest request on this connection is answered; answers to what came before it are passed over."""
        await self.send(frame(request(request_id="honest")))
        async with asyncio.timeout(30):
            while True:
                size, code = struct.unpack(">IB", await self.reader.readexactly(5))
                payload = await self.reader.readexactly(size)
                found = msgspec.json.decode(payload) if code == 1 else msgspec.msgpack.decode(payload)
                found = found.get("content", found)
                if found["op"] == HttpResponse.op:
                    self.answered.append(found["status_code"])
                    if found["request_id"] == "honest":
                        assert found["status_code"] == 200
                        return

    async def is_closed(self) -> None:
        async with asyncio.timeout(30):
            while await self.reader.read(65536):
                pass
        self.writer.close()


@asynccontextmanager
async def offered(kind: str, folder: Path) -> AsyncIterator[tuple[ModuleRunner, Door]]:
    """A module whose channel of this kind ends at our door."""
    door = Door()
    init: dict[str, Any] = {"formats": ("msgpack", "cbor")}
    if kind == "unix":
        path = str(folder / "door")
        server: asyncio.Server = await asyncio.start_unix_server(door.connected, path)
        init["ipc_channel"] = IpcChannel(socket_path=path, required=True)
    else:
        server = await asyncio.start_server(door.connected, "127.0.0.1", 0)
        init["tcp_channel"] = TcpChannel(address=f"127.0.0.1:{server.sockets[0].getsockname()[1]}", tls_enabled=False, required=True)
    async with server, ModuleRunner(SMALL, config=CONFIG, init=init) as module:
        await door.accept()
        yield module, door
        assert await module.stop() == 0, module.stderr
        await door.is_closed()


@pytest.mark.parametrize("kind", ["unix", "tcp"])
async def test_each_hostile_frame_is_refused_by_name_and_the_connection_goes_on(kind: str, tmp_path: Path) -> None:
    async with offered(kind, tmp_path) as (module, door):
        memory = Memory(module.pid)
        for bad in FRAMES:
            await door.send(bad.data)
            await door.is_answered()
            assert (await module.http("GET", "/hello")).status == 200
        await says(module, *FRAMES)
        assert memory.growth < BOUND
        door.answered.clear()
        for bad in TEXTS:
            await door.send(frame(bad.data))
        await door.is_answered()
        assert door.answered[:-1] == [400] * 6, "whoever can be told by its request_id is told"
        await says(module, *TEXTS)


@pytest.mark.parametrize("kind", ["unix", "tcp"])
async def test_a_connection_that_cannot_be_followed_is_closed_and_made_again(kind: str, tmp_path: Path) -> None:
    async with offered(kind, tmp_path) as (module, door):
        memory = Memory(module.pid)
        for bad in FATAL:
            await door.send(bad.data)
            await door.is_closed()
            assert (await module.http("GET", "/hello")).status == 200
            await door.accept()
            await door.is_answered()
        await says(module, *FATAL)
        for cut in (frame(request())[:3], frame(request())[:20], frame(request(), size=LIMIT)):
            await door.send(cut)
            door.writer.close()
            await door.accept()
            await door.is_answered()
        await says(module, Bad("cut", b"", "the stream ended within a frame"))
        assert memory.growth < LITTLE, "a length is no reason to take memory"


async def test_a_flood_of_empty_and_of_skipped_frames_keeps_nothing(tmp_path: Path) -> None:
    async with offered("unix", tmp_path) as (module, door):
        memory = Memory(module.pid)
        await door.send(frame(b"", 77) * 50_000)
        await door.send(frame(b"x", 77, 2**26 - 1)[:-1] + b"y" * (2**26 - 1))
        await door.is_answered()
        assert memory.growth < LITTLE


# ── who does not read ───────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_orchestrator_that_asks_and_does_not_read_the_answers_has_to_wait() -> None:
    async with ModuleRunner(SMALL, config={}) as module:
        link: Any = module.orchestrator.link
        await module.orchestrator.send(Heartbeat())
        memory = Memory(module.pid)
        link._on_message = lambda message, link: None
        link.pause_reading()
        for _ in range(50):
            link._writer.write(b'{"op":"heartbeat"}\n' * 2_000)
        async with asyncio.timeout(30):
            waits = 0
            while waits < 50:  # what is left to write does not become less: the module reads no more
                left = link._writer.get_write_buffer_size()
                await asyncio.sleep(0.01)
                waits = waits + 1 if left == link._writer.get_write_buffer_size() else 0
        assert left, "it took 100,000 messages without anybody reading an answer"
        assert (await module.http("GET", "/hello")).status == 200
        assert memory.growth < LITTLE
        link.resume_reading()
        async with asyncio.timeout(60):
            while link.messages_received < 100_000:
                await asyncio.sleep(0.01)
        await serves(module)
        assert await module.stop() == 0
