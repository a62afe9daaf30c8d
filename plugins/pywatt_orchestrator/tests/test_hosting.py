"""What a process may ask of hosted services, word for word: limits, refusals, what is called off, and modules built on the Rust SDK."""

from __future__ import annotations

import asyncio
import random
import socket
import sqlite3
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pywatt_core.errors import Conflict, RequestTimeout, StorageError, Unavailable
from pywatt_core.protocol.messages import ServiceOperation, ServiceOperationResult, ServiceRequest, ServiceResponse, ServiceType
from pywatt_core.protocol.session import Role, Session, Wire
from pywatt_core.services.hosted_cache import open_hosted_cache
from pywatt_core.services.hosted_database import open_hosted_database
from pywatt_core.services.hosted_options import HostedCacheOptions, HostedDatabaseOptions
from pywatt_core.transports.link import Link, new_id
from pywatt_orchestrator.hosting import MOST_WAITING, ProcessServices
from pywatt_orchestrator.services import Services

from .host import Process, module, running

if TYPE_CHECKING:
    from tools.running_servers import PostgresServer

SLOW = "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n) SELECT count(*) FROM n"
WAIT = 20.0


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running(tmp_path_factory.mktemp("h")) as path:
        yield path


def services(**limits: Any) -> dict[str, Any]:
    options = {"use": "sqlite", "path": "test.db", "close_timeout": 0.5, "acquire_timeout": 1.0}
    return {
        "main": {"modules": ["users"], "database": options, **limits},
        "theirs": {"modules": ["others"], "database": options},
        "sessions": {"modules": ["users"], "cache": {"use": "memory"}, **limits},
    }


class Rust:
    """A module that speaks as the Rust SDK does: no ids, JSON's values, and the reference's way to find an answer."""

    def __init__(self, channels: Any) -> None:
        self._channels = channels

    async def open(self, kind: ServiceType, config: Any) -> ServiceResponse:
        message = ServiceRequest(f"db_request_{uuid.uuid4()}", kind, config)
        answer = await self._channels.request(message, timeout=WAIT)
        assert isinstance(answer, ServiceResponse)
        return answer

    async def ask(self, connection: str | None, operation: str, kind: ServiceType = ServiceType.DATABASE, **params: Any) -> Any:
        message = ServiceOperation(connection or "", kind, operation, params)
        answer = await self._channels.request(message, timeout=WAIT)
        assert isinstance(answer, ServiceOperationResult)
        echo = {"connection_id": connection, "service_type": kind.wire, "operation": operation, "params": params}
        assert answer.params == echo, "the reference would not find the caller that waits for it"
        return answer.result if answer.success else StorageError(answer.error)


@asynccontextmanager
async def rust(host: str, folder: Path, **limits: Any) -> AsyncIterator[Rust]:
    async with module(host, services(**limits), folder, pywatt=False) as context:
        assert context.orchestrator is not None
        yield Rust(context.orchestrator.channels)


CONFIG: dict[str, Any] = {"database": "main", "db_type": "sqlite", "extra_params": {}, "host": None, "password": None, "port": None}

# ── modules built on the Rust SDK ───────────────────────────────────────────────────────────────────────────────────


async def test_a_database_answers_in_the_words_of_the_reference(host: str, tmp_path: Path) -> None:
    async with rust(host, tmp_path) as peer:
        id = (await peer.open(ServiceType.DATABASE, CONFIG)).connection_id
        assert await peer.ask(id, "execute", query="CREATE TABLE t (id BIGINT, name TEXT, data BLOB, ok BOOLEAN)", params=[]) == 0
        assert await peer.ask(id, "execute", query="INSERT INTO t VALUES (?, ?, ?, ?)", params=[1, "x", None, True]) == 1
        await peer.ask(id, "execute", query="UPDATE t SET data = x'0102'", params=[])
        row = {"data": {"id": 1, "name": "x", "data": "AQI=", "ok": True}}
        assert await peer.ask(id, "query", query="SELECT * FROM t WHERE id = ?", params=[1]) == [row]
        assert await peer.ask(id, "query_one", query="SELECT * FROM t", params=[]) == row
        assert await peer.ask(id, "query_one", query="SELECT * FROM t WHERE id = 2", params=[]) is None
        assert await peer.ask(id, "ping") is None
        assert "no such table" in str(await peer.ask(id, "query", query="SELECT * FROM nowhere", params=[]))
        assert "execute: Object missing required field `query`" in str(await peer.ask(id, "execute", params=[]))
        assert "no operation 'drop'" in str(await peer.ask(id, "drop"))
        assert "no operation 'cancel'" in str(await peer.ask(id, "cancel", request_id="x"))
        assert await peer.ask(id, "close") is None
        assert "no connection with this id" in str(await peer.ask(id, "ping"))


