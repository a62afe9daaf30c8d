"""Who wants to hear of which topics, and what is on its way to them (protocol 13.7).

Each process has one outbox, so that a slow one costs the others nothing. What it subscribed to without a window is dropped,
the oldest of the lowest priority first, where the outbox is full. A subscription with a window is never dropped from: who
publishes waits until the subscriber has taken enough.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Raw, Struct, structs

from pywatt_core.errors import ChannelClosed, PyWattError, RemoteError
from pywatt_core.protocol import failures
from pywatt_core.protocol.durations import Duration
from pywatt_core.protocol.messages import EncodedMessage, Metadata, RoutedModuleMessage
from pywatt_core.protocol.payloads import write_payload
from pywatt_core.protocol.priorities import PriorityMessageQueue
from pywatt_core.protocol.streams import to_json
from pywatt_core.protocol.topics import PubSubMessage, TopicPattern, TopicTable
from pywatt_core.transports.link import new_id

if TYPE_CHECKING:
    from .hub import Hub, Peer

TOPIC: Final = "__topic__"
"""The endpoint at which a module receives what was published."""

MOST_SUBSCRIPTIONS: Final = 1000
"""Of one process."""
MOST_MESSAGES: Final = 1000
"""On their way to one process, beside what windows allow."""
MOST_BYTES: Final = 16 << 20
"""Of payloads on their way to one process; a window has as many of its own."""
MOST_IN_WINDOWS: Final = 10_000
"""Messages that the windows of one process allow, all together."""
PATIENCE: Final = 30.0
"""Seconds that a publisher waits for a window where it does not say how long."""
WAITING_SHARE: Final = 0.8
"""Of the time that a publisher gives; the rest is for telling it that there was no place."""


class _Wanted(Struct, frozen=True):
    """One subscription as it is asked for; `window` 0 is none."""

    id: str
    pattern: str
    window: int = 0


class _Subscribe(Struct, frozen=True):
    subscriptions: list[_Wanted]


class _Unsubscribe(Struct, frozen=True):
    ids: list[str]


class _Taken(Struct, frozen=True):
    id: str
    count: int
    size: int


class _Subscription:
    """One pattern of one process."""

    __slots__ = ("_size", "_taken", "_waiters", "closed", "outbox", "pattern", "window")

    def __init__(self, outbox: _Outbox, pattern: TopicPattern, window: int) -> None:
        self.outbox, self.pattern, self.window = outbox, pattern, window
        self.closed = False
        self._taken = self._size = 0
        self._waiters: deque[asyncio.Future[None]] = deque()

    def _has_room(self) -> bool:
        # What the subscriber has taken it tells late, but before it is half of this.
        return self._taken < self.window and self._size < MOST_BYTES

    async def enter(self, size: int) -> bool:
        """Wait for a place in the window and take it; False where the subscription is gone."""
        while not self.closed and not self._has_room():
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
                else:
                    self._wake()
                raise
        if self.closed:
            return False
        self._taken += 1
        self._size += size
        if self._has_room():
            self._wake()
        return True

    def leave(self, count: int, size: int) -> None:
        """So many have been taken."""
        self._taken, self._size = max(0, self._taken - count), max(0, self._size - size)
        self._wake()

    def close(self) -> None:
        """It is no more: who waits for it need not."""
        self.closed = True
        while self._waiters:
            self._wake()

    def _wake(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return


class _Leaving(Struct):
    """One message in an outbox; `expires` by the loop's clock. `windows` are those in which it has a place until it is taken."""

    message: PubSubMessage
    source: str
    expires: float | None
    windows: tuple[_Subscription, ...] = ()

    def lost(self) -> None:
        """It never reaches the subscriber, who can therefore not take it."""
        for subscription in self.windows:
            subscription.leave(1, len(self.message.payload))


