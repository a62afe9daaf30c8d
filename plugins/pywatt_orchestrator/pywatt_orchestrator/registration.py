"""Modules that somebody else started register here: the ``[registration]`` listener and the list of who is there (protocol 10)."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pywatt_core.errors import ChannelClosed, RemoteProtocolError
from pywatt_core.protocol.codec import Unreadable, text_of
from pywatt_core.protocol.framing import BASE64, BINARY, JSON, Payload
from pywatt_core.protocol.messages import TcpAddress
from pywatt_core.protocol.registration import (
    BAD_TOKEN,
    FRAME_LIMIT,
    NOT_REGISTERED,
    Advertise,
    Answer,
    Asked,
    Capabilities,
    HealthStatus,
    HeartbeatReport,
    ModuleInfo,
    Register,
    RegisteredModule,
    Request,
    name_taken,
    read_request,
    write_answer,
)
from pywatt_core.protocol.values import socket_address
from pywatt_core.transports.frames import FrameStream
from pywatt_core.transports.link import new_id
from pywatt_core.transports.tcp import bind_tcp, tune

from .doors import owner_of_peer

if TYPE_CHECKING:
    from collections.abc import Callable

    from .logs import Journal

LONGEST_NAME = 200
"""Characters of a module's name."""
SILENCE = 30.0
"""Seconds without a request, at least, after which a connection is closed on which nobody is registered."""
TAKING_TIME = 10.0
"""Seconds that a peer has to take its answer."""
MORE_CONNECTIONS = 100
"""Connections beyond one for each module that may be registered."""


@dataclass(frozen=True, kw_only=True)
class RegistrationOptions:
    """``[registration]``: modules that the orchestrator did not start make themselves known here. Times are in seconds."""

    listen: str | None = None
    """An address on the loopback, such as ``"127.0.0.1:9900"``; without it nobody can register."""
    expire_after: float = 90.0
    """A module that sent no heartbeat for this long is forgotten; three of the usual intervals."""
    max_modules: int = 1000
    """Modules registered at once; one more is refused."""

    def __post_init__(self) -> None:
        if self.listen is not None:
            address = socket_address(self.listen)
            if address is None or not address.host.startswith("127."):
                raise ValueError(f"listen is {self.listen!r}; it is an IPv4 address on the loopback and a port, such as '127.0.0.1:9900'")
        if not 0 < self.expire_after < float("inf"):
            raise ValueError(f"expire_after is {self.expire_after}; it is a number of seconds above 0")
        if self.max_modules < 1:
            raise ValueError(f"max_modules is {self.max_modules}; it is at least 1")


@dataclass(kw_only=True)
class External:
    """One module that registered itself."""

    info: ModuleInfo
    id: str
    digest: bytes = field(repr=False)
    """Of its token: the token itself is the module's alone."""
    heard: float
    """When it last made itself heard."""
    connection: object | None
    """The connection that it last used, None once that has closed: somebody else may then have its name."""
    status: HealthStatus = HealthStatus.HEALTHY
    details: dict[str, str] = field(default_factory=dict)
    capabilities: Capabilities | None = None
    old: bool = False
    """It spells as the earlier Python port does."""


class Refused(Exception):
    """What a request is not granted for."""


