"""The configured secret sources, opened anew for each process that starts, so that a changed ``.env`` is read again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from pywatt_core.errors import PyWattError, SecretError
from pywatt_core.held import Held
from pywatt_core.services.secrets import fetch_from

if TYPE_CHECKING:
    from pywatt_core.interfaces import SecretSource

    from .logs import Journal

Chain = list[tuple[str, "SecretSource"]]

FETCH_TIMEOUT = 10.0
"""Seconds that the sources may take to find one secret."""


class _Opened:
    """One opened chain, closed once it is out of date and nobody reads from it."""

    def __init__(self, held: Held[Chain], chain: Chain) -> None:
        self.held, self.chain = held, chain
        self.readers = 0
        self.outdated = False


class SecretSources:
    """`open_chain` enters the sources on the stack that it is given and returns them in the order in which they are asked."""

    def __init__(self, open_chain: Callable[[AsyncExitStack], Awaitable[Chain]], journal: Journal) -> None:
        self._open_chain, self._journal = open_chain, journal
        self._current: _Opened | None = None

    async def open(self) -> None:
        """Open the sources for the first time. Raises what opening them raises."""
        held = Held(self._enter, "secret sources")
        self._current = _Opened(held, await held.value())

    async def refresh(self) -> None:
        """Open them anew; where that fails, the ones that are open stay in use and the reason is logged."""
        held = Held(self._enter, "secret sources")
        try:
            fresh = _Opened(held, await held.value())
        except PyWattError as error:
            self._journal.say(f"the secret sources could not be read again, the values known before stay in use: {error}", level="error")
            return
        old, self._current = self._current, fresh
        if old is not None:
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
        current, self._current = self._current, None
        if current is not None:
            await self._retire(current)

    async def _retire(self, opened: _Opened) -> None:
        opened.outdated = True
        if not opened.readers:
            await opened.held.close()

    @asynccontextmanager
    async def _enter(self) -> AsyncIterator[Chain]:
        async with AsyncExitStack() as stack:
            yield await self._open_chain(stack)
