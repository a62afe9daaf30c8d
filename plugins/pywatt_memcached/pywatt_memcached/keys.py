"""Keys as Memcached takes them: at most 250 bytes without spaces and control characters. Every other text becomes one of those."""

from __future__ import annotations

import base64
import hashlib
import re

from pywatt_core.services.caching import text_key

LONGEST = 250
PLAIN = re.compile(rb"[\"$-~][!-~]*\Z")
"""What is a key as it is. ``#`` begins those that stand for another text, ``!`` what is no value at all."""
LOCK, TOKEN = b"!lock:", b"!token"


def value_name(prefix: bytes, key: str) -> bytes:
    """The name of a value."""
    return prefix + shortened(text_key(key), LONGEST - len(prefix))


def lock_name(prefix: bytes, key: str) -> bytes:
    """The name of a lock, which no value can have."""
    return LOCK + prefix + shortened(text_key(key), LONGEST - len(LOCK) - len(prefix))


def token_name(prefix: bytes) -> bytes:
    """The name of the counter of all locks' tokens."""
    return TOKEN + prefix


def shortened(key: str, room: int) -> bytes:
    name = key.encode("utf-8", "surrogatepass")
    if len(name) <= room and PLAIN.match(name):
        return name
    return b"#" + base64.urlsafe_b64encode(hashlib.sha256(name).digest()).rstrip(b"=")
