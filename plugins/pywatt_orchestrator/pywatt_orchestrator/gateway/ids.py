"""Ids for requests that come without: 128 random bits name the request and its trace, 64 more its first span (settled 30)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

BATCH = 256


def fresh_ids() -> Iterator[tuple[bytes, bytes]]:
    """Without end: an id, and the header line ``traceparent`` (W3C Trace Context) that begins a trace of the same id, sampled."""
    while True:
        digits = os.urandom(24 * BATCH).hex().encode()
        for start in range(0, len(digits), 48):
            name = digits[start : start + 32]
            yield name, b"\r\ntraceparent: 00-%b-%b-01" % (name, digits[start + 32 : start + 48])
