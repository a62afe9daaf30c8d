"""The cryptography of a vault, all of it from `cryptography`: HKDF-SHA256, ChaCha20-Poly1305, HMAC-SHA256, scrypt.

From the 32 bytes of the master key and the vault's salt come three keys: one that names the master key, one for the entries, one for
the seal over the whole text. Each entry is sealed with a random nonce, and with the vault's id, its own name, version and time as
associated data: taken to another name, version or vault it does not open.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import unicodedata

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt as ScryptDerivation

from pywatt_core.errors import SecretError

from .document import Header, Scrypt, write_base64

NONCE = 12
BLOCK = 64
"""Values are padded to a multiple of this, so that the file tells no more than roughly how long they are."""


class Broken(Exception):
    """What was to be opened was not sealed like this. It says nothing else."""


class Sealing:
    """Seals and opens with one master key and the salt and id of one vault."""

    def __init__(self, master: bytes, *, id: str, salt: bytes) -> None:
        self._id = id
        self._salt = salt
        self.key_id = write_base64(self._derived(master, b"key id")[:16])
        self._entries = ChaCha20Poly1305(self._derived(master, b"entries"))
        self._seal = self._derived(master, b"seal")

    @classmethod
    def of(cls, master: bytes, header: Header) -> Sealing:
        return cls(master, id=header.id, salt=header.salt)

    def __repr__(self) -> str:
        return f"Sealing({self.key_id})"

    def _derived(self, master: bytes, purpose: bytes) -> bytes:
        info = _joined(b"pywatt-vault 1", purpose, self._id.encode())
        return HKDF(SHA256(), 32, salt=self._salt, info=info).derive(master)

    def fits(self, header: Header) -> bool:
        """Whether this is the key that the header names."""
        return hmac.compare_digest(self.key_id.encode(), header.key.encode())

    def seal(self, value: bytes, *, name: str, version: str, changed: str) -> bytes:
        nonce = os.urandom(NONCE)
        return nonce + self._entries.encrypt(nonce, _padded(value), self._bound(name, version, changed))

    def open(self, sealed: bytes, *, name: str, version: str, changed: str) -> bytes:
        """The value. Raises `Broken` where it was not sealed with this key for this name, version and time."""
        try:
            padded = self._entries.decrypt(sealed[:NONCE], sealed[NONCE:], self._bound(name, version, changed))
        except (InvalidTag, ValueError):
            raise Broken from None
        value, mark, zeros = padded.rpartition(b"\x80")
        if not mark or zeros.strip(b"\0"):
            raise Broken
        return value

    def mac(self, signed: bytes) -> bytes:
        return hmac.digest(self._seal, signed, hashlib.sha256)

    def _bound(self, name: str, version: str, changed: str) -> bytes:
        return _joined(b"pywatt-vault 1", self._id.encode(), name.encode(), version.encode(), changed.encode())


def stretched(passphrase: str, salt: bytes, cost: Scrypt) -> bytes:
    """The master key that a passphrase stands for. It takes the better part of a second, on purpose."""
    if not cost.allowed():
        raise ValueError("a cost that no vault has")
    text = unicodedata.normalize("NFC", passphrase).encode("utf-8", "surrogateescape")
    try:
        return ScryptDerivation(salt=salt, length=32, n=2**cost.log_n, r=cost.r, p=cost.p).derive(text)
    except MemoryError:
        needed = 128 * cost.r * 2**cost.log_n // 2**20
        raise SecretError(f"there is not enough memory to make a key of the passphrase: {needed} MiB are needed") from None


def _joined(*parts: bytes) -> bytes:
    """The parts, each with its length before it, so that no two lists of parts are the same bytes."""
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def _padded(value: bytes) -> bytes:
    return value + b"\x80" + b"\0" * (-(len(value) + 1) % BLOCK)
