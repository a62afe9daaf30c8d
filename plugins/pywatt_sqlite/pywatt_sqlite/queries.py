"""What a database and a transaction both offer: a statement goes in, rows or a count come out, errors are PyWatt's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar, overload

from pywatt_core.errors import StorageError
from pywatt_core.sql.rows import converted

from . import rows
from .connection import Connection, Interrupted
from .failures import BACKEND_ERRORS, translated
from .statements import bound, read

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from contextlib import AbstractAsyncContextManager

    from pywatt_core.interfaces import Params, Row
    from pywatt_core.statements import Statement

    from .rows import Job

T = TypeVar("T")


async def run(connection: Connection, job: Job[T], sql: str, *, retry: bool = True) -> T:
    """Run `job` for the statement `sql`; what SQLite raises becomes `StorageError` and its kinds."""
    begun = monotonic()
    try:
        return await connection.run(job, retry=retry)
    except BACKEND_ERRORS as error:
        raise translated(error, sql) from error
    except Interrupted as error:
        raise StorageError("the statement was given up because its transaction or database ended") from error
    finally:
        seconds = monotonic() - begun
        if seconds > connection.slow.threshold:
            connection.slow.slow(sql, seconds)


class SqliteQueries(ABC):
    """The statements of `pywatt_core.interfaces.Queries`. Subclasses say on which connection a statement runs."""

    @abstractmethod
    async def _run(self, job: Job[T], statement: Statement, *, changes: bool) -> T:
        """Run `job` on the right connection; `changes` says that only one that may write will do."""

    @abstractmethod
    def iterate(self, sql: str, params: Params = ()) -> AsyncGenerator[Row, None]: ...

    @abstractmethod
    def transaction(self, *, isolation: str | None = None, read_only: bool = False) -> AbstractAsyncContextManager[SqliteQueries]: ...

    async def execute(self, sql: str, params: Params = ()) -> int:
        """Run one statement; return how many rows it inserted, changed or deleted itself (0 for DDL and SELECT)."""
        statement = read(sql)
        values = bound(statement, params)
        return await self._run(lambda connection: rows.changed(connection, statement, values), statement, changes=True)

    @overload
    async def fetch_all(self, sql: str, params: Params = ()) -> list[Row]: ...
    @overload
    async def fetch_all(self, sql: str, params: Params = (), *, into: type[T]) -> list[T]: ...
    async def fetch_all(self, sql: str, params: Params = (), *, into: type[Any] | None = None) -> Any:
        """All rows, as mappings or as `into`: a dataclass, a msgspec Struct or a TypedDict."""
        found = await self._fetch(rows.every_row, sql, params)
        return found if into is None else converted(found, into, numeric_truth=True)

    @overload
    async def fetch_one(self, sql: str, params: Params = ()) -> Row | None: ...
    @overload
    async def fetch_one(self, sql: str, params: Params = (), *, into: type[T]) -> T | None: ...
    async def fetch_one(self, sql: str, params: Params = (), *, into: type[Any] | None = None) -> Any:
        """The first row, None where there is none."""
        found = await self._fetch(rows.first_row, sql, params)
        return found if into is None or found is None else converted([found], into, numeric_truth=True)[0]

    async def fetch_value(self, sql: str, params: Params = ()) -> Any:
        """The first column of the first row, None where there is no row."""
        return await self._fetch(rows.first_value, sql, params)

    async def _fetch(self, take: Callable[..., T], sql: str, params: Params) -> T:
        statement = read(sql)
        values = bound(statement, params)
        return await self._run(lambda connection: take(connection, statement, values), statement, changes=False)
