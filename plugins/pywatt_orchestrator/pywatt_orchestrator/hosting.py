"""What one process asks of the services that we host: connections opened, operations carried out beside each other, answers, limits."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final

from pywatt_core.errors import (
    ChannelClosed,
    Forbidden,
    LocalProtocolError,
    NotFound,
    PyWattError,
    RequestTimeout,
    StorageError,
    Unavailable,
)
from pywatt_core.protocol.hosted import CANCEL, TAGGED, failure_of
from pywatt_core.protocol.messages import ServiceOperation, ServiceOperationResult, ServiceRequest, ServiceResponse, ServiceType
from pywatt_core.protocol.values import with_article
from pywatt_core.redaction import redact

from .hosted import Connection
from .hosted_auth import AuthConnection
from .hosted_cache import CacheConnection
from .hosted_database import DatabaseConnection
from .services import NOUNS

if TYPE_CHECKING:
    from pywatt_core.transports.link import Link

    from .hub import Peer
    from .services import Hosted, Services

MOST_CONNECTIONS: Final = 100
"""Connections that one process may have open."""
MOST_BYTES: Final = 256 * 2**20
"""Bytes of the operations of one process that are under way; one more is refused."""
MOST_WAITING: Final = 2_000
"""Requests of one process that are under way, answers that it does not read included; more are not answered at all."""
MOST_CONFIG: Final = 64 * 2**10
"""Bytes with which a connection may be asked for."""
OPENING: Final = 25.0
"""Seconds that a service may take to open for a process, which waits for 30."""

NO_SERVICES: Final = "this orchestrator hosts no services: add [services.NAME], or have the module open its own"

_KINDS: Final = {ServiceType.DATABASE: "database", ServiceType.CACHE: "cache", ServiceType.JWT: "auth"}
_CONNECTIONS: Final[dict[str, type[Connection]]] = {"database": DatabaseConnection, "cache": CacheConnection, "auth": AuthConnection}
_DIALECTS: Final = {"postgres": "postgresql"}


class ProcessServices:
    """One process's side. Nothing here waits while a link is being read."""

    def __init__(self, services: Services, peer: Peer) -> None:
        self._services, self._peer = services, peer
        self._connections: dict[str, Connection] = {}
        self._opening: set[asyncio.Task[None]] = set()
        self._weights: dict[asyncio.Task[None], int] = {}
        self._bytes = 0
        self._refusing: set[asyncio.Task[None]] = set()
        self._overflowed = False
        self._ended = False

    def end(self) -> None:
        """The process is gone: what it had open is undone."""
        self._ended = True
        for task in self._opening:
            task.cancel()
        connections, self._connections = self._connections, {}
        if connections:
            self._services.clean_up(_closed(list(connections.values())))

    # ── opening ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def request(self, message: ServiceRequest, link: Link) -> None:
        """A process asks for a connection."""
        if self._overflows():
            return
        refusal = ""
        if len(self._connections) + len(self._opening) >= MOST_CONNECTIONS:
            refusal = f"{self._peer.module_id} has {MOST_CONNECTIONS} connections to services already: close some"
        elif _weight(message.config) > MOST_CONFIG:
            refusal = f"a connection was asked for with more than {MOST_CONFIG} bytes"
        if refusal:
            self._refuse(ServiceResponse(id=message.id, service_type=message.service_type, success=False, error=refusal), link)
            return
        task = asyncio.get_running_loop().create_task(self._open(message, link))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _open(self, message: ServiceRequest, link: Link) -> None:
        connection: Connection | None = None
        error = ""
        try:
            hosted = self._choose(message)
            config = message.config if isinstance(message.config, dict) else {}
            connection = _CONNECTIONS[hosted.kind](hosted, self._peer.module, tagged=config.get(TAGGED) is True)
            async with asyncio.timeout(OPENING) as limit:
                await connection.open()
            self._check_dialect(connection, config)
        except TimeoutError:
            if not limit.expired():
                raise
            error = f"[services.{hosted.name}] did not open within {OPENING:g} s"
        except PyWattError as failure:
            error = str(failure)
        except Exception as failure:
            error = f"it could not be opened: {type(failure).__name__}"
        if error or connection is None:
            error = redact(error)
            self._peer.note(f"it asks for {_noun(message.service_type)}: {error}", level="warning")
            answer = ServiceResponse(id=message.id, service_type=message.service_type, success=False, error=error)
        else:
            self._connections[connection.id] = connection
            answer = ServiceResponse(id=message.id, service_type=message.service_type, success=True, connection_id=connection.id)
        await self._send(answer, link)

    def _choose(self, message: ServiceRequest) -> Hosted:
        """The service that is meant. Raises `PyWattError` that says what the process may have."""
        kind = _KINDS.get(message.service_type)
        ours = [one for one in self._services.hosted.values() if one.kind == kind]
        if kind is None or not ours:
            raise Unavailable(NO_SERVICES if not self._services.hosted else f"this orchestrator hosts no {message.service_type.wire}")
        config = message.config if isinstance(message.config, dict) else {}
        inner = config.get("config" if kind == "auth" else "extra_params")
        wanted = inner.get("service") if isinstance(inner, dict) else None
        if kind == "database" and not wanted:
            wanted = config.get("database")
        admitted = [one for one in ours if one.admits(self._peer.module)]
        if isinstance(wanted, str) and wanted:
            found = next((one for one in ours if one.name == wanted), None)
        else:  # The inherited protocol has no name for a cache, and none for an authenticator.
            found = next((one for one in admitted if one.name == "main"), admitted[0] if len(admitted) == 1 else None)
        if found in admitted and found is not None:
            return found
        theirs = ", ".join(one.name for one in admitted) or "none"
        if found is not None:
            remedy = f'add "{self._peer.module}" to modules in [services.{found.name}]'
            raise Forbidden(f"{self._peer.module} may not use the {NOUNS[kind]} {found.name!r}: {remedy}")
        what = f"there is no {NOUNS[kind]} {wanted!r} for {self._peer.module}" if wanted else f"which {NOUNS[kind]} is meant is not clear"
        raise NotFound(f"{what} (it may use: {theirs})")

    def _check_dialect(self, connection: Connection, config: dict[str, Any]) -> None:
        wanted = config.get("db_type")
        if not isinstance(connection, DatabaseConnection) or not isinstance(wanted, str):
            return
        if _DIALECTS.get(wanted, wanted) != connection.dialect:
            raise StorageError(f"the database {connection.hosted.name!r} is {connection.dialect}, and {wanted} was asked for (db_type)")

    # ── operations ──────────────────────────────────────────────────────────────────────────────────────────────────

    def operate(self, message: ServiceOperation, link: Link) -> None:
        """A process asks for an operation."""
        if self._ended or self._overflows():
            return
        connection = self._connections.get(message.connection_id)
        if connection is None:
            unknown = NotFound("there is no connection with this id, or it has been closed")
            self._refuse(_failed(message, unknown, message.request_id is not None), link)
            return
        weight = _weight(message.params)
        counts = message.operation not in (CANCEL, "close")
        if refusal := self._refusal(connection, weight) if counts else "":
            self._refuse(_failed(message, Unavailable(refusal), connection.tagged), link)
            return
        task = asyncio.get_running_loop().create_task(self._carry_out(connection, message, link))
        self._weights[task] = weight
        self._bytes += weight
        if counts:
            connection.running[task] = message.request_id
            task.add_done_callback(connection.done)
        task.add_done_callback(self._done)

    def _refusal(self, connection: Connection, weight: int) -> str:
        """Why one more operation is too much; empty where it is not."""
        most = connection.limits.operations
        if len(connection.running) >= most:
            where = f"operations = {most} in [services.{connection.hosted.name}]"
            return f"{self._peer.module_id} has too many operations under way ({where}): let some of them end first"
        if self._bytes + weight > MOST_BYTES:
            return f"the operations of {self._peer.module_id} that are under way hold more than {MOST_BYTES} bytes"
        return ""

    def _overflows(self) -> bool:
        """Whether the process asks without reading the answers, so that one more would have no place."""
        full = len(self._opening) + len(self._weights) + len(self._refusing) >= MOST_WAITING
        if full and not self._overflowed:
            self._peer.note(f"it asks services without reading the answers: {MOST_WAITING} wait, and more are dropped", level="warning")
        self._overflowed = full
        return full

    def _refuse(self, answer: ServiceResponse | ServiceOperationResult, link: Link) -> None:
        """Answer without holding on to what was asked."""
        if isinstance(answer, ServiceResponse):
            self._peer.note(f"it asks for {_noun(answer.service_type)}: {answer.error}", level="warning")
        task = asyncio.get_running_loop().create_task(self._send(answer, link))
        self._refusing.add(task)
        task.add_done_callback(self._refusing.discard)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._bytes -= self._weights.pop(task)

    async def _carry_out(self, connection: Connection, message: ServiceOperation, link: Link) -> None:
        tagged = connection.tagged
        try:
            result = await self._result(connection, message)
        except PyWattError as error:
            answer = _failed(message, error, tagged)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            reason = connection.stopped.get(task, "") if task is not None else ""
            if self._ended or not reason:
                raise
            answer = _failed(message, StorageError(reason), tagged)
        except Exception as error:
            self._peer.note(f"{message.operation} failed here: {type(error).__name__}: {error}", level="error")
            answer = _failed(message, StorageError(f"{message.operation} failed at the orchestrator: {type(error).__name__}"), tagged)
        else:
            answer = ServiceOperationResult(success=True, result=result, **_echo(message, tagged))
        try:
            await self._send(answer, link)
        except LocalProtocolError as error:
            await self._send(_failed(message, StorageError(f"the result cannot be sent: {error}"), tagged), link)

    async def _result(self, connection: Connection, message: ServiceOperation) -> Any:
        if message.operation == "close":
            self._connections.pop(connection.id, None)
            await connection.close(f"the {connection.hosted.noun} is closed")
            return None
        if message.operation == CANCEL and connection.tagged:
            asked = message.params.get("request_id") if isinstance(message.params, dict) else None
            if isinstance(asked, str):
                await connection.call_off(asked)
            return None
        connection.begin()
        if connection.was_called_off(message.request_id):
            raise StorageError("it was called off")
        seconds = connection.limits.operation_timeout
        try:
            async with asyncio.timeout(seconds) as limit:
                return await connection.perform(message.operation, message.params, message.request_id)
        except TimeoutError as error:
            if not limit.expired():
                raise
            where = f"operation_timeout in [services.{connection.hosted.name}]"
            raise RequestTimeout(f"{message.operation} was stopped after {seconds:g} s ({where})") from error

    async def _send(self, message: ServiceResponse | ServiceOperationResult, link: Link) -> None:
        with contextlib.suppress(ChannelClosed):  # it ended while it was being answered
            await link.send(message)


