"""The database ``orchestrator``: one that the orchestrator hosts, with the interface of every other (protocol 11)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ..errors import ConfigError, PyWattError, RemoteProtocolError, StorageError
from ..interfaces import Row
from ..protocol.hosted import plain_parameter, tagged, untagged
from ..protocol.messages import ServiceType
from ..protocol.values import with_article
from ..sql.rows import converted
from ..sql.turns import Turn, finished
from ..statements import Dialect, _parts, read
from ..transports.link import new_id
from .hosted import CALLING_OFF, Service, is_concurrent, orchestrator_of

if TYPE_CHECKING:
    from ..interfaces import Context, Params
    from .hosted_options import HostedDatabaseOptions

T = TypeVar("T")

DIALECTS: Final[dict[str, Dialect]] = {"postgres": "postgresql", "postgresql": "postgresql", "mysql": "mysql", "sqlite": "sqlite"}


class HostedQueries(ABC):
    """What the database and its transactions share: statements, and where they are sent."""

    _service: Service
    dialect: Dialect

    @abstractmethod
    async def _call(self, operation: str, sql: str, params: Params) -> Any:
        """The result of an operation with one statement."""

    async def execute(self, sql: str, params: Params = ()) -> int:
        """Run one statement; return the number of rows it inserted, changed or deleted (0 for DDL)."""
        count = await self._call("execute", sql, params)
        if type(count) is not int or count < 0:
            raise StorageError("the orchestrator did not say how many rows were changed: No result from operation")
        return count

    async def fetch_all(self, sql: str, params: Params = (), *, into: type[Any] | None = None) -> list[Any]:
        """Every row. More than one answer holds are refused by the orchestrator: `iterate` takes any number."""
        rows = self._rows(await self._call("query", sql, params))
        return rows if into is None else converted(rows, into, numeric_truth=self.dialect != "postgresql")

    async def fetch_one(self, sql: str, params: Params = (), *, into: type[Any] | None = None) -> Any:
        """The first row, None where there is none."""
        found = await self._call("query_one", sql, params)
        if found is None:
            return None
        rows = self._rows([found])
        return rows[0] if into is None else converted(rows, into, numeric_truth=self.dialect != "postgresql")[0]

    async def fetch_value(self, sql: str, params: Params = ()) -> Any:
        """The first column of the first row, or None where there is no row.

        An orchestrator that is not PyWatt's says nothing of the order of columns: with it the statement may have one only.
        """
        if self._service.concurrent:
            return untagged(await self._call("query_value", sql, params))
        row = await self.fetch_one(sql, params)
        if row is not None and len(row) != 1:
            raise StorageError(f"this orchestrator does not say which of {len(row)} columns is the first: select one")
        return None if row is None else next(iter(row.values()))

    def _rows(self, result: Any) -> list[Row]:
        if type(result) is not list:
            raise StorageError("the orchestrator sent no rows: No result from operation")
        is_tagged = self._service.concurrent
        rows = []
        for item in result:
            data = item.get("data") if type(item) is dict else None
            if type(data) is not dict:
                raise StorageError("the orchestrator sent a row without its data")
            rows.append(Row({name: untagged(value) for name, value in data.items()}) if is_tagged else Row(data))
        return rows

    def _params(self, sql: str, params: Params) -> dict[str, Any]:
        """The members of an operation: as written to a PyWatt orchestrator, as the reference's drivers want it to any other."""
        if not self._service.concurrent:
            query, values = driver_form(sql, params, self.dialect)
            return {"params": [plain_parameter(value) for value in values], "query": query}
        if isinstance(params, Mapping):
            return {"query": sql, "params": {str(name): tagged(value) for name, value in params.items()}}
        if isinstance(params, Sequence) and not isinstance(params, str | bytes | bytearray | memoryview):
            return {"query": sql, "params": [tagged(value) for value in params]}
        raise StorageError(f"params is {with_article(type(params).__name__)}; pass a tuple or list for ?, a mapping for :name")

    async def _iterate(self, sql: str, params: Params, where: Mapping[str, Any], *, free: bool) -> AsyncGenerator[Row, None]:
        """Rows in pieces, each fetched when the one before is used up. All at once from an orchestrator that is not PyWatt's."""
        if not self._service.concurrent:
            for row in await self.fetch_all(sql, params):
                yield row
            return
        cursor = new_id()
        opened = False
        try:
            members = {**where, **self._params(sql, params), "cursor": cursor}
            piece = await self._service.call("query_open", members, free=free)
            opened = True
            while True:
                for row in self._rows(piece["rows"]):
                    yield row
                if not piece["more"]:
                    opened = False
                    return
                piece = await self._service.call("query_next", {**where, "cursor": cursor}, free=True)
        except (KeyError, TypeError):
            raise StorageError("the orchestrator's answer to a cursor cannot be read") from None
        finally:
            if opened and not self._service.closed:
                with suppress(PyWattError):
                    await finished(self._service.call("query_close", {"cursor": cursor}, free=True, timeout=CALLING_OFF))


