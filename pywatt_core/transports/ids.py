"""Random identifiers."""

from __future__ import annotations

import os

_VARIANT = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))


def new_id() -> str:
    """A random version 4 UUID, the identity of an envelope."""
    digits = os.urandom(16).hex()  # half the time of `str(uuid.uuid4())`, and as random after a fork
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{_VARIANT[digits[16]]}{digits[17:20]}-{digits[20:]}"
