"""The control socket: one JSON object a line in each direction, for processes of this user alone.

A client sends one command; the orchestrator answers with any number of lines and then ``{"type":"done"}``. The socket is
0600 in a 0700 folder, and the peer's user is checked besides.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import msgspec

from pywatt_core.errors import ConfigError, PyWattError
from pywatt_core.transports.unix import bind_unix

from .instance import Status
from .lines import Record
from .logs import OURSELVES
from .rotation import Result

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from pywatt_core.redaction import Secret

    from .logs import Journal
    from .rotation import Rotator
    from .supervisor import Supervisor

T = TypeVar("T")

MAX_COMMAND = 65_536
"""Bytes of one command."""
COMMAND_TIMEOUT = 10.0
"""Seconds that a client has to send its command."""
MAX_BEHIND = 2_000
"""Records that a follower may be behind; what comes beyond them it does not see."""


class Ps(msgspec.Struct, tag="ps", tag_field="command", frozen=True):
    """How are they?"""

    name: str | None = None


class Stop(msgspec.Struct, tag="stop", tag_field="command", frozen=True):
    """End one module, or everything."""

    name: str | None = None


class Restart(msgspec.Struct, tag="restart", tag_field="command", frozen=True):
    """Restart one module or instance."""

    name: str


class Rotate(msgspec.Struct, tag="rotate", tag_field="command", frozen=True):
    """Read the secret sources anew, and rotate what differs: these secrets, or all that somebody holds."""

    names: tuple[str, ...] = ()


class Logs(msgspec.Struct, tag="logs", tag_field="command", frozen=True):
    """The last lines, and with `follow` all that come."""

    name: str | None = None
    lines: int = 50
    follow: bool = False


class Token(msgspec.Struct, tag="token", tag_field="command", frozen=True):
    """What opens the control API?"""


class StatusLine(msgspec.Struct, tag="status", tag_field="type", frozen=True):
    status: Status


class RecordLine(msgspec.Struct, tag="record", tag_field="type", frozen=True):
    record: Record


class TokenLine(msgspec.Struct, tag="token", tag_field="type", frozen=True):
    url: str
    token: str

    def __repr__(self) -> str:
        return f"TokenLine({self.url!r}, …)"


class RefusedLine(msgspec.Struct, tag="refused", tag_field="type", frozen=True):
    """A secret that keeps its value, because of these; `reasons` has the hosted services in brackets."""

    name: str
    reasons: dict[str, str]


class RotatedLine(msgspec.Struct, tag="rotated", tag_field="type", frozen=True):
    result: Result


class Failure(msgspec.Struct, tag="error", tag_field="type", frozen=True):
    text: str


class Done(msgspec.Struct, tag="done", tag_field="type", frozen=True):
    """Nothing more follows."""


Command: TypeAlias = Ps | Stop | Restart | Rotate | Logs | Token
Answer: TypeAlias = StatusLine | RecordLine | RefusedLine | RotatedLine | TokenLine | Failure | Done

_read_command = msgspec.json.Decoder(Command)
_encode = msgspec.json.Encoder().encode


def peer_uid(connection: socket.socket) -> int | None:
    """The user at the other end of a Unix socket, None on systems that cannot tell."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return None
    _pid, uid, _gid = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, option, struct.calcsize("3i")))
    return int(uid)


