"""Something is done again and again, by many at once, while a test or a soak run changes something beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Self

DEADLINE = 60.0
"""Seconds in which further calls have to be done."""


class Load:
    """``async with Load(work, tasks=8) as load: …; await load.more(100)``. `failures` is what went wrong, `done` how often it did not."""

    def __init__(self, work: Callable[[], Awaitable[object]], *, tasks: int = 8) -> None:
        self._work, self._count = work, tasks
        self._tasks: list[asyncio.Task[None]] = []
        self._ending = False
        self._progress = asyncio.Condition()
        self.done = 0
        self.failures: list[Exception] = []

    async def more(self, calls: int) -> None:
        """Wait until so many more have been done, failed ones included. Raises `TimeoutError`."""
        wanted = self.done + len(self.failures) + calls
        async with asyncio.timeout(DEADLINE), self._progress:
            await self._progress.wait_for(lambda: self.done + len(self.failures) >= wanted)

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._run(), name="load") for _ in range(self._count)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._ending = True
        done, late = await asyncio.wait(self._tasks, timeout=DEADLINE)
        for task in late:
            task.cancel()
        if late:
            raise TimeoutError(f"{len(late)} of {len(self._tasks)} calls did not end")
        for task in done:
            task.result()

    async def _run(self) -> None:
        while not self._ending:
            try:
                await self._work()
            except Exception as error:
                self.failures.append(error)
            else:
                self.done += 1
            async with self._progress:
                self._progress.notify_all()
            await asyncio.sleep(0)