class _Outbox:
    """What is on its way to one process, and the task that sends it while there is any."""

    def __init__(self, peer: Peer, on_gone: Callable[[Peer], None]) -> None:
        self.peer, self._on_gone = peer, on_gone
        self.subscriptions: dict[str, _Subscription] = {}
        self.closed = False
        self.dropped = 0
        self._droppable: PriorityMessageQueue[_Leaving] = PriorityMessageQueue(MOST_MESSAGES)
        self._kept: PriorityMessageQueue[_Leaving] = PriorityMessageQueue(MOST_IN_WINDOWS)
        self._size = 0
        self._told = 0
        self._pump: asyncio.Task[None] | None = None

    def put(self, leaving: _Leaving, *, keep: bool) -> None:
        """Take a message. Where it has to be kept, a window has made sure that there is room."""
        if self.closed:
            return
        priority = leaving.message.priority
        if keep:
            if not self._kept.put(leaving, priority):
                leaving.lost()
                self._drop()
        else:
            size = len(leaving.message.payload)
            while self._droppable.full or (self._size + size > MOST_BYTES and len(self._droppable)):
                given_up = self._droppable.drop(priority)
                self._drop()
                if given_up is None:
                    return
                self._size -= len(given_up.message.payload)
            self._droppable.put(leaving, priority)
            self._size += size
        if self._pump is None:
            self._pump = asyncio.get_running_loop().create_task(self._send_all())

    def _drop(self) -> None:
        self.dropped += 1
        if self.dropped >= 2 * self._told:
            self._told = self.dropped
            self.peer.note(f"it does not keep up with its topics: {self.dropped} messages to it were dropped", level="warning")

    async def _send_all(self) -> None:
        try:
            while len(self._kept) or len(self._droppable):
                if len(self._kept):
                    leaving = self._kept.get()
                else:
                    leaving = self._droppable.get()
                    self._size -= len(leaving.message.payload)
                message = aged(leaving.message, leaving.expires)
                if message is None or not await self._send(leaving.source, message):
                    leaving.lost()
        finally:
            self._pump = None

    async def _send(self, source: str, message: PubSubMessage) -> bool:
        """Whether it is on its way."""
        try:
            await self.peer.deliver(RoutedModuleMessage(source, new_id(), payload(message, self.peer)))
            return True
        except ChannelClosed:
            self._on_gone(self.peer)
        except PyWattError as error:
            self.peer.note(f"a message on {message.topic} could not be sent to it: {error}", level="error")
        return False

    def close(self) -> None:
        """The process hears nothing any more."""
        self.closed = True
        self._kept.clear()
        self._droppable.clear()
        self._size = 0
        for subscription in self.subscriptions.values():
            subscription.close()
        if self._pump is not None and self._pump is not asyncio.current_task():
            self._pump.cancel()


def aged(message: PubSubMessage, expires: float | None) -> PubSubMessage | None:
    """The message with what is left of its time; None where none is."""
    if expires is None:
        return message
    left = expires - asyncio.get_running_loop().time()
    return structs.replace(message, ttl=Duration.of(left)) if left > 0 else None


def payload(message: PubSubMessage, peer: Peer) -> EncodedMessage:
    """The message in the best form that the process reads."""
    id = new_id()
    metadata = Metadata(source=message.publisher, destination=peer.module_id, properties={"endpoint": TOPIC, "notification": True})
    if peer.reads("msgpack"):
        return write_payload(message, metadata, format="MessagePack", id=id)
    return write_payload(Raw(to_json(message)), metadata, id=id)


