"""The functions that answer other modules: found, called with a deadline, ended when nobody waits for them any more."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from msgspec import Raw

from .. import telemetry
from ..errors import PyWattError, RemoteError, RequestTimeout
from ..protocol import failures
from ..protocol.failures import Failure, failure_of, failure_reply, success_reply
from ..protocol.messages import RESPONSE_ENDPOINT, EncodedMessage
from ..redaction import redact
from .arrivals import Misfit
from .receiving import Receiver
from .turns import Full, Levels, depth

if TYPE_CHECKING:
    from .arrivals import Arrival
    from .receivers import Receivers

log = logging.getLogger(__name__)

CANCEL: Final = "__cancel__"
"""The endpoint of the notification that nobody waits any more for the request that ``properties.request_id`` names."""

AT_ONCE: Final = 1000
"""Calls of one module's functions that run at once; more wait their turn."""

WAITING: Final = 1000
"""Calls that wait for their turn; what comes on top is refused at once (``overloaded``)."""

MOST_BYTES: Final = 64 * 2**20
"""Bytes of the messages whose functions run or wait; what comes on top is refused at once (``overloaded``)."""

CALLED_OFF: Final = "called off"
LATE: Final = "late"

DEEPEST: Final = 10**9
"""A depth beyond this is none."""

REASON_LIMIT: Final = 1000
"""Characters of an exception's text that travel."""

Reserved: TypeAlias = "Callable[[Arrival], Awaitable[bytes | EncodedMessage | None]]"

NO_DEADLINE: Final = float("inf")

deadline: ContextVar[float | None] = ContextVar("pywatt_deadline", default=None)
"""When the request that is being answered here stops to be waited for, by the event loop's clock."""


class _Call:
    """One arrival that is being worked on."""

    __slots__ = ("ended", "is_done", "key", "task", "until")

    def __init__(self, key: tuple[object, ...], task: asyncio.Task[Any], until: float | None) -> None:
        self.key, self.task, self.until = key, task, until
        self.is_done = False
        self.ended = ""
        """Why it was ended from outside: `CALLED_OFF` or `LATE`."""

    def end(self, why: str) -> None:
        if not self.ended:
            self.ended = why
            self.task.cancel()


_call: ContextVar[_Call | None] = ContextVar("pywatt_call", default=None)
"""What is being answered here."""


def ends_at() -> float | None:
    """When whoever asked for what is done here stops to wait for it, by the event loop's clock; None where nobody does.

    Tasks that a function leaves behind when it has returned have time as they like.
    """
    call = _call.get()
    return None if call is not None and call.is_done else deadline.get()


