"""SQLite keeps the contract of a database: in a file, in memory, and with the smallest pool."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pywatt_core.interfaces import Context, Database
from pywatt_core.testing.contracts import DatabaseContract
from pywatt_sqlite import Options, open_sqlite

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path


class SqliteContract(DatabaseContract):
    isolations = ("deferred", "immediate", "exclusive")
    options = Options(path="test.db", close_timeout=0.5)

    @pytest.fixture
    def backend(self, tmp_path: Path) -> AbstractAsyncContextManager[Database]:
        return open_sqlite(self.options, Context(module_id="test", section="databases.main", folder=tmp_path))


class TestFile(SqliteContract):
    cancellations = 1000


class TestFileWithOneReader(SqliteContract):
    options = Options(path="test.db", readers=1, close_timeout=0.5)


class TestFileWithRollbackJournal(SqliteContract):
    options = Options(path="test.db", journal_mode="delete", synchronous="off", close_timeout=0.5)


class TestMemory(SqliteContract):
    options = Options(path=":memory:", close_timeout=0.5)
    readers_beside_writer = False
