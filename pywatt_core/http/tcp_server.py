"""The server's side of HTTP over framed TCP: on a listener of its own, or on a connection to an orchestrator (protocol 7.3)."""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ..errors import ChannelClosed, LocalProtocolError, ProtocolError, PyWattError, ServerError
from ..policies import Backoff
from ..protocol.codec import text_of
from ..protocol.framing import BASE64, BINARY, JSON, TCP_LIMIT
from ..protocol.http_tcp import HttpTcpResponse, read_request, write
from ..protocol.lenient import Unreadable
from ..transports.frames import FrameStream
from ..transports.link import new_id
from ..transports.tcp import bind_tcp, tune
from .tcp_router import HttpTcpRouter, bad_request, internal_error

if TYPE_CHECKING:
    import ssl

    from ..protocol.registration import RegisteredModule
    from ..services.registration import Registration

log = logging.getLogger("pywatt.http")

AT_ONCE = 100
"""Requests of one connection that are being answered; the next is read when one of them is done."""
CONNECTIONS = 1000
"""Connections at once; for one more, one on which nothing was ever asked is closed, or itself."""
SEND_PATIENCE = 60.0
"""Seconds that a peer has to read a response."""
IDLE = 300.0
"""Seconds without a request, and without one under way, after which a connection is closed."""
TOLD = 20
"""Frames of one connection that cannot be read and are told in the log one by one; all others are one line in the end."""
DRAIN = 10.0
"""Seconds that requests under way have to end."""


class FrameConnection:
    """Answers the requests of one connection, side by side, until it ends or `stop` is called."""

    def __init__(
        self, stream: FrameStream, router: HttpTcpRouter, state: Any = None, *, where: str = "a peer", idle: float | None = None
    ) -> None:
        """`idle`: seconds without anything to do after which it ends; None leaves it open."""
        self._stream, self._router, self._state, self._where, self._idle = stream, router, state, where, idle
        self._last = 0.0
        """When something was last to be done."""
        self._skipped = 0
        """Frames that could not be read."""
        self._running: set[asyncio.Task[None]] = set()
        self._free = asyncio.Semaphore(AT_ONCE)
        self._reading: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.asked = False
        """Whether anything was ever asked here."""

    async def serve(self) -> None:
        """Return when the peer has closed the connection, and what it asked is answered; or after `stop`. Raises what went wrong."""
        self._reading = asyncio.create_task(self._read(), name=f"requests of {self._where}")
        self._last = asyncio.get_running_loop().time()
        self._look()
        try:
            await asyncio.wait({self._reading})
            while self._running:
                await asyncio.wait(set(self._running))
            if not self._reading.cancelled():
                self._reading.result()
        except asyncio.CancelledError:
            for task in (self._reading, *self._running):
                task.cancel()
            raise
        finally:
            if self._timer is not None:
                self._timer.cancel()
            if self._skipped > TOLD:
                log.warning("%s sent %d frames that were no requests", self._where, self._skipped)
            await self._stream.close()

    def _look(self) -> None:
        """Read nothing more where nothing was to be done for long; else look again."""
        if self._idle is None or self._reading is None or self._reading.done():
            return
        loop = asyncio.get_running_loop()
        if self._running:
            self._last = loop.time()
        if loop.time() >= self._last + self._idle:
            log.debug("%s had nothing to ask for %g s", self._where, self._idle)
            self.stop()
        else:
            self._timer = loop.call_at(self._last + self._idle, self._look)

    def stop(self) -> None:
        """Read nothing more."""
        if self._reading is not None:
            self._reading.cancel()

    def cut(self) -> None:
        """End what runs."""
        self.stop()
        for task in self._running:
            task.cancel()

    async def _read(self) -> None:
        while True:
            await self._free.acquire()
            frame = await self._stream.receive()
            if frame is None:
                return
            self.asked = True
            self._last = asyncio.get_running_loop().time()
            task = asyncio.create_task(self._take(*frame))
            self._running.add(task)
            task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._free.release()

    async def _take(self, code: int, payload: bytes) -> None:
        """Answer one frame; one that cannot be read is skipped, and refused where it says whom the refusal is for."""
        try:
            if code not in (JSON, BINARY, BASE64):
                raise Unreadable(f"a frame of format {code}, which nobody reads here", kind="encoding")
            request = read_request(text_of(code, payload))
        except ProtocolError as error:
            self._skipped += 1
            level = logging.WARNING if self._skipped <= TOLD else logging.DEBUG
            log.log(level, "%s sent what is no request, which was skipped: %s", self._where, error)
            id = error.members.get("request_id") if isinstance(error, Unreadable) else None
            if isinstance(id, str):
                await self._send(id, bad_request(f"unreadable request: {error}"))
            return
        await self._send(request.request_id, await self._router.respond(request, self._state))

    async def _send(self, id: str, response: HttpTcpResponse) -> None:
        answer = HttpTcpResponse(id, response.status_code, response.headers, response.body)
        try:
            async with asyncio.timeout(SEND_PATIENCE):
                try:
                    await self._stream.send(write(answer, id=new_id()))
                except LocalProtocolError as error:
                    log.error("a response to %s could not be sent: %s", self._where, error)
                    failure = internal_error("the response could not be sent")
                    await self._stream.send(write(HttpTcpResponse(id, failure.status_code, failure.headers, failure.body), id=new_id()))
        except ChannelClosed:
            log.debug("%s closed the connection before it was answered", self._where)
        except TimeoutError:
            log.warning("%s did not read a response within %g s and is cut off", self._where, SEND_PATIENCE)
            await self._stream.close()


