"""A module's end of a service that its orchestrator hosts: one connection, its operations, and those that are given up (protocol 11).

With a PyWatt orchestrator each operation has an id: many are in flight at once, and one that nobody waits for any more is called
off. With any other one is in flight at a time, and is waited for behind the caller's back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from ..errors import (
    ChannelClosed,
    ConfigError,
    LocalProtocolError,
    PyWattError,
    RemoteProtocolError,
    RequestTimeout,
    StorageError,
    Unavailable,
)
from ..protocol.hosted import CANCEL, HOSTING, TAGGED, error_of
from ..protocol.messages import ServiceOperation, ServiceOperationResult, ServiceRequest, ServiceResponse, ServiceType
from ..transports.link import new_id

if TYPE_CHECKING:
    from ..interfaces import Orchestrator

log = logging.getLogger(__name__)

OPENING: Final = 30.0
"""Seconds that the orchestrator may take to open a connection."""
FAREWELL: Final = 5.0
"""Seconds for closing one."""
CALLING_OFF: Final = 10.0
"""Seconds for calling an operation off, and for rolling back: what is not done then, the orchestrator does by itself."""
AT_ONCE: Final = 64
"""Operations of one connection in flight; those of transactions that are open come on top, so that none waits for what it holds up."""

UNDOING: Final = {"begin_transaction": ("transaction_rollback", "transaction_id")}
"""What makes something that has to be given back, and by which operation, with the result as which parameter."""


_PREFIXES: Final = {ServiceType.DATABASE: "db", ServiceType.CACHE: "cache", ServiceType.JWT: "jwt"}
"""What the ids of requests begin with (protocol 11.1)."""


def is_concurrent(orchestrator: Orchestrator) -> bool:
    """Whether it understands what goes beyond the inherited protocol."""
    return orchestrator.extension is not None and HOSTING in orchestrator.extension.features


def orchestrator_of(context: Any) -> Orchestrator:
    """The orchestrator of a provider's context. Raises `ConfigError` where the module has none."""
    orchestrator: Orchestrator | None = context.orchestrator
    if orchestrator is None or (orchestrator.channels.stdio is None and not orchestrator.channels.names):
        raise ConfigError(
            f'[{context.section}] use = "orchestrator": this module runs without one; start it with `pywatt up`, or name another provider'
        )
    return orchestrator


