"""The configured secret sources: opened anew for each process that starts, so that what changed is read again, and watched meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from pywatt_core.access import WatchedSource
from pywatt_core.errors import PyWattError, SecretError
from pywatt_core.held import Held
from pywatt_core.services.secrets import fetch_from

if TYPE_CHECKING:
    from pywatt_core.interfaces import SecretSource

    from .logs import Journal

Chain = list[tuple[str, "SecretSource"]]
OnChange = Callable[["frozenset[str] | None"], None]

FETCH_TIMEOUT = 10.0
"""Seconds that the sources may take to find one secret."""
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0
"""Seconds until a source is watched again that could not be watched any more; twice as long after each time."""


class _Opened:
    """One opened chain, closed once it is out of date and nobody reads from it."""

    def __init__(self, held: Held[Chain], chain: Chain) -> None:
        self.held, self.chain = held, chain
        self.readers = 0
        self.outdated = False
        self.watching: list[asyncio.Task[None]] = []


class SecretSources:
    """`open_chain` enters the sources on the stack that it is given and returns them in the order in which they are asked.

    `depends` are the secrets that the sections of the sources refer to: where one of them changes, the sources are opened anew.
    """

    def __init__(
        self, open_chain: Callable[[AsyncExitStack], Awaitable[Chain]], journal: Journal, *, depends: frozenset[str] = frozenset()
    ) -> None:
        self._open_chain, self._journal, self._depends = open_chain, journal, depends
        self._current: _Opened | None = None
        self._on_change: OnChange | None = None
        self._reopening: asyncio.Task[None] | None = None
        self._outdated = False
        self.changes = 0
        """How often something has changed: what was read before that may be old."""

    async def open(self) -> None:
        """Open the sources for the first time. Raises what opening them raises."""
        held = Held(self._enter, "secret sources")
        self._current = _Opened(held, await held.value())

    def watch(self, on_change: OnChange) -> None:
        """From now on call `on_change` with the names that may have another value, None for all of them; it returns at once.

        It is called for what sources notice by themselves, and each time that they have been opened anew.
        """
        self._on_change = on_change
        if self._current is not None:
            self._begin_watching(self._current)

    async def refresh(self) -> None:
        """Open them anew; where that fails, the ones that are open stay in use and the reason is logged."""
        held = Held(self._enter, "secret sources")
        try:
            fresh = _Opened(held, await held.value())
        except PyWattError as error:
            self._journal.say(f"the secret sources could not be read again, the values known before stay in use: {error}", level="error")
            return
        except asyncio.CancelledError:
            held.abandon()
            raise
        old, self._current = self._current, fresh
        if old is None:  # closed meanwhile
            self._current = None
            await self._retire(fresh)
            return
        if self._on_change is not None:
            self._begin_watching(fresh)
        self._tell(None)
        await self._retire(old)

    async def fetch(self, name: str) -> str:
        """The value of one secret. Raises `SecretNotFound`, or another `SecretError` where a source fails."""
        opened = self._current
        if opened is None:
            raise SecretError("the secret sources are closed")
        opened.readers += 1
        try:
            async with asyncio.timeout(FETCH_TIMEOUT):
                return await fetch_from(opened.chain)(name)
        except TimeoutError:
            raise SecretError(f"the sources did not answer within {FETCH_TIMEOUT:g} s") from None
        finally:
            opened.readers -= 1
            if opened.outdated and not opened.readers:
                await opened.held.close()

    async def close(self) -> None:
        """Close what is open; may be called twice."""
        self._on_change = None
        if self._reopening is not None:
            self._reopening.cancel()
            await asyncio.wait({self._reopening})
        current, self._current = self._current, None
        if current is not None:
            await self._retire(current)

    async def _retire(self, opened: _Opened) -> None:
        for task in opened.watching:
            task.cancel()
        if opened.watching:
            await asyncio.wait(opened.watching)
        opened.outdated = True
        if not opened.readers:
            await opened.held.close()

    @asynccontextmanager
    async def _enter(self) -> AsyncIterator[Chain]:
        async with AsyncExitStack() as stack:
            yield await self._open_chain(stack)

    # ── watching ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _begin_watching(self, opened: _Opened) -> None:
        opened.watching = [
            asyncio.create_task(self._watch(label, source), name=f"watching [secrets.{label}]")
            for label, source in opened.chain
            if isinstance(source, WatchedSource)
        ]

    async def _watch(self, label: str, source: WatchedSource) -> None:
        """Pass on what a source notices, as long as it is in use. One that fails is watched again after a while."""
        pause = FIRST_PAUSE
        while True:
            try:
                async with _closing(source.changes()) as changes:
                    async for names in changes:
                        pause = FIRST_PAUSE
                        self._changed(names)
                reason = "it ended"
            except Exception as error:
                reason = str(error) if isinstance(error, PyWattError) else f"{type(error).__name__}: {error}"
            level = "error" if pause == FIRST_PAUSE else "debug"
            self._journal.say(
                f"[secrets.{label}] is not watched for changes at the moment, `pywatt rotate` reads it: {reason}", level=level
            )
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
            self._changed(None)

    def _tell(self, names: frozenset[str] | None) -> None:
        self.changes += 1
        if self._on_change is not None:
            self._on_change(names)

    def _changed(self, names: frozenset[str] | None) -> None:
        if names is None or not names & self._depends:
            self._tell(names)
            return
        self._outdated = True
        if self._reopening is None or self._reopening.done():
            self._reopening = asyncio.create_task(self._reopen(), name="opening the secret sources anew")

    async def _reopen(self) -> None:
        while self._outdated:
            self._outdated = False
            await self.refresh()


@asynccontextmanager
async def _closing(changes: AsyncIterator[frozenset[str]]) -> AsyncIterator[AsyncIterator[frozenset[str]]]:
    try:
        yield changes
    finally:
        if isinstance(changes, AsyncGenerator):
            with contextlib.suppress(Exception):
                await changes.aclose()
