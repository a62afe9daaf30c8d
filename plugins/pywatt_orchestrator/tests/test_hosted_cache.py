"""A cache that the orchestrator hosts keeps the contract of every other: the host is a process of its own, the module this one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from pywatt_core.interfaces import Cache
from pywatt_core.services.hosted_cache import open_hosted_cache
from pywatt_core.services.hosted_options import HostedCacheOptions
from pywatt_core.testing.contracts import CacheContract

from .host import module, running


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running(tmp_path_factory.mktemp("h")) as path:
        yield path


def service(**provider: Any) -> dict[str, Any]:
    return {"main": {"modules": ["users"], "cache": {"use": "memory", "max_bytes": 50_000_000, **provider}}}


@asynccontextmanager
async def opened(host: str, folder: Path, services: dict[str, Any], **options: Any) -> AsyncIterator[Cache]:
    context = module(host, services, folder, section="caches.main")
    async with context as here, open_hosted_cache(HostedCacheOptions(**options), here) as cache:
        yield cache


class TestHostedMemory(CacheContract):
    @pytest.fixture
    def backend(self, host: str, tmp_path: Path) -> AbstractAsyncContextManager[Cache]:
        return opened(host, tmp_path, service())
