"""A new key for a vault: at no time is there a file on disk that nothing on disk opens, whatever fails in between."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, NamedTuple

from pywatt_core.errors import SecretError

from .document import Scrypt
from .files import LOCK_TIMEOUT, locked, write_whole
from .keys import new_key, read_passphrases, written
from .sealing import stretched
from .vault import Vault

if TYPE_CHECKING:
    from pathlib import Path

    from .document import Header
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

    A file that is there holds what opens the vault now, and is of the same kind. It first holds both, then the vault is
    replaced, then the old one leaves the file, for `kept_beside` it. What else stands there stays: it may open another vault.
    Raises `SecretError`.
    """
    if file is None:
        with store.locked():
            after = store.load().rekeyed(fresh.empty)
            store.write(after)
            return after
    with store.locked(), locked(file, LOCK_TIMEOUT):
        old = store.load()
        after = old.rekeyed(fresh.empty)
        before = store.places.read_file(file).text
        both = f"{fresh.text}\n{before or ''}"
        if old.header.scrypt is not None and before is not None:
            read_passphrases(both, f"{file}, with the new one")  # which may be one too many
        write_whole(file, both, mode=0o600, exclusive=before is None)
        try:
            store.write(after)
        except SecretError:
            if store.data() == old.data:
                _restore(file, before)
            raise
        if before is not None and old.key_from is not None and old.key_from.text:
            _keep(kept_beside(file), old.key_from.text)
            write_whole(file, _exchanged(before, old.key_from.text, fresh.text, old.header) or both, mode=0o600)
        return after


def kept_beside(file: Path) -> Path:
    """Where the keys go that have left a key file. Nothing is opened with them: older vaults are, when somebody takes them back."""
    return file.with_name(f"{file.name}.old")


def _keep(file: Path, text: str) -> None:
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as opened:
            opened.write(f"{text}\n".encode())
            opened.flush()
            os.fsync(handle)
    except OSError as error:
        raise SecretError(f"{file}: cannot be written ({error.strerror})") from None


def _exchanged(text: str, old: str, new: str, header: Header) -> str:
    """The text of a key file with `new` in the place of `old`: a line where a passphrase opens the vault, else a word.

    Empty where `old` does not stand there.
    """
    edge = r"\r\n" if header.scrypt is not None else r"\s,"
    exchanged, found = re.subn(rf"(?<![^{edge}]){re.escape(old)}(?![^{edge}])", lambda _: new, text)
    return exchanged if found else ""


def _restore(file: Path, before: str | None) -> None:
    if before is None:
        file.unlink()
    else:
        write_whole(file, before, mode=0o600)
