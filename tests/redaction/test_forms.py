"""Each way in which programs write a value down is one of its forms."""

from __future__ import annotations

import base64
import html
import json
import shlex
import urllib.parse
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pywatt_core.redaction import REPLACEMENT, Redactor
from pywatt_core.redaction.forms import forms_of, weakness

if TYPE_CHECKING:
    from collections.abc import Callable

AWKWARD = "pä\"s's\\w/ö+r d=1&<%>\n€x"

WRITERS: dict[str, Callable[[str], str]] = {
    "raw": str,
    "json": json.dumps,
    "json, not ASCII": lambda value: json.dumps({"k": value}, ensure_ascii=False),
    "json in json": lambda value: json.dumps(json.dumps([value])),
    "json in json in json": lambda value: json.dumps(json.dumps(json.dumps([value]))),
    "json in json, not ASCII": lambda value: json.dumps(json.dumps([value], ensure_ascii=False), ensure_ascii=False),
    "msgspec": lambda value: msgspec.json.encode({"k": [value]}).decode(),
    "msgspec of json": lambda value: msgspec.json.encode(json.dumps(value)).decode(),
    "msgspec of repr": lambda value: msgspec.json.encode(repr(value)).decode(),
    "msgspec of bytes repr": lambda value: msgspec.json.encode(repr(value.encode())).decode(),
    "json with escaped slashes": lambda value: json.dumps(value).replace("/", "\\/"),
    "json for HTML": lambda value: json.dumps(value).translate({ord(c): f"\\u{ord(c):04x}" for c in "<>&'"}),
    "repr": repr,
    "repr in a list": lambda value: repr([value, 1]),
    "repr beside both quotes": lambda value: repr("'\"" + value),
    "ascii": ascii,
    "repr of bytes": lambda value: repr(value.encode()),
    "repr of bytes beside both quotes": lambda value: repr(b"'\"" + value.encode()),
    "repr of repr": lambda value: repr(repr(value)),
    "repr of an exception": lambda value: repr(ValueError(f"bad: {value!r}")),
    "unicode_escape": lambda value: value.encode("unicode_escape").decode(),
    "quote": urllib.parse.quote,
    "quote, slashes too": lambda value: urllib.parse.quote(value, safe=""),
    "quote_plus": urllib.parse.quote_plus,
    "urlencode": lambda value: urllib.parse.urlencode({"k": value}),
    "quote in lower case": lambda value: "".join(
        c if c.isalnum() and c.isascii() else "".join(f"%{b:02x}" for b in c.encode()) for c in value
    ),
    "encodeURIComponent": lambda value: urllib.parse.quote(value, safe="!'()*"),
    "userinfo of a URL": lambda value: f"postgres://u:{urllib.parse.quote(value, safe='')}@host/db",
    "quoted twice": lambda value: urllib.parse.quote(urllib.parse.quote(value, safe=""), safe=""),
    "every byte quoted": lambda value: "".join(f"%{byte:02X}" for byte in value.encode()),
    "base64": lambda value: base64.b64encode(value.encode()).decode(),
    "base64 without padding": lambda value: base64.b64encode(value.encode()).decode().rstrip("="),
    "base64 after one byte": lambda value: base64.b64encode(b"x" + value.encode() + b"yz").decode(),
    "base64 after two bytes": lambda value: base64.b64encode(b"xy" + value.encode() + b"z").decode(),
    "base64 after three bytes": lambda value: base64.b64encode(b"xyz" + value.encode()).decode(),
    "basic authorization": lambda value: "Basic " + base64.b64encode(f"user:{value}".encode()).decode(),
    "urlsafe base64": lambda value: base64.urlsafe_b64encode(b"??" + value.encode()).decode(),
    "urlsafe base64 without padding": lambda value: base64.urlsafe_b64encode(b"?" + value.encode()).decode().rstrip("="),
    "base64 in a path": lambda value: urllib.parse.quote(base64.b64encode(b"??" + value.encode()).decode()),
    "base64 in a query": lambda value: urllib.parse.urlencode({"token": base64.b64encode(b"?" + value.encode() + b"?").decode()}),
    "base64 in JSON with escaped slashes": lambda value: json.dumps(base64.b64encode(value.encode()).decode()).replace("/", "\\/"),
    "hexadecimal": lambda value: value.encode().hex(),
    "upper hexadecimal": lambda value: value.encode().hex().upper(),
    "hexadecimal with colons": lambda value: value.encode().hex(":"),
    "upper hexadecimal with colons": lambda value: value.encode().hex(":").upper(),
    "hexadecimal with blanks": lambda value: value.encode().hex(" "),
    "hexadecimal escapes": lambda value: "".join(f"\\x{byte:02x}" for byte in value.encode()),
    "list of bytes": lambda value: str(list(value.encode())),
    "list of bytes in JSON": lambda value: msgspec.json.encode({"data": list(value.encode())}).decode(),
    "PostgreSQL bytea": lambda value: "\\x" + value.encode().hex(),
    "SQL literal": lambda value: "SELECT '" + value.replace("'", "''") + "'",
    "repr of an SQL error": lambda value: repr(ValueError("no table: SELECT '" + value.replace("'", "''") + '\' "x"')),
    "repr of repr of SQL": lambda value: repr(repr("SELECT '" + value.replace("'", "''") + '\' "x"')),
    "SQL literal for MySQL": lambda value: "SELECT '" + value.replace("\\", "\\\\").replace("'", "''") + "'",
    "SQL literal by MySQL's drivers": lambda value: (
        "SELECT '" + value.replace("\\", "\\\\").replace("'", "\\'").replace('"', '\\"').replace("\n", "\\n") + "'"
    ),
    "shell": shlex.quote,
    "HTML": html.escape,
    "HTML with decimal entities": lambda value: html.escape(value).replace("&#x27;", "&#39;").replace("&quot;", "&#34;"),
    "XML": lambda value: html.escape(value).replace("&#x27;", "&apos;"),
    "UTF-8 read as Latin-1": lambda value: value.encode().decode("latin-1"),
    "UTF-8 read as Latin-1 twice": lambda value: value.encode().decode("latin-1").encode().decode("latin-1"),
    "JSON read as Latin-1": lambda value: json.dumps(value, ensure_ascii=False).encode().decode("latin-1"),
}
"""How a value is written into text by the libraries that do it."""

