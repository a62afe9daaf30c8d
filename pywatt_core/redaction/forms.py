"""The forms in which one secret value turns up in text: escaped, quoted, percent-encoded, as base64 or hexadecimal digits.

A form is complete text: what is not listed here, for instance a secret cut in half or compressed, is not found.
"""

from __future__ import annotations

import json
import re
from binascii import b2a_base64
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus, unquote

from .redactor import REPLACEMENT
from .search import TOKEN_BELOW, Form
from .urls import url_password

if TYPE_CHECKING:
    from collections.abc import Iterator

ENCODED_FROM = 6
"""Values with at least this many characters are also looked for percent-encoded, as base64 and as hexadecimal digits."""

LINE_FROM = 8
"""Each line of a multi-line value counts as a secret of its own if it has at least this many characters."""

URL_SAFE = ("/", "", "!'()*", "!$&'()*+,;=", "!#$&'()*+,/:;=?@")
"""What encoders leave as it is: Python's default, nothing, encodeURIComponent, RFC 3986 userinfo, encodeURI."""

NEVER = frozenset({"true", "false", "null", "none", "yes", "no", "on", "off"})
"""Words that are never hidden: they are in every log, and hiding one of two tells which it was."""

WRAPPED_AT = (64, 76)
"""Line lengths at which base64 is broken (PEM, MIME)."""


def forms_of(value: str | bytes) -> tuple[Form, ...]:
    """Every form of `value`, without duplicates; none for an empty or blank one and for words like ``true``."""
    found: dict[Form, None] = {}
    for text, data in _spellings(value):
        if not text.strip() or text.lower() in NEVER or text in REPLACEMENT:
            continue
        plain = dict.fromkeys(_escaped(text))
        if len(text) >= ENCODED_FROM:
            plain.update(dict.fromkeys(_percent_encoded(data)))
            plain.update(dict.fromkeys(_digit_pairs(data)))
            plain.update(dict.fromkeys((", ".join(map(str, data)), ",".join(map(str, data)))))
            found.update(dict.fromkeys(_base64(data)))
        for form in plain:
            found.update(dict.fromkeys(map(Form, _as_logged(form))))
    return tuple(found)


def weakness(value: str | bytes, forms: tuple[Form, ...]) -> str:
    """Why `value` cannot be hidden everywhere, empty where it can."""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    plain = text.strip()
    if not plain:
        return ""
    if not forms:
        return "is a word that every log holds: it is not hidden"
    if len(plain) < TOKEN_BELOW:
        return f"is shorter than {TOKEN_BELOW} characters: it is hidden only where it stands alone, as a word"
    password = url_password(plain)
    if password and len(unquote(password)) < TOKEN_BELOW:
        return f"holds a password that is shorter than {TOKEN_BELOW} characters: that is hidden only where it stands alone, as a word"
    return ""


def _spellings(value: str | bytes) -> Iterator[tuple[str, bytes]]:
    """The value as text and as bytes, then what else of it is a secret: stripped, its long lines, a URL's password."""
    if isinstance(value, bytes):
        try:
            text = value.decode()
        except UnicodeDecodeError:
            for codec, errors in (("latin-1", "strict"), ("utf-8", "backslashreplace"), ("utf-8", "replace"), ("utf-8", "surrogateescape")):
                yield value.decode(codec, errors), value
            return
    else:
        text = value
    yield text, _encode(text)
    stripped = text.strip()
    if stripped != text:
        yield stripped, _encode(stripped)
    lines = [line.strip() for line in stripped.splitlines()]
    if len(lines) > 1:
        yield from ((line, _encode(line)) for line in lines if len(line) >= LINE_FROM and not line.startswith("-----"))
    password = url_password(stripped)
    if password:
        yield password, _encode(password)
        decoded = unquote(password)
        if decoded != password:
            yield decoded, _encode(decoded)


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _escaped(text: str) -> Iterator[str]:
    """The value as program text, as JSON, in SQL, in a shell's quotes, in HTML."""
    yield text
    exact = pure = text
    for _ in range(2):
        exact = json.dumps(exact, ensure_ascii=False)[1:-1]
        pure = json.dumps(pure)[1:-1]
        yield from (exact, pure, json.dumps(exact)[1:-1], _upper_escapes(pure))
    for form in (json.dumps(text, ensure_ascii=False)[1:-1], json.dumps(text)[1:-1]):
        yield form.replace("/", "\\/")
        yield form.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026").replace("'", "\\u0027")
    both = repr(text + "\"'")[1:-4]
    for form in (both, ascii(text + "\"'")[1:-4], repr(_encode(text) + b"\"'")[2:-4]):
        yield form
        yield form.replace("\\'", "'")
        yield form.replace("\\'", "'").replace('"', '\\"')
        again = repr(form.replace("\\'", "'") + "\"'")[1:-4]
        yield from (again, again.replace("\\'", "'"), repr(form + "\"'")[1:-4])
    yield from _in_sql(text)
    yield text.replace("'", "'\"'\"'")
    yield text.replace("'", "'\\''")
    page = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    yield page
    yield page.replace('"', "&quot;").replace("'", "&#x27;")
    yield page.replace('"', "&quot;").replace("'", "&apos;")
    yield page.replace('"', "&#34;").replace("'", "&#39;")


