"""Messages between modules: requests, notifications, and the functions that answer them (protocol 12).

A deadline travels with each request: what the requester no longer waits for is ended at the target, and a request that is made
while one is answered has no more time than that one has left.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping
from contextlib import suppress
from math import isnan
from typing import TYPE_CHECKING, Any, Final

from .. import telemetry
from ..errors import ChannelClosed, LocalProtocolError, PyWattError, RemoteError, RemoteProtocolError, RequestTimeout
from ..protocol import failures
from ..protocol.facts import id_sequence
from ..protocol.failures import Failure, failure_in, failure_reply
from ..protocol.messages import ORCHESTRATOR, RESPONSE_ENDPOINT, Metadata, RoutedModuleResponse
from ..protocol.messages import RouteToModule as Route
from ..protocol.payloads import Payload, read_payload, write_bare, write_payload
from .answering import AT_ONCE, CANCEL, MOST_BYTES, WAITING, Answering, Reserved, ends_at
from .arrivals import NOTHING, Arrival
from .turns import depth

if TYPE_CHECKING:
    from ..protocol.messages import EncodedMessage, RoutedModuleMessage
    from .channels import Channels
    from .receivers import Receivers

log = logging.getLogger(__name__)

TIMEOUT: Final = 30.0
"""Seconds that a request has where the caller does not say."""

LONGEST: Final = 10**12
"""Milliseconds beyond which a time left is no time."""

CALLED_OFF_AT_ONCE: Final = 1000
"""Such notifications under way; beyond them requests are given up silently, and end by their deadline."""

NOTIFICATION: Final = Metadata(properties={"notification": True})
"""What an orchestrator that is not PyWatt's is told beside the message; ours looks into the payload, and a bare message costs less."""