class Topics:
    """All subscriptions."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._table: TopicTable[_Subscription] = TopicTable()
        self._outboxes: dict[Peer, _Outbox] = {}

    def begin(self) -> None:
        """Answer what modules ask about topics."""
        broker = self._hub.broker
        broker.serve("subscribe", self._subscribe)
        broker.serve("unsubscribe", self._unsubscribe)
        broker.serve("publish", self._publish)
        broker.serve("topic_taken", self._taken)

    def counts(self) -> Mapping[str, int]:
        """Subscriptions there are, and messages dropped because a module did not keep up, by module id."""
        return {"subscriptions": len(self._table), **{box.peer.module_id: box.dropped for box in self._outboxes.values()}}

    def leaving(self, peer: Peer) -> None:
        """It hears nothing any more."""
        outbox = self._outboxes.pop(peer, None)
        if outbox is not None:
            for subscription in outbox.subscriptions.values():
                self._table.remove(subscription.pattern, subscription)
            outbox.close()

    # ── what modules ask ────────────────────────────────────────────────────────────────────────────────────────────

    async def _subscribe(self, peer: Peer, asked: Any, _properties: Mapping[str, Any]) -> None:
        outbox = self._outboxes.get(peer) or _Outbox(peer, self.leaving)
        known = outbox.subscriptions
        new: dict[str, _Subscription] = {}
        for wanted in _read(asked, _Subscribe).subscriptions:
            try:
                pattern = TopicPattern(wanted.pattern)
            except ValueError as error:
                raise RemoteError(str(error), code=failures.BAD_REQUEST, executed="no") from None
            if wanted.id not in known:
                new[wanted.id] = _Subscription(outbox, pattern, max(0, wanted.window))
        if len(known) + len(new) > MOST_SUBSCRIPTIONS:
            raise RemoteError(f"a module has {MOST_SUBSCRIPTIONS} subscriptions at most", code=failures.OVERLOADED, executed="no")
        if sum(one.window for one in (*known.values(), *new.values())) > MOST_IN_WINDOWS:
            text = f"the windows of a module's subscriptions allow {MOST_IN_WINDOWS} messages at most"
            raise RemoteError(text, code=failures.OVERLOADED, executed="no")
        for subscription in new.values():
            self._table.add(subscription.pattern, subscription)
        known |= new
        self._outboxes[peer] = outbox

    async def _unsubscribe(self, peer: Peer, asked: Any, _properties: Mapping[str, Any]) -> None:
        outbox = self._outboxes.get(peer)
        for id in _read(asked, _Unsubscribe).ids:
            subscription = outbox.subscriptions.pop(id, None) if outbox is not None else None
            if subscription is not None:
                self._table.remove(subscription.pattern, subscription)
                subscription.close()

    async def _taken(self, peer: Peer, asked: Any, _properties: Mapping[str, Any]) -> None:
        taken = _read(asked, _Taken)
        outbox = self._outboxes.get(peer)
        subscription = outbox.subscriptions.get(taken.id) if outbox is not None else None
        if subscription is not None:
            subscription.leave(taken.count, taken.size)

    async def _publish(self, peer: Peer, asked: Any, properties: Mapping[str, Any]) -> dict[str, int]:
        message = structs.replace(_read(asked, PubSubMessage), publisher=peer.module_id)
        loop = asyncio.get_running_loop()
        leaving = _Leaving(message, peer.module_id, None if message.ttl is None else loop.time() + message.ttl.seconds)
        windows: dict[_Outbox, list[_Subscription]] = {}
        for subscription in self._table.match(message.topic):
            if subscription.outbox.peer is not peer:
                windows.setdefault(subscription.outbox, []).extend([subscription] if subscription.window else [])
        for outbox, subscriptions in windows.items():
            if not subscriptions:
                outbox.put(leaving, keep=False)
        delivered = sum(not subscriptions for subscriptions in windows.values())
        kept = [self._deliver_kept(outbox, known, leaving, properties) for outbox, known in windows.items() if known]
        failure: BaseException | None = None
        for found in await asyncio.gather(*kept, return_exceptions=True):  # who keeps up hears it, whoever does not
            if isinstance(found, BaseException):
                failure = failure or found
            else:
                delivered += found
        if failure is not None:
            raise failure
        return {"delivered": delivered}

    async def _deliver_kept(
        self, outbox: _Outbox, subscriptions: list[_Subscription], leaving: _Leaving, properties: Mapping[str, Any]
    ) -> bool:
        """Wait for the windows of one process. Raises `RemoteError` where there is no place in time."""
        size = len(leaving.message.payload)
        given = properties.get("timeout")
        seconds = given / 1000 * WAITING_SHARE if isinstance(given, int) else PATIENCE
        entered: list[_Subscription] = []
        try:
            async with asyncio.timeout(seconds):
                for subscription in subscriptions:
                    if await subscription.enter(size):
                        entered.append(subscription)
        except BaseException as error:
            for subscription in entered:
                subscription.leave(1, size)
            if not isinstance(error, TimeoutError):
                raise
            text = f"{outbox.peer.module_id} does not keep up with {leaving.message.topic!r}, and does not want to miss any of it"
            raise RemoteError(text, code=failures.OVERLOADED) from None
        if not entered:
            return False
        outbox.put(structs.replace(leaving, windows=tuple(entered)), keep=True)
        return True


def _read(asked: Any, kind: type[Any]) -> Any:
    """Raises `RemoteError` that names the member."""
    try:
        return msgspec.convert(asked, kind)
    except msgspec.ValidationError as error:
        raise RemoteError(f"the orchestrator cannot read the request: {error}", code=failures.BAD_REQUEST, executed="no") from None
