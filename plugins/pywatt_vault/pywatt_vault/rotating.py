"""A new key for a vault: at no time is there a file on disk that nothing on disk opens, whatever fails in between."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from pywatt_core.errors import SecretError

from .document import Scrypt
from .files import write_whole
from .keys import new_key, written
from .sealing import stretched
from .vault import Vault

if TYPE_CHECKING:
    from pathlib import Path

    from .store import Store


class Lock(NamedTuple):
    """What will open a vault: how it is written down, and an empty vault that it opens."""

    text: str
    empty: Vault

    def __repr__(self) -> str:
        return "Lock([REDACTED])"


def key_lock(file: str, *, key: bytes = b"", id: str = "") -> Lock:
    """A new key, or `key`; for a new vault, or for the one with this `id`."""
    key = key or new_key()
    return Lock(written(key), Vault.create(file, key, id=id))


def passphrase_lock(file: str, passphrase: str, *, id: str = "") -> Lock:
    salt, cost = os.urandom(32), Scrypt()
    return Lock(passphrase, Vault.create(file, stretched(passphrase, salt, cost), id=id, salt=salt, scrypt=cost))


def rotate(store: Store, fresh: Lock, *, file: Path | None) -> Vault:
    """Seal every secret anew under `fresh`, whose text is written into `file`, where one is given.

    The key file first holds both, then the vault is replaced, then the old one leaves the file. Raises `SecretError`.
    """
    with store.locked():
        old = store.load()
        after = old.rekeyed(fresh.empty)
        if file is None:
            store.write(after)
            return after
        before = store.places.read_file(file).text
        write_whole(file, f"{fresh.text}\n{before or ''}", mode=0o600, exclusive=before is None)
        try:
            store.write(after)
        except SecretError:
            if store.data() == old.data:
                _restore(file, before)
            raise
        write_whole(file, f"{fresh.text}\n", mode=0o600)
        return after


def _restore(file: Path, before: str | None) -> None:
    if before is None:
        file.unlink()
    else:
        write_whole(file, before, mode=0o600)
