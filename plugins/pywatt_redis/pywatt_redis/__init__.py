"""Redis caches for PyWatt: this file describes, `cache.py` acts."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from pywatt_core.hookspecs import hookimpl
from pywatt_core.interfaces import Cache, Context, Provider
from pywatt_core.lazy import lazily

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from .cache import RedisCache
    from .options import Options as Options

__all__ = ["Options", "RedisCache", "open_redis"]


@asynccontextmanager
async def open_redis(options: Options, context: Context) -> AsyncIterator[RedisCache]:
    """Connect or fail with `Unavailable`; on leaving, wait for what is under way and close every connection."""
    from .cache import RedisCache  # imports aiocache and redis, which only an opened cache needs

    cache = await RedisCache.open(options, context)
    try:
        yield cache
    finally:
        await cache.close()


@hookimpl
def pywatt_register_caches() -> Iterable[Provider[Cache]]:
    return [Provider("redis", "pywatt_redis.options:Options", open_redis)]


__getattr__ = lazily(__name__, {"options": "Options", "cache": "RedisCache"})