class GuestBook:
    """Who is registered. Knows no sockets and no clock: `now` and the connection are arguments."""

    def __init__(self, options: RegistrationOptions, *, taken: Callable[[str], bool], say: Callable[[str, str], None]) -> None:
        """`taken` tells the names that modules of the orchestrator's own have, `say` a text and its level."""
        self._options, self._taken, self._say = options, taken, say
        self.modules: dict[str, External] = {}
        """By id."""
        self._names: dict[str, str] = {}

    def register(self, info: ModuleInfo, now: float, connection: object) -> tuple[str, str]:
        """Its id and its token. Raises `Refused`."""
        if not info.name or len(info.name) > LONGEST_NAME or not info.name.isprintable():
            raise Refused(f"a module's name has 1 to {LONGEST_NAME} printable characters")
        holder = self.modules.get(self._names.get(info.name, ""))
        if self._taken(info.name) or (holder is not None and holder.connection is not None and holder.connection is not connection):
            raise Refused(name_taken(info.name))
        if holder is not None:
            self._remove(holder)
        if len(self.modules) >= self._options.max_modules:
            raise Refused(f"{self._options.max_modules} modules are registered, which is as many as may be")
        id = info.id if info.id is not None and info.id not in self.modules else new_id()
        token = secrets.token_urlsafe(32)
        self.modules[id] = External(info=info, id=id, digest=_digest(token), heard=now, connection=connection)
        self._names[info.name] = id
        self._say(f"{info.name} {info.version} has registered itself", "info")
        return id, token

    def known(self, id: str, token: str, now: float, connection: object) -> External:
        """The module that shows its token. Raises `Refused`."""
        module = self.modules.get(id)
        if module is None:
            raise Refused(NOT_REGISTERED)
        if not hmac.compare_digest(module.digest, _digest(token)):
            raise Refused(f"{BAD_TOKEN}: this is not the token of that module")
        module.heard, module.connection = now, connection
        return module

    def report(self, module: External, status: HealthStatus, details: dict[str, str]) -> None:
        """How it says it feels."""
        if status is not module.status:
            self._say(f"{module.info.name} is {status}, it says{_listed(details)}", "info" if status is HealthStatus.HEALTHY else "warning")
        module.status, module.details = status, details

    def unregister(self, module: External) -> None:
        """It takes leave."""
        self._remove(module)
        self._say(f"{module.info.name} has unregistered", "info")

    def disconnected(self, connection: object) -> None:
        """A connection has closed."""
        for module in self.modules.values():
            if module.connection is connection:
                module.connection = None

    def is_held(self, connection: object) -> bool:
        """Whether somebody who is registered speaks over it."""
        return any(module.connection is connection for module in self.modules.values())

    def expire(self, now: float) -> None:
        """Forget whoever has been silent for too long."""
        silent = [one for one in self.modules.values() if now - one.heard >= self._options.expire_after]
        for module in silent:
            self._remove(module)
            text = f"{module.info.name} is forgotten: no heartbeat for {self._options.expire_after:g} s (expire_after in [registration])"
            self._say(text, "warning")

    def _remove(self, module: External) -> None:
        del self.modules[module.id]
        del self._names[module.info.name]


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _listed(details: dict[str, str]) -> str:
    """A few of the details, for a log line."""
    shown = [f"{key[:50]}={value[:100]}" for key, value in list(details.items())[:5]]
    return f" ({', '.join(shown)})" if shown else ""


