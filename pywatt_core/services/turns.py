"""Work that runs at once, and work that waits for its turn: both have a limit, so that memory has one."""

from __future__ import annotations

import asyncio
from collections import deque
from contextvars import ContextVar
from typing import Final

DEPTHS: Final = 8
"""Depths that are told apart; what lies deeper shares the last."""

depth: ContextVar[int] = ContextVar("pywatt_depth", default=-1)
"""How many requests lie around the one that is being answered here: 0 is one that nobody made while it answered another; -1 is none."""


class Full(Exception):
    """As much waits already as may."""


class Turns:
    """``async with turns:`` is entered by `at_once` tasks at a time; `waiting` more wait, the first first. Beyond these: `Full`."""

    def __init__(self, at_once: int, waiting: int) -> None:
        self.at_once, self.waiting = at_once, waiting
        self.running = 0
        self.bytes = 0
        """Of what those hold who run and who wait: they count it themselves."""
        self._queue: deque[asyncio.Future[None]] = deque()

    @property
    def queued(self) -> int:
        """How many wait."""
        return len(self._queue)

    async def __aenter__(self) -> None:
        await self.enter()

    async def enter(self) -> None:
        """Wait for a turn; `leave` ends it. Whoever cannot wait may enter by itself: while `running` is below `at_once`, by adding one."""
        if self.running < self.at_once:
            self.running += 1
            return
        if len(self._queue) >= self.waiting:
            raise Full
        turn = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave()  # It was its turn at the same moment.
            else:
                self._queue.remove(turn)
            raise

    async def __aexit__(self, *_reason: object) -> None:
        self.leave()

    def leave(self) -> None:
        """What was entered is done. The place goes to the first who waits."""
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.running -= 1


class Levels:
    """`Turns` for each depth. Who holds a turn waits for deeper ones alone, so that modules that ask each other in a circle never
    wait for each other because all turns are taken."""

    def __init__(self, at_once: int, waiting: int) -> None:
        self.at_once, self.waiting = at_once, waiting
        self._levels = [Turns(at_once, waiting) for _ in range(DEPTHS)]

    def here(self) -> Turns:
        """The turns for what is being answered here."""
        return self._levels[min(max(depth.get(), 0), DEPTHS - 1)]

    @property
    def running(self) -> int:
        return sum(turns.running for turns in self._levels)

    @property
    def queued(self) -> int:
        """How many wait."""
        return sum(turns.queued for turns in self._levels)
