"""Where the key of a vault comes from: an environment variable, a file, or a person. Errors name the place, never the key.

A place may hold several keys, one a line: the vault says which one fits, so a new key can be brought to where it is needed before
the vault is rotated. Where a passphrase opens the vault, the place holds the passphrase.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
from typing import TYPE_CHECKING, Literal

from pywatt_core.errors import SecretError
from pywatt_core.redaction import register

from .files import read_private

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from .document import Header
    from .sealing import Sealing

PREFIX = "pywatt-vault-key-"
"""What a key that we made begins with, so that people and scanners know one when they see it."""
KEY_BYTES = 32
KEY_FILE_LIMIT = 64 * 2**10
SHORTEST_PASSPHRASE = 12
MOST_PASSPHRASES = 4
"""In one place: each costs the better part of a second."""
REDACTED_AS = "vault key"


def new_key() -> bytes:
    return os.urandom(KEY_BYTES)


def written(key: bytes) -> str:
    """A key as text, as it stands in a variable or a file."""
    text = PREFIX + base64.urlsafe_b64encode(key).decode().rstrip("=")
    register(text, name=REDACTED_AS)
    return text


def read_keys(text: str, where: str) -> dict[str, bytes]:
    """The keys in a text, each by how it is written there: apart by blanks, commas or lines; lines that begin with ``#`` are comments.

    A key is 32 random bytes in base64 (of either alphabet) or hexadecimal digits, with or without our prefix. Raises `SecretError`.
    """
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    words = [word for word in re.split(r"[\s,]+", " ".join(lines)) if word]
    if not words:
        raise SecretError(f"{where}: there is no key in it")
    for word in words:
        register(word, name=REDACTED_AS)
    return {word: _read(word, where) for word in words}


def _read(word: str, where: str) -> bytes:
    text = word.removeprefix(PREFIX)
    try:
        if re.fullmatch(r"[0-9a-fA-F]{64}", text):
            key = bytes.fromhex(text)
        else:
            plain = text.rstrip("=").replace("-", "+").replace("_", "/")
            key = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (ValueError, binascii.Error):
        key = b""
    if len(key) != KEY_BYTES:
        raise SecretError(
            f"{where}: not a key. A key is 32 random bytes in base64, as `pywatt secrets init` writes them, perhaps after {PREFIX}"
        )
    if len(set(key)) < KEY_BYTES // 2:  # of random bytes about 30 are different
        raise SecretError(f"{where}: this key is not random; take one that `pywatt secrets init` or `openssl rand -base64 32` makes")
    return key


def read_passphrases(text: str, where: str) -> list[str]:
    """The passphrases in a text, one a line. Raises `SecretError`."""
    lines = [line for line in text.splitlines() if line.strip()]
    if not 0 < len(lines) <= MOST_PASSPHRASES:
        raise SecretError(f"{where}: there are {len(lines)} passphrases in it, and 1 to {MOST_PASSPHRASES} may be, one a line")
    for line in lines:
        register(line, name=REDACTED_AS)
    return lines


def check_passphrase(text: str) -> str:
    """The passphrase, where it is one to choose. Raises `SecretError`."""
    register(text, name=REDACTED_AS)
    if not text.isprintable():
        raise SecretError("a passphrase is one line of printable characters")
    if len(text) < SHORTEST_PASSPHRASE:
        raise SecretError(
            f"the passphrase is too short: {SHORTEST_PASSPHRASE} characters at least, five random words are better. "
            "Everybody who can read the file can try to guess it"
        )
    return text


class NoKey(SecretError):
    """None of the places holds anything."""


class Place:
    """One place that was looked at, and what stood there: None where there is nothing."""

    def __init__(self, kind: Literal["variable", "file", "typed"], name: str, text: str | None) -> None:
        self.kind, self.name, self.text = kind, name, text

    def __repr__(self) -> str:
        return f"Place({self.name!r})"


class KeyPlaces:
    """The places that may hold the key of one vault, in the order in which they are asked."""

    def __init__(
        self,
        *,
        variable: str,
        file: Path,
        file_wanted: bool = False,
        any_mode: bool = False,
        environ: Mapping[str, str] | None = None,
        ask: Callable[[], str] | None = None,
    ) -> None:
        """`file_wanted`: somebody named the file, so it has to be there unless the variable is set. `ask` is called for a
        passphrase where no place has one."""
        self.variable, self.file = variable, file
        self._wanted, self.any_mode = file_wanted, any_mode
        self._environ = os.environ if environ is None else environ
        self._ask = ask
        self._typed: str | None = None
        """What was asked for: nobody has to type it twice for one command."""
        self._stretched: dict[tuple[object, ...], bytes] = {}

    def __repr__(self) -> str:
        return f"KeyPlaces({self.variable!r}, {str(self.file)!r})"

    def read(self, *, wanted: bool = True) -> Iterator[Place]:
        """Each place with what it holds, looked at when it is its turn; without `wanted`, a key file that was named may be missing.

        Raises `SecretError` for a key file that cannot be read or that others may read.
        """
        value = self._environ.get(self.variable) if self.variable else None
        if self.variable:
            yield Place("variable", f"the variable {self.variable}", value or None)
        file = self.read_file(self.file)
        if file.text is None and self._wanted and wanted and not value:
            raise NoKey(f"{self.file}: there is no such key file")
        yield file

    def read_file(self, path: Path) -> Place:
        return Place("file", f"the file {path}", read_private(path, KEY_FILE_LIMIT, what="key file", any_mode=self.any_mode))

    def find(self, header: Header, vault: str) -> tuple[Sealing, Place]:
        """The key that opens the vault, ready for use, and where it stood: the place, holding nothing but what opens the vault.

        Raises `SecretError` that names the vault and the places.
        """
        places = []
        for place in self._asked(header):
            places.append(place)
            found = self._fitting(place, header)
            if found is not None:
                return found
        kind = "the passphrase" if header.scrypt is not None else "the key"
        given = [place.name for place in places if place.text]
        if given:
            raise SecretError(
                f"{vault}: {' and '.join(given)} cannot open it: {kind} is another one, or the head of the vault was changed. "
                f"It asks for the key {header.key}"
            )
        ways = " or ".join(place.name.replace("the ", "into the ", 1) for place in places if place.kind != "typed")
        raise NoKey(f"{vault}: there is no key for it. Put {kind} {ways}")

    def _asked(self, header: Header) -> Iterator[Place]:
        yield from self.read()
        if header.scrypt is not None and self._ask is not None:
            self._typed = self._typed or self._ask() or None
            yield Place("typed", "what was typed", self._typed)

    def _fitting(self, place: Place, header: Header) -> tuple[Sealing, Place] | None:
        for text, master in self._masters(place, header):
            sealing = _sealing(master, header)
            if sealing.fits(header):
                return sealing, Place(place.kind, place.name, text)
        return None

    def _masters(self, place: Place, header: Header) -> Iterator[tuple[str, bytes]]:
        """What stands there, one after the other, and the key that each is or stands for."""
        if not place.text:
            return
        if header.scrypt is None:
            yield from read_keys(place.text, place.name).items()
            return
        for passphrase in read_passphrases(place.text, place.name):
            yield passphrase, self._stretch(passphrase, header)

    def _stretch(self, passphrase: str, header: Header) -> bytes:
        """Stretched once for each passphrase and vault: a file that is looked at every second must not cost a second each time."""
        from .sealing import stretched

        assert header.scrypt is not None
        known = (hashlib.sha256(passphrase.encode("utf-8", "surrogateescape")).digest(), header.salt, header.scrypt)
        if known not in self._stretched:
            if len(self._stretched) >= MOST_PASSPHRASES:
                self._stretched.clear()
            self._stretched[known] = stretched(passphrase, header.salt, header.scrypt)
        return self._stretched[known]


def _sealing(master: bytes, header: Header) -> Sealing:
    from .sealing import Sealing

    return Sealing.of(master, header)
