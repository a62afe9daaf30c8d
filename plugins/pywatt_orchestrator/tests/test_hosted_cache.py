"""A cache that the orchestrator hosts keeps the contract of every other: the host is a process of its own, the module this one."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pywatt_core.errors import Conflict, RequestTimeout, Unavailable
from pywatt_core.interfaces import Cache
from pywatt_core.services.hosted_cache import open_hosted_cache
from pywatt_core.services.hosted_options import HostedCacheOptions
from pywatt_core.testing.contracts import CacheContract, SharedCacheContract
from tools.running_servers import RedisServer

from .host import module, running

if TYPE_CHECKING:
    from tools.running_servers import MemcachedServer


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


async def test_a_server_killed_under_load_is_a_gap_and_nothing_more(host: str, tmp_path: Path, start_server: Callable[..., Any]) -> None:
    with start_server(RedisServer) as server:
        async with opened(host, tmp_path, service("redis", host="127.0.0.1", port=server.port)) as cache:
            outcomes: list[str] = []
            stop = asyncio.Event()

            async def load(number: int) -> None:
                while not stop.is_set():
                    try:
                        await cache.set(f"key{number}", b"%d" % number)
                        assert await cache.get(f"key{number}") in (b"%d" % number, None)
                        async with cache.lock(f"lock{number}", wait=0.1):
                            await cache.increment("counter")
                        outcomes.append("done")
                    except (Unavailable, Conflict, RequestTimeout):  # locks of a server that forgot them, or of an answer that was lost
                        outcomes.append("refused")
                        await asyncio.sleep(0.01)

            async def until(wanted: str) -> None:
                outcomes.clear()
                async with asyncio.timeout(60):
                    while wanted not in outcomes:
                        await asyncio.sleep(0.005)

            tasks = [asyncio.create_task(load(number)) for number in range(16)]
            for _ in range(3):
                await until("done")
                await asyncio.to_thread(server.kill)
                await until("refused")
                await asyncio.to_thread(server.start)
                await until("done")
            stop.set()
            await asyncio.gather(*tasks)  # a failure of any other kind ends here
