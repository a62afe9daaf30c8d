"""Text as somebody reads it who looks for a secret: escapes undone, digits decoded, wrapped lines joined, one after the other.

On purpose this knows nothing of `pywatt_core.redaction`: what tells whether hiding works must not share its list of forms.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import html
import quopri
import re
import urllib.parse
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

DEPTH = 3
"""How many encodings are undone one after the other."""

LARGE = 64 * 1024
"""Texts with more characters than this are read one encoding less deep, and two where they come from bytes with NULs among them."""

SHORTEST = 6
"""Runs of digits with fewer characters than this are not decoded."""


def readings(text: str) -> Iterator[tuple[str, str]]:
    """(how it was read, the text in that reading), first the text itself, then every reading that differs from those before."""
    seen = {text}
    yield "as it stands", text
    level = [("", text)]
    large = len(text) > LARGE
    for _ in range(DEPTH - large - (large and _is_binary(text))):
        deeper = []
        for how, source in level:
            for name, undo in DECODERS.items():
                found = undo(source)
                if found not in seen and len(found) >= SHORTEST:
                    seen.add(found)
                    way = f"{how}, then {name}" if how else name
                    yield way, found
                    deeper.append((way, found))
        level = deeper


def _is_binary(text: str) -> bool:
    return "\0" in text or text.count("\ufffd") > len(text) // 100


def texts_of(data: bytes) -> Iterator[tuple[str, str]]:
    """(encoding, text) for bytes of which nobody says what they are; what is compressed in them too."""
    try:
        yield "as UTF-8", data.decode()
    except UnicodeDecodeError:
        yield "as UTF-8", data.decode("utf-8", "replace")
        yield "as Latin-1", data.decode("latin-1")
    if b"\0" in data:
        for start in (0, 1):
            yield "as UTF-16", data[start : start + (len(data) - start) // 2 * 2].decode("utf-16-le", "replace")
        yield "without NUL bytes", data.replace(b"\0", b"").decode("utf-8", "replace")
    for how, unpacked in _unpacked(data):
        yield how, unpacked.decode("utf-8", "replace")


def _unpacked(data: bytes) -> Iterator[tuple[str, bytes]]:
    for found in re.finditer(rb"\x1f\x8b\x08|\x78[\x01\x5e\x9c\xda]", data):
        try:
            if found[0].startswith(b"\x1f"):
                yield "unpacked with gzip", gzip.decompress(data[found.start() :])
            else:
                yield "unpacked with zlib", zlib.decompressobj().decompress(data[found.start() :], 2**24)
        except (OSError, EOFError, zlib.error):
            continue


def _unescaped(text: str) -> str:
    """Backslash escapes of JSON, Python, C, Rust and shells, one level."""
    if "\\" not in text:
        return text
    undone = re.sub(r"\\(u\{[0-9a-fA-F]{1,6}\}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|x[0-9a-fA-F]{2}|[0-7]{1,3}|.)", _escape, text, flags=re.S)
    return undone.encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # two escaped surrogates are one character


def _escape(found: re.Match[str]) -> str:
    escape = found[1]
    if len(escape) > 1 and escape[0] in "uUx":
        code = int(escape[1:].strip("{}"), 16)
        return chr(code) if code < 0x110000 else escape
    if escape[0] in "01234567":
        return chr(int(escape, 8))
    return {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", "v": "\v", "a": "\a", "e": "\x1b", "\n": ""}.get(escape, escape)


def _plain_text(data: bytes) -> str:
    """Decoded bytes as text; where every other one is a NUL, they were UTF-16."""
    return (
        data.decode("utf-8", "replace")
        if data.count(0) * 3 < len(data) or not data
        else data.replace(b"\0", b"").decode("utf-8", "replace")
    )


def _runs(pattern: str, decode: Callable[[str, int], bytes], offsets: Iterable[int]) -> Callable[[str], str]:
    """A decoder for runs of digits; what they stand for may begin at any of `offsets`."""
    compiled = re.compile(pattern)

    def undo(text: str) -> str:
        found = []
        for run in compiled.findall(text):
            for offset in offsets:
                try:
                    found.append(_plain_text(decode(run, offset)))
                except (ValueError, binascii.Error):
                    continue
        return "\n".join(found)

    return undo


def _base64(run: str, offset: int) -> bytes:
    digits = run[offset:].replace("-", "+").replace("_", "/")
    return base64.b64decode(digits + "A" * (-len(digits) % 4))


def _base32(run: str, offset: int) -> bytes:
    digits = run[offset:].upper()
    return base64.b32decode(digits + "A" * (-len(digits) % 8))


def _hexadecimal(run: str, offset: int) -> bytes:
    digits = re.sub(r"0x|\\x|[^0-9a-fA-F]", "", run)[offset:]
    return bytes.fromhex(digits[: len(digits) // 2 * 2])


def _numbers(run: str, offset: int) -> bytes:
    return bytes(int(number) for number in re.findall(r"[0-9]+", run) if int(number) < 256)


def _as_utf8(text: str) -> str:
    """UTF-8 that somebody took for Latin-1."""
    try:
        return text if text.isascii() else text.encode("latin-1").decode("utf-8", "replace")
    except UnicodeEncodeError:
        return re.sub("[\x80-\xff]+", lambda found: found[0].encode("latin-1").decode("utf-8", "replace"), text)


def _quoted_printable(text: str) -> str:
    if "=" not in text:
        return text
    return quopri.decodestring(text.encode("utf-8", "surrogatepass")).decode("utf-8", "replace")


_TERMINAL = re.compile(
    "\x1b(?:\\[[0-?]*[ -/]*[@-~]|\\][^\x07\x1b]*(?:\x07|\x1b\\\\)?|[@-Z\\\\^_])|[\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\u00ad]"
)

_FRAMES = re.compile("[│┃║|>]+")

DECODERS: dict[str, Callable[[str], str]] = {
    "unescaped": _unescaped,
    "without backslashes": lambda text: text.replace("\\", ""),
    "percent-decoded": lambda text: urllib.parse.unquote(text, errors="replace") if "%" in text else text,
    "form-decoded": lambda text: urllib.parse.unquote_plus(text, errors="replace") if "%" in text or "+" in text else text,
    "read as HTML": lambda text: html.unescape(text) if "&" in text else text,
    "read as UTF-8": _as_utf8,
    "without quotes": lambda text: text.replace("'\"'\"'", "'").replace("'\\''", "'").replace("''", "'").replace('""', '"'),
    "without terminal sequences": lambda text: _TERMINAL.sub("", text),
    "without white space": lambda text: re.sub(r"\s+", "", text),
    "without frames and white space": lambda text: re.sub(r"\s+", "", _FRAMES.sub("", text)),
    "quoted-printable": _quoted_printable,
    "base64": _runs(rf"[A-Za-z0-9+/_-]{{{SHORTEST},}}", _base64, range(4)),
    "base32": _runs(r"\b(?:[A-Z2-7]{8,}|[a-z2-7]{8,})\b", _base32, range(8)),
    "hexadecimal": _runs(r"(?:(?:0x|\\x)?[0-9a-fA-F]{2}[:, _-]{0,2}){4,}", _hexadecimal, (0, 1)),
    "numbers of bytes": _runs(r"[0-9]{1,3}(?:,?\s*[0-9]{1,3}){3,}", _numbers, (0,)),
}
"""What undoes one encoding. Each is given any text and answers with text, the same where it finds nothing to undo."""
