"""A vault that is open: its seal was checked. It never changes; what changes it makes another one."""

from __future__ import annotations

import hmac
import os
from typing import TYPE_CHECKING

from pywatt_core.access import SecretInfo
from pywatt_core.errors import SecretError

from .document import ENTRY_LIMIT, NAME, TEXT_LIMIT, Entry, Header, Scrypt, parse, render, seal_line, write_base64

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime

    from .keys import KeyPlaces, Place
    from .sealing import Sealing

VALUE_LIMIT = 256 * 2**10
"""Bytes that one secret may have."""


class Vault:
    """Names, what is known of them, and their values. A value is opened when it is asked for, and not kept."""

    def __init__(
        self, file: str, header: Header, entries: Mapping[str, Entry], sealing: Sealing, *, key_from: Place | None = None, data: bytes = b""
    ) -> None:
        """`key_from`: where the key stood. `data`: what was read, where it was read."""
        self.file, self.header, self.key_from, self.data = file, header, key_from, data
        self._entries, self._sealing = dict(entries), sealing

    @classmethod
    def create(cls, file: str, master: bytes, *, id: str = "", salt: bytes = b"", scrypt: Scrypt | None = None) -> Vault:
        """An empty vault for this key; `salt` and `scrypt` are those that a passphrase was stretched with."""
        from .sealing import Sealing  # imports cryptography, as everything here that needs a key

        header = Header(id or write_base64(os.urandom(16)), salt or os.urandom(32), "", scrypt)
        sealing = Sealing.of(master, header)
        return cls(file, header._replace(key=sealing.key_id), {}, sealing)

    @classmethod
    def read(cls, data: bytes, file: str, places: KeyPlaces) -> Vault:
        """Open the text of a file. Raises `SecretError` that names the file, and nothing of what is in it."""
        document = parse(data, file)
        sealing, place = places.find(document.header, file)
        if not hmac.compare_digest(sealing.mac(document.signed), document.mac):
            raise SecretError(
                f"{file}: its seal is broken: somebody without the key changed, added or removed something, or the file is damaged. "
                "Restore it from version control"
            )
        vault = cls(file, document.header, document.entries, sealing, key_from=place, data=data)
        for name in document.entries:
            vault.get(name)  # so that no later question can fail
        return vault

    def __repr__(self) -> str:
        return f"Vault({self.file!r}, {len(self._entries)} secrets)"

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def names(self) -> list[str]:
        return sorted(self._entries)

    def get(self, name: str) -> str | None:
        """The value, None where there is none. Raises `SecretError` where it cannot be opened."""
        entry = self._entries.get(name)
        if entry is None:
            return None
        from .sealing import Broken

        try:
            return self._sealing.open(entry.sealed, name=name, version=entry.version, changed=entry.changed).decode()
        except (Broken, UnicodeDecodeError):
            raise SecretError(
                f"{self.file}: {name} cannot be opened: it was not sealed here. Restore the file from version control"
            ) from None

    def describe(self, name: str) -> SecretInfo | None:
        from datetime import datetime

        entry = self._entries.get(name)
        if entry is None:
            return None
        return SecretInfo(version=entry.version, changed=datetime.fromisoformat(entry.changed), attributes={"file": self.file})

    def text(self) -> str:
        """What to write into the file."""
        signed = render(self.header, self._entries)
        return signed + seal_line(self._sealing.mac(signed.encode()))

    def with_changes(self, values: Mapping[str, str], now: datetime, *, remove: Collection[str] = ()) -> Vault:
        """Another vault: `values` set and `remove` gone. What keeps its value keeps its line. Raises `SecretError`."""
        entries = {name: entry for name, entry in self._entries.items() if name not in remove}
        for name, value in values.items():
            data = check_value(name, value)
            if name in entries and self.get(name) == value:
                continue
            old = self._entries.get(name)
            number = int(old.version.partition("-")[0]) + 1 if old is not None else 1
            version, changed = f"{min(number, 999_999_999)}-{os.urandom(4).hex()}", written_time(now)
            entries[name] = Entry(version, changed, self._sealing.seal(data, name=name, version=version, changed=changed))
        if len(entries) > ENTRY_LIMIT:
            raise SecretError(f"{self.file}: a vault holds {ENTRY_LIMIT} secrets at most")
        return self._fitting(Vault(self.file, self.header, entries, self._sealing, key_from=self.key_from))

    def rekeyed(self, empty: Vault) -> Vault:
        """The same secrets in a vault that was made for another key, with the versions and times that they have."""
        entries = {}
        for name, entry in self._entries.items():
            value = (self.get(name) or "").encode()
            sealed = empty._sealing.seal(value, name=name, version=entry.version, changed=entry.changed)
            entries[name] = entry._replace(sealed=sealed)
        return self._fitting(Vault(self.file, empty.header, entries, empty._sealing))

    def differing(self, newer: Vault) -> frozenset[str]:
        """The names for which another vault has another value, one more, or none."""
        names = self._entries.keys() | newer._entries.keys()
        return frozenset(
            name for name in names if self._entries.get(name) != newer._entries.get(name) and self.get(name) != newer.get(name)
        )

    def _fitting(self, vault: Vault) -> Vault:
        if len(vault.text()) > TEXT_LIMIT:
            raise SecretError(f"{self.file}: a vault holds {TEXT_LIMIT // 2**20} MiB at most")
        return vault


def check_name(name: str) -> str:
    """The name, where a secret may be called so. Raises `SecretError`, which repeats it only where it can be no secret."""
    import re

    if not re.fullmatch(NAME, name):
        raise SecretError(
            "this is no name for a secret: it begins with a letter or _, goes on with letters, digits, _ . or -, "
            "and has 128 characters at most"
        )
    return name


def check_value(name: str, value: str) -> bytes:
    """The bytes to seal. Raises `SecretError` that names the secret."""
    check_name(name)
    try:
        data = value.encode()
    except UnicodeEncodeError:
        raise SecretError(f"{name}: the value is not text that can be written as UTF-8") from None
    if len(data) > VALUE_LIMIT:
        raise SecretError(f"{name}: the value is larger than {VALUE_LIMIT // 2**10} KiB")
    return data


def written_time(now: datetime) -> str:
    from datetime import UTC

    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