class HostedDatabase(HostedQueries):
    """Implements `pywatt_core.interfaces.Database`."""

    def __init__(self, service: Service, dialect: Dialect, timeout: float) -> None:
        self._service, self.dialect, self._timeout = service, dialect, timeout

    async def _call(self, operation: str, sql: str, params: Params) -> Any:
        return await self._service.call(operation, self._params(sql, params))

    def iterate(self, sql: str, params: Params = ()) -> AsyncGenerator[Row, None]:
        """Rows one after the other in bounded memory; closing the iterator early frees its connection."""
        return self._iterate(sql, params, {}, free=False)

    @asynccontextmanager
    async def transaction(self, *, isolation: str | None = None, read_only: bool = False) -> AsyncIterator[HostedTransaction]:
        """A transaction at the orchestrator. It is rolled back when this module ends, and when nobody has used it for too long there."""
        members: dict[str, Any] = {}
        if isolation is not None:
            members["isolation"] = isolation
        if read_only:
            members["read_only"] = True
        if members and not self._service.concurrent:
            raise StorageError(f"this orchestrator begins transactions without {' and '.join(members)}")
        id = await self._service.call("begin_transaction", members)
        transaction = HostedTransaction(self._service, self.dialect, _id(id), timeout=self._timeout)
        async with transaction.held():
            yield transaction

    async def ping(self) -> None:
        """Ask the database, not only the orchestrator. Raises `Unavailable` where it does not answer."""
        await self._service.call("ping", {})

    async def close(self) -> None:
        """Close the connection; may be called twice. The orchestrator rolls back what is open."""
        await self._service.close()


class HostedTransaction(HostedQueries):
    """Statements inside a transaction, or a savepoint of it. Of no use after its block, and says so."""

    def __init__(self, service: Service, dialect: Dialect, id: str, *, timeout: float, outer: HostedTransaction | None = None) -> None:
        self._service, self.dialect, self._id, self._outer = service, dialect, id, outer
        self._turn, self._timeout = Turn(timeout), timeout
        self._left = False
        self._depth: int = 0 if outer is None else outer._depth + 1

    @property
    def over(self) -> bool:
        """True once its block, or that of a transaction around it, has been left."""
        return self._left or (self._outer is not None and self._outer.over)

    def _check(self) -> None:
        if self.over:
            raise StorageError("the transaction is over: its block has been left")

    async def _call(self, operation: str, sql: str, params: Params) -> Any:
        members = {**self._params(sql, params), "transaction_id": self._id}
        async with self._turn:
            self._check()
            return await self._service.call(f"transaction_{operation}", members, free=True)

    async def iterate(self, sql: str, params: Params = ()) -> AsyncGenerator[Row, None]:
        """Rows one after the other; other statements of the transaction may run meanwhile."""
        self._check()
        rows = self._iterate(sql, params, {"transaction_id": self._id}, free=True)
        try:
            async for row in rows:
                yield row
                self._check()
        finally:
            await rows.aclose()

    @asynccontextmanager
    async def transaction(self, *, isolation: str | None = None, read_only: bool = False) -> AsyncIterator[HostedTransaction]:
        """A savepoint. It takes the isolation of the transaction that it is in."""
        if isolation is not None or read_only:
            raise StorageError("a transaction inside another takes its isolation and read_only from that one")
        async with self._turn:
            self._check()
            inner = await self._savepoint()
            async with inner.held():
                yield inner

    async def _savepoint(self) -> HostedTransaction:
        if self._service.concurrent:
            id = _id(await self._service.call("begin_transaction", {"transaction_id": self._id}, free=True))
            return HostedTransaction(self._service, self.dialect, id, timeout=self._timeout, outer=self)
        inner = _Savepoint(self._service, self.dialect, self._id, timeout=self._timeout, outer=self)
        await finished(inner.say("SAVEPOINT"))
        return inner

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Committed when the block ends, rolled back by whatever else happens."""
        try:
            yield
            async with self._turn:
                self._check()
                self._left = True
                await finished(self._commit())
        except BaseException:
            self._left = True
            if not self._service.closed:
                with suppress(PyWattError):
                    await finished(self._roll_back())
            raise

    async def _commit(self) -> None:
        await self._service.call("transaction_commit", {"transaction_id": self._id}, free=True)

    async def _roll_back(self) -> None:
        await self._service.call("transaction_rollback", {"transaction_id": self._id}, free=True, timeout=CALLING_OFF)


class _Savepoint(HostedTransaction):
    """A savepoint where the orchestrator knows transactions alone: made of statements."""

    async def say(self, words: str) -> None:
        members = {"params": [], "query": f"{words} pywatt_{self._depth}", "transaction_id": self._id}
        await self._service.call("transaction_execute", members)

    async def _commit(self) -> None:
        await self.say("RELEASE SAVEPOINT")

    async def _roll_back(self) -> None:
        await self.say("ROLLBACK TO SAVEPOINT")
        await self.say("RELEASE SAVEPOINT")


def _id(result: Any) -> str:
    if not isinstance(result, str) or not result:
        raise StorageError("the orchestrator did not name the transaction: No result from operation")
    return result


def driver_form(sql: str, params: Params, dialect: Dialect) -> tuple[str, Sequence[Any]]:
    """A statement and its values by place, as the reference's drivers take them: ``$1`` in PostgreSQL, ``?`` in the others."""
    statement = read(sql, dialect)
    values = statement.arrange(params)
    if dialect == "sqlite" and isinstance(params, Mapping) and statement.names:  # there every ? is a value of its own
        _, pieces, names = _parts(sql, dialect)
        return "?".join(pieces), [params[name] for name in names]
    return statement.sql, values