class RegistrationServer:
    """The listener: one request at a time on each connection, answers in order. ``start``, then ``close``.

    Only processes of our own user come in; everybody else is turned away with a line in the log.
    """

    def __init__(
        self, options: RegistrationOptions, journal: Journal, *, taken: Callable[[str], bool] = lambda _name: False, uid: int | None = None
    ) -> None:
        """`uid` is the user whose processes come in, ours by default."""
        self._options = options
        self._uid = os.getuid() if uid is None else uid
        self._say: Callable[[str, str], None] = lambda text, level: journal.say(text, level=level)
        self.book = GuestBook(options, taken=taken, say=self._say)
        self._loop = asyncio.get_running_loop()
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], FrameStream] = {}
        self._full = False
        self._sweep: asyncio.TimerHandle | None = None
        self.address: TcpAddress | None = None
        """Where it listens, once it does."""

    async def start(self) -> None:
        """Listen. Raises `ServerError` where the address cannot be had."""
        assert self._options.listen is not None
        host, _, port = self._options.listen.rpartition(":")
        listener = bind_tcp(host, int(port), backlog=128)
        self.address = TcpAddress(host, listener.getsockname()[1])
        self._server = await asyncio.start_server(self._connected, sock=listener, limit=FRAME_LIMIT)
        self._sweep_later()

    async def close(self) -> None:
        """Listen no more and close every connection. May be called twice."""
        if self._sweep is not None:
            self._sweep.cancel()
        if self._server is not None:
            self._server.close()
        for task in self._connections:
            task.cancel()
        if self._connections:
            await asyncio.wait(set(self._connections))

    def _sweep_later(self) -> None:
        def sweep() -> None:
            self.book.expire(self._loop.time())
            self._sweep_later()

        self._sweep = self._loop.call_later(min(1.0, self._options.expire_after / 4), sweep)

    # ── one connection ──────────────────────────────────────────────────────────────────────────────────────────────

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        stream = self._connections[task] = FrameStream(reader, writer, limit=FRAME_LIMIT)
        try:
            if self._may_come_in(writer):
                tune(writer.get_extra_info("socket"))
                await self._converse(stream)
        except ChannelClosed:
            pass  # It went without a word.
        except TimeoutError:
            self._say("a connection for registrations was closed: nothing was asked on it, or its answer not taken, in time", "debug")
        except RemoteProtocolError as error:
            self._say(f"a connection for registrations was closed: {error}", "warning")
        finally:
            self._connections.pop(task, None)
            self.book.disconnected(stream)
            await stream.close()

    def _may_come_in(self, writer: asyncio.StreamWriter) -> bool:
        uid = owner_of_peer(writer.get_extra_info("socket"))
        if uid is not None and uid != self._uid:
            whose = f"it belongs to user {uid}" if uid >= 0 else "nobody holds its other end"
            self._say(f"a connection for registrations was refused: {whose}", "error" if uid >= 0 else "debug")
            return False
        full = len(self._connections) > self._options.max_modules + MORE_CONNECTIONS
        if full and not self._full:
            text = "there are too many connections for registrations: those are closed on which nobody is registered, the oldest first"
            self._say(f"{text} (max_modules in [registration])", "error")
        self._full = full
        if full:
            self._make_room()
        return True

    def _make_room(self) -> None:
        """There are more connections than modules may be registered, so that nobody is on one of them: its place is needed."""
        held = {id(module.connection) for module in self.book.modules.values()}
        idle = next(task for task, stream in self._connections.items() if id(stream) not in held)
        del self._connections[idle]
        idle.cancel()

    async def _converse(self, stream: FrameStream) -> None:
        old = told = False
        while (frame := await self._next(stream)) is not None:
            code, payload = frame
            await asyncio.sleep(0)  # what has arrived already is received without waiting, and others want their turn
            if code not in (JSON, BINARY, BASE64):
                if not told:  # once a connection: who sends thousands need not fill the log with them
                    self._say(f"frames of format {code} are skipped: registrations are JSON", "warning")
                told = True
                continue
            answer, asked = self._answer(code, payload, stream)
            if asked is not None:
                old = old or asked.old
                asked = asked._replace(old=old or self._is_old(asked.request))
            async with asyncio.timeout(TAKING_TIME):
                await stream.send(write_answer(answer, asked, id=new_id()))

    async def _next(self, stream: FrameStream) -> Payload | None:
        """The next frame. Raises `TimeoutError` where a connection on which nobody is registered stays silent."""
        while True:
            try:
                async with asyncio.timeout(max(SILENCE, self._options.expire_after)):
                    return await stream.receive()
            except TimeoutError:
                if not self.book.is_held(stream):
                    raise

    def _is_old(self, request: Request) -> bool:
        module = self.book.modules.get(request.module_id) if not isinstance(request, Register) else None
        return module is not None and module.old

    def _answer(self, code: int, payload: bytes, stream: FrameStream) -> tuple[Answer, Asked | None]:
        """What to say to one request; the request where it could be read."""
        try:
            asked = read_request(text_of(code, payload))
        except Unreadable as error:
            return Answer(error.op or "unknown", success=False, error=str(error), status=HealthStatus.UNHEALTHY), None
        try:
            answer = self._granted(asked, stream)
        except Refused as error:
            status = HealthStatus.UNHEALTHY if isinstance(asked.request, HeartbeatReport) else None
            answer = Answer(asked.spelling, success=False, error=str(error), status=status)
        return answer, asked

    def _granted(self, asked: Asked, stream: FrameStream) -> Answer:
        request, now = asked.request, self._loop.time()
        if isinstance(request, Register):
            id, token = self.book.register(request.module_info, now, stream)
            self.book.modules[id].old = asked.old
            assert self.address is not None
            module = RegisteredModule(request.module_info, id, token, self.address.host, self.address.port)
            return Answer(asked.spelling, success=True, module=module)
        known = self.book.known(request.module_id, request.token, now, stream)
        if isinstance(request, HeartbeatReport):
            self.book.report(known, request.status, request.details or {})
            return Answer(asked.spelling, success=True, status=request.status)
        if isinstance(request, Advertise):
            known.capabilities = request.capabilities
        else:
            self.book.unregister(known)
        return Answer(asked.spelling, success=True)