class Messaging:
    """One module's messages. Targets are ``"module:endpoint"``, or ``"module.2:endpoint"`` for one instance."""

    def __init__(
        self,
        channels: Channels,
        module_id: str,
        receivers: Receivers,
        state: Any = None,
        *,
        at_once: int = AT_ONCE,
        waiting: int = WAITING,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self.channels, self.module_id, self.receivers = channels, module_id, receivers
        self.state = state
        self._answering = Answering(module_id, receivers, state, at_once=at_once, waiting=waiting, most_bytes=most_bytes)
        self._next_id = id_sequence(int.from_bytes(os.urandom(16)))
        """Ids of messages: random for this module's run, then counted, which is a quarter of the work of `new_id`."""
        self._calling_off: set[asyncio.Task[None]] = set()

    # ── asking ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def request(
        self,
        target: str,
        value: Any = None,
        response_type: Any = Any,
        *,
        timeout: float | None = None,
        unwrap_result: bool = False,
        format: str | None = None,
        properties: Mapping[str, Any] | None = None,
        id: str | None = None,
    ) -> Any:
        """Ask a function of another module and return its result as `response_type`.

        `timeout` is in seconds and covers everything; None means 30, `math.inf` as long as it takes. While a request is being
        answered here, what that one has left is the most. `unwrap_result` takes ``{"Ok": value}`` apart, and raises for
        ``{"Err": error}``. `format` is that of the payload, JSON unless the target is known to read something else. `id` is a new
        UUID where none is given.

        Raises `RemoteError` (`code` says what happened), `RequestTimeout`, `ChannelClosed` whose ``executed`` says what the target may
        have done, `RemoteProtocolError` for an answer that does not fit, `LocalProtocolError` for a value that cannot travel.
        """
        module, endpoint = parted(target)
        seconds = self._seconds(TIMEOUT if timeout is None else timeout, target)
        id = id or self._next_id()
        said = {"endpoint": endpoint, "timeout": max(1, int(seconds * 1000)), "reply": failures.ENVELOPE}
        _add_around(said)
        if properties:
            said.update(properties)
        message = self._message(module, endpoint, id, value, said, format)
        try:
            answer = await self.channels.request(message, timeout=seconds)
        except RequestTimeout:
            self._call_off(module, id)
            raise RequestTimeout(f"{target} did not answer within {seconds:.3g} s; it may or may not have acted") from None
        except asyncio.CancelledError:
            self._call_off(module, id)
            raise
        if not isinstance(answer, RoutedModuleResponse):
            raise RemoteProtocolError(f"{target} was answered with {answer.op!r}")
        return _result(read_payload(answer.payload), response_type, unwrap_result, target, answer.payload)

    async def send(self, target: str, value: Any = None, *, format: str | None = None, properties: Mapping[str, Any] | None = None) -> None:
        """Tell another module something and wait for no answer, only while the orchestrator does not keep up.

        Nobody says whether it arrived. Raises `ChannelClosed` or `LocalProtocolError`.
        """
        module, endpoint = parted(target)
        said = {"endpoint": endpoint, "notification": True}
        _add_around(said)
        if properties:
            said.update(properties)
        await self.channels.send(
            self._message(module, endpoint, self._next_id(), value, said, format), metadata=None if self.speaks_pywatt else NOTIFICATION
        )

    async def ask_orchestrator(
        self, endpoint: str, value: Any = None, *, timeout: float | None = None, response_type: Any = Any, format: str | None = None
    ) -> Any:
        """Ask a PyWatt orchestrator itself. Raises what `request` raises; another orchestrator is not even asked."""
        if not self.speaks_pywatt:
            text = f"the orchestrator is not PyWatt's: it cannot be asked for {endpoint!r}"
            raise RemoteError(text, code=failures.UNSUPPORTED, executed="no")
        return await self.request(f"{ORCHESTRATOR}:{endpoint}", value, response_type, timeout=timeout, format=format)

    @property
    def speaks_pywatt(self) -> bool:
        """False where an orchestrator of somebody else started this module."""
        init = getattr(self.state, "init", None)
        return init is None or init.pywatt is not None

    @staticmethod
    def refuse_reserved(target: str) -> None:
        """Raise `LocalProtocolError` for endpoints and targets of PyWatt's own, which would leave an application without an answer."""
        if isinstance(target, str) and (target.startswith("__") or ":__" in target):
            raise LocalProtocolError(f"{target!r} cannot be asked: names with two leading underscores are PyWatt's own")

    @property
    def _beside(self) -> Metadata | None:
        """What the orchestrator is told beside a notification."""
        return None if self.speaks_pywatt else NOTIFICATION

    def _seconds(self, timeout: float, target: str) -> float:
        """Seconds that a request has. Raises `RequestTimeout` where none are left, `LocalProtocolError` for what is no time."""
        if not isinstance(timeout, int | float) or isinstance(timeout, bool) or isnan(timeout):
            raise LocalProtocolError(f"a timeout is a number of seconds, for example 5.0, not {timeout!r}")
        if timeout <= 0:
            raise RequestTimeout(f"{target} was not asked: its timeout of {timeout:g} s leaves no time")
        timeout = min(timeout, LONGEST / 1000)
        ends = ends_at()
        if ends is not None:
            timeout = min(timeout, ends - asyncio.get_running_loop().time())
        if timeout <= 0:
            raise RequestTimeout(f"{target} was not asked: no time is left of the request that is being answered")
        return timeout

    def _message(self, module: str, endpoint: str, id: str, value: Any, said: dict[str, Any], format: str | None) -> Route:
        metadata = Metadata(source=self.module_id, destination=module, properties=said)
        return Route(module, endpoint, id, write_payload(value, metadata, format=format or "Json", id=id))

    def _call_off(self, module: str, request_id: str) -> None:
        """Nobody waits for that request any more: whoever works on it may stop."""
        if not self.speaks_pywatt or len(self._calling_off) >= CALLED_OFF_AT_ONCE:
            return
        said = {"endpoint": CANCEL, "notification": True, "request_id": request_id}
        message = self._message(module, CANCEL, self._next_id(), None, said, None)

        async def tell() -> None:
            try:
                await self.channels.send(message, metadata=self._beside)
            except PyWattError as error:
                log.debug("a request could not be called off", extra={"reason": str(error)})

        task = asyncio.get_running_loop().create_task(tell())
        self._calling_off.add(task)
        task.add_done_callback(self._calling_off.discard)

    # ── being asked ─────────────────────────────────────────────────────────────────────────────────────────────────

    def begin(self) -> None:
        """The module is to serve. Raises `TypeError` for a function that cannot be called with what arrives."""
        self._answering.check()

    def reserve(self, endpoint: str, function: Reserved) -> None:
        """`function` gets what arrives for `endpoint`, a name with two leading underscores, before the user's functions.

        It returns the encoded JSON of the result, a whole payload, or None. Raises `TypeError` for a name that is taken.
        """
        self._answering.reserve(endpoint, function)

    async def handle(self, message: RoutedModuleMessage) -> Route | None:
        """`take`, and send the reply by any way: the one that the message came by may be gone by now.

        Returns the reply where there is no way at all, for whoever called a module that runs inside a test.
        """
        reply = await self.take(message)
        if reply is None:
            return None
        try:
            if self.channels.post(reply):
                return None
            if not self.channels.names:
                return reply
            await self.channels.send(reply)
        except ChannelClosed as error:
            log.warning("a reply could not be delivered", extra={"target": reply.target_module_id, "reason": str(error)})
        except LocalProtocolError as error:
            log.error("a reply could not be sent", extra={"target": reply.target_module_id, "reason": str(error)})
            failure = Failure(failures.APPLICATION, f"the result of {self.module_id} cannot be sent: {error}", executed="yes")
            await self.channels.send(self._failed(message, failure, read_payload(message.payload).metadata.properties or {}))
        return None

    async def take(self, message: RoutedModuleMessage) -> Route | None:
        """Act on what another module sent, and return the reply, where one is expected."""
        source, id = message.source_module_id, message.original_request_id
        try:
            payload = read_payload(message.payload)
        except (RemoteProtocolError, LocalProtocolError) as error:
            log.warning("a message cannot be read", extra={"source": source, "reason": str(error)})
            return self._failed(message, Failure(failures.BAD_REQUEST, f"{self.module_id} cannot read the payload: {error}", executed="no"))
        answer = await self._answering.answer(Arrival(source, id, payload, deadline=_deadline_in(payload), size=len(message.payload.data)))
        return None if answer is None else Route(source, RESPONSE_ENDPOINT, id, answer)

    def _failed(self, message: RoutedModuleMessage, failure: Failure, properties: Mapping[str, Any] = NOTHING) -> Route:
        source, id = message.source_module_id, message.original_request_id
        return Route(source, RESPONSE_ENDPOINT, id, failure_reply(failure, properties, id=id, source=self.module_id, destination=source))