def _echo(message: ServiceOperation, tagged: bool) -> dict[str, Any]:
    """What says whose result it is. The reference finds the waiting caller by the whole operation, echoed (protocol 3.4)."""
    said: dict[str, Any] = {"connection_id": message.connection_id, "request_id": message.request_id}
    if not tagged:
        said["params"] = {
            "connection_id": message.connection_id,
            "service_type": message.service_type,
            "operation": message.operation,
            "params": message.params,
        }
    return said


def _failed(message: ServiceOperation, error: PyWattError, tagged: bool) -> ServiceOperationResult:
    """What is said may hold what a library has said, and that may hold what it was opened with: nothing of it leaves the orchestrator."""
    result = {"failure": failure_of(error)} if tagged else None
    return ServiceOperationResult(success=False, result=result, error=redact(str(error)), **_echo(message, tagged))


def _noun(kind: ServiceType) -> str:
    """What is asked for, with its article."""
    return with_article(NOUNS.get(_KINDS.get(kind, ""), "service"))


def _weight(params: Any) -> int:
    """About how many bytes the parameters of an operation hold."""
    total = 0
    pending = [params]
    while pending:
        value = pending.pop()
        if isinstance(value, str | bytes):
            total += len(value)
        elif isinstance(value, dict):
            pending += value.values()
        elif isinstance(value, list):
            pending += value
            total += 8 * len(value)
    return total


async def _closed(connections: list[Connection]) -> None:
    for connection in connections:
        await connection.close("the process has ended")
