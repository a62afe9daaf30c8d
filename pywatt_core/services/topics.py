"""Publishing and subscribing (protocol 13.7): within a module at once, across modules through the orchestrator.

A module's own subscriptions hear its publications directly and once; the orchestrator tells all other modules.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ..errors import LocalProtocolError, PyWattError, RemoteError, RemoteProtocolError
from ..protocol import failures
from ..protocol.durations import Duration
from ..protocol.payloads import write_bare
from ..protocol.priorities import StreamPriority
from ..protocol.topics import CONTENT_TYPE, OCTETS, PubSubMessage, TopicTable
from .messaging import TIMEOUT
from .subscriptions import DROP, QUEUE, Subscription

if TYPE_CHECKING:
    from .arrivals import Arrival
    from .messaging import Messaging

log = logging.getLogger(__name__)

TOPIC: Final = "__topic__"
"""The endpoint at which the orchestrator tells of what was published."""

LARGEST: Final = 16 << 20
"""Bytes that a published payload may have."""

AT_ONCE: Final = 32
"""Publications of one module under way; more wait, so that its other messages never wait behind a slow subscriber."""

GOODBYE: Final = 5.0
"""Seconds for telling the orchestrator that a subscription is over."""


class Topics:
    """One module's publications and subscriptions."""

    def __init__(self, messaging: Messaging) -> None:
        self._messaging = messaging
        self._table: TopicTable[Subscription] = TopicTable()
        self._remote: dict[str, int] = {}
        """What the orchestrator knows, by the subscription's id there, and how many here rely on it."""
        self._changing = asyncio.Lock()
        self._under_way = asyncio.Semaphore(AT_ONCE)
        self._hearing: dict[asyncio.Task[None], Subscription] = {}
        self._credits: set[asyncio.Task[None]] = set()
        self._alone = False
        messaging.reserve(TOPIC, self._arrived)

    # ── publishing ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def publish(
        self,
        topic: str,
        payload: Any = None,
        *,
        priority: StreamPriority | str = StreamPriority.NORMAL,
        ttl: float | None = None,
        metadata: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> int:
        """Tell everybody who subscribed to a pattern that fits `topic`; returns to how many subscriptions here and processes elsewhere.

        `payload` is bytes, which travel as they are, or any value that JSON can hold. `ttl`: seconds after which it is no longer
        worth delivering. Waits, `timeout` seconds at most (30 by default), where a subscriber that must not miss anything is behind.

        Raises `LocalProtocolError` for what is no topic or cannot travel, `RemoteError` (code ``"overloaded"``) where that subscriber
        stays behind, `ChannelClosed` and `RequestTimeout`. After an error some may have heard it.
        """
        message = self._message(topic, payload, priority, ttl, metadata)
        now = asyncio.get_running_loop().time
        deadline = now() + (TIMEOUT if timeout is None else timeout)
        async with self._under_way:
            try:
                count = await self._publish_elsewhere(message, timeout if timeout is None else deadline - now())
            except RemoteError as error:
                if error.code == failures.OVERLOADED:  # another module does not keep up; all others have heard it
                    await self._publish_here(message, deadline)
                raise
            return count + await self._publish_here(message, deadline)

    def _message(
        self, topic: str, payload: Any, priority: StreamPriority | str, ttl: float | None, metadata: Mapping[str, str] | None
    ) -> PubSubMessage:
        described = dict(metadata or {})
        if isinstance(payload, bytes | bytearray | memoryview):
            data = bytes(payload)
            described.setdefault(CONTENT_TYPE, OCTETS)
        else:
            data = write_bare(payload).data
        if len(data) > LARGEST:
            raise LocalProtocolError(
                f"{len(data)} bytes are too many to publish: {LARGEST} at most; send a stream, and publish where it is"
            )
        try:
            age = None if ttl is None else Duration.of(ttl)
            message = PubSubMessage(topic, data, StreamPriority.parse(priority), age, self._messaging.module_id, described)
            msgspec.convert(described, dict[str, str])
        except ValueError as error:
            raise LocalProtocolError(f"it cannot be published: {error}") from None
        return message

    async def _publish_elsewhere(self, message: PubSubMessage, timeout: float | None) -> int:
        if not self._is_connected():
            return 0
        reply = await self._messaging.ask_orchestrator(
            "publish", message, timeout=timeout, response_type=dict[str, int], format="MessagePack"
        )
        return int(reply.get("delivered", 0))

    async def _publish_here(self, message: PubSubMessage, deadline: float) -> int:
        """Hand it to the subscriptions of this module; wait for those that must not miss anything."""
        found = self._table.match(message.topic)
        try:
            async with asyncio.timeout_at(deadline):
                for subscription in found:
                    await subscription.room()
                    subscription.put(message, is_ours=True)
        except TimeoutError:
            text = f"{self._messaging.module_id} does not keep up with {message.topic!r} itself, and does not want to miss any of it"
            raise RemoteError(text, code=failures.OVERLOADED) from None
        return len(found)

    def _is_connected(self) -> bool:
        """Whether there is an orchestrator that carries topics; told once in the log where there is another one."""
        if not self._messaging.channels.names or self._alone:
            return False
        if self._messaging.speaks_pywatt:
            return True
        self._alone = True
        log.warning("the orchestrator is not PyWatt's and carries no topics: they stay within this module")
        return False

    # ── hearing ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _arrived(self, arrival: Arrival) -> None:
        """Hand on what another module published; nothing is waited for, so that the order stays."""
        message: PubSubMessage = arrival.decode(PubSubMessage)
        for subscription in self._table.match(message.topic):
            subscription.put(message)

    def subscribe(self, pattern: str, *, queue: int = QUEUE, overflow: str = DROP) -> Subscription:
        """``async with topics.subscribe("orders.#") as messages: async for message in messages: …``

        `queue` messages wait for you at most. `overflow`: ``"drop"`` gives up the oldest of the lowest priority where more come, and
        counts them; ``"wait"`` makes whoever publishes wait, and misses nothing. Raises `LocalProtocolError` for what is no pattern.
        """
        return Subscription(self, pattern, queue=queue, overflow=overflow)

    async def open(self, subscriptions: list[Subscription]) -> None:
        """Hear from now on. Raises what a request of the orchestrator raises; then nothing is heard."""
        async with self._changing:
            new = {one.id: {"id": one.id, "pattern": one.pattern.text, "window": one.window} for one in subscriptions}
            new = {id: one for id, one in new.items() if id not in self._remote}
            for one in subscriptions:
                self._table.add(one.pattern, one)
            try:
                if new and self._is_connected():
                    await self._messaging.ask_orchestrator("subscribe", {"subscriptions": list(new.values())})
            except BaseException:
                for one in subscriptions:
                    self._table.remove(one.pattern, one)
                raise
            for one in subscriptions:
                self._remote[one.id] = self._remote.get(one.id, 0) + 1

    async def shut(self, subscription: Subscription) -> None:
        """Hear no more."""
        self._table.remove(subscription.pattern, subscription)
        async with self._changing:
            left = self._remote.pop(subscription.id, 0) - 1
            if left > 0:
                self._remote[subscription.id] = left
            elif left == 0 and self._is_connected():
                with suppress(PyWattError):  # at the latest it ends with this process
                    await self._messaging.ask_orchestrator("unsubscribe", {"ids": [subscription.id]}, timeout=GOODBYE)

    def tell_taken(self, subscription: Subscription, count: int, size: int) -> None:
        """Make room in the window that the orchestrator keeps for a subscription."""
        task = asyncio.get_running_loop().create_task(self._tell_taken(subscription, count, size))
        self._credits.add(task)
        task.add_done_callback(self._credits.discard)

    async def _tell_taken(self, subscription: Subscription, count: int, size: int) -> None:
        try:
            await self._messaging.ask_orchestrator("topic_taken", {"id": subscription.id, "count": count, "size": size})
        except PyWattError as error:
            log.warning("the orchestrator could not be told what was taken of a topic; it will be", extra={"reason": str(error)})
            await asyncio.sleep(GOODBYE)
            subscription.give_back(count, size)

    # ── the module's functions ──────────────────────────────────────────────────────────────────────────────────────

    async def begin(self) -> None:
        """The module serves from now on: its functions hear what they want to. Raises `TypeError` for one that cannot be called."""
        from .receiving import Receiver

        state = self._messaging.state
        hearing = []
        for wanted in self._messaging.receivers.topics:
            receiver = Receiver(wanted.function, type(state), PubSubMessage)
            hearing.append((Subscription(self, wanted.pattern, queue=wanted.queue, overflow=wanted.overflow), receiver))
        await self.open([subscription for subscription, _ in hearing])
        loop = asyncio.get_running_loop()
        for subscription, receiver in hearing:
            self._hearing[loop.create_task(self._hear(subscription, receiver, state))] = subscription

    async def _hear(self, subscription: Subscription, receiver: Any, state: Any) -> None:
        """Call one function with one message after the other; one that fails is logged and ends nothing."""
        async for message in subscription:
            try:
                await receiver(message, state)
            except (Exception, SystemExit) as error:
                about = {"topic": message.topic, "publisher": message.publisher}
                if isinstance(error, RemoteProtocolError):
                    log.warning("a published message cannot be read", extra={**about, "reason": str(error)})
                else:
                    log.error("dealing with a published message failed", exc_info=error, extra=about)

    async def end(self) -> None:
        """The module's functions hear nothing new; what they are dealing with they may finish within 5 s."""
        if self._hearing:
            await asyncio.gather(*[subscription.end() for subscription in self._hearing.values()])
            wire = self._messaging.channels.stdio
            is_lost = wire is not None and wire.closed.done()
            await asyncio.wait(self._hearing, timeout=0 if is_lost else GOODBYE)

    async def close(self) -> None:
        """The module's functions are stopped."""
        for task in self._hearing:
            task.cancel()
        await asyncio.gather(*self._hearing, return_exceptions=True)
        self._hearing.clear()
