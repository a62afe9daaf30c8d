"""Ids for requests that come without (settled 30)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

BATCH = 256


def fresh_ids() -> Iterator[bytes]:
    """Without end: 128 random bits in hexadecimal. Such an id names a request and its trace, its first half the first span."""
    while True:
        digits = os.urandom(16 * BATCH).hex().encode()
        for start in range(0, len(digits), 32):
            yield digits[start : start + 32]
