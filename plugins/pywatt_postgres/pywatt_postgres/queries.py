"""What a database and a transaction both offer: a statement goes in, rows or a count come out, errors are PyWatt's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, TypeVar, overload

from pywatt_core import statements
from pywatt_core.interfaces import Row
from pywatt_core.sql.rows import converted

from .rows import changed, row, rows

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from contextlib import AbstractAsyncContextManager

    from pywatt_core.interfaces import Params
    from pywatt_core.statements import Statement

T = TypeVar("T")


class PostgresQueries(ABC):
    """The statements of `pywatt_core.interfaces.Queries`. Subclasses say on which connection a statement runs."""

    @abstractmethod
    async def _run(self, call: str, statement: Statement, values: Sequence[Any]) -> Any:
        """Run a statement through the connection's method `call`: ``fetch``, ``fetchrow``, ``fetchval``, or ``status``."""

    @abstractmethod
    def iterate(self, sql: str, params: Params = ()) -> AsyncGenerator[Row, None]: ...

    @abstractmethod
    def transaction(self, *, isolation: str | None = None, read_only: bool = False) -> AbstractAsyncContextManager[PostgresQueries]: ...

    async def execute(self, sql: str, params: Params = ()) -> int:
        """Run one statement; return how many rows it inserted, changed or deleted itself (0 for DDL and SELECT)."""
        statement = statements.read(sql, "postgresql")
        return changed(await self._run("status", statement, statement.arrange(params)))

    @overload
    async def fetch_all(self, sql: str, params: Params = ()) -> list[Row]: ...
    @overload
    async def fetch_all(self, sql: str, params: Params = (), *, into: type[T]) -> list[T]: ...
    async def fetch_all(self, sql: str, params: Params = (), *, into: type[Any] | None = None) -> Any:
        """All rows, as mappings or as `into`: a dataclass, a msgspec Struct or a TypedDict."""
        statement = statements.read(sql, "postgresql")
        records = await self._run("fetch", statement, statement.arrange(params))
        return rows(records, Row) if into is None else converted(rows(records, dict), into)

    @overload
    async def fetch_one(self, sql: str, params: Params = ()) -> Row | None: ...
    @overload
    async def fetch_one(self, sql: str, params: Params = (), *, into: type[T]) -> T | None: ...
    async def fetch_one(self, sql: str, params: Params = (), *, into: type[Any] | None = None) -> Any:
        """The first row, None where there is none."""
        statement = statements.read(sql, "postgresql")
        record = await self._run("fetchrow", statement, statement.arrange(params))
        if record is None:
            return None
        return row(record) if into is None else converted([row(record)], into)[0]

    async def fetch_value(self, sql: str, params: Params = ()) -> Any:
        """The first column of the first row, None where there is no row."""
        statement = statements.read(sql, "postgresql")
        return await self._run("fetchval", statement, statement.arrange(params))
