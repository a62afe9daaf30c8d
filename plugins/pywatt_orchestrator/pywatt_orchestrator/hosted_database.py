"""A process's connection to a database that we host: the operations of protocol 11.2, and between PyWatt peers a few more."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, cast

from msgspec import Struct, field

from pywatt_core.errors import StorageError
from pywatt_core.held import Held
from pywatt_core.protocol.hosted import plain_result, tagged, untagged
from pywatt_core.sql.numbered import with_names
from pywatt_core.sql.turns import finished

from .hosted import Connection, Kept, RolledBack, read_params

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from pywatt_core.interfaces import Database, Queries, Row

PIECE_ROWS: Final = 500
PIECE_BYTES: Final = 256 * 1024
"""A piece of a cursor's rows ends with the row that fills one of both."""

MOST_VALUES: Final = 250_000
"""Values in one answer: each is a text, or more, to whoever reads it."""


class Statement(Struct):
    """What a statement is asked with."""

    query: str
    params: list[Any] | dict[str, Any] = field(default_factory=list)
    transaction_id: str = ""
    cursor: str = ""


class Begin(Struct):
    isolation: str | None = None
    read_only: bool = False
    transaction_id: str = ""


class Which(Struct):
    """Which transaction, or which cursor."""

    transaction_id: str = ""
    cursor: str = ""


