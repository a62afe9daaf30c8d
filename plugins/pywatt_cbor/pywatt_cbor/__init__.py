"""CBOR for PyWatt: this file describes, `serializer.py` acts and alone imports the library."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pywatt_core.hookspecs import hookimpl
from pywatt_core.interfaces import Context, Provider, Serializer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from .serializer import CborSerializer

__all__ = ["Options", "open_cbor"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """The keys of ``[serializers.cbor]``. The section also offers CBOR to other PyWatt processes, on channels and for payloads."""

    max_bytes: int = 64 * 1024 * 1024
    """What is longer is neither read nor written. Values take up to sixty times the memory of their bytes."""

    def __post_init__(self) -> None:
        if self.max_bytes < 1:
            raise ValueError(f"max_bytes is {self.max_bytes}: at least 1 is needed")


@asynccontextmanager
async def open_cbor(options: Options, context: Context) -> AsyncIterator[CborSerializer]:
    """Nothing is opened but the library, which is imported now."""
    from .serializer import CborSerializer

    yield CborSerializer(options)


@hookimpl
def pywatt_register_serializers() -> Iterable[Provider[Serializer]]:
    return [Provider("cbor", Options, open_cbor)]
