"""Whatever programs do to text on its way out is undone, several of them one after the other."""

from __future__ import annotations

import base64
import html
import json
import quopri
import shlex
import urllib.parse
from typing import TYPE_CHECKING

import pytest

from pywatt_core.testing.leak_readings import DEPTH, LARGE, readings, texts_of

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET = "p@s's \"w\\örd/+€🐤&<%>=1"
DATA = SECRET.encode()

WRITERS: dict[str, Callable[[str], str]] = {
    "json": json.dumps,
    "json three times": lambda text: json.dumps(json.dumps(json.dumps(text))),
    "repr": repr,
    "repr of repr": lambda text: repr(repr(text)),
    "repr of bytes": lambda text: repr(text.encode()),
    "ascii": ascii,
    "octal escapes": lambda text: "".join(f"\\{byte:03o}" for byte in text.encode()),
    "hexadecimal escapes": lambda text: "".join(f"\\x{byte:02x}" for byte in text.encode()),
    "Rust escapes": lambda text: "".join(f"\\u{{{ord(character):x}}}" for character in text),
    "percent": lambda text: urllib.parse.quote(text, safe=""),
    "percent twice": lambda text: urllib.parse.quote(urllib.parse.quote(text, safe=""), safe=""),
    "form": lambda text: urllib.parse.urlencode({"a": text}),
    "HTML": html.escape,
    "HTML numbers": lambda text: "".join(f"&#{ord(character)};" for character in text),
    "SQL": lambda text: text.replace("'", "''"),
    "shell": shlex.quote,
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 after one byte": lambda text: base64.urlsafe_b64encode(b"a" + text.encode() + b"b").decode(),
    "base64 after two bytes": lambda text: base64.b64encode(b"ab" + text.encode()).decode().rstrip("="),
    "base64 of json": lambda text: base64.b64encode(json.dumps({"k": text}).encode()).decode(),
    "json of base64 in lines": lambda text: json.dumps("\n".join(_lines(base64.b64encode(text.encode()).decode(), 16))),
    "base32": lambda text: base64.b32encode(b"xyz" + text.encode()).decode(),
    "hexadecimal": lambda text: text.encode().hex(),
    "hexadecimal with colons": lambda text: text.encode().hex(":").upper(),
    "hexadecimal dump": lambda text: " ".join(f"0x{byte:02x}," for byte in text.encode()),
    "numbers": lambda text: str(list(text.encode())),
    "numbers in json": lambda text: json.dumps({"data": list(text.encode())}),
    "quoted-printable": lambda text: quopri.encodestring(text.encode()).decode(),
    "UTF-8 as Latin-1": lambda text: text.encode().decode("latin-1"),
    "coloured": lambda text: "\x1b[31m" + "\x1b[0m\x1b[32m".join(text) + "\x1b[0m",
    "marked as from right to left": lambda text: "\u202e\u200b".join(text),
}


def _lines(text: str, width: int) -> list[str]:
    return [text[at : at + width] for at in range(0, len(text), width)]


@pytest.mark.parametrize("writer", WRITERS.values(), ids=WRITERS)
def test_what_was_written_in_some_way_is_read(writer: Callable[[str], str]) -> None:
    text = f"before {writer(SECRET)} after"
    assert any(SECRET in reading for _, reading in readings(text)), text


@pytest.mark.parametrize("wrap", ["\n", "\n    ", "\n│ ", " │\n│ "])
def test_what_a_frame_or_a_narrow_terminal_has_cut_is_joined(wrap: str) -> None:
    secret = "onelongsecretwithoutanyblanks"
    text = "│ password = " + wrap.join(_lines(secret, 9))
    assert any(secret in reading for _, reading in readings(text))


@pytest.mark.parametrize("codec", ["utf-8", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("before", [b"", b"\xff"])
def test_bytes_are_read_in_the_usual_encodings(codec: str, before: bytes) -> None:
    data = before + "plain-secret".encode(codec)
    assert any("plain-secret" in reading for _, text in texts_of(data) for _, reading in readings(text))


def test_a_way_of_reading_is_told_step_by_step() -> None:
    ways = [
        how for how, reading in readings(base64.b64encode(b"the secret is here").decode().encode().hex()) if "the secret is here" in reading
    ]
    assert ways[0] == "hexadecimal, then base64"
    assert next(iter(readings("x"))) == ("as it stands", "x")


def test_long_texts_are_read_less_deeply() -> None:
    secret = json.dumps(json.dumps(json.dumps('a "secret" one')))
    assert any('a "secret" one' in reading for how, reading in readings(secret) if how.count("then") == DEPTH - 1)
    assert max(how.count("then") for how, _ in readings(secret + "x" * LARGE)) == DEPTH - 2
    assert max(how.count("then") for how, _ in readings(secret + "\0" * LARGE)) == DEPTH - 3
