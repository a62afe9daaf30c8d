"""Redis caches for PyWatt: this file describes, `cache.py` acts."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from pywatt_core.hookspecs import hookimpl
from pywatt_core.interfaces import Cache, Context, Provider

from .options import Options

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from .cache import RedisCache

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
    return [Provider("redis", Options, open_redis)]


def __getattr__(name: str) -> Any:
    if name == "RedisCache":
        from .cache import RedisCache

        return RedisCache
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
