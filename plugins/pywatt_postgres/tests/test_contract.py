"""PostgreSQL keeps the contract of a database: with a usual pool, and with one connection that is reset every time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pywatt_core.sql.options import PoolOptions
from pywatt_core.testing.contracts import DatabaseContract

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from pywatt_core.interfaces import Database


class PostgresContract(DatabaseContract):
    text_with_nul = False
    isolations = ("read uncommitted", "read committed", "repeatable read", "serializable", "REPEATABLE_READ")
    pool = PoolOptions()

    @pytest.fixture
    def backend(self, opened: Callable[..., AbstractAsyncContextManager[Database]]) -> AbstractAsyncContextManager[Database]:
        return opened(pool=self.pool)


class TestPostgres(PostgresContract):
    cancellations = 1000


class TestTwoConnections(PostgresContract):
    pool = PoolOptions(min_connections=0, max_connections=2)

    @pytest.fixture
    def backend(self, opened: Callable[..., AbstractAsyncContextManager[Database]]) -> AbstractAsyncContextManager[Database]:
        return opened(pool=self.pool, reset="always", cached_statements=0)
