"""What a link remembers of a request that has no answer yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Hashable, Iterator

    from ..protocol.messages import Message


class Waiting(Struct, eq=False):
    """One request of ours that has no answer yet; `earlier` is another that waits for the same answer.

    A Struct because one is made for every request, and no Python runs for that.
    """

    key: Hashable
    future: asyncio.Future[Message]
    deadline: float
    """On the loop's clock."""
    op: str
    earlier: Waiting | None

    def __iter__(self) -> Iterator[Waiting]:
        """This one and all earlier ones."""
        waiting: Waiting | None = self
        while waiting is not None:
            yield waiting
            waiting = waiting.earlier
