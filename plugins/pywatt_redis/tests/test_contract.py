"""Redis keeps the contract of a cache: a database of its own, a namespace, several connections, sentinels, a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pywatt_core.interfaces import Cache
from pywatt_core.testing.contracts import CacheContract, SharedCacheContract

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from plugins.pywatt_redis.tests.servers import RedisCluster


class RedisContract(CacheContract):
    options: dict[str, Any] = {}

    @pytest.fixture
    def backend(self, opened: Callable[..., AbstractAsyncContextManager[Cache]]) -> AbstractAsyncContextManager[Cache]:
        return opened(**self.options)


class TestDatabase(RedisContract):
    options = {"namespace": "", "database": 7}
    cancellations = 1000


class TestNamespace(RedisContract):
    counts_items = False


class TestSeveralConnections(RedisContract):
    options = {"connections": 3}
    counts_items = False


class TestFewCommandsUnderWay(RedisContract):
    options = {"pending": 2}
    counts_items = False


class TestCluster(RedisContract):
    counts_items = False

    @pytest.fixture
    def backend(
        self, opened: Callable[..., AbstractAsyncContextManager[Cache]], redis_cluster: RedisCluster
    ) -> AbstractAsyncContextManager[Cache]:
        return opened(cluster=True, port=redis_cluster.nodes[0].port)


class TestShared(SharedCacheContract):
    @pytest.fixture
    def backends(self, opened: Callable[..., AbstractAsyncContextManager[Cache]]) -> tuple[AbstractAsyncContextManager[Cache], ...]:
        return opened(namespace="shared"), opened(namespace="shared")


class TestSharedCluster(SharedCacheContract):
    @pytest.fixture
    def backends(
        self, opened: Callable[..., AbstractAsyncContextManager[Cache]], redis_cluster: RedisCluster
    ) -> tuple[AbstractAsyncContextManager[Cache], ...]:
        options = {"namespace": "shared", "cluster": True, "port": redis_cluster.nodes[0].port}
        return opened(**options), opened(**options)
