"""A channel: links to one peer, one after the other. What breaks is connected again as the policy says (protocol 5.2).

`TRANSITIONS` is the state machine. The channel never hides a loss: what was under way ends with what is known about it, and
only what certainly did not leave this process is sent again, once.
"""

from __future__ import annotations

import asyncio
import enum
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple

from ..errors import ChannelClosed, PyWattError
from ..interfaces import ChannelState
from ..policies.reconnecting import ExponentialBackoff, Reconnecting, ReconnectPolicy
from .channel_session import ChannelSession
from .link import CLOSE_PATIENCE, Link, OnMessage

if TYPE_CHECKING:
    from ..protocol.messages import Message, Metadata

log = logging.getLogger(__name__)

FIRST_CONNECT = 30.0
"""Seconds in all for the first connection of a channel that has to be there."""
CONNECT_TIMEOUT = 30.0
"""Seconds for one attempt."""

CALM = 5.0
"""Seconds after which a connection has proved itself."""

Connect = Callable[[Callable[[], Link]], Awaitable[Link]]
"""One attempt: connects the link that it is given a maker for."""


class Event(enum.Enum):
    """What happens to a channel."""

    ATTEMPT = "attempt"
    SUCCESS = "success"
    FAILURE = "failure"
    LOSS = "loss"
    GIVE_UP = "give up"
    CLOSE = "close"


TRANSITIONS: Mapping[ChannelState, Mapping[Event, ChannelState]] = {
    ChannelState.DISCONNECTED: {
        Event.ATTEMPT: ChannelState.CONNECTING,
        Event.GIVE_UP: ChannelState.FAILED,
        Event.CLOSE: ChannelState.DISCONNECTED,
    },
    ChannelState.CONNECTING: {
        Event.SUCCESS: ChannelState.CONNECTED,
        Event.FAILURE: ChannelState.DISCONNECTED,
        Event.CLOSE: ChannelState.DISCONNECTED,
    },
    ChannelState.CONNECTED: {
        Event.LOSS: ChannelState.DISCONNECTED,
        Event.CLOSE: ChannelState.DISCONNECTED,
    },
    ChannelState.FAILED: {Event.CLOSE: ChannelState.FAILED},
}
"""State, event: the state that follows. What is not there cannot happen."""


class ChannelHealth(NamedTuple):
    """How a channel is. Times are in seconds ago, None where there is nothing to measure from."""

    name: str
    state: ChannelState
    connections: int
    """How often it was connected."""
    failures: int
    """Attempts in a row that failed, and connections that broke before they had proved themselves."""
    sent: int
    """Messages, over all connections."""
    received: int
    last_seen: float | None
    """Since anything came from the peer on the present connection."""
    connected_for: float | None
    error: str
    """Why it is not connected, or why it last was not."""


