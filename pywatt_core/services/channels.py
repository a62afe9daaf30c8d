"""Which way a message takes to the orchestrator, and what happens where that fails (protocol 13.1 to 13.3).

Where one channel is open and nothing is wrong with it, a message takes it at once. Everything else, choosing among several,
passing over one that keeps failing, trying again what certainly was not carried out, happens behind `_choose`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import ChannelClosed, RequestTimeout
from ..interfaces import ChannelState
from ..policies.breaker import BreakerState
from ..protocol.messages import ORCHESTRATOR
from .lanes import STDIO, ChannelStatus, Lane
from .ways import Ways

if TYPE_CHECKING:
    from ..interfaces import Channel
    from ..protocol.messages import Message, Metadata
    from ..transports.link import Link

__all__ = ["NO_ORCHESTRATOR", "STDIO", "ChannelStatus", "Channels"]

T = TypeVar("T")

NO_ORCHESTRATOR = "this module runs without an orchestrator, which is who carries messages: start it with `pywatt run` or `pywatt up`"

IDEMPOTENT = frozenset({"get_secret", "discover_service_providers", "heartbeat_ack"})
"""What may be carried out twice: it is sent again even where nobody knows whether it was carried out."""

ROUTED = "route_to_module"
"""Another module answers it: that no answer comes, or a late one, says nothing about the channel."""

HOSTED = frozenset({"service_request", "service_operation"})
"""A database or cache takes the time, not the channel."""

PUBLISH = "publish"
"""The one thing that the orchestrator itself answers only when others have taken it."""


class Channels(Ways):
    """All ways as one. A channel that is not connected is passed over."""

    # ── sending ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def send(self, message: Message, *, metadata: Metadata | None = None) -> None:
        """Send by the way that suits the message, then wait until the peer keeps up.

        What certainly was not sent is sent by another way, in as many rounds as ``[routing] retry_attempts`` says. Raises
        `ChannelClosed` whose ``executed`` says what is known, and `LocalProtocolError`.
        """
        lane = self._only
        if lane is None:
            return await self._choose(message, metadata, lambda way, _: way.send(message, metadata=metadata), None)
        try:
            await lane.send(message, metadata=metadata)
        except ChannelClosed as error:
            self._failed(lane, lost=True)
            if not _again(message, metadata, error):
                raise
            failed = error
        else:
            if lane.unseen:
                lane.unseen -= 1
            else:
                self._worked(lane, self._clock(), None)
            return None
        return await self._choose(message, metadata, lambda way, _: way.send(message, metadata=metadata), None, begun=(lane, failed))

    def post(self, message: Message) -> bool:
        """Hand a message over where that needs no waiting and no choice: False where it has to be sent with `send`."""
        lane = self._only
        link: Link | None = getattr(lane.way, "connection", None) if lane is not None else None
        if lane is None or link is None or not link.keeps_up:
            return False
        try:
            link.post(message)
        except ChannelClosed:
            return False  # not a byte was written
        if lane.unseen:
            lane.unseen -= 1
        else:
            self._worked(lane, self._clock(), None)
        return True

    async def request(self, message: Message, *, timeout: float, metadata: Metadata | None = None) -> Message:
        """Ask by the way that suits the message; `timeout` is in seconds and covers everything, further attempts included.

        What certainly was not carried out, and what may be carried out twice, is asked again by another way. Raises
        `RequestTimeout`, `LocalProtocolError`, and `ChannelClosed` whose ``executed`` says what is known.
        """
        lane = self._only
        started = self._clock()
        if lane is None:
            return await self._choose(message, metadata, _asking(message, metadata), started + timeout)
        try:
            answer = await lane.request(message, timeout=timeout, metadata=metadata)
        except ChannelClosed as error:
            self._failed(lane, lost=True)
            if not _again(message, metadata, error):
                raise
            failed = error
        except RequestTimeout:
            if message.op != ROUTED:
                self._failed(lane, lost=False)
            else:
                self._seen(self._clock())
            raise
        else:
            if lane.unseen:
                lane.unseen -= 1
            else:
                now = self._clock()
                self._worked(lane, now, now - started if _is_answered_at_once(message) else None)
            return answer
        return await self._choose(message, metadata, _asking(message, metadata), started + timeout, begun=(lane, failed))

    async def _choose(
        self,
        message: Message,
        metadata: Metadata | None,
        act: Callable[[Any, float], Awaitable[T]],
        deadline: float | None,
        *,
        begun: tuple[Lane, ChannelClosed] | None = None,
    ) -> T:
        """Try one way after the other, and all of them again after a pause, as long as it makes sense.

        `begun` has been tried already, with that error. What is raised in the end never says less than is known: once an
        attempt may have been carried out, ``executed`` stays ``"unknown"``.
        """
        tried, error = begun if begun is not None else (None, None)
        attempt = 1
        while True:
            for lane in self._order(message, metadata):
                if lane is tried:
                    continue
                now = self._clock()
                if deadline is not None and now >= deadline:
                    raise RequestTimeout(f"{message.op!r}: no time is left for another way") from error
                if not lane.allow(now):
                    error = error or self._left_alone(lane, message, now)
                    continue
                try:
                    return await self._attempt(lane, message, act, deadline)
                except ChannelClosed as closed:
                    if not _again(message, metadata, closed):
                        raise
                    error = closed if error is None or error.executed == "no" else error
            self._look()
            error = error or self._nothing_open(message)
            delay = self._pause(attempt, metadata)
            if delay is None or (deadline is not None and self._clock() + delay >= deadline):
                raise error
            await self._sleep(delay)
            attempt, tried = attempt + 1, None

    async def _attempt(self, lane: Lane, message: Message, act: Callable[[Any, float], Awaitable[T]], deadline: float | None) -> T:
        """One attempt over one way, and what it says about the way."""
        started = self._clock()
        lane.waiting += 1
        try:
            result = await act(lane.way, 0.0 if deadline is None else deadline - started)
        except ChannelClosed:
            self._failed(lane, lost=True)
            raise
        except RequestTimeout:
            if message.op == ROUTED:
                lane.breaker.abandoned(self._clock())
                self._seen(self._clock())
            else:
                self._failed(lane, lost=False)
            raise
        except BaseException:  # the caller's own mistake, or it does not want to wait any longer
            lane.breaker.abandoned(self._clock())
            raise
        finally:
            lane.waiting -= 1
        now = self._clock()
        closed_before = lane.breaker.state is BreakerState.CLOSED
        lane.worked(now, now - started if deadline is not None and _is_answered_at_once(message) else None)
        self.router.succeeded(lane.name)
        if not closed_before and lane.breaker.state is BreakerState.CLOSED:
            self._look()
        if now >= self._due:
            self._tend(now)
        return result

    def _order(self, message: Message, metadata: Metadata | None) -> list[Lane]:
        """The open ways for a message, the best first."""
        if self._reference and message.op != ROUTED and self.stdio is not None:
            return [self._lanes[STDIO]]  # what the reference never sends over a channel (protocol 3.1) may find nobody there
        properties = metadata.properties if metadata is not None else None
        decision = self.router.choose(getattr(message, "target_module_id", ""), _size(message), properties, self._clock())
        names = decision.order if decision is not None else ()
        if self._reference and self._preference == "default":
            names = tuple(sorted(names, key=_as_the_reference))
        return [self._lanes[name] for name in names if name != STDIO or self._stdio_may_serve()]

    def _pause(self, attempt: int, metadata: Metadata | None) -> float | None:
        """Seconds until the next round, None where there is none."""
        from ..policies.retry import Retry

        retry = self._options.retry() if self._options is not None else Retry()
        return retry.next_delay(attempt, transient=self._may_come_back(metadata), chance=(self._chance or _random)())

    def _may_come_back(self, metadata: Metadata | None) -> bool:
        """Whether another round could find more than this one, and is wanted."""
        if metadata is not None and metadata.properties and metadata.properties.get("retryable") is False:
            return False
        coming = (ChannelState.CONNECTING, ChannelState.DISCONNECTED)
        return any(lane.state in coming and self.preferences.allow(lane.kind) for lane in self._lanes.values())

    def _left_alone(self, lane: Lane, message: Message, now: float) -> ChannelClosed:
        left = lane.breaker.retry_after(now)
        text = f"circuit breaker open for {lane.name}, which keeps failing: the next attempt is in {left:.0f} s"
        return ChannelClosed(f"{message.op!r} was not sent: {text}", executed="no")

    def _nothing_open(self, message: Message) -> ChannelClosed:
        if self.stdio is None and not self._lanes:
            return ChannelClosed(NO_ORCHESTRATOR, executed="no")
        states = ", ".join(f"{name} is {lane.state.value}" for name, lane in self._lanes.items())
        only = "" if self.preferences.enable_fallback else f" ([routing] preference = {self._preference!r} allows no other)"
        return ChannelClosed(f"{message.op!r} was not sent: no way to the orchestrator is open{only}: {states}", executed="no")

    @property
    def _preference(self) -> str:
        return self._options.preference if self._options is not None else "default"


def _as_the_reference(name: str) -> int:
    """Messages for other modules take TCP, where there is one (protocol 12.4)."""
    return {"tcp": 0, STDIO: 2}.get(name, 1)


def _random() -> float:
    import random

    return random.random()  # spreads pauses


def _asking(message: Message, metadata: Metadata | None) -> Callable[[Any, float], Awaitable[Message]]:
    async def ask(way: Channel | Link, left: float) -> Message:
        return await way.request(message, timeout=left, metadata=metadata)

    return ask


def _again(message: Message, metadata: Metadata | None, error: ChannelClosed) -> bool:
    """Whether a message may be sent once more after this error."""
    properties = metadata.properties if metadata is not None and metadata.properties is not None else {}
    if properties.get("retryable") is False:
        return False
    return error.executed == "no" or message.op in IDEMPOTENT or properties.get("idempotent") is True


def _is_answered_at_once(message: Message) -> bool:
    """Whether the orchestrator itself answers, without waiting for anybody: what that takes is what the way costs."""
    if message.op == ROUTED:
        return getattr(message, "target_module_id", "") == ORCHESTRATOR and getattr(message, "target_endpoint", "") != PUBLISH
    return message.op not in HOSTED


def _size(message: Message) -> int:
    payload = getattr(message, "payload", None)
    data = getattr(payload, "data", None)
    return len(data) if isinstance(data, bytes) else 0
