"""Request paths: one meaning for the gateway and for every module behind it, or none.

A path that two programs could read differently is refused instead of being tidied up: dot segments, empty segments,
backslashes, encoded slashes and backslashes, control characters, broken percent-encoding, plain or encoded. What stays is
brought into one form (RFC 3986 6.2.2: percent-encoded unreserved characters are decoded), and that form is forwarded.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})?")
PLAIN = re.compile(rb"(?:/[A-Za-z0-9\-._~!$&'()*+,;=:@]*)+")
"""Paths that mean the same before and after percent-decoding."""
CLEAN = re.compile(rb"(?:/[A-Za-z0-9\-_~!$&'()*+,;=:@][A-Za-z0-9\-._~!$&'()*+,;=:@]*)+/?")
"""Most paths: plain, and no segment is empty or begins with a dot."""
UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
NEVER_ENCODED = frozenset([*range(0x20), 0x7F, *b"/\\"])
AMBIGUOUS = re.compile(rb"[\x00-\x20\x7f-\xff\\#]|/\.{1,2}(?=/|$)|//")


class BadPath(ValueError):
    """The path could mean two things; the text says which part of it."""


def canonical(path: bytes) -> tuple[bytes, bytes]:
    """The form that is forwarded, and the percent-decoded form that is matched. Raises `BadPath`."""
    if CLEAN.fullmatch(path) is not None:
        return path, path
    encoded = ESCAPE.sub(_escape, path) if b"%" in path else path
    found = AMBIGUOUS.search(encoded)
    if found is not None or not encoded.startswith(b"/"):
        raise BadPath(_reason(found[0] if found is not None else b""))
    return encoded, unquote_to_bytes(encoded) if b"%" in encoded else encoded


def _escape(escape: re.Match[bytes]) -> bytes:
    if escape[1] is None:
        raise BadPath("the path has a % that two hexadecimal digits do not follow")
    code = int(escape[1], 16)
    if code in NEVER_ENCODED:
        raise BadPath(f"the path has %{code:02X}: an encoded slash, backslash or control character")
    return bytes((code,)) if code in UNRESERVED else b"%%%02X" % code


def _reason(found: bytes) -> str:
    if found == b"//":
        return "the path has an empty segment (//)"
    if found.startswith(b"/."):
        return "the path has a . or .. segment"
    if found == b"\\":
        return "the path has a backslash"
    if found == b"#":
        return "the request target has a fragment (#)"
    return "the path has a character that must be percent-encoded" if found else "the path does not begin with /"