class HttpTcpServer:
    """Serves an `HttpTcpRouter` on a listener of its own; `state` is what handlers get by that name.

    Use it as an async context manager, or `start` and `close` it. `tls` is a server's context. Whoever can reach the address
    may ask: it is the loopback unless `host` says otherwise. A connection with nothing to do is closed after `idle` seconds.
    """

    def __init__(
        self,
        router: HttpTcpRouter,
        *,
        state: Any = None,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        limit: int = TCP_LIMIT,
        idle: float = IDLE,
    ) -> None:
        if not idle > 0:
            raise ValueError(f"idle is {idle}; it is a number of seconds above 0")
        self._router, self._state, self._tls, self._limit, self._idle = router, state, tls, limit, idle
        self.host, self.port = host, port
        """Where it listens; the port is known once it has started."""
        self._server: asyncio.Server | None = None
        self._connections: dict[FrameConnection, asyncio.Task[None]] = {}
        self._closing = False

    async def __aenter__(self) -> HttpTcpServer:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def start(self) -> None:
        """Listen. Raises `ServerError` that names the address."""
        if self._server is not None or self._closing:
            raise ServerError("this server was started before")
        listener = bind_tcp(self.host, self.port)
        self.port = listener.getsockname()[1]
        self._server = await asyncio.start_server(self._accept, sock=listener, ssl=self._tls)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername")
        stream = FrameStream(reader, writer, limit=self._limit)
        if self._closing or (len(self._connections) >= CONNECTIONS and not self._make_room()):
            log.warning("a connection from %s was closed: there are %d", peer, len(self._connections))
            await stream.close()
            return
        tune(writer.get_extra_info("socket"))
        connection = FrameConnection(stream, self._router, self._state, where=str(peer), idle=self._idle)
        task = asyncio.current_task()
        assert task is not None
        self._connections[connection] = task
        try:
            await connection.serve()
        except PyWattError as error:
            log.warning("the connection of %s failed: %s", peer, error)
        finally:
            del self._connections[connection]

    def _make_room(self) -> bool:
        """Cut off the connection on which nothing was ever asked for longest: who says nothing must not keep out who does."""
        silent = next((connection for connection in self._connections if not connection.asked), None)
        if silent is None:
            return False
        silent.asked = True  # it is on its way out, and not to be found again
        silent.cut()
        return True

    async def close(self, drain: float = DRAIN) -> None:
        """Accept and read nothing more, let what runs end for `drain` seconds, then close. May be called twice."""
        self._closing = True
        if self._server is not None:
            self._server.close()
        tasks = set(self._connections.values())
        for connection in self._connections:
            connection.stop()
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=drain)
            for connection in list(self._connections):
                connection.cut()
            if late:
                await asyncio.wait(late, timeout=1.0)


