"""The changes of several sources as one stream of names."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final

from ..access import ListedSource, WatchedSource
from ..errors import PyWattError, SecretError

if TYPE_CHECKING:
    from ..interfaces import SecretSource
    from .secret_chain import SecretChain

log = logging.getLogger(__name__)

FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 60.0
"""Seconds after which a source whose watching failed is watched anew; each failure doubles them."""


class ChainChanges(AsyncIterator[frozenset[str]]):
    """What `SecretChain.changes` gives. Names that nobody has taken yet are gathered, so that a slow reader misses none."""

    def __init__(self, chain: SecretChain) -> None:
        self._chain = chain
        self._changed: set[str] = set()
        self._ready = asyncio.Event()
        self._begun = {label: source.changes() for label, source in chain if isinstance(source, WatchedSource)}
        self._tasks: list[asyncio.Task[None]] = []
        self._closed = False

    def __aiter__(self) -> ChainChanges:
        return self

    async def __anext__(self) -> frozenset[str]:
        if not self._tasks and not self._closed:
            watched = [(label, source) for label, source in self._chain if label in self._begun and isinstance(source, WatchedSource)]
            self._tasks = [asyncio.create_task(self._follow(*pair), name=f"changes of [secrets.{pair[0]}]") for pair in watched]
        await self._ready.wait()
        if self._closed:
            raise StopAsyncIteration
        self._ready.clear()
        names, self._changed = frozenset(self._changed), set()
        return names

    async def aclose(self) -> None:
        """Watch no more; whoever waits is told that there is nothing to come."""
        self._closed = True
        self._ready.set()
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        begun, self._begun = self._begun, {}
        for changes in begun.values():
            await _close(changes)

    async def _follow(self, label: str, source: WatchedSource) -> None:
        pause = FIRST_PAUSE
        while True:
            try:
                if label not in self._begun:
                    self._begun[label] = source.changes()
                    await self._tell(label, await _all_of(source))  # whatever changed while nobody looked
                async for names in self._begun[label]:
                    pause = FIRST_PAUSE
                    await self._tell(label, names)
                reason = "its changes ended"
            except Exception as error:  # a source of somebody else's may raise anything; the others go on
                known = isinstance(error, PyWattError)
                reason = str(error) if known else type(error).__name__
            log.error("[secrets.%s] cannot be watched, which is tried again in %g s: %s", label, pause, reason)
            if (changes := self._begun.pop(label, None)) is not None:
                await _close(changes)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _tell(self, label: str, names: frozenset[str]) -> None:
        """Pass on the names that no earlier source answers."""
        earlier = self._chain.before(label)
        for name in names:
            try:
                hidden = await earlier.get(name) is not None
            except Exception:  # whoever asks for it will hear of it
                hidden = False  # better told once too often
            if not hidden:
                self._changed.add(name)
        if self._changed:
            self._ready.set()


async def _all_of(source: SecretSource) -> frozenset[str]:
    if not isinstance(source, ListedSource):
        return frozenset()
    try:
        return frozenset(await source.names())
    except SecretError:
        return frozenset()


async def _close(changes: AsyncIterator[frozenset[str]]) -> None:
    close = getattr(changes, "aclose", None)
    if close is not None:
        try:
            await close()
        except Exception as error:
            log.debug("closing a watch: %s", type(error).__name__)
