"""Lengths of time as the wire writes them: ``{"secs": u64, "nanos": u32}`` (protocol 13)."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

U64 = Annotated[int, Meta(ge=0, le=2**63 - 1)]
"""The wire's u64, but for the upper half, which msgspec cannot check for and nothing here ever reaches."""

NANOS = 1_000_000_000


class Duration(Struct, frozen=True):
    """Never negative. `seconds` is the same as a float."""

    secs: U64
    nanos: Annotated[int, Meta(ge=0, lt=NANOS)] = 0

    @classmethod
    def of(cls, seconds: float) -> Duration:
        """From seconds, to the nearest nanosecond. Raises ValueError for what is negative or no number."""
        if not 0 <= seconds < 2**63:
            raise ValueError(f"a duration is 0 seconds or more, not {seconds!r}")
        secs, nanos = divmod(round(seconds * NANOS), NANOS)
        return cls(secs, nanos)

    @property
    def seconds(self) -> float:
        """In seconds."""
        return self.secs + self.nanos / NANOS