async def test_its_transactions_are_committed_rolled_back_and_undone_by_closing(host: str, tmp_path: Path) -> None:
    async with rust(host, tmp_path) as peer:
        id = (await peer.open(ServiceType.DATABASE, CONFIG)).connection_id
        await peer.ask(id, "execute", query="CREATE TABLE t (id BIGINT)", params=[])
        for number, end in enumerate(("transaction_commit", "transaction_rollback", "close")):
            transaction = await peer.ask(id, "begin_transaction")
            inserted = await peer.ask(
                id, "transaction_execute", transaction_id=transaction, query="INSERT INTO t VALUES (?)", params=[number]
            )
            assert inserted == 1
            seen = await peer.ask(id, "transaction_query_one", transaction_id=transaction, query="SELECT max(id) AS m FROM t", params=[])
            assert seen == {"data": {"m": number}}
            if end == "close":
                assert await peer.ask(id, end) is None
            else:
                assert await peer.ask(id, end, transaction_id=transaction) is None
                assert "no transaction with this id" in str(await peer.ask(id, "transaction_rollback", transaction_id=transaction))
    with sqlite3.connect(tmp_path / "test.db") as connection:
        assert connection.execute("SELECT id FROM t").fetchall() == [(0,)]
    connection.close()


async def test_a_cache_answers_in_the_words_of_the_reference(host: str, tmp_path: Path) -> None:
    cache = ServiceType.CACHE
    async with rust(host, tmp_path) as peer:
        id = (await peer.open(cache, {"cache_type": "InMemory", "extra_params": {}})).connection_id
        assert await peer.ask(id, "set", cache, key="k", value="aGVsbG8=", ttl_seconds=60) is None
        assert await peer.ask(id, "get", cache, key="k") == "aGVsbG8="
        assert await peer.ask(id, "get", cache, key="nothing") is None
        assert await peer.ask(id, "set", cache, key="numbers", value=[104, 105], ttl_seconds=None) is None
        assert await peer.ask(id, "get_many", cache, keys=["numbers", "nothing"]) == {"numbers": "aGk="}
        assert [await peer.ask(id, "set_nx", cache, key=key, value="dg==", ttl_seconds=None) for key in ("k", "n")] == [False, True]
        assert await peer.ask(id, "get_set", cache, key="n", value="dw==") == "dg=="
        assert [await peer.ask(id, "exists", cache, key="n"), await peer.ask(id, "delete", cache, key="n")] == [True, True]
        assert await peer.ask(id, "increment", cache, key="count", delta=-2) == -2
        assert await peer.ask(id, "set_many", cache, items={"a": "MQ==", "b": "Mg=="}, ttl_seconds=None) is None
        assert await peer.ask(id, "delete_many", cache, keys=["a", "b", "c"]) == 2
        token = await peer.ask(id, "lock", cache, key="l", ttl_seconds=30)
        assert isinstance(token, str)
        assert await peer.ask(id, "lock", cache, key="l", ttl_seconds=30) is None
        assert await peer.ask(id, "unlock", cache, key="l", lock_token="somebody's") is False
        assert await peer.ask(id, "unlock", cache, key="another", lock_token=token) is False
        assert await peer.ask(id, "unlock", cache, key="l", lock_token=token) is True
        assert await peer.ask(id, "unlock", cache, key="l", lock_token=token) is False
        stats = await peer.ask(id, "stats", cache)
        assert (stats["additional_metrics"], type(stats["hits"])) == ({}, int)
        for operation in ("flush", "ping"):
            assert await peer.ask(id, operation, cache) is None
        assert await peer.ask(id, "clear", cache, namespace=None) is None
        assert "`value` is neither Base64" in str(await peer.ask(id, "set", cache, key="k", value="%", ttl_seconds=None))
        assert await peer.ask(id, "close", cache) is None