def parted(target: str) -> tuple[str, str]:
    """The module and the endpoint of ``"module:endpoint"``. Raises `LocalProtocolError` for anything else."""
    module, _, endpoint = target.partition(":") if isinstance(target, str) else ("", "", "")
    if not module or not endpoint:
        raise LocalProtocolError(f"a target is 'module:endpoint', for example 'users:find', not {target!r}")
    return module, endpoint


def _deadline_in(payload: Payload) -> float | None:
    """When the requester stops to wait, by our clock: on the wire travels what is left, since no two clocks are the same."""
    left = payload.metadata.properties.get("timeout") if payload.metadata.properties else None
    if type(left) is not int or not 0 <= left <= LONGEST:
        return None
    return asyncio.get_running_loop().time() + left / 1000


def _add_around(said: dict[str, Any]) -> None:
    """Which request this one is part of, and how deep inside it is, where it is part of any."""
    ids = telemetry.current()
    if (level := depth.get()) >= 0:
        said["depth"] = level + 1
    if ids.request_id:
        said["request_id"] = ids.request_id
    if ids.trace_id:
        said["traceparent"] = telemetry.next_traceparent(ids.trace_id)


def _result(payload: Payload, type: Any, unwrap_result: bool, target: str, whole: EncodedMessage) -> Any:
    """The value of a reply. Raises what the reply says, or `RemoteProtocolError` where it does not fit."""
    failure = failure_in(payload)
    if failure is not None:
        raise failure.error()
    try:
        if unwrap_result:
            payload = _unwrapped(payload)
        return payload.decode(type)
    except RemoteProtocolError as error:
        if payload.enveloped and payload.metadata.source is None and not unwrap_result:
            # A bare value may look like an envelope; the caller's type knows better.
            with suppress(RemoteProtocolError):
                return Payload(whole.data, whole.format).decode(type)
        raise RemoteProtocolError(f"the answer of {target} cannot be read: {error}") from None


def _unwrapped(payload: Payload) -> Payload:
    """What a Rust ``Result`` holds: ``{"Ok": value}``. Raises `RemoteError` for ``{"Err": error}``."""
    found: dict[str, Any] = payload.decode(dict[str, Any])
    if len(found) != 1 or not found.keys() <= {"Ok", "Err"}:
        raise RemoteProtocolError('Expected {"Ok": value} or {"Err": error}')
    if "Err" in found:
        text = found["Err"] if isinstance(found["Err"], str) else write_bare(found["Err"]).data.decode()
        raise RemoteError(text, code=failures.APPLICATION)
    return read_payload(write_bare(found["Ok"], payload.format))