class Answering:
    """Answers what arrives, one task a message.

    At most `at_once` calls of the module's functions run and `waiting` wait, and all their messages together have `most_bytes`, unless
    it is one alone that has more; what comes on top is refused. Each depth of requests within requests has these limits for itself.
    """

    def __init__(
        self,
        module_id: str,
        receivers: Receivers,
        state: Any,
        *,
        at_once: int = AT_ONCE,
        waiting: int = WAITING,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self.module_id, self.receivers = module_id, receivers
        self._state = state
        self.turns = Levels(at_once, waiting)
        self.most_bytes = most_bytes
        self._reserved: dict[str, Reserved] = {}
        self._bound: dict[Callable[..., Any], Receiver] = {}
        self._calls: dict[tuple[object, ...], _Call] = {}
        self._sweep: asyncio.TimerHandle | None = None
        self._sweep_at = NO_DEADLINE

    def reserve(self, endpoint: str, function: Reserved) -> None:
        """`function` gets what arrives for `endpoint`. Raises `TypeError` for a name that is taken, or without two leading underscores."""
        if not endpoint.startswith("__") or endpoint in (RESPONSE_ENDPOINT, CANCEL) or endpoint in self._reserved:
            raise TypeError(f"{endpoint!r} cannot be reserved: it is taken, or does not begin with two underscores")
        self._reserved[endpoint] = function

    def check(self) -> None:
        """Read the signatures of all functions that receive. Raises `TypeError` for one that cannot be called."""
        for function in self.receivers.answering:
            self._bind(function).check()

    async def answer(self, arrival: Arrival) -> EncodedMessage | None:
        """The payload of the reply; None where nobody waits for one."""
        if arrival.endpoint == CANCEL:
            self._call_off(arrival.source, arrival.properties.get("request_id"))
            return None
        task = asyncio.current_task()
        assert task is not None
        call, cancelling = self._begin(arrival, task), task.cancelling()
        outer, before, level = _call.set(call), deadline.set(arrival.deadline), depth.set(_depth_in(arrival))
        ids = telemetry.Received(arrival.properties.get("request_id"), arrival.properties.get("traceparent"), arrival.request_id)
        ids.begin()
        try:
            value = await self._received(arrival)
            if arrival.is_notification:
                return None
            return value if isinstance(value, EncodedMessage) else self._success(arrival, value)
        except asyncio.CancelledError:
            if call.ended == CALLED_OFF:
                log.debug("a request was called off", extra={"source": arrival.source, "endpoint": arrival.endpoint})
                return None
            if task.cancelling() > cancelling + bool(call.ended):
                raise
            error: PyWattError = self._too_late(arrival) if call.ended else self._cancelled_itself(arrival)
            failure = self._failure(arrival, error)
            return None if arrival.is_notification else self.failed(arrival, failure)
        except (Exception, SystemExit) as error:
            late = call.ended == LATE and isinstance(error, TimeoutError)
            failure = self._failure(arrival, self._too_late(arrival) if late else error)
            return None if arrival.is_notification else self.failed(arrival, failure)
        finally:
            if call.ended:
                task.uncancel()
            call.is_done = True
            ids.end()
            depth.reset(level)
            deadline.reset(before)
            _call.reset(outer)
            del self._calls[call.key]

    def failed(self, arrival: Arrival, failure: Failure) -> EncodedMessage:
        """The payload that tells the requester of a failure."""
        return failure_reply(failure, arrival.properties, id=arrival.request_id, source=self.module_id, destination=arrival.source)

    def _success(self, arrival: Arrival, value: Any) -> EncodedMessage:
        # What the requester wrote in, it reads; bincode has no schema here, and Base64 is a Rust peer's.
        format = arrival.format if arrival.format in ("MessagePack", "Cbor") else "Json"
        return success_reply(
            value, arrival.properties, id=arrival.request_id, source=self.module_id, destination=arrival.source, format=format
        )

    # ── ending ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _begin(self, arrival: Arrival, task: asyncio.Task[Any]) -> _Call:
        """Remember it, and end it when its time is over: one timer serves all, set for the earliest deadline."""
        key = (arrival.source, arrival.request_id)
        earlier = self._calls.get(key)
        if earlier is not None:  # two with one id: who calls off means the later one, and both have their deadline
            earlier.key = (*key, earlier)
            self._calls[earlier.key] = earlier
        until = arrival.deadline
        call = self._calls[key] = _Call(key, task, until)
        if until is not None and until < self._sweep_at:
            self._schedule(until)
        return call

    def _schedule(self, when: float) -> None:
        if self._sweep is not None:
            self._sweep.cancel()
        self._sweep_at = when
        self._sweep = asyncio.get_running_loop().call_at(when, self._time_out)

    def _time_out(self) -> None:
        self._sweep, self._sweep_at = None, NO_DEADLINE
        now = asyncio.get_running_loop().time()
        earliest = NO_DEADLINE
        for call in self._calls.values():
            if call.until is None or call.ended:
                continue
            if call.until <= now:
                call.end(LATE)
            else:
                earliest = min(earliest, call.until)
        if earliest != NO_DEADLINE:
            self._schedule(earliest)

    def _call_off(self, source: str, request_id: object) -> None:
        call = self._calls.get((source, request_id)) if isinstance(request_id, str) else None
        if call is not None:
            call.end(CALLED_OFF)

    # ── working ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _received(self, arrival: Arrival) -> Any:
        reserved = self._reserved.get(arrival.endpoint)
        if reserved is not None:
            found = await reserved(arrival)
            return found if isinstance(found, EncodedMessage) else Raw(found or b"null")
        function = self._receiver(arrival)
        if function is None:
            raise RemoteError(self._nobody(arrival), code=failures.NO_ENDPOINT, executed="no")
        receiver = self._bound.get(function) or self._bind(function)
        turns, size = self.turns.here(), arrival.size
        if turns.bytes + size > self.most_bytes and turns.bytes:
            text = f"{self.module_id} is overloaded: the messages that it works on have {turns.bytes} bytes, {self.most_bytes} are the most"
            raise RemoteError(text, code=failures.OVERLOADED, executed="no")
        turns.bytes += size
        try:
            if turns.running < turns.at_once:
                turns.running += 1
            else:
                await turns.enter()
            try:
                return await receiver(arrival, self._state)
            finally:
                turns.leave()
        except Full:
            text = f"{self.module_id} is overloaded: {turns.at_once} requests run and {turns.waiting} wait"
            raise RemoteError(text, code=failures.OVERLOADED, executed="no") from None
        finally:
            turns.bytes -= size

    def _receiver(self, arrival: Arrival) -> Callable[..., Any] | None:
        receivers = self.receivers
        found = receivers.endpoints.get(arrival.endpoint)
        if found is not None or arrival.endpoint.startswith("__"):
            return found
        source = arrival.source
        return receivers.sources.get(source) or receivers.sources.get(source.partition(".")[0]) or receivers.default

    def _nobody(self, arrival: Arrival) -> str:
        if not arrival.endpoint:
            return f"{self.module_id} has no function for messages of {arrival.source} that name no endpoint"
        import difflib

        near = difflib.get_close_matches(arrival.endpoint, self.receivers.endpoints, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return f"{self.module_id} has no endpoint {arrival.endpoint!r}{hint}"

    def _cancelled_itself(self, arrival: Arrival) -> RemoteError:
        text = f"{self.module_id}:{arrival.endpoint} ended with CancelledError, although nobody had called it off"
        return RemoteError(text, code=failures.CANCELLED)

    def _too_late(self, arrival: Arrival) -> RequestTimeout:
        return RequestTimeout(f"{self.module_id}:{arrival.endpoint} was not done when the requester's time was over")

    def _bind(self, function: Callable[..., Any]) -> Receiver:
        receiver = self._bound[function] = Receiver(function, type(self._state) if self._state is not None else None)
        return receiver

    # ── failing ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _failure(self, arrival: Arrival, error: BaseException) -> Failure:
        """What the requester is told; the log is told more, where it was not the requester's fault."""
        about = {"source": arrival.source, "endpoint": arrival.endpoint, "message_id": arrival.request_id}
        if isinstance(error, Misfit):
            failure = Failure(failures.BAD_REQUEST, f"{self.module_id}:{arrival.endpoint} cannot read the payload: {error}", executed="no")
        elif isinstance(error, RemoteError):
            failure = _without_secrets(failure_of(error))
        elif isinstance(error, RequestTimeout) and arrival.deadline is not None and arrival.deadline <= asyncio.get_running_loop().time():
            failure = Failure(failures.TIMEOUT, str(error))
        else:
            log.error("answering a message failed", exc_info=error, extra=about)
            cause = Failure(type(error).__name__, redact(_text(error))[:REASON_LIMIT])
            return Failure(failures.APPLICATION, f"{self.module_id}:{arrival.endpoint} failed", cause, "yes")
        log.warning("a message was not answered with a result", extra={**about, "code": failure.code, "reason": failure.message})
        return failure


def _depth_in(arrival: Arrival) -> int:
    said = arrival.properties.get("depth")
    return said if isinstance(said, int) and not isinstance(said, bool) and 0 <= said <= DEEPEST else 0


def _without_secrets(failure: Failure) -> Failure:
    """What a function says on purpose may quote what it was told by a library."""
    cause = _without_secrets(failure.cause) if failure.cause is not None else None
    return Failure(failure.code, redact(failure.message), cause, failure.executed)


def _text(error: BaseException) -> str:
    """Some exceptions cannot say what they are; the requester is answered all the same."""
    try:
        return str(error)
    except Exception as problem:
        return f"its text cannot be had: {type(problem).__name__}"
