"""The vault as a source of secrets: what the file says now, and who is told when it changes."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING

from pywatt_core.errors import SecretError

from .files import Stamp, stamp
from .keys import KeyPlaces
from .store import Store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection

    from pywatt_core.access import SecretInfo

    from .options import Options
    from .vault import Vault

log = logging.getLogger(__name__)

SETTLED = 3.0
"""Seconds after which the times of a file tell whether it was changed; some file systems count in steps of two seconds."""


class VaultSource:
    """Answers from the file as it is now: each question looks whether it was changed, which costs two calls of the system.

    A file that cannot be opened any more (damaged, half written, sealed with a key that is not here) is logged once, and the last
    good values stay in use.
    """

    def __init__(self, store: Store, vault: Vault, seen: tuple[Stamp, Stamp], *, poll: float = 1.0) -> None:
        """`seen`: the stamps of vault and key file from before the vault was read."""
        self._store, self._vault, self._seen, self._poll = store, vault, seen, poll
        self._settles = time.monotonic() + SETTLED
        self._loading = asyncio.Lock()
        self._complaint, self._again = "", 0.0

    @classmethod
    async def open(cls, options: Options, folder: Path) -> VaultSource:
        """Raises `SecretError` for a vault that is not there, has no key here, or was changed by somebody without the key."""
        store = store_of(options, folder)
        seen = _seen(store)
        return cls(store, await asyncio.to_thread(store.load), seen, poll=options.poll)

    def __repr__(self) -> str:
        return f"VaultSource({str(self._store.path)!r})"

    async def get(self, name: str) -> str | None:
        return (await self._current()).get(name)

    async def names(self) -> Collection[str]:
        return (await self._current()).names()

    async def describe(self, name: str) -> SecretInfo | None:
        return (await self._current()).describe(name)

    async def set(self, name: str, value: str) -> None:
        """Seal the value and write the file. Raises `SecretError` where the file cannot be written or is not sound."""
        async with self._loading:
            await asyncio.to_thread(self._store.change, {name: value})
        await self._current()

    def changes(self) -> AsyncIterator[frozenset[str]]:
        """What differs from the values that were known when this was called, and then from each time to the next."""
        return self._changes(self._vault)

    async def _changes(self, known: Vault) -> AsyncIterator[frozenset[str]]:
        while True:
            current = await self._current()
            names = known.differing(current) if current is not known else frozenset()
            known = current
            if names:
                yield names
            else:
                await asyncio.sleep(self._poll)

    async def _current(self) -> Vault:
        """The vault as the file is now, or as it was when it was last good."""
        if self._due():
            async with self._loading:
                if self._due():  # else somebody has just read it
                    await self._read()
        return self._vault

    def _due(self) -> bool:
        now = time.monotonic()
        return _seen(self._store) != self._seen or now < self._settles or bool(self._complaint and now >= self._again)

    async def _read(self) -> None:
        seen = _seen(self._store)
        if seen != self._seen:
            self._seen, self._settles = seen, time.monotonic() + SETTLED
        try:
            self._vault = await asyncio.to_thread(self._load)
            self._complaint = ""
        except SecretError as error:
            self._again = time.monotonic() + self._poll
            self._complain(str(error))

    def _load(self) -> Vault:
        """The vault in the file; the one that we have where nothing in it changed."""
        data = self._store.data()
        if data == self._vault.data:
            return self._vault
        return self._store.read(data)

    def _complain(self, text: str) -> None:
        if text != self._complaint:
            self._complaint = text
            log.error("the vault cannot be read again, its last good values stay in use: %s", text)


def store_of(options: Options, folder: Path, ask: Callable[[], str] | None = None) -> Store:
    """The vault that a section configures, and where its key may stand; `ask` is called for a passphrase that stands nowhere."""
    path = folder / options.path
    file = folder / Path(options.key_file).expanduser() if options.key_file else path.with_suffix(".key")
    places = KeyPlaces(variable=options.key_env, file=file, file_wanted=bool(options.key_file), any_mode=options.any_mode, ask=ask)
    return Store(path, places)


def _seen(store: Store) -> tuple[Stamp, Stamp]:
    return stamp(store.path), stamp(store.places.file)
