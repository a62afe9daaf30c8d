"""One subscription to topics: what was heard and has not been taken yet."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator
from itertools import count
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal

from ..errors import LocalProtocolError
from ..protocol.priorities import PriorityMessageQueue
from ..protocol.topics import PubSubMessage, TopicPattern

if TYPE_CHECKING:
    from .topics import Topics

log = logging.getLogger(__name__)

QUEUE: Final = 1000
"""Messages that wait to be taken, where nothing else is said."""

MOST_BYTES: Final = 16 << 20
"""Bytes that they may have together where messages are dropped."""

DROP: Final[Literal["drop"]] = "drop"
WAIT: Final[Literal["wait"]] = "wait"

_numbers = count(1)


class _Heard:
    """A message, when it is too old to matter, and whether this module published it."""

    __slots__ = ("expires", "is_ours", "message")

    def __init__(self, message: PubSubMessage, expires: float | None, is_ours: bool) -> None:
        self.message, self.expires, self.is_ours = message, expires, is_ours


class Subscription(AsyncIterator[PubSubMessage]):
    """Made by ``state.subscribe``. Enter it to hear, iterate it to take; the highest priority comes first.

    `dropped`: messages given up because you did not keep up; `expired`: those whose time was over before you took them.
    """

    def __init__(self, topics: Topics, pattern: str, *, queue: int = QUEUE, overflow: str = DROP) -> None:
        try:
            self.pattern = TopicPattern(pattern)
            if overflow not in (DROP, WAIT):
                raise ValueError(f"overflow is 'drop' or 'wait', not {overflow!r}")
            # What this module publishes itself waits for as much room as what the orchestrator brings, each for its own.
            self._queue: PriorityMessageQueue[_Heard] = PriorityMessageQueue(queue * 2 if overflow == WAIT else queue)
        except ValueError as error:
            raise LocalProtocolError(f"no subscription: {error}") from None
        self.dropped = 0
        self.expired = 0
        self.limit = queue
        self.waits = overflow == WAIT
        self.id = f"w{next(_numbers)}" if self.waits else "/".join(self.pattern.segments)
        """Its name at the orchestrator; those of one pattern that drop share one."""
        self._topics = topics
        self._size = self._ours = 0
        self._credit_count = self._credit_size = 0
        self._ended = False
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._blocked: deque[asyncio.Future[None]] = deque()

    @property
    def window(self) -> int:
        """Messages that the orchestrator may have under way to it; 0 where it drops."""
        return self.limit if self.waits else 0

    def __len__(self) -> int:
        """Messages that wait to be taken."""
        return len(self._queue)

    async def __aenter__(self) -> Subscription:
        if self._ended:
            raise LocalProtocolError("a subscription is entered once: make another with subscribe()")
        await self._topics.open([self])
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.end()

    async def end(self) -> None:
        """Hear no more; iterating ends, what was not taken is gone."""
        self._ended = True
        self._queue.clear()
        _wake(self._waiting, everybody=True)
        _wake(self._blocked, everybody=True)
        await self._topics.shut(self)

    # ── the side of who publishes ───────────────────────────────────────────────────────────────────────────────────

    async def room(self) -> None:
        """Before a publication of this module: wait for its place, where this subscription does not want to miss anything."""
        while self.waits and self._ours >= self.limit and not self._ended:
            await _wait_in(self._blocked)

    def put(self, message: PubSubMessage, *, is_ours: bool = False) -> None:
        """Take in what was published; `is_ours` where this module did it. Waits for nothing."""
        if self._ended:
            return
        size = len(message.payload)
        while self._queue.full or (not self.waits and len(self._queue) and self._size + size > MOST_BYTES):
            given_up = self._queue.drop(message.priority)
            self._drop(message)
            if given_up is None:
                return
            self._left(given_up)
        expires = None if message.ttl is None else _now() + message.ttl.seconds
        self._queue.put(_Heard(message, expires, is_ours), message.priority)
        self._size += size
        self._ours += is_ours
        _wake(self._waiting)

    def _drop(self, message: PubSubMessage) -> None:
        self.dropped += 1
        if self.dropped & (self.dropped - 1) == 0:  # the first, the second, the fourth, …
            log.warning(
                "a subscriber does not keep up: messages are dropped",
                extra={"pattern": self.pattern.text, "topic": message.topic, "dropped": self.dropped},
            )

    def _left(self, heard: _Heard) -> None:
        size = len(heard.message.payload)
        self._size -= size
        if heard.is_ours:
            self._ours -= 1
            _wake(self._blocked)
        elif self.waits:
            self.give_back(1, size)

    def give_back(self, count: int, size: int) -> None:
        """So much was taken of what the orchestrator brought. It is told when it is half of what it may bring, not each time."""
        self._credit_count += count
        self._credit_size += size
        if (self._credit_count * 2 >= self.limit or self._credit_size * 2 >= MOST_BYTES) and not self._ended:
            self._topics.tell_taken(self, self._credit_count, self._credit_size)
            self._credit_count = self._credit_size = 0

    # ── the side of who hears ───────────────────────────────────────────────────────────────────────────────────────

    async def __anext__(self) -> PubSubMessage:
        while True:
            while len(self._queue):
                heard = self._queue.get()
                self._left(heard)
                if heard.expires is None or _now() < heard.expires:
                    return heard.message
                self.expired += 1
            if self._ended:
                raise StopAsyncIteration
            await _wait_in(self._waiting)

    def __repr__(self) -> str:
        return f"Subscription({self.pattern.text!r}, waiting={len(self._queue)}, dropped={self.dropped}, expired={self.expired})"


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _wait_in(line: deque[asyncio.Future[Any]]) -> None:
    """Wait to be woken; who is cancelled when already woken wakes the next."""
    place = asyncio.get_running_loop().create_future()
    line.append(place)
    try:
        await place
    except asyncio.CancelledError:
        if place in line:
            line.remove(place)
        else:
            _wake(line)
        raise


def _wake(line: deque[asyncio.Future[Any]], *, everybody: bool = False) -> None:
    while line:
        place = line.popleft()
        if not place.done():
            place.set_result(None)
            if not everybody:
                return