class ReconnectingChannel:
    """A `Channel`. `start` connects in the background; as a context manager it is connected inside, or entering raises.

    `connect` makes one attempt, which has `connect_timeout` seconds; `session` makes the session of each connection;
    `greet` posts what has to come first. A connection that lasted `calm` seconds and breaks is made again at once.
    Without a word from the peer for `idle_timeout` seconds (None: for ever) the connection is given up and made anew.
    `explain` puts an error into words; one that `is_final` holds to be beyond another attempt makes the channel fail at
    once. `on_state` is told every change of state and must not block.
    """

    def __init__(
        self,
        name: str,
        connect: Connect,
        session: Callable[[], ChannelSession],
        *,
        on_message: OnMessage,
        on_state: Callable[[ChannelState], None] = lambda state: None,
        policy: ReconnectPolicy | None = None,
        calm: float = CALM,
        connect_timeout: float = CONNECT_TIMEOUT,
        idle_timeout: float | None = None,
        greet: Callable[[Link], None] = lambda link: None,
        explain: Callable[[BaseException], str] = lambda error: str(error) or type(error).__name__,
        is_final: Callable[[BaseException], bool] = lambda error: False,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.name = name
        self.state = ChannelState.DISCONNECTED
        self._connect, self._new_session, self._greet = connect, session, greet
        self._on_message, self._on_state = on_message, on_state
        self._connect_timeout, self._idle_timeout = connect_timeout, idle_timeout
        self._explain, self._is_final, self._chance = explain, is_final, chance
        self._rule = Reconnecting(policy=policy or ExponentialBackoff(), calm=calm)
        self._loop = asyncio.get_running_loop()
        self._link: Link | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._closing = False
        self._outcome: asyncio.Future[Link | None] = self._loop.create_future()
        """The link of the next attempt, None where that fails or is not made at once."""
        self._changed = asyncio.Event()
        self._watch: asyncio.TimerHandle | None = None
        self._since: float | None = None
        self._connections = 0
        self._before: tuple[int, ...] = (0, 0, 0, 0)
        self.error = ""

    # ── its life ────────────────────────────────────────────────────────────────────────────────────────────────────

    def start(self) -> None:
        """Begin to connect, and to connect again, behind the caller's back."""
        if self._keeper is None and not self._closing:
            self._keeper = self._loop.create_task(self._keep(), name=f"channel {self.name}")

    async def connected(self, timeout: float = FIRST_CONNECT) -> None:
        """Wait until it is connected. Raises `ChannelClosed` with the reason after `timeout` seconds, or where it has given up."""
        try:
            async with asyncio.timeout(timeout):
                while self.state is not ChannelState.CONNECTED:
                    if self.state is ChannelState.FAILED or self._closing:
                        raise ChannelClosed(f"channel {self.name}: {self.error or 'it is closed'}", executed="no")
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            reason = self.error or "no attempt has ended yet"
            raise ChannelClosed(f"channel {self.name}: not connected within {timeout:g} s: {reason}", executed="no") from None

    async def __aenter__(self) -> ReconnectingChannel:
        self.start()
        try:
            await self.connected()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        """Close for good: what waits to be written is written, within 5 s, and nothing is connected again. May be called twice."""
        self._closing = True
        link, keeper = self._link, self._keeper
        if keeper is not None:
            keeper.cancel()
            await asyncio.wait({keeper})
        if link is not None:
            try:
                async with asyncio.timeout(CLOSE_PATIENCE):
                    await link.close()
            except TimeoutError:
                link.abort(TimeoutError("the peer does not read"))
        self._settle(None)
        self._enter(Event.CLOSE)

    def health(self) -> ChannelHealth:
        """How it is now."""
        now, link = self._loop.time(), self._link
        return ChannelHealth(
            name=self.name,
            state=self.state,
            connections=self._connections,
            failures=self._rule.failures,
            sent=self.traffic[0],
            received=self.traffic[1],
            last_seen=now - link.session.heard_at if link is not None and isinstance(link.session, ChannelSession) else None,
            connected_for=now - self._since if self._since is not None else None,
            error=self.error,
        )

    @property
    def connection(self) -> Link | None:
        """The present link, None while there is none."""
        return self._link

    @property
    def traffic(self) -> tuple[int, ...]:
        """Messages sent, messages received, bytes sent, bytes received, over all connections."""
        present = self._link.traffic if self._link is not None else (0, 0, 0, 0)
        return tuple(before + now for before, now in zip(self._before, present, strict=True))

    @property
    def in_flight(self) -> int:
        """Requests that have no answer yet."""
        return self._link.in_flight if self._link is not None else 0

    # ── sending ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def post(self, message: Message, *, metadata: Metadata | None = None) -> None:
        """Hand over a message without waiting for anything. Raises `ChannelClosed` or `LocalProtocolError`."""
        link = self._link
        if link is None:
            raise self._not_connected(message)
        link.post(message, metadata=metadata)

    async def send(self, message: Message, *, metadata: Metadata | None = None) -> None:
        """Like `post`, then wait until the peer keeps up again. On a connection that is just breaking, it is sent on the next one."""
        link = self._link
        if link is None:
            raise self._not_connected(message)
        try:
            await link.send(message, metadata=metadata)
        except ChannelClosed as error:
            if error.executed != "no":
                raise
            link = await self._next_link(link, error, self._loop.time() + self._connect_timeout)
            await link.send(message, metadata=metadata)

    async def request(self, message: Message, *, timeout: float, metadata: Metadata | None = None) -> Message:
        """Send and return the answer; `timeout` is in seconds and covers everything, a second attempt included.

        Raises `RequestTimeout`, `LocalProtocolError`, and `ChannelClosed` whose ``executed`` says what the peer may have done.
        """
        link = self._link
        if link is None:
            raise self._not_connected(message)
        until = self._loop.time() + timeout
        try:
            return await link.request(message, timeout=timeout, metadata=metadata)
        except ChannelClosed as error:
            if error.executed != "no":
                raise
            link = await self._next_link(link, error, until)
            return await link.request(message, timeout=until - self._loop.time(), metadata=metadata)

    def _not_connected(self, message: Message) -> ChannelClosed:
        reason = f": {self.error}" if self.error and not self._closing else ""
        state = "closed" if self._closing else self.state.value
        return ChannelClosed(f"{message.op!r} was not sent: the channel {self.name} is {state}{reason}", executed="no")

    async def _next_link(self, broken: Link, error: ChannelClosed, until: float) -> Link:
        """The link of the attempt that follows a loss at once; `error` where it fails, or is not there in time."""
        if self._link is broken:
            await asyncio.wait({broken.closed}, timeout=max(0.0, until - self._loop.time()))
        if self._link is None:
            await asyncio.wait({self._outcome}, timeout=max(0.0, until - self._loop.time()))
        if self._link is None or self._link is broken or self._loop.time() >= until:
            raise error
        return self._link

    # ── connecting ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def _keep(self) -> None:
        """Connect, wait for the loss, connect again."""
        delay: float | None = 0.0
        while delay is not None:
            if delay > 0:
                self._settle(None)
                await asyncio.sleep(delay)
            self._enter(Event.ATTEMPT)
            link = None
            try:
                async with asyncio.timeout(self._connect_timeout):
                    link = await self._connect(self._make_link)
                self._greet(link)
            except Exception as error:
                delay = self._attempt_failed(error, link)
                continue
            self._opened(link)
            await asyncio.shield(link.closed)
            delay = self._after_loss(link)
        self._settle(None)
        self._enter(Event.GIVE_UP)

    def _make_link(self) -> Link:
        return Link(self._new_session(), on_message=self._on_message, on_close=self._lost)

    def _attempt_failed(self, error: Exception, link: Link | None) -> float | None:
        if link is not None:
            link.abort(error)
        elif isinstance(error, TimeoutError) and not error.args:
            error = TimeoutError(f"no connection within {self._connect_timeout:g} s (connect_timeout)")
        if not isinstance(error, OSError | PyWattError | ValueError):
            log.error("connecting the channel %s failed in an unforeseen way", self.name, exc_info=error)
        delay = self._rule.failed(self._chance())
        self._enter(Event.FAILURE)
        return self._explained(error, delay, "cannot be connected")

    def _explained(self, error: BaseException, delay: float | None, what: str) -> float | None:
        """Keep the reason and say it once for a row of failures; what follows from it."""
        self.error = self._explain(error)
        if self._is_final(error):
            delay = None
        elif delay is None and self._rule.failures > 1:
            self.error = f"reconnection failed after {self._rule.failures} attempts: {self.error}"
        level = logging.WARNING if self._rule.failures <= 1 or delay is None else logging.DEBUG
        after = None if delay is None else round(delay, 2)
        log.log(level, "channel %s %s: %s", self.name, what, self.error, extra={"next_attempt_in": after, "failures": self._rule.failures})
        return delay

    def _opened(self, link: Link) -> None:
        self._rule.connected(self._loop.time())
        self._connections += 1
        if link.closed.done():  # it broke before anybody could use it
            self._enter(Event.SUCCESS)
            self._enter(Event.LOSS)
            return
        self._link, self._since = link, self._loop.time()
        if self._idle_timeout is not None:
            self._watch = self._loop.call_later(self._idle_timeout, self._look, link, self._idle_timeout)
        if self._connections > 1 or self._rule.failures:
            log.info("channel %s is connected%s", self.name, " again" if self._connections > 1 else "")
        self._enter(Event.SUCCESS)
        self._settle(link)

    def _lost(self, link: Link, error: Exception | None) -> None:
        """A link's `on_close`, before anybody who waits for an answer over it runs."""
        if link is not self._link:
            return
        self._before = self.traffic
        self._link = self._since = None
        self._outcome = self._loop.create_future()
        if self._watch is not None:
            self._watch.cancel()
        if not self._closing:
            self._enter(Event.LOSS)

    def _after_loss(self, link: Link) -> float | None:
        delay = self._rule.lost(self._loop.time(), self._chance())
        return self._explained(link.error or ConnectionError("the peer closed the connection"), delay, "lost its connection")

    def _look(self, link: Link, idle_timeout: float) -> None:
        """Give up a connection on which nothing was heard for too long, unless we did not listen ourselves."""
        assert isinstance(link.session, ChannelSession)
        quiet = self._loop.time() - link.session.heard_at
        if quiet < idle_timeout or link.paused:
            self._watch = self._loop.call_later(max(idle_timeout - quiet, idle_timeout / 4), self._look, link, idle_timeout)
        else:
            link.abort(TimeoutError(f"nothing came for {idle_timeout:g} s (idle_timeout)"))

    def _settle(self, link: Link | None) -> None:
        if not self._outcome.done():
            self._outcome.set_result(link)

    def _enter(self, event: Event) -> None:
        before, self.state = self.state, TRANSITIONS[self.state][event]
        self._changed.set()
        if self.state is not before:
            self._on_state(self.state)

    def __repr__(self) -> str:
        return f"ReconnectingChannel({self.name!r}, {self.state.value})"
