"""The vault as a source of secrets: what the file says now, and who is told when it changes."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from pywatt_core.errors import SecretError

from .keys import KeyPlaces
from .store import Store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection

    from pywatt_core.access import SecretInfo

    from .options import Options
    from .vault import Vault

log = logging.getLogger(__name__)

LOOK_TIMEOUT = 5.0
"""Seconds that one look at the file may take."""


class VaultSource:
    """The secrets of one vault. A value that `get` gives is at most `poll` seconds old, while the file can be read.

    A file that cannot be opened any more (damaged, half written, sealed with a key that is not here) is logged once, and the last
    good values stay in use.
    """

    def __init__(self, store: Store, vault: Vault, *, poll: float = 1.0) -> None:
        self._store, self._vault, self._poll = store, vault, poll
        self._looking = asyncio.Lock()
        self._busy: asyncio.Future[Vault] | None = None
        """The look that is under way in a thread, though whoever began it may have given up."""
        self._due = 0.0
        self._complaint = ""

    @classmethod
    async def open(cls, options: Options, folder: Path) -> VaultSource:
        """Raises `SecretError` for a vault that is not there, has no key here, or was changed by somebody without the key."""
        store = store_of(options, folder)
        return cls(store, await asyncio.to_thread(store.load), poll=options.poll)

    def __repr__(self) -> str:
        return f"VaultSource({self.place!r})"

    @property
    def place(self) -> str:
        """The file."""
        return str(self._store.path)

    async def get(self, name: str) -> str | None:
        return (await self._current()).get(name)

    async def names(self) -> Collection[str]:
        return (await self._current()).names()

    async def describe(self, name: str) -> SecretInfo | None:
        return (await self._current()).describe(name)

    async def set(self, name: str, value: str) -> None:
        """Seal the value and write the file. Raises `SecretError` where the file cannot be written or is not sound."""
        await asyncio.to_thread(self._store.change, {name: value})
        await self.refresh()

    async def refresh(self) -> None:
        """Look now. What cannot be read is logged, and the values stay."""
        async with self._looking:
            await self._look()

    def changes(self) -> AsyncIterator[frozenset[str]]:
        """What differs from the values that were known when this was called, and then from each time to the next."""
        return self._changes(self._vault)

    async def _changes(self, known: Vault) -> AsyncIterator[frozenset[str]]:
        while True:
            current = await self._current()
            names = await asyncio.to_thread(known.differing, current) if current is not known else frozenset()
            known = current
            if names:
                yield names
            else:
                await asyncio.sleep(max(0.0, self._due - asyncio.get_running_loop().time()))

    async def _current(self) -> Vault:
        clock = asyncio.get_running_loop().time
        if clock() >= self._due:
            async with self._looking:
                if clock() >= self._due:  # else somebody has just looked
                    await self._look()
        return self._vault

    async def _look(self) -> None:
        try:
            self._vault = await self._in_thread()
        except SecretError as error:
            self._complain(str(error))
        else:
            self._complain("")
        self._due = asyncio.get_running_loop().time() + self._poll

    async def _in_thread(self) -> Vault:
        """The result, in time. A file system that hangs gets no second thread to hang in."""
        if self._busy is not None:
            await self._done(self._busy)
        self._busy = running = asyncio.get_running_loop().run_in_executor(None, self._store.load, self._vault)
        running.add_done_callback(lambda future: future.cancelled() or future.exception())  # nobody may want it any more
        await self._done(running)
        return running.result()

    async def _done(self, running: asyncio.Future[Vault]) -> None:
        await asyncio.wait({running}, timeout=LOOK_TIMEOUT)
        if not running.done():
            raise SecretError(f"{self.place}: cannot be read within {LOOK_TIMEOUT:g} s")
        self._busy = None

    def _complain(self, text: str) -> None:
        """Log what is wrong, once; and once that it is over."""
        if text != self._complaint:
            self._complaint = text
            if text:
                log.error("%s. The values known before stay in use", text)
            else:
                log.info("%s: it can be read again", self.place)


def store_of(options: Options, folder: Path, ask: Callable[[], str] | None = None) -> Store:
    """The vault that a section configures, and where its key may stand; `ask` is called for a passphrase that stands nowhere."""
    path = folder / options.path
    file = folder / Path(options.key_file).expanduser() if options.key_file else path.with_suffix(".key")
    places = KeyPlaces(variable=options.key_env, file=file, file_wanted=bool(options.key_file), any_mode=options.any_mode, ask=ask)
    return Store(path, places)
