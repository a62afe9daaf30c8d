"""A short text that changes with a secret's value and tells nothing about it."""

from __future__ import annotations

import hashlib
import os

_KEY = os.urandom(32)
"""Of this process alone: a digest without a key would let anybody try what the value may be."""


def version_of(name: str, value: str) -> str:
    """Sixteen hexadecimal digits. Another value has others; so has the same value under another name, and in another process."""
    title = name.encode("utf-8", "surrogatepass")
    text = len(title).to_bytes(8, "big") + title + value.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, key=_KEY, digest_size=8).hexdigest()
