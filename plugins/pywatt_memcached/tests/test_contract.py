"""The contract of a cache, against a real Memcached."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from pywatt_core.interfaces import Cache, Context
from pywatt_core.testing.contracts import CacheContract, SharedCacheContract
from pywatt_memcached import Options, open_memcached

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    from tools.running_servers import MemcachedServer

CONTEXT = Context(module_id="test", section="caches.main")


@asynccontextmanager
async def emptied(options: Options) -> AsyncIterator[Cache]:
    async with open_memcached(options, CONTEXT) as cache:
        await cache.clear()
        yield cache


class TestContract(CacheContract):
    short = 1
    largest = 1_000_000
    namespaces = False
    counts_items = False
    cancellations = 1000

    @pytest.fixture
    def backend(self, memcached_server: MemcachedServer) -> AbstractAsyncContextManager[Cache]:
        return emptied(Options(port=memcached_server.port))


class TestShared(SharedCacheContract):
    short = 1

    @pytest.fixture
    def backends(self, memcached_server: MemcachedServer) -> tuple[AbstractAsyncContextManager[Cache], AbstractAsyncContextManager[Cache]]:
        options = Options(port=memcached_server.port)
        return emptied(options), open_memcached(options, CONTEXT)
