"""CBOR: what may be read and written."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Options:
    """The keys of ``[serializers.cbor]``. The section also offers CBOR to other PyWatt processes, on channels and for payloads."""

    max_bytes: int = 64 * 1024 * 1024
    """What is longer is neither read nor written. Values take up to sixty times the memory of their bytes."""

    def __post_init__(self) -> None:
        if self.max_bytes < 1:
            raise ValueError(f"max_bytes is {self.max_bytes}: at least 1 is needed")
