"""A stand-in for an orchestrator built on the reference SDK's types: it starts a real module and speaks with it.

Strict where the reference is: what its types cannot read is kept in `rejected` and answered by nothing. It knows no negative answer,
expects `http_response` on standard output in its wrapper and everything on channels in envelopes, and sends bare.
Knows the wire from `rust_wire` alone; deadlines are in seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from . import rust_wire as wire

DEADLINE = 30.0
UUID = "11111111-2222-4333-8444-555555555555"

Message = dict[str, Any]


class Arrivals:
    """What came, in order, until a test takes it."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.rejected: list[str] = []
        self._changed = asyncio.Event()

    def add(self, message: Message) -> None:
        self.messages.append(message)
        self._changed.set()

    def reject(self, reason: str, text: bytes) -> None:
        self.rejected.append(f"{reason}: {text[:200]!r}")
        self._changed.set()

    def wake(self) -> None:
        self._changed.set()

    async def until(self, condition: Callable[[], Any], what: str) -> Any:
        """Wait for it; it is asked after each arrival."""
        try:
            async with asyncio.timeout(DEADLINE):
                while not (found := condition()):
                    self._changed.clear()
                    await self._changed.wait()
                return found
        except TimeoutError:
            raise AssertionError(f"{what} did not come, but {self.messages} and, refused, {self.rejected}") from None

    async def take(self, op: str, **members: Any) -> Message:
        """The first message of this kind with these members; it is gone then."""

        def first() -> Message | None:
            return next((one for one in self.messages if one["op"] == op and members.items() <= one.items()), None)

        found: Message = await self.until(first, f"{op} {members}")
        self.messages.remove(found)
        return found

    def count(self, op: str) -> int:
        return sum(one["op"] == op for one in self.messages)