def _in_sql(text: str) -> Iterator[str]:
    """As a literal of the standard, of MySQL, of MySQL's drivers; and each as `repr` shows a statement, which errors are full of."""
    doubled = text.replace("\\", "\\\\")
    driver = doubled.replace("'", "\\'").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    for literal in dict.fromkeys((text.replace("'", "''"), doubled.replace("'", "''"), driver)):
        yield literal
        if literal != text:
            once = repr(literal + "\"'")[1:-4]
            yield from (once, once.replace("\\'", "'"), repr(once + "\"'")[1:-4])


def _upper_escapes(text: str) -> str:
    return re.sub(r"\\u([0-9a-f]{4})", lambda found: "\\u" + found[1].upper(), text)


def _percent_encoded(data: bytes) -> Iterator[str]:
    for safe in URL_SAFE:
        form = quote(data, safe=safe)
        yield form
        yield _lower_percent(form)
        yield form.replace("%20", "+")
    form = quote_plus(data)
    yield form
    yield _lower_percent(form)
    yield quote(quote(data, safe=""), safe="")
    strict = "".join(chr(byte) if chr(byte).isalnum() and byte < 128 else f"%{byte:02X}" for byte in data)
    yield strict
    yield _lower_percent(strict)
    everything = "".join(f"%{byte:02X}" for byte in data)
    yield everything
    yield everything.lower()


def _lower_percent(text: str) -> str:
    return re.sub(r"%[0-9A-F]{2}", lambda found: found[0].lower(), text)


def _digit_pairs(data: bytes) -> Iterator[str]:
    """Hexadecimal digits: at one stretch, as `bytes.hex` and dumps separate them, as escapes."""
    for separator in ("", ":"):
        digits = data.hex(separator) if separator else data.hex()
        yield from (digits, digits.upper())
    yield data.hex(" ")
    yield "".join(f"\\x{byte:02x}" for byte in data)


def _base64(data: bytes) -> Iterator[Form]:
    """Standard and URL-safe, wherever in the encoded data the secret begins, padded or not, in one line or wrapped, in a URL or JSON."""
    for offset, start in ((0, 0), (1, 2), (2, 3)):
        digits = _digits(bytes(offset) + data).rstrip("=")
        partial = (offset + len(data)) % 3 != 0
        core = digits[start : len(digits) - partial]
        for text in (*_escaped_digits(core), core.translate(_URL_ALPHABET)):
            yield Form(text, before=offset > 0, after=partial)
    whole = _digits(data)
    for digits in dict.fromkeys((whole, whole.translate(_URL_ALPHABET))):
        yield Form(digits)
        if len(digits) > min(WRAPPED_AT):
            pieces = (digits[at : at + width] for width in WRAPPED_AT for at in range(0, len(digits), width))
            yield from (Form(piece) for piece in pieces if len(piece) >= LINE_FROM)


def _escaped_digits(digits: str) -> Iterator[str]:
    """Digits of the standard alphabet as they are, and as a URL or JSON writes plus signs and slashes."""
    yield digits
    if "+" in digits or "/" in digits:
        for form in (quote(digits, safe="="), quote(digits, safe="/=")):
            yield from (form, _lower_percent(form))
        yield from (digits.replace("/", "\\/"), digits.replace("/", "\\\\/"))


def _digits(data: bytes) -> str:
    return b2a_base64(data, newline=False).decode()


_URL_ALPHABET = str.maketrans("+/", "-_")


def _as_logged(form: str) -> Iterator[str]:
    """The form, then as it looks inside JSON, and inside JSON that JSON holds.

    The same where its UTF-8 was read as Latin-1, which is also how `redact_bytes` looks at bytes, once and twice.
    """
    texts = [form]
    if not form.isascii():
        texts.append(_encode(form).decode("latin-1"))
        texts.append(_encode(texts[-1]).decode("latin-1"))
    for text in texts:
        exact, pure = json.dumps(text, ensure_ascii=False)[1:-1], json.dumps(text)[1:-1]
        yield from (text, exact, pure)
        yield from (json.dumps(exact, ensure_ascii=False)[1:-1], json.dumps(exact)[1:-1], json.dumps(pure)[1:-1])
