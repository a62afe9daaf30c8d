"""Registering at an orchestrator that did not start this module: heartbeats, capabilities, a farewell (protocol 10)."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, TypeAlias

from .. import redaction
from ..errors import ChannelClosed, PyWattError, RemoteError, RemoteProtocolError, RequestTimeout
from ..protocol.codec import text_of
from ..protocol.framing import BASE64, BINARY, JSON
from ..protocol.registration import (
    ANSWER_LIMIT,
    Advertise,
    Answer,
    Capabilities,
    Endpoint,
    HealthStatus,
    HeartbeatReport,
    ModuleInfo,
    Register,
    RegisteredModule,
    Request,
    Unregister,
    read_answer,
    refusal,
    write_request,
)
from ..transports.frames import FrameStream
from ..transports.link import new_id

__all__ = [
    "Capabilities",
    "Endpoint",
    "Health",
    "HealthStatus",
    "ModuleInfo",
    "RegisteredModule",
    "Registration",
    "register_module",
]

log = logging.getLogger(__name__)

ANSWER_TIMEOUT = 30.0
"""Seconds for one request: waiting for those before it, connecting where need be, and the answer."""
CONNECT_TIMEOUT = 10.0
HEARTBEAT_INTERVAL = 30.0
"""Seconds between the answer to one heartbeat and the next."""
FAREWELL_TIMEOUT = 5.0
"""Seconds that the last request, which unregisters, may take where a block is left."""

Health: TypeAlias = "HealthStatus | tuple[HealthStatus, dict[str, str]]"
"""How a module feels, with details or without."""
HealthSource: TypeAlias = Callable[[], "Health | Awaitable[Health]"]


def address_of(address: str) -> tuple[str, int]:
    """Host and port of ``host:port`` or ``[v6]:port``; the host may be a name. Raises `ValueError` for anything else."""
    host, colon, port = address.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not bare or (":" in bare and bare is host) or not (port.isascii() and port.isdigit()) or not 0 < int(port) <= 65_535:
        raise ValueError(f"the address of an orchestrator is HOST:PORT, not {address!r}")
    return bare, int(port)


async def register_module(
    address: str, info: ModuleInfo, *, timeout: float = ANSWER_TIMEOUT, connect_timeout: float = CONNECT_TIMEOUT
) -> Registration:
    """Register at the orchestrator that listens at `address` (``host:port``); leave the registration as a block, or `close` it.

    Raises `RemoteError` where it refuses (``code`` is ``"name_taken"`` or ``"rejected"``), `RequestTimeout`, `ChannelClosed`
    where nobody listens or the connection broke, and `RemoteProtocolError` where the answer cannot be read.
    """
    host, port = address_of(address)
    exchange = _Exchange(host, port, timeout=timeout, connect_timeout=connect_timeout)
    try:
        module = await _registered(exchange, info)
    except BaseException:
        await exchange.close()
        raise
    return Registration(module, _exchange=exchange)


async def _registered(exchange: _Exchange, info: ModuleInfo) -> RegisteredModule:
    answer = await exchange.ask(Register(module_info=info))
    if answer.module is None:
        raise RemoteError("Registration rejected: No module information in response", code="rejected")
    redaction.register(answer.module.token, name=f"registration token of {info.name}")
    return answer.module


class Registration:
    """One registered module. Made by `register_module`, or from a `RegisteredModule` that was kept: it then connects when it has to.

    Requests go one after the other. After a timeout, and where a caller is cancelled, the connection is closed, because a
    late answer would be taken for the next one; the next request opens another.
    """

    def __init__(
        self, module: RegisteredModule, *, timeout: float = ANSWER_TIMEOUT, connect_timeout: float = CONNECT_TIMEOUT, _exchange: Any = None
    ) -> None:
        self.module = module
        """What the orchestrator gave; another one after it had forgotten us and was told again."""
        if _exchange is None:
            redaction.register(module.token, name=f"registration token of {module.info.name}")
            _exchange = _Exchange(module.orchestrator_host, module.orchestrator_port, timeout=timeout, connect_timeout=connect_timeout)
        self._exchange: _Exchange = _exchange
        self._capabilities: Capabilities | None = None
        self._beating: asyncio.Task[None] | None = None
        self._unregistered = False
        self.status: HealthStatus | None = None
        """What the orchestrator said about us after the last heartbeat."""

    async def __aenter__(self) -> Registration:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        await self.close()

    async def heartbeat(self, status: HealthStatus = HealthStatus.HEALTHY, details: dict[str, str] | None = None) -> HealthStatus:
        """Say how the module feels; what the orchestrator makes of it. Raises what `register_module` raises.

        The ``code`` of a `RemoteError` is ``"not_registered"`` where the orchestrator does not know us, as after its restart.
        """
        module = self.module
        answer = await self._exchange.ask(HeartbeatReport(module_id=module.id, token=module.token, status=status, details=details))
        self.status = answer.status or status
        return self.status

    async def advertise_capabilities(self, capabilities: Capabilities) -> None:
        """Say what the module can do, in place of what was said before. Raises what `heartbeat` raises."""
        await self._exchange.ask(Advertise(module_id=self.module.id, token=self.module.token, capabilities=capabilities))
        self._capabilities = capabilities

    async def unregister(self) -> None:
        """Take leave; heartbeats end, and so does the connection. Raises what `heartbeat` raises, also where it is not known."""
        await self.stop_heartbeats()
        try:
            await self._exchange.ask(Unregister(module_id=self.module.id, token=self.module.token))
            self._unregistered = True
        finally:
            await self._exchange.close()

    async def close(self) -> None:
        """`unregister`, unless that was done, but log what goes wrong instead of raising it; 5 s at most."""
        await self.stop_heartbeats()
        if not self._unregistered:
            self._unregistered = True
            try:
                async with asyncio.timeout(FAREWELL_TIMEOUT):
                    await self.unregister()
            except (PyWattError, TimeoutError) as error:
                log.warning("%s could not unregister: %s", self.module.info.name, error or "no answer in time")
        await self._exchange.close()

    # ── heartbeats ──────────────────────────────────────────────────────────────────────────────────────────────────

    def start_heartbeats(self, interval: float = HEARTBEAT_INTERVAL, *, health: HealthSource | None = None) -> None:
        """Report now, and `interval` seconds after each answer, what `health` says, until `stop_heartbeats` or the end.

        `health` may be asynchronous; one that raises, or is not done in the time of a request, reports ``Unhealthy``. What
        goes wrong is logged. An orchestrator that has forgotten us is told again who we are and what we can do. Raises
        `RuntimeError` where heartbeats are under way.
        """
        if self._beating is not None:
            raise RuntimeError("heartbeats are under way already: stop_heartbeats() first")
        if not interval > 0:
            raise ValueError(f"the interval of heartbeats is a number of seconds above 0, not {interval}")
        self._beating = asyncio.create_task(self._beat(interval, health), name=f"heartbeats of {self.module.info.name}")

    async def stop_heartbeats(self) -> None:
        """No more heartbeats; nothing happens where there are none."""
        beating, self._beating = self._beating, None
        if beating is not None:
            beating.cancel()
            await asyncio.wait({beating})

    async def _beat(self, interval: float, health: HealthSource | None) -> None:
        failing = False
        while True:
            status, details = await self._ask_health(health)
            try:
                await self._beat_once(status, details)
            except PyWattError as error:
                log.log(logging.DEBUG if failing else logging.WARNING, "a heartbeat of %s failed: %s", self.module.info.name, error)
                failing = True
            else:
                if failing:
                    log.info("heartbeats of %s are answered again", self.module.info.name)
                failing = False
            await asyncio.sleep(interval)

    async def _beat_once(self, status: HealthStatus, details: dict[str, str] | None) -> None:
        try:
            await self.heartbeat(status, details)
        except RemoteError as error:
            if error.code != "not_registered":
                raise
            log.warning("%s is not known to the orchestrator any more and registers again", self.module.info.name)
            self.module = await _registered(self._exchange, self._info_again())
            if self._capabilities is not None:
                await self.advertise_capabilities(self._capabilities)
            await self.heartbeat(status, details)

    def _info_again(self) -> ModuleInfo:
        """Who we are, and that we would like to keep our id."""
        info = self.module.info
        return ModuleInfo(info.name, info.version, info.description, self.module.id, info.metadata)

    async def _ask_health(self, source: HealthSource | None) -> tuple[HealthStatus, dict[str, str] | None]:
        if source is None:
            return HealthStatus.HEALTHY, None
        try:
            async with asyncio.timeout(self._exchange.timeout):
                found = source()
                health: Health = await found if inspect.isawaitable(found) else found
            status, details = health if isinstance(health, tuple) else (health, None)
            return HealthStatus(status), details
        except Exception as error:
            log.warning("the health of %s could not be told", self.module.info.name, exc_info=error)
            return HealthStatus.UNHEALTHY, {"error": type(error).__name__}


class _Exchange:
    """One request, one answer, in order, on a connection that is opened when it is needed."""

    def __init__(self, host: str, port: int, *, timeout: float, connect_timeout: float) -> None:
        self.host, self.port, self.timeout, self.connect_timeout = host, port, timeout, connect_timeout
        self._stream: FrameStream | None = None
        self._turn = asyncio.Lock()

    async def ask(self, request: Request) -> Answer:
        """The answer to one request. Raises `RemoteError` for one without success, and what `register_module` says."""
        metadata_id = new_id()
        data = write_request(request, id=new_id(), metadata_id=metadata_id)
        try:
            async with asyncio.timeout(self.timeout), self._turn:
                try:
                    answer = await self._ask(request.kind, data, metadata_id)
                except BaseException:
                    await self.close()
                    raise
        except TimeoutError:
            raise RequestTimeout(f"Registration timed out after {self.timeout:g} s: {request.kind} was not answered") from None
        if not answer.success:
            code, text = refusal(answer.error)
            raise RemoteError(text, code=code)
        return answer

    async def _ask(self, kind: str, data: bytes, metadata_id: str) -> Answer:
        stream = await self._connected()
        await stream.send(data)
        while True:
            try:
                frame = await stream.receive()
            except ChannelClosed as error:
                raise ChannelClosed(f"Connection error: {error} before {kind} was answered") from error
            if frame is None:
                raise ChannelClosed(f"Connection error: {self._where} closed the connection before {kind} was answered")
            code, payload = frame
            if code not in (JSON, BINARY, BASE64):
                raise RemoteProtocolError(f"{self._where} answered in format {code}, which nobody reads here")
            found = read_answer(text_of(code, payload), kind)
            if found.id is None or found.id == metadata_id:
                return found.answer
            log.debug("%s sent an answer to another request, which was dropped", self._where)

    async def _connected(self) -> FrameStream:
        if self._stream is not None and not self._stream.ended:
            return self._stream
        await self.close()
        try:
            async with asyncio.timeout(self.connect_timeout):
                self._stream = await FrameStream.connect(self.host, self.port, limit=ANSWER_LIMIT)
        except TimeoutError:
            raise ChannelClosed(
                f"Connection error: {self._where} did not answer within {self.connect_timeout:g} s", executed="no"
            ) from None
        except OSError as error:
            raise ChannelClosed(f"Connection error: {self._where} cannot be reached: {error.strerror or error}", executed="no") from error
        return self._stream

    @property
    def _where(self) -> str:
        return f"the orchestrator at {f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    async def close(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.close()