class ControlServer:
    """Listens for commands. `stop_everything` is called when a client asks for the end."""

    def __init__(
        self, path: str, supervisor: Supervisor, rotator: Rotator, journal: Journal, *, stop_everything: Callable[[], None]
    ) -> None:
        self._path, self._supervisor, self._rotator, self._journal = path, supervisor, rotator, journal
        self._stop_everything = stop_everything
        self.api: tuple[str, Secret] | None = None
        """Where the control API stands and what opens it; None where there is none."""
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Raises `ServerError` where the socket cannot be bound."""
        self._server = await asyncio.start_unix_server(self._serve, sock=bind_unix(self._path), limit=MAX_COMMAND)

    async def close(self) -> None:
        """Stop listening and let go of every client; whoever waits for the end learns of it."""
        if self._server is not None:
            self._server.close()
        for client in self._clients:
            client.cancel()
        if self._clients:
            await asyncio.wait(self._clients, timeout=1.0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        try:
            uid = peer_uid(writer.get_extra_info("socket"))
            if uid not in (None, 0, os.getuid()):
                return
            async with asyncio.timeout(COMMAND_TIMEOUT):
                command = _read_command.decode(await reader.readline())
            await self._carry_out(command, reader, writer)
            self._send(writer, Done())
        except asyncio.CancelledError:
            self._send(writer, Done())  # The orchestrator ends: that is what a client that is still here waits for.
        except PyWattError as error:
            self._send(writer, Failure(str(error)))
        except (msgspec.MsgspecError, ValueError) as error:
            self._send(writer, Failure(f"this is no command: {error}"))
        except (OSError, TimeoutError):
            pass  # The client has gone, or said nothing.
        finally:
            self._clients.discard(task)
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()

    def _send(self, writer: asyncio.StreamWriter, answer: Answer) -> None:
        if not writer.is_closing():
            writer.write(_encode(answer) + b"\n")

    async def _carry_out(self, command: Command, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        match command:
            case Ps(name):
                for status in self._supervisor.status(name):
                    self._send(writer, StatusLine(status))
                for secret, reasons in self._rotator.refusals().items():
                    self._send(writer, RefusedLine(secret, reasons))
            case Stop(None):
                self._stop_everything()
                await asyncio.Event().wait()
            case Stop(str(name)):
                await _while_there(reader, self._supervisor.stop_module(name))
                for status in self._supervisor.status(name):
                    self._send(writer, StatusLine(status))
            case Restart(name):
                for status in await _while_there(reader, self._supervisor.restart_module(name)):
                    self._send(writer, StatusLine(status))
            case Token():
                if self.api is None:
                    raise ConfigError('there is no control API: add http = "owner" to [control] in pywatt.toml')
                self._send(writer, TokenLine(self.api[0], self.api[1].expose_secret()))
            case Rotate(names):
                for result in await _while_there(reader, self._rotator.rotate(names)):
                    self._send(writer, RotatedLine(result))
            case Logs():
                await self._logs(command, reader, writer)
        await writer.drain()

    async def _logs(self, command: Logs, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if command.name == OURSELVES:
            names = {OURSELVES}
        else:
            names = {instance.module_id for instance in self._supervisor.instances(command.name)}
            if command.name is None:
                names.add(OURSELVES)
        for record in self._journal.last(names, command.lines):
            self._send(writer, RecordLine(record))
        if not command.follow:
            return
        queue: asyncio.Queue[Record | None] = asyncio.Queue()

        def take(record: Record) -> None:
            if record.module in names and queue.qsize() < MAX_BEHIND:
                queue.put_nowait(record)

        gone = asyncio.create_task(_end_of(reader))
        gone.add_done_callback(lambda _task: queue.put_nowait(None))
        unfollow = self._journal.follow(take)
        try:
            while (entry := await queue.get()) is not None:
                self._send(writer, RecordLine(entry))
                await writer.drain()
        finally:
            unfollow()
            gone.cancel()


async def _end_of(reader: asyncio.StreamReader) -> None:
    """Wait until the client has gone. What it still sends is nobody's business."""
    while await reader.read(MAX_COMMAND):
        pass


async def _while_there(reader: asyncio.StreamReader, work: Coroutine[Any, Any, T]) -> T:
    """The outcome of `work`, which is cancelled where the client goes away. Raises `ConnectionResetError` then."""
    working = asyncio.create_task(work)
    gone = asyncio.create_task(_end_of(reader))
    try:
        await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ConnectionResetError("the client has gone")
        return working.result()
    finally:
        working.cancel()
        gone.cancel()