async def test_a_module_of_pywatts_gets_along_with_the_inherited_protocol(host: str, tmp_path: Path) -> None:
    async with module(host, services(), tmp_path, pywatt=False) as context:
        options = HostedDatabaseOptions(db_type="sqlite")
        async with open_hosted_database(options, context) as database, open_hosted_cache(HostedCacheOptions(), context) as cache:
            await database.execute("CREATE TABLE t (id BIGINT PRIMARY KEY, name TEXT)")
            async with database.transaction() as outer:
                await outer.execute("INSERT INTO t VALUES (:id, :name)", {"id": 1, "name": "a"})
                with pytest.raises(StorageError, match="SAVEPOINT"):  # our own host takes it for a mistake; the reference's runs it
                    async with outer.transaction():
                        pass
            assert [row.id async for row in database.iterate("SELECT id FROM t")] == [1]
            await cache.set("k", b"\x00\xff", ttl=0.5)
            assert await cache.get("k") == b"\x00\xff"
            async with cache.lock("l") as lock:
                assert lock.token > 0
                with pytest.raises(RequestTimeout):
                    async with cache.lock("l", wait=0):
                        pass


async def test_statements_for_postgresql_number_their_parameters(host: str, tmp_path: Path, postgres_server: PostgresServer) -> None:
    where = {"use": "postgres", "host": "127.0.0.1", "port": postgres_server.port, "user": "pywatt", "password": "let-me-in"}
    services = {"main": {"modules": ["users"], "database": {**where, "database": "postgres"}}}
    async with module(host, services, tmp_path, pywatt=False) as context:
        assert context.orchestrator is not None
        peer = Rust(context.orchestrator.channels)
        id = (await peer.open(ServiceType.DATABASE, {**CONFIG, "db_type": "postgres"})).connection_id
        asked = "SELECT $2::text AS b, $1::int8 AS a, '$1' AS c, $1::int8 + 1 AS d"
        assert await peer.ask(id, "query", query=asked, params=[1, "x"]) == [{"data": {"b": "x", "a": 1, "c": "$1", "d": 2}}]
        assert "$3 has no value" in str(await peer.ask(id, "query", query="SELECT $3", params=[1]))
        times = "SELECT '2026-01-02 03:04:05'::timestamp AS t, 1.50::numeric AS n, '\\x00ff'::bytea AS b, '{1,2}'::int[] AS l"
        row = {"t": "2026-01-02T03:04:05", "n": "1.50", "b": "AP8=", "l": [1, 2]}
        assert await peer.ask(id, "query_one", query=times, params=[]) == {"data": row}


# ── who may have what ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("kind", "config", "reason"),
    [
        (ServiceType.DATABASE, {**CONFIG, "database": "theirs"}, "users may not use the database 'theirs': add \"users\" to modules"),
        (ServiceType.DATABASE, {**CONFIG, "database": "nothing"}, "there is no database 'nothing' for users (it may use: main)"),
        (ServiceType.DATABASE, {**CONFIG, "db_type": "postgres"}, "the database 'main' is sqlite, and postgres was asked for"),
        (ServiceType.DATABASE, {**CONFIG, "extra_params": {"service": "sessions"}}, "there is no database 'sessions'"),
        (ServiceType.CACHE, {"extra_params": {"service": "main"}}, "there is no cache 'main' for users (it may use: sessions)"),
        (ServiceType.JWT, {"config": {}}, "this orchestrator hosts no Jwt"),
    ],
)
async def test_what_a_process_may_not_have_is_refused_with_what_it_may(
    host: str, tmp_path: Path, kind: ServiceType, config: Any, reason: str
) -> None:
    async with rust(host, tmp_path) as peer:
        answer = await peer.open(kind, config)
        assert (answer.success, answer.connection_id) == (False, None)
        assert reason in (answer.error or "")


async def test_a_connection_belongs_to_its_process(host: str, tmp_path: Path) -> None:
    async with rust(host, tmp_path) as one, rust(host, tmp_path) as other:
        id = (await one.open(ServiceType.DATABASE, CONFIG)).connection_id
        assert "no connection with this id" in str(await other.ask(id, "ping"))
        assert await one.ask(id, "ping") is None


# ── limits ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@asynccontextmanager
async def users(host: str, folder: Path, **limits: Any) -> AsyncIterator[Any]:
    async with module(host, services(**limits), folder) as context, open_hosted_database(HostedDatabaseOptions(), context) as database:
        yield database


async def test_connections_are_limited(host: str, tmp_path: Path) -> None:
    async with rust(host, tmp_path) as peer:
        answers = [await peer.open(ServiceType.CACHE, {}) for _ in range(101)]
        assert [answer.success for answer in answers] == [True] * 100 + [False]
        assert "100 connections" in (answers[-1].error or "")


