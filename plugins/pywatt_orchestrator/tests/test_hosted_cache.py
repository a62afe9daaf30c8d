"""A cache that the orchestrator hosts keeps the contract of every other: the host is a process of its own, the module this one."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pywatt_core.interfaces import Cache
from pywatt_core.services.hosted_cache import open_hosted_cache
from pywatt_core.services.hosted_options import HostedCacheOptions
from pywatt_core.testing.contracts import CacheContract, SharedCacheContract

from .host import module, running

if TYPE_CHECKING:
    from tools.running_servers import MemcachedServer, RedisServer


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running(tmp_path_factory.mktemp("h")) as path:
        yield path


def service(use: str = "memory", **provider: Any) -> dict[str, Any]:
    return {"main": {"modules": ["users"], "cache": {"use": use, **provider}}}


@asynccontextmanager
async def opened(host: str, folder: Path, services: dict[str, Any], **options: Any) -> AsyncIterator[Cache]:
    context = module(host, services, folder, section="caches.main")
    async with context as here, open_hosted_cache(HostedCacheOptions(**options), here) as cache:
        yield cache


@asynccontextmanager
async def emptied(host: str, folder: Path, services: dict[str, Any]) -> AsyncIterator[Cache]:
    """A cache on a server that other tests use too."""
    async with opened(host, folder, services) as cache:
        await cache.clear()
        yield cache
    async with opened(host, folder, services) as cache:
        await cache.clear()


class TestHostedMemory(CacheContract):
    @pytest.fixture
    def backend(self, host: str, tmp_path: Path) -> AbstractAsyncContextManager[Cache]:
        return opened(host, tmp_path, service(max_bytes=50_000_000))


class TestHostedFile(CacheContract):
    @pytest.fixture
    def backend(self, host: str, tmp_path: Path) -> AbstractAsyncContextManager[Cache]:
        return opened(host, tmp_path, service("file"))


class TestHostedRedis(CacheContract):
    counts_items = False

    @pytest.fixture
    def backend(self, host: str, tmp_path: Path, redis_server: RedisServer) -> AbstractAsyncContextManager[Cache]:
        services = service("redis", host="127.0.0.1", port=redis_server.port, namespace=uuid.uuid4().hex)
        return emptied(host, tmp_path, services)


class TestHostedMemcached(CacheContract):
    short = 1
    largest = 1_000_000
    namespaces = False
    counts_items = False

    @pytest.fixture
    def backend(self, host: str, tmp_path: Path, memcached_server: MemcachedServer) -> AbstractAsyncContextManager[Cache]:
        return emptied(host, tmp_path, service("memcached", port=memcached_server.port))


class TestSharedThroughTwoOrchestrators(SharedCacheContract):
    """One file behind two hosts, each with a module of its own."""

    @pytest.fixture
    def backends(self, host: str, tmp_path: Path) -> tuple[AbstractAsyncContextManager[Cache], AbstractAsyncContextManager[Cache]]:
        return opened(host, tmp_path, service("file")), opened(host, tmp_path, service("file"))
