"""Memcached caches for PyWatt: this file describes, `cache.py` acts; `client.py` is where aiocache and aiomcache are made safe."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from pywatt_core.hookspecs import hookimpl
from pywatt_core.interfaces import Cache, Context, Provider
from pywatt_core.lazy import lazily

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from .cache import MemcachedCache
    from .options import Options as Options

__all__ = ["MemcachedCache", "Options", "open_memcached"]


@asynccontextmanager
async def open_memcached(options: Options, context: Context) -> AsyncIterator[MemcachedCache]:
    """Connect or fail with `Unavailable`; on leaving, every connection is closed."""
    from .cache import MemcachedCache  # imports aiocache and aiomcache, which only an opened cache needs

    cache = await MemcachedCache.open(options)
    try:
        yield cache
    finally:
        await cache.close()


@hookimpl
def pywatt_register_caches() -> Iterable[Provider[Cache]]:
    return [Provider("memcached", "pywatt_memcached.options:Options", open_memcached)]


__getattr__ = lazily(__name__, {"options": "Options", "cache": "MemcachedCache"})
