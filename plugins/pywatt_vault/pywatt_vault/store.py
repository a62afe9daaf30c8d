"""A vault on disk: where it is, which key opens it, and how it changes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pywatt_core.errors import SecretError

from .document import TEXT_LIMIT
from .files import LOCK_TIMEOUT, locked, read_regular, write_whole
from .vault import Vault

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from .keys import KeyPlaces


class Store:
    """The vault at one path, opened with the key from the places given."""

    def __init__(self, path: Path, places: KeyPlaces, *, lock_timeout: float = LOCK_TIMEOUT) -> None:
        self.path, self.places = path, places
        self._lock_timeout = lock_timeout

    def __repr__(self) -> str:
        return f"Store({str(self.path)!r})"

    def data(self) -> bytes:
        """The file as it is. Raises `SecretError`."""
        found = read_regular(self.path, TEXT_LIMIT, what="vault")
        if found is None:
            raise SecretError(f"{self.path}: there is no such vault; `pywatt secrets init` makes one")
        return found[0]

    def load(self, known: Vault | None = None, *, looks: int = 5) -> Vault:
        """The vault in the file; `known` where that is what still stands there. Raises `SecretError`.

        A vault that is rotated between the look at it and the look at its key is looked at again.
        """
        data = self.data()
        if known is not None and known.data == data:
            return known
        try:
            return Vault.read(data, str(self.path), self.places)
        except SecretError:
            if looks == 1 or self.data() == data:
                raise
        return self.load(looks=looks - 1)

    def locked(self) -> AbstractContextManager[None]:
        """Be the only writer meanwhile."""
        return locked(self.path, self._lock_timeout)

    def change(
        self, values: Mapping[str, str], *, remove: Collection[str] = (), based_on: Vault | None = None
    ) -> tuple[Vault, frozenset[str]]:
        """Set and remove; the vault as it is now, and the names for which that made a difference. Without any, nothing is written.

        `based_on`: what the caller has looked at. Where somebody else has meanwhile changed one of the names, nothing is
        written and a `SecretError` says which.
        """
        with self.locked():
            before = self.load()
            lost = sorted(based_on.differing(before) & {*values, *remove}) if based_on is not None else []
            if lost:
                raise SecretError(f"{self.path}: {', '.join(lost)} was changed by somebody else meanwhile")
            after = before.with_changes(values, datetime.now(UTC), remove=remove)
            names = before.differing(after)
            if names:
                self.write(after)
            return after, names

    def create(self, vault: Vault) -> None:
        """Write a vault where none is. Raises `SecretError` where there is a file already."""
        with self.locked():
            write_whole(self.path, vault.text(), mode=0o644, exclusive=True)

    def write(self, vault: Vault) -> None:
        """Replace the file. Who calls this holds the lock."""
        write_whole(self.path, vault.text(), mode=0o644)
