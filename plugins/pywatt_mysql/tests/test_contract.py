"""MariaDB keeps the contract of a database: with a usual pool, and with two connections that are reset every time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pywatt_core.sql.options import PoolOptions
from pywatt_core.testing.contracts import DatabaseContract

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from pywatt_core.interfaces import Database


class MySqlContract(DatabaseContract):
    isolations = ("read uncommitted", "read committed", "repeatable read", "serializable", "REPEATABLE_READ")
    pool = PoolOptions()

    @pytest.fixture
    def backend(self, opened: Callable[..., AbstractAsyncContextManager[Database]]) -> AbstractAsyncContextManager[Database]:
        return opened(pool=self.pool)


class TestMySql(MySqlContract):
    cancellations = 1000


class TestTwoConnections(MySqlContract):
    pool = PoolOptions(min_connections=0, max_connections=2)

    @pytest.fixture
    def backend(self, opened: Callable[..., AbstractAsyncContextManager[Database]]) -> AbstractAsyncContextManager[Database]:
        return opened(pool=self.pool, reset="always", cached_statements=0)