class Connection(Arrivals):
    """One connection of the module's on a channel."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        super().__init__()
        self._writer = writer
        self.envelopes: list[Message] = []
        self.ended = False
        self._task = asyncio.create_task(self._read(reader))

    async def _read(self, reader: asyncio.StreamReader) -> None:
        buffer = bytearray()
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                buffer += data
                for code, payload in wire.frames_in(buffer):
                    self._take(code, payload)
        self.ended = True
        self.wake()

    def _take(self, code: int, payload: bytes) -> None:
        try:
            whole = wire.parse(wire.frame_text(code, payload))
            content = wire.tagged(wire.enveloped(whole), wire.FROM_MODULE)
        except (wire.Rejected, AttributeError, TypeError) as error:
            self.reject(str(error), payload)
            return
        assert code == wire.JSON, code
        self.envelopes.append(whole)
        self.add(content)

    def say(self, message: Message | bytes, code: int = wire.JSON) -> None:
        """One bare frame."""
        self._writer.write(wire.frame(message if isinstance(message, bytes) else wire.compact(message), code))

    def write(self, data: bytes) -> None:
        self._writer.write(data)

    async def close(self) -> None:
        self._writer.transport.abort()
        await asyncio.wait({self._task})


class Door:
    """A listener for a channel: `offer` is its member of the init line."""

    def __init__(self) -> None:
        self.connections: list[Connection] = []
        self._came = asyncio.Event()
        self._server: asyncio.Server | None = None

    async def open_tcp(self, host: str = "127.0.0.1") -> str:
        """``ip:port``."""
        self._server = await asyncio.start_server(self._accept, host, 0)
        port = self._server.sockets[0].getsockname()[1]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    async def open_unix(self, path: str) -> None:
        self._server = await asyncio.start_unix_server(self._accept, path)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(Connection(reader, writer))
        self._came.set()

    async def connection(self, number: int = 0) -> Connection:
        """The connection with this number, once it is there."""
        async with asyncio.timeout(DEADLINE):
            while len(self.connections) <= number:
                self._came.clear()
                await self._came.wait()
        return self.connections[number]

    async def close(self) -> None:
        for connection in self.connections:
            await connection.close()
        if self._server is not None:
            self._server.close()


class RustOrchestrator(Arrivals):
    """As a context manager it has spawned the module and written the init line; `announced` waits for the rest.

    `init` are members of the init line beside the usual ones; a line as bytes is written as it is. `secrets` are answered at
    once, other names by silence.
    """

    def __init__(
        self,
        module: Path,
        *,
        init: Mapping[str, Any] | None = None,
        line: bytes | None = None,
        secrets: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.module, self.secrets, self._env = module, dict(secrets or {}), dict(env or {})
        self._line = line if line is not None else wire.compact(usual_init(**(init or {}))).encode() + b"\n"
        if line is None:
            wire.INIT(json.loads(self._line), "init")
        self.lines: list[bytes] = []
        self.wrappers: list[Message] = []
        self.stderr = ""
        self.announce: Message = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> RustOrchestrator:
        environ = {key: value for key, value in os.environ.items() if not key.startswith(("PYWATT_", "RUST_LOG"))}
        self._process = process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "pywatt_core.launch", str(self.module),
            stdin=-1, stdout=-1, stderr=-1, env={**environ, **self._env}, cwd=self.module.parent, start_new_session=True,
        )  # fmt: skip
        assert process.stdout is not None and process.stderr is not None
        self._tasks = [asyncio.create_task(self._read(process.stdout)), asyncio.create_task(self._read_errors(process.stderr))]
        self.write(self._line)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()
        await asyncio.wait(self._tasks)

    # ── standard output ─────────────────────────────────────────────────────────────────────────────────────────────

    async def _read(self, stream: asyncio.StreamReader) -> None:
        buffer = b""
        while data := await stream.read(65536):
            *lines, buffer = (buffer + data).split(b"\n")
            for line in lines:
                self.lines.append(line)
                self._take(line)
        if buffer:
            self.reject("a line without an end", buffer)

    def _take(self, line: bytes) -> None:
        try:
            value = wire.parse(line)
            message = self._wrapped(value) if isinstance(value, dict) and "op" not in value else wire.tagged(value, wire.FROM_MODULE)
        except wire.Rejected as error:
            self.reject(str(error), line)
            return
        if message["op"] == "get_secret" and message["name"] in self.secrets:
            self.say({"op": "secret", "name": message["name"], "value": self.secrets[message["name"]]})
        self.add(message)

    def _wrapped(self, value: Message) -> Message:
        """``http_response`` as the reference writes it on standard output."""
        if [*value] != ["content", "metadata"] or [*value["metadata"]] != ["id", "properties", "source"]:
            raise wire.Rejected("missing field `op`")
        content = value["content"]
        wire.FROM_MODULE["http_response"](content, "content")
        if value["metadata"]["properties"] != {"correlation_id": content["request_id"]}:
            raise wire.Rejected("no correlation_id")
        self.wrappers.append(value)
        return {"op": "http_response", **content}

    async def _read_errors(self, stream: asyncio.StreamReader) -> None:
        while data := await stream.read(65536):
            self.stderr += data.decode(errors="replace")
            self.wake()

    # ── standard input ──────────────────────────────────────────────────────────────────────────────────────────────

    def write(self, data: bytes) -> None:
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.write(data)

    def say(self, *messages: Message) -> None:
        """Bare lines, all in one write."""
        self.write(b"".join(wire.compact(message).encode() + b"\n" for message in messages))

    def hang_up(self) -> None:
        """The end of standard input."""
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.close()

    # ── what a test does with it ────────────────────────────────────────────────────────────────────────────────────

    async def announced(self) -> Message:
        self.announce = await self.take("announce")
        return self.announce

    async def logged(self, *words: str) -> None:
        await self.until(lambda: all(word in self.stderr for word in words), f"{words} in the log:\n{self.stderr}")

    async def http(self, uri: str, *, method: str = "GET", id: str = "req-1", way: Connection | None = None, **members: Any) -> Message:
        """One request over standard input, or a channel; the response."""
        where = self if way is None else way
        where.say({"op": "http_request", "request_id": id, "method": method, "uri": uri, "headers": {}, "body": None, **members})
        return await where.take("http_response", request_id=id)

    async def json(self, uri: str, **arguments: Any) -> Any:
        """What the application answered, out of the envelope of its router."""
        answer = await self.http(uri, **arguments)
        assert answer["status_code"] == 200, bytes(answer["body"])
        return json.loads(bytes(answer["body"]))["data"]

    async def ended(self) -> int:
        assert self._process is not None
        async with asyncio.timeout(DEADLINE):
            code = await self._process.wait()
            await asyncio.wait(self._tasks)
        return code

    async def ends_well(self) -> None:
        """Told to end, it does; and nothing that it ever wrote was unreadable."""
        self.say({"op": "shutdown"})
        assert await self.ended() == 0, self.stderr
        assert self.rejected == []
        assert "Traceback" not in self.stderr, self.stderr


def usual_init(**members: Any) -> Message:
    """An init line's members in their order of emission."""
    known = {"orchestrator_api": "http://127.0.0.1:9900", "module_id": "mod_a", "env": {}, "listen": "127.0.0.1:0", **members}
    return {**known, "security_level": known.pop("security_level", "None")}


def short_folder() -> tempfile.TemporaryDirectory[str]:
    """A folder whose name leaves room for a socket's."""
    return tempfile.TemporaryDirectory(prefix="pw-")


async def open_rust_door(*, required: bool = True, host: str = "127.0.0.1", tls_enabled: bool = False) -> tuple[Door, Message]:
    """A TCP door, and the members of an init line that offer it."""
    door = Door()
    address = await door.open_tcp(host)
    return door, {"tcp_channel": {"address": address, "tls_enabled": tls_enabled, "required": required}}
