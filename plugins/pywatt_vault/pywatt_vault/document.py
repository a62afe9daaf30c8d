"""The text of a vault: strict lines that are also TOML. Nothing in here is secret, and nothing is believed yet: `Vault` checks the seal.

One line for each secret, in the order of the names, so that a change of one secret is a change of one line (and of the seal)::

    [vault]
    version = 1
    id = "…"
    salt = "…"
    key = "…"
    scrypt = "ln=17,r=8,p=1"      only where a passphrase opens it

    [secrets]
    API_KEY = { version = "1-9f1c22ab", changed = 2026-05-04T03:02:01Z, value = "…" }

    [seal]
    mac = "…"
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import NamedTuple

from pywatt_core.errors import SecretError

FORMAT = 1
TEXT_LIMIT = 16 * 2**20
"""Bytes that a vault may have."""
ENTRY_LIMIT = 10_000
"""Secrets that a vault may have."""

NAME = r"[A-Za-z_][A-Za-z0-9_.-]{0,127}"
PREFACE = """\
# Encrypted secrets of a PyWatt project. This file is made to be committed: names can be read, values cannot.
# It is changed with `pywatt secrets`, never by hand; `pywatt secrets --help` says how.
"""

_BASE64 = r"[A-Za-z0-9_-]+"
_CONFLICT = re.compile(r"^(?:<{7}|={7}|>{7}|\|{7})(?: |$)", re.MULTILINE)
_HEADER = {
    "version": r"([0-9]{1,9})",
    "id": rf'"({_BASE64})"',
    "salt": rf'"({_BASE64})"',
    "key": rf'"({_BASE64})"',
    "scrypt": r'"ln=([0-9]{1,2}),r=([0-9]{1,2}),p=([0-9]{1,2})"',
}
_ENTRY = re.compile(
    rf'(?:([A-Za-z_][A-Za-z0-9_-]{{0,127}})|"({NAME})") = \{{ version = "([0-9]{{1,9}}-[0-9a-f]{{8}})", '
    rf'changed = ([0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}T[0-9]{{2}}:[0-9]{{2}}:[0-9]{{2}}Z), value = "({_BASE64})" \}}'
)
_SEAL = re.compile(rf'mac = "({_BASE64})"')


class Scrypt(NamedTuple):
    """What it costs to turn a passphrase into a key: ``2**log_n * r * 128`` bytes of memory, `p` times."""

    log_n: int = 17
    r: int = 8
    p: int = 1

    def allowed(self) -> bool:
        """Neither so cheap that a passphrase could be guessed, nor so dear that a hostile file stops the reader.

        At most four times the usual cost, and 512 MiB.
        """
        return 15 <= self.log_n <= 19 and self.r == 8 and 1 <= self.p <= 2 ** (19 - self.log_n)


class Header(NamedTuple):
    """Which vault this is, and which key opens it."""

    id: str
    """Random, for as long as the vault lives: what was sealed for another vault does not open here."""
    salt: bytes
    """Random for each key: makes the keys of this vault out of whatever opens it."""
    key: str
    """Tells the key that fits from others, and nothing about it."""
    scrypt: Scrypt | None = None
    """None: a key opens it. Otherwise a passphrase does."""


class Entry(NamedTuple):
    """One secret, sealed."""

    version: str
    """How many values the name has had, and a random part: no two values share a version."""
    changed: str
    """When this value was set, in UTC, to the second."""
    sealed: bytes


class Document(NamedTuple):
    """What stands in the file."""

    header: Header
    entries: Mapping[str, Entry]
    signed: bytes
    """All of the text that the seal is for."""
    mac: bytes


def write_base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def read_base64(text: str) -> bytes:
    """The bytes; one spelling only. Raises `ValueError`."""
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        raise ValueError("not base64") from None
    if write_base64(data) != text:
        raise ValueError("not the usual spelling")
    return data


def render(header: Header, entries: Mapping[str, Entry]) -> str:
    """The text up to the seal, which is what the seal is computed of."""
    lines = [
        "[vault]",
        f"version = {FORMAT}",
        f'id = "{header.id}"',
        f'salt = "{write_base64(header.salt)}"',
        f'key = "{header.key}"',
    ]
    if header.scrypt is not None:
        lines.append(f'scrypt = "ln={header.scrypt.log_n},r={header.scrypt.r},p={header.scrypt.p}"')
    lines += ["", "[secrets]"]
    for name, entry in sorted(entries.items()):
        key = f'"{name}"' if "." in name else name
        lines.append(f'{key} = {{ version = "{entry.version}", changed = {entry.changed}, value = "{write_base64(entry.sealed)}" }}')
    return f"{PREFACE}\n" + "\n".join(lines) + "\n\n[seal]\n"


def seal_line(mac: bytes) -> str:
    return f'mac = "{write_base64(mac)}"\n'


def parse(data: bytes, file: str) -> Document:
    """Read the text of `file`. Raises `SecretError` that names file and line; nothing of the line is repeated."""
    text = _text(data, file)
    lines = text.split("\n")
    reader = _Lines(lines, file)
    header = _header(reader)
    entries = _entries(reader)
    reader.want("[seal]")
    match = _SEAL.fullmatch(reader.next())
    try:
        mac = read_base64(match[1]) if match else b""
    except ValueError:
        mac = b""
    if len(mac) != 32:
        raise reader.wrong("is not the seal that belongs here")
    if reader.rest() != [""]:
        raise reader.wrong("is followed by more than belongs into a vault, or by no end of line")
    signed = text[: text.rindex("mac = ")].encode()
    return Document(header, entries, signed, mac)


def _text(data: bytes, file: str) -> str:
    if len(data) > TEXT_LIMIT:
        raise SecretError(f"{file}: larger than a vault may be ({TEXT_LIMIT // 2**20} MiB)")
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError as error:
        raise SecretError(f"{file}:{data[: error.start].count(10) + 1}: not a vault, or damaged: other bytes than ASCII") from None
    if text.count("\r\n") == text.count("\n"):  # as Git writes it on Windows: every line or none
        text = text.replace("\r\n", "\n")
    conflict = _CONFLICT.search(text)
    if conflict is not None:
        line = text.count("\n", 0, conflict.start()) + 1
        raise SecretError(
            f"{file}:{line}: a merge was not finished: both sides changed the vault, and texts cannot be merged under a seal. Take one "
            "side whole (git checkout --ours, or --theirs), then set again what the other side had changed"
        )
    return text


class _Lines:
    """The lines that are left to read, and the number of the one read last."""

    def __init__(self, lines: list[str], file: str) -> None:
        self._lines, self._file, self._at = lines, file, 0

    def next(self) -> str:
        if self._at >= len(self._lines):
            raise SecretError(f"{self._file}: ends too early: it was cut short")
        self._at += 1
        return self._lines[self._at - 1]

    def peek(self) -> str | None:
        return self._lines[self._at] if self._at < len(self._lines) else None

    def rest(self) -> list[str]:
        return self._lines[self._at :]

    def want(self, text: str) -> None:
        if self.next() != text:
            raise self.wrong(f"is not {text or 'empty'}, which belongs here")

    def wrong(self, what: str) -> SecretError:
        if self._at >= len(self._lines):
            return SecretError(f"{self._file}: ends too early: it was cut short")
        return SecretError(f"{self._file}:{self._at}: {what}: the file was changed by hand or damaged; restore it from version control")


def _header(reader: _Lines) -> Header:
    while (line := reader.peek()) is not None and line.startswith("#"):
        reader.next()
    reader.want("")
    reader.want("[vault]")
    version = int(_field(reader, "version")[1])
    if version != FORMAT:
        raise reader.wrong(f"says format {version}, and this pywatt-vault reads format {FORMAT}; update it where the file is sound")
    name = write_base64(_bytes(reader, "id", 16))
    salt = _bytes(reader, "salt", 32)
    key = write_base64(_bytes(reader, "key", 16))
    scrypt = None
    if reader.peek() != "":
        cost = _field(reader, "scrypt")
        scrypt = Scrypt(int(cost[1]), int(cost[2]), int(cost[3]))
        if not scrypt.allowed():
            raise reader.wrong("asks for a cost that no vault has")
    reader.want("")
    return Header(name, salt, key, scrypt)


def _bytes(reader: _Lines, name: str, size: int) -> bytes:
    match = _field(reader, name)
    try:
        data = read_base64(match[1])
    except ValueError:
        data = b""
    if len(data) != size:
        raise reader.wrong(f"is not the {name} of a vault")
    return data


def _field(reader: _Lines, name: str) -> re.Match[str]:
    match = re.fullmatch(f"{name} = {_HEADER[name]}", reader.next())
    if match is None:
        raise reader.wrong(f"is not {name}, which belongs here")
    return match


def _entries(reader: _Lines) -> dict[str, Entry]:
    reader.want("[secrets]")
    entries: dict[str, Entry] = {}
    while (line := reader.next()) != "":
        match = _ENTRY.fullmatch(line)
        if match is None:
            raise reader.wrong("is not a sealed secret")
        bare, quoted, version, changed, value = match.groups()
        name = bare or quoted
        if name in entries:
            raise reader.wrong(f"has {name} for a second time")
        if len(entries) == ENTRY_LIMIT:
            raise reader.wrong(f"is one more than the {ENTRY_LIMIT} secrets that a vault may have")
        try:
            entries[name] = Entry(version, changed, read_base64(value))
        except ValueError:
            raise reader.wrong("is not a sealed secret") from None
    return entries