@asynccontextmanager
async def open_hosted_database(options: HostedDatabaseOptions, context: Context) -> AsyncIterator[HostedDatabase]:
    """Raises `ConfigError` where there is no orchestrator, and `Unavailable` with its reason where it does not open the database."""
    orchestrator = orchestrator_of(context)
    service_name = options.service or context.section.rpartition(".")[2]
    if not is_concurrent(orchestrator) and options.db_type is None:
        raise ConfigError(f'[{context.section}] db_type is missing: this orchestrator has to be told, for example db_type = "postgres"')
    config = _config(options, service_name, whole=not is_concurrent(orchestrator))
    service = await Service.open(
        orchestrator, ServiceType.DATABASE, config, noun="database", section=context.section, timeout=options.timeout
    )
    try:
        database = HostedDatabase(service, await _dialect(service, options), options.timeout)
        yield database
    finally:
        await service.close()


async def _dialect(service: Service, options: HostedDatabaseOptions) -> Dialect:
    if not service.concurrent:
        return DIALECTS[options.db_type or ""]
    described = await service.call("describe", {})
    dialect = DIALECTS.get(str(described.get("dialect")) if isinstance(described, dict) else "")
    if dialect is None:
        raise RemoteProtocolError("the orchestrator did not say what kind of database it hosts: `dialect` is missing")
    return dialect


def _config(options: HostedDatabaseOptions, service: str, *, whole: bool) -> dict[str, Any]:
    """``service_request.config``, its keys sorted. A PyWatt orchestrator knows the rest, and is told no password."""
    kind = {"postgresql": "postgres"}.get(options.db_type or "", options.db_type)
    if not whole:
        return {"database": service, **({"db_type": kind} if kind else {})}
    pool = options.pool
    return {
        "database": options.database or service,
        "db_type": kind,
        "extra_params": dict(options.extra_params),
        "host": options.host,
        "password": options.password.expose_secret() if options.password is not None else None,
        "pool": pool_config(pool),
        "port": options.port,
        "ssl_mode": options.ssl_mode,
        "username": options.username,
    }


def pool_config(pool: Any) -> dict[str, int]:
    """``config.pool``, its keys sorted."""
    return {
        "acquire_timeout_seconds": pool.acquire_timeout_seconds,
        "idle_timeout_seconds": pool.idle_timeout_seconds,
        "max_connections": pool.max_connections,
        "max_lifetime_seconds": pool.max_lifetime_seconds,
        "min_connections": pool.min_connections,
    }
