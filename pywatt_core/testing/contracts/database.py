"""The contract of a database: `DatabaseContract`, made of the four groups of tests beside this file."""

from __future__ import annotations

from .database_faults import DatabaseFaults
from .database_rows import DatabaseRows
from .database_transactions import DatabaseTransactions
from .database_values import DatabaseValues


class DatabaseContract(DatabaseRows, DatabaseValues, DatabaseTransactions, DatabaseFaults):
    """Everything that `pywatt_core.interfaces.Database` promises. A plugin's test file holds::

        class TestMyDatabase(DatabaseContract):
            isolations = ("serializable",)

            @pytest.fixture
            def backend(self, tmp_path):
                return open_mine(Options(path="test.db"), Context(module_id="test", section="databases.main", folder=tmp_path))

    `backend` gives an async context manager that opens a database without tables. The attributes that say what the
    backend can do are those of `DatabaseBackend`.
    """


__all__ = ["DatabaseContract"]