async def start_http_server(
    router: HttpTcpRouter,
    registration: Registration | RegisteredModule,
    state: Any = None,
    *,
    shutdown: asyncio.Event | None = None,
    heartbeat: float = 30.0,
    drain: float = DRAIN,
    reconnect: Backoff | None = None,
) -> None:
    """Serve `router` on a connection to the orchestrator at which the module is registered, until `shutdown` is set.

    Its routes are advertised as the module's capabilities, and heartbeats are sent each `heartbeat` seconds. A frame that
    cannot be read is skipped; a connection that breaks is opened again, with `reconnect` (1 s at first, at most 30) between
    the attempts. Given a `RegisteredModule` alone, it takes leave of the orchestrator in the end. Raises what registering
    raises where the routes cannot be advertised, and `ChannelClosed` where the first connection fails.
    """
    from ..services.registration import Capabilities, Endpoint, Registration

    if not isinstance(registration, Registration):
        async with Registration(registration) as own:
            await start_http_server(router, own, state, shutdown=shutdown, heartbeat=heartbeat, drain=drain, reconnect=reconnect)
        return
    endpoints = [Endpoint(path=path, methods=methods) for path, methods in router.routes.items()]
    await registration.advertise_capabilities(Capabilities(endpoints=endpoints))
    beating = _start_heartbeats(registration, heartbeat)
    stop = shutdown or asyncio.Event()
    waits = reconnect or Backoff(initial=1.0, maximum=30.0)
    failures = 0
    try:
        stream = await _connect(registration)
        while True:
            connection = FrameConnection(stream, router, state, where="the orchestrator")
            if await _serve_until(connection, stop, drain):
                return
            while not stop.is_set():
                failures += 1
                with suppress(TimeoutError):
                    async with asyncio.timeout(waits.delay(failures, random.random())):
                        await stop.wait()
                try:
                    stream = await _connect(registration)
                    break
                except ChannelClosed as error:
                    log.log(logging.WARNING if failures == 1 else logging.DEBUG, "%s", error)
            if stop.is_set():
                await stream.close()
                return
            failures = 0
    finally:
        if beating:
            await registration.stop_heartbeats()


def _start_heartbeats(registration: Registration, interval: float) -> bool:
    try:
        registration.start_heartbeats(interval)
    except RuntimeError:
        return False  # the caller has started them, and ends them
    return True


async def _connect(registration: Registration) -> FrameStream:
    host, port = registration.module.orchestrator_host, registration.module.orchestrator_port
    try:
        async with asyncio.timeout(30.0):
            return await FrameStream.connect(host, port, limit=TCP_LIMIT)
    except (OSError, TimeoutError) as error:
        reason = "no answer within 30 s" if isinstance(error, TimeoutError) else error.strerror or str(error)
        raise ChannelClosed(f"Connection failed: the orchestrator at {host}:{port}: {reason}", executed="no") from error


async def _serve_until(connection: FrameConnection, stop: asyncio.Event, drain: float) -> bool:
    """Serve until the connection ends (False) or `stop` is set and what runs has ended, or had its time (True)."""
    serving = asyncio.create_task(connection.serve())
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if stopping.done():
            connection.stop()
            _, late = await asyncio.wait({serving}, timeout=drain)
            if late:
                connection.cut()
                await asyncio.wait({serving}, timeout=1.0)
    except asyncio.CancelledError:
        serving.cancel()
        await asyncio.wait({serving}, timeout=1.0)
        raise
    finally:
        stopping.cancel()
    if serving.done() and not serving.cancelled() and (error := serving.exception()) is not None:
        if not isinstance(error, PyWattError):
            raise error
        log.warning("the connection to the orchestrator failed: %s", error)
    return stop.is_set()
