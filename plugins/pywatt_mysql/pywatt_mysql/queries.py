"""What a database and a transaction both offer: a statement goes in, rows or a count come out, errors are PyWatt's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, TypeVar, overload

from pywatt_core import statements
from pywatt_core.interfaces import Row
from pywatt_core.sql.rows import converted

from .rows import changed, names_of, rows
from .values import sendable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from contextlib import AbstractAsyncContextManager

    from pywatt_core.interfaces import Params
    from pywatt_core.statements import Statement

T = TypeVar("T")


class MySqlQueries(ABC):
    """The statements of `pywatt_core.interfaces.Queries`. Subclasses say on which connection a statement runs."""

    @abstractmethod
    async def _run(self, statement: Statement, values: tuple[Any, ...]) -> Any:
        """Run a statement; its result as asyncmy gives it."""

    @abstractmethod
    def iterate(self, sql: str, params: Params = ()) -> AsyncGenerator[Row, None]: ...

    @abstractmethod
    def transaction(self, *, isolation: str | None = None, read_only: bool = False) -> AbstractAsyncContextManager[MySqlQueries]: ...

    @staticmethod
    def _read(sql: str, params: Params) -> tuple[Statement, tuple[Any, ...]]:
        """The statement, and its values in the order of its parameters, as the server takes them."""
        statement = statements.read(sql, "mysql")
        return statement, sendable(statement.arrange(params))

    async def execute(self, sql: str, params: Params = ()) -> int:
        """Run one statement; return how many rows it inserted, changed or deleted itself (0 for DDL and SELECT)."""
        statement, values = self._read(sql, params)
        return changed(statement, await self._run(statement, values))

    @overload
    async def fetch_all(self, sql: str, params: Params = ()) -> list[Row]: ...
    @overload
    async def fetch_all(self, sql: str, params: Params = (), *, into: type[T]) -> list[T]: ...
    async def fetch_all(self, sql: str, params: Params = (), *, into: type[Any] | None = None) -> Any:
        """All rows, as mappings or as `into`: a dataclass, a msgspec Struct or a TypedDict."""
        result = await self._run(*self._read(sql, params))
        names, found = names_of(result), result.rows or ()
        return rows(names, found, Row) if into is None else converted(rows(names, found, dict), into, numeric_truth=True)

    @overload
    async def fetch_one(self, sql: str, params: Params = ()) -> Row | None: ...
    @overload
    async def fetch_one(self, sql: str, params: Params = (), *, into: type[T]) -> T | None: ...
    async def fetch_one(self, sql: str, params: Params = (), *, into: type[Any] | None = None) -> Any:
        """The first row, None where there is none."""
        result = await self._run(*self._read(sql, params))
        if not result.rows:
            return None
        names, first = names_of(result), result.rows[:1]
        return rows(names, first, Row)[0] if into is None else converted(rows(names, first, dict), into, numeric_truth=True)[0]

    async def fetch_value(self, sql: str, params: Params = ()) -> Any:
        """The first column of the first row, None where there is no row."""
        result = await self._run(*self._read(sql, params))
        return result.rows[0][0] if result.rows else None
