"""A database that the orchestrator hosts keeps the contract of every other: the host is a process of its own, the module this one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from pywatt_core.interfaces import Database
from pywatt_core.services.hosted_database import open_hosted_database
from pywatt_core.services.hosted_options import HostedDatabaseOptions
from pywatt_core.testing.contracts import DatabaseContract

from .host import module, running


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running(tmp_path_factory.mktemp("h")) as path:
        yield path


def service(**provider: Any) -> dict[str, Any]:
    return {"main": {"modules": ["users"], "database": {"use": "sqlite", "path": "test.db", "close_timeout": 0.5, **provider}}}


@asynccontextmanager
async def opened(host: str, folder: Path, services: dict[str, Any], **options: Any) -> AsyncIterator[Database]:
    async with module(host, services, folder) as context, open_hosted_database(HostedDatabaseOptions(**options), context) as database:
        yield database


class TestHostedSqlite(DatabaseContract):
    isolations = ("deferred", "immediate", "exclusive")

    @pytest.fixture
    def backend(self, host: str, tmp_path: Path) -> AbstractAsyncContextManager[Database]:
        return opened(host, tmp_path, service())