SECRETS = [
    "correct-horse-42",
    "hunter2",
    AWKWARD,
    "a'b\"c\\d",
    "tab\there",
    "https://x.example/?q=a+b",
    "ÄÖÜßéñ",
    "emoji 🔑 key",
    "k?~>Zq~~>?w-93x?>~",
    "x" * 200,
]


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("writer", WRITERS.values(), ids=WRITERS)
def test_a_secret_is_hidden_however_it_is_written(secret: str, writer: Callable[[str], str]) -> None:
    redactor = Redactor()
    redactor.register(secret)
    written = writer(secret)
    clean = redactor.redact(f"before {written} after")
    assert "[REDACTED]" in clean, written
    assert clean.startswith("before ") and clean.endswith(" after")
    left = clean.replace("[REDACTED]", "").removeprefix("before ").removesuffix(" after")
    around = writer("").replace("[REDACTED]", "")
    assert len(left) <= len(around) + 12, f"much of it is left: {left!r}"


@given(
    st.text(st.characters(codec="utf-8"), min_size=6, max_size=40).filter(lambda text: len(text.strip()) > 5 and text not in REPLACEMENT),
    st.integers(0, 5),
    st.integers(0, 5),
)
@settings(max_examples=300, deadline=None)
def test_base64_is_found_at_every_offset(secret: str, before: int, after: int) -> None:
    redactor = Redactor()
    redactor.register(secret)
    data = b"\x00" * before + secret.encode() + b"\xff" * after
    for digits in (base64.b64encode(data).decode(), base64.urlsafe_b64encode(data).decode().rstrip("=")):
        clean = redactor.redact(digits)
        assert "[REDACTED]" in clean
        assert len(clean.replace("[REDACTED]", "")) <= (before + after) * 4 // 3 + 3


