"""What the tests of this plugin share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pywatt_core.interfaces import Context
from pywatt_sqlite import Options, open_sqlite

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from pywatt_sqlite.database import SqliteDatabase


@pytest.fixture
def opened(tmp_path: Path) -> Callable[..., AbstractAsyncContextManager[SqliteDatabase]]:
    """Opens a database in the test's folder: ``async with opened(path="a.db", readers=2) as database``."""

    def open_it(**options: Any) -> AbstractAsyncContextManager[SqliteDatabase]:
        return open_sqlite(Options(**{"path": "test.db", **options}), Context(module_id="test", section="databases.main", folder=tmp_path))

    return open_it
