"""Redis keeps the contract of a cache: a database of its own, a namespace, several connections, sentinels, a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pywatt_core.interfaces import Cache
from pywatt_core.testing.contracts import CacheContract

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager


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