@given(
    st.text(st.characters(codec="utf-8"), min_size=6, max_size=30).filter(lambda text: len(text.strip()) > 5 and text not in REPLACEMENT),
    st.sampled_from(sorted(WRITERS)),
)
@settings(max_examples=150, deadline=None)
def test_a_written_secret_is_still_found_after_a_logger_has_escaped_the_line(secret: str, writer: str) -> None:
    redactor = Redactor()
    redactor.register(secret)
    text = WRITERS[writer](secret)
    for line in (text, msgspec.json.encode({"message": text}).decode(), json.dumps({"message": text})):
        assert "[REDACTED]" in redactor.redact(line), line


def test_a_usual_secret_has_few_forms() -> None:
    assert len(forms_of("correcthorsebattery42")) < 20
    assert len(forms_of("postgresql+asyncpg://app:hunter2@db.example:5432/main")) < 90


def test_base64_that_is_wrapped_at_64_or_76_columns_is_found() -> None:
    secret = bytes(range(1, 200)).decode("latin-1")
    redactor = Redactor()
    redactor.register(secret)
    for text in (base64.encodebytes(secret.encode()).decode(), "\n".join(_wrapped(base64.b64encode(secret.encode()).decode(), 64))):
        assert set(redactor.redact(text)) <= set("[REDACTED]\n"), redactor.redact(text)


def _wrapped(text: str, width: int) -> list[str]:
    return [text[at : at + width] for at in range(0, len(text), width)]


def test_each_long_line_of_a_multi_line_secret_is_a_secret() -> None:
    key = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n  indented-line-of-it\nshort\n-----END PRIVATE KEY-----\n"
    redactor = Redactor()
    redactor.register(key)
    assert redactor.redact("log: MIIEvQIBADANBgkqhkiG9w0BAQEFAASC") == "log: [REDACTED]"
    assert redactor.redact("indented-line-of-it") == "[REDACTED]"
    assert redactor.redact("short -----BEGIN PRIVATE KEY-----") == "short -----BEGIN PRIVATE KEY-----"
    assert redactor.redact(f"<{key}>") == "<[REDACTED]>"
    assert redactor.redact(f"<{key.strip()}>") == "<[REDACTED]>"


@pytest.mark.parametrize("text", ["connecting with p@ss:word", "password='p%40ss:word'"])
def test_the_password_inside_a_url_is_a_secret_of_its_own(text: str) -> None:
    redactor = Redactor()
    redactor.register("postgresql+asyncpg://app:p%40ss:word@db.example:5432/main")
    assert "ss:word" not in redactor.redact(text)
    assert redactor.redact("db.example app") == "db.example app"


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("pin", "is shorter than 4 characters: it is hidden only where it stands alone, as a word"),
        (" 42\n", "is shorter than 4 characters: it is hidden only where it stands alone, as a word"),
        (b"\xff\x00", "is shorter than 4 characters: it is hidden only where it stands alone, as a word"),
        ("True", "is a word that every log holds: it is not hidden"),
        ("db://u:pw@host/d", "holds a password that is shorter than 4 characters: that is hidden only where it stands alone, as a word"),
        ("", ""),
        ("  ", ""),
        ("four", ""),
        ("db://u:password@host/d", ""),
    ],
)
def test_it_is_known_why_a_value_cannot_be_hidden_everywhere(value: str | bytes, why: str) -> None:
    assert weakness(value, forms_of(value)) == why


def test_a_short_value_has_no_encoded_forms() -> None:
    redactor = Redactor()
    redactor.register("abcde")
    assert redactor.redact("YWJjZGU= 6162636465 abcde") == "YWJjZGU= 6162636465 [REDACTED]"


def test_a_very_long_secret_is_hidden_in_text_json_and_base64() -> None:
    secret = "".join(f"{number:06d}-" for number in range(30_000))
    redactor = Redactor()
    redactor.register(secret)
    assert redactor.redact(json.dumps({"k": secret})) == '{"k": "[REDACTED]"}'
    assert redactor.redact(base64.b64encode(secret.encode()).decode()) == "[REDACTED]"