async def test_who_asks_without_reading_the_answers_fills_no_memory() -> None:
    ours, theirs = socket.socketpair()
    loop = asyncio.get_running_loop()
    peer = Process("users")
    told: list[str] = []
    peer.note = lambda text, *, level="info": told.append(text)  # type: ignore[method-assign]
    services = ProcessServices(Services(), peer)  # type: ignore[arg-type]
    heard = 0

    def take(message: Any, link: Link) -> None:
        nonlocal heard
        heard += 1
        (services.request if isinstance(message, ServiceRequest) else services.operate)(message, link)

    for one in (ours, theirs):
        one.setblocking(False)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    session = Session(Role.ORCHESTRATOR, Wire.CHANNEL, module_id="users", new_id=new_id)
    _, link = await loop.create_connection(lambda: Link(session, on_message=take), sock=ours)
    asking = Session(Role.MODULE, Wire.CHANNEL, module_id="users", new_id=new_id)
    before = len(asyncio.all_tasks())
    try:
        async with asyncio.timeout(WAIT):
            for number in range(5 * MOST_WAITING):
                asked = ServiceRequest(f"r{number}", ServiceType.DATABASE, {"database": "x" * 100})
                await loop.sock_sendall(theirs, asking.send(asked)[0])
                operation = ServiceOperation("nosuch", ServiceType.DATABASE, "execute", {"query": "x" * 100}, f"o{number}")
                await loop.sock_sendall(theirs, asking.send(operation)[0])
                if number % 50 == 0:  # looking at thousands of tasks takes longer than making them
                    assert len(asyncio.all_tasks()) - before <= MOST_WAITING + 1
            while heard < 10 * MOST_WAITING:
                await asyncio.sleep(0.01)
        assert len([text for text in told if "without reading the answers" in text]) == 1
    finally:
        services.end()
        theirs.close()
        await link.close()


async def test_a_connection_is_asked_for_in_few_words(host: str, tmp_path: Path) -> None:
    async with rust(host, tmp_path) as peer:
        answer = await peer.open(ServiceType.DATABASE, {**CONFIG, "extra_params": {"x": "y" * 100_000}})
        assert (answer.success, answer.error) == (False, "a connection was asked for with more than 65536 bytes")


async def test_operations_under_way_are_limited(host: str, tmp_path: Path) -> None:
    async with users(host, tmp_path, operations=4) as database:
        outcomes = await asyncio.gather(*(database.fetch_value("SELECT 1") for _ in range(40)), return_exceptions=True)
        assert {1, Unavailable} == {outcome if outcome == 1 else type(outcome) for outcome in outcomes}
        assert "operations = 4 in [services.main]" in str(next(outcome for outcome in outcomes if outcome != 1))
        assert await database.fetch_value("SELECT 1") == 1


async def test_an_operation_has_an_end(host: str, tmp_path: Path) -> None:
    async with users(host, tmp_path, operation_timeout=0.2) as database:
        with pytest.raises(RequestTimeout, match=r"operation_timeout in \[services.main\]"):
            await database.fetch_value(SLOW)
        assert await database.fetch_value("SELECT 1") == 1


async def test_transactions_and_cursors_are_limited_and_given_up_when_nobody_uses_them(host: str, tmp_path: Path) -> None:
    async with users(host, tmp_path, transactions=2, idle_transaction=0.3) as database:
        await database.execute("CREATE TABLE t (id BIGINT PRIMARY KEY)")
        with pytest.raises(StorageError, match=r"not used for 0.3 s and given up \(idle_transaction in \[services.main\]\)"):
            async with database.transaction() as transaction:
                await transaction.execute("INSERT INTO t VALUES (1)")
                async with asyncio.timeout(WAIT):
                    while True:  # the writer is free once the transaction has been given up
                        try:
                            await database.execute("INSERT INTO t VALUES (2)")
                            break
                        except (Unavailable, Conflict):
                            continue
        assert await database.fetch_all("SELECT id FROM t") == [{"id": 2}]
        cursors = [
            database.iterate("WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n LIMIT 5000) SELECT n FROM n") for _ in range(3)
        ]
        assert [(await anext(cursor)).n for cursor in cursors[:2]] == [1, 1]
        with pytest.raises(Unavailable, match="2 transactions, cursors or locks open"):
            await anext(cursors[2])
        for cursor in cursors:
            await cursor.aclose()
        async with database.transaction(), asyncio.timeout(WAIT):
            pass


async def test_a_transaction_in_use_is_not_given_up(host: str, tmp_path: Path) -> None:
    async with users(host, tmp_path, idle_transaction=0.2) as database:
        await database.execute("CREATE TABLE t (id BIGINT PRIMARY KEY)")
        loop = asyncio.get_running_loop()
        async with database.transaction() as outer:
            until = loop.time() + 0.6
            number = 0
            async with outer.transaction() as inner:
                while loop.time() < until:
                    number += 1
                    await inner.execute("INSERT INTO t VALUES (?)", (number,))
        assert await database.fetch_value("SELECT count(*) FROM t") == number