class DatabaseConnection(Connection):
    """`Connection` to a database."""

    _database: Database

    @property
    def dialect(self) -> str:
        """Of the database, once it is open."""
        return self._database.dialect

    async def open(self) -> None:
        self._database = await self.hosted.open()
        self._operations: dict[str, Callable[[Any, str | None], Awaitable[Any]]] = {
            "begin_transaction": self._begin,
            "transaction_commit": self._commit,
            "transaction_rollback": self._roll_back,
            "ping": self._ping,
            "describe": self._describe,
            "query_open": self._open_cursor,
            "query_next": self._next_piece,
            "query_close": self._close_cursor,
        }

    async def perform(self, operation: str, params: Any, asked: str | None) -> Any:
        known = self._operations.get(operation)
        if known is not None:
            return await known(params, asked)
        name = operation.removeprefix("transaction_")
        if name not in _STATEMENTS:
            raise StorageError(f"a database has no operation {operation!r}")
        statement = read_params(operation, params, Statement)
        if name == operation:
            return await self._run(name, self._database, statement)
        transaction = self.find(statement.transaction_id, "transaction")
        with self.using(transaction) as queries:
            return await self._run(name, queries, statement)

    async def _run(self, name: str, queries: Queries, statement: Statement) -> Any:
        sql, values = self._as_ours(statement)
        if name == "execute":
            return await queries.execute(sql, values)
        if name == "query":
            return self._answer(await queries.fetch_all(sql, values))
        if name == "query_value":
            return self._value(await queries.fetch_value(sql, values))
        row = await queries.fetch_one(sql, values)
        return None if row is None else self._row(row)

    def _as_ours(self, statement: Statement) -> tuple[str, Any]:
        values = statement.params
        if not self.tagged:
            if self._database.dialect != "postgresql" or isinstance(values, Mapping):
                return statement.query, values
            return with_names(statement.query, values)  # written for the reference's driver, which numbers parameters
        if isinstance(values, Mapping):
            return statement.query, {name: untagged(value) for name, value in values.items()}
        return statement.query, [untagged(value) for value in values]

    # ── rows ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _value(self, value: Any) -> Any:
        return tagged(value) if self.tagged else plain_result(value)

    def _row(self, row: Row) -> dict[str, Any]:
        write = tagged if self.tagged else plain_result
        return {"data": {name: write(value) for name, value in row.items()}}

    def _answer(self, rows: list[Row]) -> list[dict[str, Any]]:
        most = self.limits.rows
        if len(rows) > most or (rows and len(rows) * len(rows[0]) > MOST_VALUES):
            raise StorageError(
                f"{len(rows)} rows are more than one answer holds (rows = {most} in [services.{self.hosted.name}], {MOST_VALUES} values): "
                "use iterate(), or a LIMIT"
            )
        return [self._row(row) for row in rows]

    async def _open_cursor(self, params: Any, asked: str | None) -> Any:
        statement = read_params("query_open", params, Statement)
        self.room_for("cursor", self.limits.transactions)
        sql, values = self._as_ours(statement)
        outer = self.find(statement.transaction_id, "transaction") if statement.transaction_id else None
        queries: Queries = outer.value if outer is not None else self._database
        rows = cast("AsyncGenerator[Row, None]", queries.iterate(sql, values))
        cursor = Kept("cursor", rows, rows.aclose, outer=outer, asked=asked)
        cursor.id = statement.cursor or cursor.id
        if cursor.id in self.kept:
            raise StorageError("there is a cursor with this id already")
        self.keep(cursor, self.limits.idle_transaction)
        try:
            return await self._piece(cursor)
        except BaseException:
            await self.give_back(cursor)
            raise

    async def _next_piece(self, params: Any, _asked: str | None) -> Any:
        return await self._piece(self.find(read_params("query_next", params, Which).cursor, "cursor"))

    async def _piece(self, cursor: Kept) -> Any:
        pieces: list[dict[str, Any]] = []
        size = 0
        with self.using(cursor) as rows:
            async for row in rows:
                pieces.append(self._row(row))
                size += sum(len(value) if isinstance(value, str | bytes) else 16 for value in row.values())
                if len(pieces) >= PIECE_ROWS or size >= PIECE_BYTES:
                    return {"cursor": cursor.id, "rows": pieces, "more": True}
        await self.give_back(cursor)
        return {"cursor": cursor.id, "rows": pieces, "more": False}

    async def _close_cursor(self, params: Any, _asked: str | None) -> None:
        cursor = self.kept.get(read_params("query_close", params, Which).cursor)
        if cursor is not None and cursor.what == "cursor":
            await self.give_back(cursor)

    # ── transactions ────────────────────────────────────────────────────────────────────────────────────────────────

    async def _begin(self, params: Any, asked: str | None) -> str:
        begin = read_params("begin_transaction", params, Begin)
        self.room_for("transaction", self.limits.transactions)
        outer = self.find(begin.transaction_id, "transaction") if begin.transaction_id else None
        queries: Queries = outer.value if outer is not None else self._database
        held: Held[Queries] = Held(
            lambda: queries.transaction(isolation=begin.isolation, read_only=begin.read_only), f"a transaction of {self.module}"
        )
        try:
            value = await held.value()
        except asyncio.CancelledError:
            held.abandon()
            raise
        kept = Kept("transaction", value, lambda: held.close(RolledBack()), outer=outer, asked=asked)
        kept.commit = held.close
        if outer is not None:
            self.touch(outer)
        return self.keep(kept, self.limits.idle_transaction).id

    async def _commit(self, params: Any, _asked: str | None) -> None:
        id = read_params("transaction_commit", params, Which).transaction_id
        if (lapsed := self.kept.get(id)) is not None and lapsed.gone:
            self.forget(lapsed)
            raise StorageError(lapsed.gone)
        transaction = self.find(id, "transaction")
        assert transaction.commit is not None
        for inner in [other for other in reversed(list(self.kept.values())) if other.outer is transaction]:
            await self.give_back(inner)
        self.forget(transaction)
        await finished(transaction.commit())

    async def _roll_back(self, params: Any, _asked: str | None) -> None:
        id = read_params("transaction_rollback", params, Which).transaction_id
        transaction = self.kept.get(id)
        if transaction is not None and transaction.gone:
            self.forget(transaction)  # it has been rolled back, and now its owner knows
            return
        await self.give_back(self.find(id, "transaction"))

    # ── the rest ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _ping(self, _params: Any, _asked: str | None) -> None:
        await self._database.ping()

    async def _describe(self, _params: Any, _asked: str | None) -> Any:
        return {"dialect": self._database.dialect}


_STATEMENTS: Final = ("execute", "query", "query_one", "query_value")
