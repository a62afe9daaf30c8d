"""What a link remembers of a request that has no answer yet."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

    from ..protocol.messages import Message


class Waiting:
    """One request of ours that has no answer yet; `earlier` is another that waits for the same answer."""

    __slots__ = ("deadline", "earlier", "future", "key", "op")

    def __init__(self, key: Hashable, future: asyncio.Future[Message], deadline: float, op: str, earlier: Waiting | None) -> None:
        self.key = key
        self.future = future
        self.deadline = deadline
        self.op = op
        self.earlier = earlier

    def __iter__(self) -> Iterator[Waiting]:
        waiting: Waiting | None = self
        while waiting is not None:
            yield waiting
            waiting = waiting.earlier