async def test_more_rows_than_one_answer_holds_are_iterated(host: str, tmp_path: Path) -> None:
    numbers = "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n LIMIT 3000) SELECT n FROM n"
    async with users(host, tmp_path, rows=2000) as database:
        with pytest.raises(StorageError, match=r"3000 rows are more than one answer holds \(rows = 2000 in \[services.main\].*use iterate"):
            await database.fetch_all(numbers)
        assert [row.n async for row in database.iterate(numbers)] == list(range(1, 3001))


async def test_a_lock_that_is_not_given_up_is_forgotten_when_its_time_is_over(host: str, tmp_path: Path) -> None:
    cache = ServiceType.CACHE
    async with rust(host, tmp_path) as peer:
        id = (await peer.open(cache, {})).connection_id
        token = await peer.ask(id, "lock", cache, key="l", ttl_seconds=0.1)
        async with asyncio.timeout(WAIT):
            while (second := await peer.ask(id, "lock", cache, key="l", ttl_seconds=30)) is None:
                pass
        assert await peer.ask(id, "unlock", cache, key="l", lock_token=token) is False
        assert await peer.ask(id, "unlock", cache, key="l", lock_token=second) is True


async def test_a_thousand_cancellations_leave_nothing_open(host: str, tmp_path: Path) -> None:
    chance = random.Random(seed := random.randrange(2**32))
    async with users(host, tmp_path, transactions=8) as database:
        await database.execute("CREATE TABLE t (id BIGINT)")

        async def work() -> None:
            async with database.transaction() as outer, outer.transaction() as inner:
                await inner.execute("INSERT INTO t VALUES (1)")
                async for _ in inner.iterate("SELECT id FROM t"):
                    break

        for _ in range(250):
            tasks = [asyncio.create_task(work()) for _ in range(4)]
            for task in tasks:
                for _ in range(chance.randrange(12)):
                    await asyncio.sleep(0)
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            wrong = [one for one in outcomes if isinstance(one, Exception) and "transactions, cursors or locks open" not in str(one)]
            assert not wrong, f"seed {seed}"
        async with asyncio.timeout(WAIT), AsyncExitStack() as stack:
            while True:  # what was called off last may still be on its way
                try:
                    transaction = await stack.enter_async_context(database.transaction())
                    for _ in range(7):
                        transaction = await stack.enter_async_context(transaction.transaction())
                    break
                except Unavailable:
                    await stack.aclose()
            with pytest.raises(Unavailable, match="8 transactions"):
                await stack.enter_async_context(transaction.transaction())


# ── what is called off ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_calling_off_undoes_what_the_operation_has_made_and_stops_what_comes_late(host: str, tmp_path: Path) -> None:
    async with module(host, services(), tmp_path) as context:
        assert context.orchestrator is not None
        channels = context.orchestrator.channels
        answer = await channels.request(
            ServiceRequest("r", ServiceType.DATABASE, {"database": "main", "pywatt_values": True}), timeout=WAIT
        )
        assert isinstance(answer, ServiceResponse)
        id = answer.connection_id or ""

        async def ask(operation: str, asked: str, **params: Any) -> ServiceOperationResult:
            message = ServiceOperation(id, ServiceType.DATABASE, operation, params, asked)
            result = await channels.request(message, timeout=WAIT)
            assert isinstance(result, ServiceOperationResult)
            return result

        transaction = (await ask("begin_transaction", "begin")).result
        assert (await ask("transaction_execute", "1", transaction_id=transaction, query="CREATE TABLE t (id BIGINT)", params=[])).success
        assert (await ask("cancel", "2", request_id="begin")).success
        gone = await ask("transaction_commit", "3", transaction_id=transaction)
        assert (gone.success, gone.result) == (False, {"failure": {"kind": "not_found"}})
        assert (await ask("execute", "4", query="CREATE TABLE t (id BIGINT)", params=[])).success
        slow = asyncio.create_task(ask("query", "slow", query=SLOW, params=[]))
        while (await ask("cancel", f"stop{id}", request_id="slow")).success and not slow.done():
            await asyncio.sleep(0.01)
        assert ((await slow).success, (await slow).error) == (False, "it was called off")
        assert (await ask("cancel", "5", request_id="late")).success
        assert ((await ask("execute", "late", query="INSERT INTO t VALUES (1)", params=[])).error) == "it was called off"
        assert (await ask("query_value", "6", query="SELECT count(*) FROM t", params=[])).result == 0
