"""MessagePack for PyWatt: this file describes, `serializer.py` acts and alone imports the library."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pywatt_core.hookspecs import hookimpl
from pywatt_core.interfaces import Context, Provider, Serializer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from .serializer import MsgpackSerializer

__all__ = ["Options", "open_msgpack"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """The keys of ``[serializers.msgpack]``."""

    max_bytes: int = 32 * 1024 * 1024
    """What is longer is neither read nor written. Values take up to sixty times the memory of their bytes."""

    def __post_init__(self) -> None:
        if self.max_bytes < 1:
            raise ValueError(f"max_bytes is {self.max_bytes}: at least 1 is needed")


@asynccontextmanager
async def open_msgpack(options: Options, context: Context) -> AsyncIterator[MsgpackSerializer]:
    """Nothing is opened but the library, which is imported now."""
    from .serializer import MsgpackSerializer

    yield MsgpackSerializer(options)


@hookimpl
def pywatt_register_serializers() -> Iterable[Provider[Serializer]]:
    return [Provider("msgpack", Options, open_msgpack)]
