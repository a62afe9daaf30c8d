"""What the tests of this plugin share."""

from __future__ import annotations

import uuid
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from plugins.pywatt_redis.tests.servers import RedisCluster
from pywatt_core.interfaces import Context
from pywatt_redis import Options, open_redis

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from pywatt_redis.cache import RedisCache
    from tools.running_servers import RedisServer


@asynccontextmanager
async def emptied(options: Options, folder: Path | None = None) -> AsyncIterator[RedisCache]:
    """An empty cache, which leaves nothing behind."""
    async with open_redis(options, Context(module_id="test", section="caches.main", folder=folder)) as cache:
        if options.namespace:
            await cache.clear()
        else:  # tokens of locks as well, which clear() leaves alone
            for server in await cache._commands.each():
                await server.execute("FLUSHDB")
        yield cache
        if not cache._closed:
            await cache.clear()


@pytest.fixture
def opened(redis_server: RedisServer, tmp_path: Path) -> Callable[..., AbstractAsyncContextManager[RedisCache]]:
    """Opens a cache with a namespace of its own on the server of all tests: ``async with opened(timeout=1) as cache``."""

    def open_it(**options: Any) -> AbstractAsyncContextManager[RedisCache]:
        where: dict[str, Any] = {"host": "127.0.0.1", "port": redis_server.port, "namespace": uuid.uuid4().hex}
        return emptied(Options(**{**where, **options}), tmp_path)

    return open_it


@pytest.fixture(scope="session")
def redis_cluster(start_server: Callable[..., Any]) -> Iterator[RedisCluster]:
    """One cluster for all tests of this process, which use prefixes of their own."""
    with RedisCluster(start_server) as cluster:
        yield cluster