class Service:
    """An open connection. All its operations raise `StorageError` and its kinds, or `RequestTimeout`."""

    def __init__(self, orchestrator: Orchestrator, kind: ServiceType, id: str, noun: str, timeout: float) -> None:
        self.concurrent = is_concurrent(orchestrator)
        self.closed = False
        self.noun = noun
        """``"database"``, ``"cache"`` or ``"authenticator"``."""
        self._channels, self._kind, self._id = orchestrator.channels, kind, id
        self._timeout = timeout
        self._places = asyncio.Semaphore(AT_ONCE)
        self._one = asyncio.Lock()
        self._behind: set[asyncio.Task[Any]] = set()
        """What goes on although nobody waits for it."""

    @classmethod
    async def open(
        cls, orchestrator: Orchestrator, kind: ServiceType, config: Mapping[str, Any], *, noun: str, section: str, timeout: float
    ) -> Service:
        """Ask for a connection. Raises `Unavailable`, which says what the orchestrator said."""
        asked = dict(config)
        if is_concurrent(orchestrator):
            asked[TAGGED] = True
        message = ServiceRequest(f"{_PREFIXES[kind]}_request_{new_id()}", kind, asked)
        try:
            answer = await orchestrator.channels.request(message, timeout=OPENING)
        except RequestTimeout as error:
            raise Unavailable(f"[{section}] the orchestrator did not open the {noun} within {OPENING:g} s") from error
        except ChannelClosed as error:
            raise Unavailable(f"[{section}] the orchestrator cannot be reached: {error}") from error
        assert isinstance(answer, ServiceResponse)
        if not answer.success:
            raise Unavailable(f"[{section}] the orchestrator did not open the {noun}: {answer.error or 'Unknown connection error'}")
        if not answer.connection_id:
            raise Unavailable(f"[{section}] the orchestrator did not open the {noun}: No connection ID returned")
        return cls(orchestrator, kind, answer.connection_id, noun, timeout)

    async def call(self, operation: str, params: Mapping[str, Any], *, free: bool = False, timeout: float | None = None) -> Any:
        """The result of one operation. `free` ones need no place: what holds others up is not held up by them."""
        if self.closed:
            raise StorageError(f"the {self.noun} is closed")
        seconds = self._timeout if timeout is None else timeout
        if not self.concurrent:
            return await self._in_turn(operation, params, seconds)
        if free:
            return await self._with_id(operation, params, seconds)
        async with self._places:
            if self.closed:
                raise StorageError(f"the {self.noun} is closed")
            return await self._with_id(operation, params, seconds)

    async def close(self) -> None:
        """Say goodbye, 5 s at most; what is still under way ends with an error."""
        if self.closed:
            return
        self.closed = True
        with suppress(PyWattError):
            if self.concurrent:
                await self._exchange(ServiceOperation(self._id, self._kind, "close", {}, new_id()), FAREWELL)
            else:
                await self._in_turn("close", {}, FAREWELL)
        for task in self._behind:
            task.cancel()

    # ── many at once ────────────────────────────────────────────────────────────────────────────────────────────────

    async def _with_id(self, operation: str, params: Mapping[str, Any], seconds: float) -> Any:
        request_id = new_id()
        try:
            return await self._exchange(ServiceOperation(self._id, self._kind, operation, params, request_id), seconds)
        except asyncio.CancelledError:
            self._call_off(request_id)
            raise
        except (RequestTimeout, Unavailable) as error:
            if isinstance(error.__cause__, RequestTimeout | ChannelClosed) and getattr(error.__cause__, "executed", "unknown") == "unknown":
                self._call_off(request_id)
            raise

    def _call_off(self, request_id: str) -> None:
        """Nobody waits for that operation any more: it is stopped, and what it has made is undone."""
        message = ServiceOperation(self._id, self._kind, CANCEL, {"request_id": request_id}, new_id())
        self._go_on(self._exchange(message, CALLING_OFF))

    # ── one after the other ─────────────────────────────────────────────────────────────────────────────────────────

    async def _in_turn(self, operation: str, params: Mapping[str, Any], seconds: float) -> Any:
        """The operation in a task of its own, so that its answer finds it whatever happens to the caller."""
        task = self._go_on(self._turn(operation, params, seconds))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if operation in UNDOING and not task.cancelled():
                task.add_done_callback(lambda done: self._undo(operation, done))
            raise

    async def _turn(self, operation: str, params: Mapping[str, Any], seconds: float) -> Any:
        try:
            async with asyncio.timeout(seconds):
                await self._one.acquire()
        except TimeoutError as error:
            raise RequestTimeout(f"{operation}: another operation of the {self.noun} took longer than {seconds:g} s") from error
        try:
            return await self._exchange(ServiceOperation(self._id, self._kind, operation, params), seconds)
        finally:
            self._one.release()

    def _undo(self, operation: str, done: asyncio.Task[Any]) -> None:
        if not self.closed and not done.cancelled() and done.exception() is None and isinstance(done.result(), str):
            undoing, name = UNDOING[operation]
            self._go_on(self._turn(undoing, {name: done.result()}, CALLING_OFF))

    # ── either ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _exchange(self, message: ServiceOperation, seconds: float) -> Any:
        try:
            answer = await self._channels.request(message, timeout=seconds)
        except RequestTimeout as error:
            text = f"{message.operation} was not answered within {seconds:g} s; it may or may not have been executed"
            raise RequestTimeout(text) from error
        except ChannelClosed as error:
            known = "it was not executed" if error.executed == "no" else "it may or may not have been executed"
            raise Unavailable(f"the orchestrator went away during {message.operation}: {known}") from error
        except (LocalProtocolError, RemoteProtocolError) as error:
            raise StorageError(f"{message.operation}: {error}") from error
        assert isinstance(answer, ServiceOperationResult)
        if not answer.success:
            failure = answer.result.get("failure") if isinstance(answer.result, dict) else None
            raise error_of(answer.error or "Unknown error", failure) from Refused(answer.error or "Unknown error")
        return answer.result

    def _go_on(self, work: Any) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._behind.add(task)
        task.add_done_callback(self._gone_on)
        return task

    def _gone_on(self, task: asyncio.Task[Any]) -> None:
        self._behind.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            said = type(error).__name__ if self._kind == ServiceType.JWT else error  # what is said about a token may hold it
            log.debug("an operation that went on behind its caller's back failed: %s", said)


class Refused(PyWattError):
    """What the orchestrator said, word for word: the cause of the error that it stands for."""
