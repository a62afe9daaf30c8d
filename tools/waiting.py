"""Wait for what nobody tells: a server's own view, a file, another process."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable

DEADLINE = 60.0
"""Seconds after which it is in vain."""
POLL = 0.01


async def until(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    """Ask again and again until the answer is yes. Raises `TimeoutError`."""
    async with asyncio.timeout(DEADLINE):
        while True:
            answer = condition()
            if await answer if inspect.isawaitable(answer) else answer:
                return
            await asyncio.sleep(POLL)
