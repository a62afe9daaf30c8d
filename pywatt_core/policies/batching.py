"""When what was collected has to go (protocol 13.4). Pure: the clock is an argument.

Links need none of this: they send what comes together in one loop tick in one write. It is for what an application
collects itself, rows for a database or points for a time series.
"""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class Batch(Generic[T]):
    """Collects items in order until there are `max_size` of them, `max_bytes` bytes, or the first has waited `max_delay` seconds.

    After `add` said True, or when the clock reaches `due`, call `take`. It never holds more than that: an item is refused
    with `OverflowError` while a full batch has not been taken.
    """

    __slots__ = ("_bytes", "_items", "due", "max_bytes", "max_delay", "max_size")

    def __init__(self, *, max_size: int = 100, max_bytes: int = 1_048_576, max_delay: float = 0.010) -> None:
        if max_size < 1 or max_bytes < 1 or not max_delay >= 0:
            raise ValueError(f"max_size and max_bytes are at least 1, max_delay at least 0, not {max_size}, {max_bytes}, {max_delay}")
        self.max_size, self.max_bytes, self.max_delay = max_size, max_bytes, max_delay
        self.due: float | None = None
        """When the batch has to go; None while it is empty."""
        self._items: list[T] = []
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._items)

    @property
    def full(self) -> bool:
        """Whether it has to go at once."""
        return len(self._items) >= self.max_size or self._bytes >= self.max_bytes

    def add(self, item: T, size: int, now: float) -> bool:
        """Collect an item of `size` bytes; True where the batch has to go now."""
        if self.full:
            raise OverflowError("the batch is full: take it first")
        if self.due is None:
            self.due = now + self.max_delay
        self._items.append(item)
        self._bytes += size
        return self.full or now >= self.due

    def take(self) -> list[T]:
        """What was collected, in order; the batch is empty then."""
        items, self._items, self._bytes, self.due = self._items, [], 0, None
        return items
