"""MessagePack for PyWatt: this file describes, `serializer.py` acts and alone imports the library."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from pywatt_core.hookspecs import hookimpl
from pywatt_core.interfaces import Context, Provider, Serializer
from pywatt_core.lazy import lazily

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from .options import Options as Options
    from .serializer import MsgpackSerializer

__all__ = ["Options", "open_msgpack"]


@asynccontextmanager
async def open_msgpack(options: Options, context: Context) -> AsyncIterator[MsgpackSerializer]:
    """Nothing is opened but the library, which is imported now."""
    from .serializer import MsgpackSerializer

    yield MsgpackSerializer(options)


@hookimpl
def pywatt_register_serializers() -> Iterable[Provider[Serializer]]:
    return [Provider("msgpack", "pywatt_msgpack.options:Options", open_msgpack)]


__getattr__ = lazily(__name__, {"options": "Options"})
