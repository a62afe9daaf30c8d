"""What goes first: four levels, and a bounded queue that serves them strictly (protocol 13.6, 13.7)."""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import Generic, TypeVar

T = TypeVar("T")


class StreamPriority(Enum):
    """Of a stream or a published message; the values are the wire's names."""

    LOW = "Low"
    NORMAL = "Normal"
    HIGH = "High"
    CRITICAL = "Critical"

    @classmethod
    def parse(cls, value: StreamPriority | str) -> StreamPriority:
        """From itself or its name in any case. Raises ValueError that lists the names."""
        if isinstance(value, StreamPriority):
            return value
        for one in cls:
            if isinstance(value, str) and value.lower() == one.value.lower():
                return one
        raise ValueError(f"a priority is one of {', '.join(one.value for one in cls)}, not {value!r}")


HIGHEST_FIRST = tuple(reversed(StreamPriority))


class PriorityMessageQueue(Generic[T]):
    """First in, first out within a level; a level is served when all above it are empty.

    `limit`: messages at most, over all levels. Nothing here waits: `put` says False where the queue is full.
    """

    __slots__ = ("_length", "_levels", "limit")

    def __init__(self, limit: int = 10_000) -> None:
        if limit < 1:
            raise ValueError(f"limit must be at least 1, not {limit}")
        self.limit = limit
        self._levels: dict[StreamPriority, deque[T]] = {level: deque() for level in HIGHEST_FIRST}
        self._length = 0

    def __len__(self) -> int:
        return self._length

    @property
    def full(self) -> bool:
        """Whether `put` would refuse."""
        return self._length >= self.limit

    def put(self, item: T, priority: StreamPriority = StreamPriority.NORMAL) -> bool:
        """Take it in, or return False where there is no room."""
        if self.full:
            return False
        self._levels[priority].append(item)
        self._length += 1
        return True

    def get(self) -> T:
        """The oldest of the highest level that holds any. Raises IndexError where the queue is empty."""
        for level in self._levels.values():
            if level:
                self._length -= 1
                return level.popleft()
        raise IndexError("the queue is empty")

    def drop(self, incoming: StreamPriority | None = None) -> T | None:
        """Give up the oldest of the lowest level, to make room; None where all that is there stands above `incoming`."""
        for priority in StreamPriority:
            if incoming is not None and HIGHEST_FIRST.index(priority) < HIGHEST_FIRST.index(incoming):
                return None
            if self._levels[priority]:
                self._length -= 1
                return self._levels[priority].popleft()
        return None

    def remove(self, item: T, priority: StreamPriority = StreamPriority.NORMAL) -> None:
        """Give up one that was put in with this priority. Raises ValueError where it is not there."""
        self._levels[priority].remove(item)
        self._length -= 1

    def clear(self) -> None:
        """Forget everything."""
        for level in self._levels.values():
            level.clear()
        self._length = 0
