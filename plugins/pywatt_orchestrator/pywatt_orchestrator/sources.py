"""The configured secret sources: asked, watched, and read again for each process that starts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from pywatt_core.errors import PyWattError, SecretError
from pywatt_core.held import Held
from pywatt_core.services.secret_chain import SecretChain, following, place_of

if TYPE_CHECKING:
    from pywatt_core.interfaces import SecretSource

    from .logs import Journal

_log = logging.getLogger(__name__)

OpenChain = Callable[[AsyncExitStack], Awaitable[Sequence[tuple[str, "SecretSource"]]]]
OnChange = Callable[["frozenset[str] | None"], None]

SOURCE_TIMEOUT = 8.0
"""Seconds that one source may take for one answer; then it is named."""
FETCH_TIMEOUT = 10.0
"""Seconds that all of them together may take to find one secret."""


class _Opened:
    """One opened chain, closed once it is out of date and nobody reads from it."""

    def __init__(self, held: Held[SecretChain], chain: SecretChain) -> None:
        self.held, self.chain = held, chain
        self.readers = 0
        self.outdated = False
        self.watching: asyncio.Task[None] | None = None


class SecretSources:
    """`open_chain` enters the sources on the stack that it is given and returns them in the order in which they are asked.

    `depends` are the secrets that the sections of the sources refer to: where one of them changes, the sources are opened anew.
    """

    def __init__(self, open_chain: OpenChain, journal: Journal, *, depends: frozenset[str] = frozenset()) -> None:
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

        It is called for what sources notice by themselves, each time that they have been read again, and now, for what has been missed.
        """
        self._on_change = on_change
        if self._current is not None:
            self._begin_watching(self._current)
            self._tell(None)

    async def refresh(self) -> None:
        """Read them again. Where that fails, what was known before stays in use and the reason is logged.

        Sources that can are told to look; where one cannot, all are opened anew.
        """
        opened = self._current
        if opened is None:
            return
        if not all(hasattr(source, "refresh") for _label, source in opened.chain):
            await self._open_anew()
            return
        try:
            await opened.chain.refresh()
        except Exception as error:
            self._not_again(error)
        self._tell(None)

    async def fetch(self, name: str) -> str:
        """The value of one secret. Raises `SecretNotFound`, or another `SecretError` where a source fails."""
        opened = self._current
        if opened is None:
            raise SecretError("the secret sources are closed")
        opened.readers += 1
        try:
            async with asyncio.timeout(FETCH_TIMEOUT) as limit:
                return await opened.chain.fetch(name)
        except SecretError:
            raise
        except Exception as error:
            if limit.expired():
                raise SecretError(f"the sources did not answer within {FETCH_TIMEOUT:g} s") from None
            raise SecretError(_what(error)) from error
        finally:
            opened.readers -= 1
            if opened.outdated and not opened.readers:
                await opened.held.close()

    def places(self, name: str) -> str:
        """Where one secret is looked for: ``env: the variable KEY, dotenv: /srv/shop/.env``."""
        chain = self._current.chain if self._current is not None else ()
        found = [(label, place_of(source, name)) for label, source in chain]
        return ", ".join(f"{label}: {place}" if place else label for label, place in found) or "no source, for none is configured"

    async def close(self) -> None:
        """Close what is open; may be called twice."""
        self._on_change = None
        if self._reopening is not None:
            self._reopening.cancel()
            await asyncio.wait({self._reopening})
        current, self._current = self._current, None
        if current is not None:
            await self._retire(current)

    # ── opening ─────────────────────────────────────────────────────────────────────────────────────────────────────

    @asynccontextmanager
    async def _enter(self) -> AsyncIterator[SecretChain]:
        async with AsyncExitStack() as stack:
            yield SecretChain(await self._open_chain(stack), timeout=SOURCE_TIMEOUT)

    async def _open_anew(self) -> None:
        held = Held(self._enter, "secret sources")
        try:
            fresh = _Opened(held, await held.value())
        except Exception as error:
            self._not_again(error)
            return
        except asyncio.CancelledError:
            held.abandon()
            raise
        if self._current is None:  # closed meanwhile
            await self._retire(fresh)
            return
        old, self._current = self._current, fresh
        if self._on_change is not None:
            self._begin_watching(fresh)
        self._tell(None)
        await self._retire(old)

    def _not_again(self, error: Exception) -> None:
        text = f"the secret sources could not be read again, the values known before stay in use: {_what(error)}"
        self._journal.say(text, level="error")

    async def _retire(self, opened: _Opened) -> None:
        if opened.watching is not None:
            opened.watching.cancel()
            await asyncio.wait({opened.watching})
        opened.outdated = True
        if not opened.readers:
            await opened.held.close()

    # ── watching ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _begin_watching(self, opened: _Opened) -> None:
        opened.watching = asyncio.create_task(self._follow(opened.chain), name="watching the secret sources")

    async def _follow(self, chain: SecretChain) -> None:
        async with following(chain) as changes:
            async for names in changes:
                self._noticed(names)

    def _noticed(self, names: frozenset[str]) -> None:
        if not names & self._depends:
            self._tell(names)
            return
        self._outdated = True
        if self._reopening is None or self._reopening.done():
            self._reopening = asyncio.create_task(self._reopen(), name="opening the secret sources anew")

    async def _reopen(self) -> None:
        while self._outdated:
            self._outdated = False
            await self._open_anew()

    def _tell(self, names: frozenset[str] | None) -> None:
        self.changes += 1
        if self._on_change is not None:
            self._on_change(names)


def _what(error: Exception) -> str:
    """What went wrong. A source may be anybody's: a fault in it is logged, and keeps no secret of another source from anybody."""
    if isinstance(error, PyWattError):
        return str(error)
    _log.error("a secret source failed", exc_info=error)
    return f"a secret source failed: {type(error).__name__}"
