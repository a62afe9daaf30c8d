"""A module's end of hosted services with an orchestrator that knows the inherited protocol alone: the golden bytes, and one at a time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from pywatt_core.errors import ChannelClosed, ConfigError, NotFound, RequestTimeout, StorageError, Unavailable
from pywatt_core.interfaces import Context, Orchestrator
from pywatt_core.protocol.codec import encode
from pywatt_core.protocol.hosted import HOSTING
from pywatt_core.protocol.messages import Extension, Message, ServiceOperation, ServiceOperationResult, ServiceRequest, ServiceResponse
from pywatt_core.redaction import Secret
from pywatt_core.services.channels import Channels
from pywatt_core.services.hosted_cache import HostedCache, open_hosted_cache
from pywatt_core.services.hosted_database import HostedDatabase, open_hosted_database
from pywatt_core.services.hosted_options import HostedCacheOptions, HostedDatabaseOptions

GOLDEN = {
    one["name"]: one["json"] for one in json.loads((Path(__file__).parents[1] / "data" / "vectors.json").read_text()) if "json" in one
}

POSTGRES = HostedDatabaseOptions(service="app", db_type="postgres", timeout=5)


class Ways:
    """Instead of channels: every message is kept as it would be written, and `answers` says what comes back, in order."""

    names = ("stdio",)
    stdio = None

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.answers: list[Any] = []
        self.under_way = self.most_at_once = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def request(self, message: Message, *, timeout: float) -> Message:
        self.sent.append(json.loads(encode(message)))
        self.under_way += 1
        self.most_at_once = max(self.under_way, self.most_at_once)
        try:
            await self.gate.wait()
            await asyncio.sleep(0)
        finally:
            self.under_way -= 1
        if isinstance(message, ServiceRequest):
            return ServiceResponse(message.id, message.service_type, success=True, connection_id="conn-1")
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, Message) else ServiceOperationResult(success=True, result=answer)

    def answer(self, name: str) -> None:
        """The next answer, from the golden ones."""
        said = json.loads(GOLDEN[name])
        self.answers.append(ServiceOperationResult(success=said["success"], result=said["result"], error=said["error"]))


def context(ways: Any, section: str = "databases.main", *features: str) -> Context:
    extension = Extension(features=features) if features else None
    return Context(module_id="users", section=section, orchestrator=Orchestrator(ways, extension))


@asynccontextmanager
async def database(ways: Ways, options: HostedDatabaseOptions = POSTGRES) -> AsyncIterator[HostedDatabase]:
    async with open_hosted_database(options, context(ways)) as opened:
        ways.sent.clear()
        yield opened


@asynccontextmanager
async def cache(ways: Ways) -> AsyncIterator[HostedCache]:
    async with open_hosted_cache(HostedCacheOptions(), context(ways, "caches.main")) as opened:
        ways.sent.clear()
        yield opened


def golden(name: str) -> Any:
    return json.loads(GOLDEN[name])


# ── the golden bytes ────────────────────────────────────────────────────────────────────────────────────────────────


async def test_what_is_asked_for_is_said_as_the_reference_says_it() -> None:
    ways = Ways()
    options = HostedDatabaseOptions(
        db_type="postgresql", database="app", host="localhost", port=5432, username="u", password=Secret("p"), ssl_mode="prefer"
    )
    async with open_hosted_database(options, context(ways)), open_hosted_cache(HostedCacheOptions(), context(ways, "caches.main")):
        pass
    for sent, name in zip(ways.sent, ("service_request_database", "service_request_cache_default"), strict=False):
        expected = golden(name)
        assert sent["id"].rpartition("_")[0] == expected["id"].rpartition("_")[0]
        assert json.dumps(sent["config"]) == json.dumps(expected["config"])  # the order of keys included
        assert sent["service_type"] == expected["service_type"]


DATABASE: dict[str, tuple[str, Callable[[HostedDatabase], Any], Any]] = {
    "op_db_execute": ("result_db_execute", lambda db: db.execute("SELECT * FROM t WHERE a = ?", (5,)), 3),
    "op_db_query": (
        "result_db_query",
        lambda db: db.fetch_all("SELECT * FROM t WHERE a = :a", {"a": 5}),
        [{"id": 1, "blob": "AQI=", "n": None}],
    ),
    "op_db_query_one": ("result_db_query_one", lambda db: db.fetch_one("SELECT * FROM t WHERE a = ?", [5]), {"id": 1}),
    "op_db_ping": ("result_db_query_one_none", lambda db: db.ping(), None),
    "op_db_params_all_types": ("result_db_execute", lambda db: all_types(db), 3),
}


async def all_types(db: HostedDatabase) -> int:
    values = (None, True, False, 0, -(2**63), 2**63 - 1, 1.5, "text", b"\x00\xff", [1, "a", None, b"\x01"])
    return await db.execute("q" + ", ?" * len(values), values)


@pytest.mark.parametrize("name", DATABASE)
async def test_a_database_is_asked_as_the_reference_asks(name: str) -> None:
    answer, call, expected = DATABASE[name]
    ways = Ways()
    async with database(ways) as db:
        ways.answer(answer)
        assert await call(db) == expected
        sent = ways.sent[0]
        if name == "op_db_params_all_types":
            sent["params"]["query"] = "q"
        assert json.dumps(sent) == json.dumps(golden(name))


async def test_a_transaction_is_asked_for_as_the_reference_does_and_only_what_is_open_is_rolled_back() -> None:
    ways = Ways()
    async with database(ways) as db:
        for name in ("result_db_begin", "result_db_execute", "result_db_query", "result_db_query_one", "result_db_query_one_none"):
            ways.answer(name)
        async with db.transaction() as transaction:
            assert await transaction.execute("SELECT * FROM t WHERE a = ?", (5,)) == 3
            await transaction.fetch_all("SELECT * FROM t WHERE a = ?", (5,))
            await transaction.fetch_one("SELECT * FROM t WHERE a = ?", (5,))
        ways.answer("result_db_begin")
        with pytest.raises(ZeroDivisionError):
            async with db.transaction():
                raise ZeroDivisionError
    names = ["begin_transaction", "transaction_execute", "transaction_query", "transaction_query_one", "transaction_commit"]
    names += ["begin_transaction", "transaction_rollback", "close"]
    assert [json.dumps(sent) for sent in ways.sent] == [json.dumps(golden(f"op_db_{name}")) for name in names]


CACHE: dict[str, tuple[str | None, Callable[[HostedCache], Any], Any]] = {
    "op_cache_get": ("result_cache_get_hit", lambda c: c.get("k"), b"hello"),
    "op_cache_set": (None, lambda c: c.set("k", b"hello", ttl=59.5), None),
    "op_cache_delete": ("result_cache_bool", lambda c: c.delete("k"), True),
    "op_cache_exists": ("result_cache_bool", lambda c: c.exists("k"), True),
    "op_cache_set_nx": ("result_cache_bool", lambda c: c.set_nx("k", b"v"), True),
    "op_cache_get_set": ("result_cache_get_miss", lambda c: c.get_set("k", b"v"), None),
    "op_cache_increment": ("result_cache_increment", lambda c: c.decrement("k"), 41),
    "op_cache_set_many": (None, lambda c: c.set_many({"a": b"1", "b": b"2"}), None),
    "op_cache_get_many": ("result_cache_get_many", lambda c: c.get_many(["a", "b"]), {"a": b"1"}),
    "op_cache_delete_many": ("result_cache_increment", lambda c: c.delete_many(["a", "b"]), 41),
    "op_cache_clear_ns": (None, lambda c: c.clear("ns"), None),
    "op_cache_lock": ("result_cache_lock", lambda c: locked(c), True),
    "op_cache_ping": (None, lambda c: c.ping(), None),
}


async def locked(cache: HostedCache) -> bool:
    cache._service._channels.answers.append(True)  # type: ignore[attr-defined]  # of the unlock
    async with cache.lock("k") as lock:
        return lock.token > 0


@pytest.mark.parametrize("name", CACHE)
async def test_a_cache_is_asked_as_the_reference_asks(name: str) -> None:
    answer, call, expected = CACHE[name]
    ways = Ways()
    async with cache(ways) as opened:
        if answer is not None:
            ways.answer(answer)
        assert await call(opened) == expected
        assert json.dumps(ways.sent[0]) == json.dumps(golden(name))
        if name == "op_cache_lock":
            assert json.dumps(ways.sent[1]) == json.dumps(golden("op_cache_unlock"))
    assert json.dumps(ways.sent[-1]) == json.dumps(golden("op_cache_close"))


async def test_other_spellings_of_answers_are_understood() -> None:
    ways = Ways()
    async with cache(ways) as opened:
        ways.answer("result_cache_get_bytes")
        assert await opened.get("k") == b"hi"
        ways.answer("result_cache_stats")
        stats = await opened.stats()
        assert (stats.hits, stats.misses, stats.item_count) == (1, None, 2)
        assert await opened.get_many(["a"]) == {}
        assert await opened.delete_many(["a"]) == 0
        ways.answers.append("not Base64!")
        with pytest.raises(StorageError, match="neither Base64"):
            await opened.get("k")
        for call in (opened.increment("k"), opened.stats()):
            with pytest.raises(StorageError, match="No result from operation"):
                await call


# ── what the inherited protocol cannot say ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("value", [float("nan"), 2**63, object(), [[1]], "\ud800", {"a": 1}])
async def test_a_parameter_that_json_does_not_have_is_refused_before_anything_is_sent(value: Any) -> None:
    ways = Ways()
    async with database(ways) as db:
        with pytest.raises(StorageError):
            await db.execute("SELECT ?", (value,))
        assert ways.sent == []


async def test_what_such_an_orchestrator_cannot_do_is_refused() -> None:
    ways = Ways()
    async with database(ways) as db, cache(ways) as opened:
        with pytest.raises(StorageError, match="isolation and read_only"):
            async with db.transaction(isolation="serializable", read_only=True):
                pass
        with pytest.raises(StorageError, match="how long a key has left"):
            await opened.ttl("k")
        ways.answers.append({"data": {"a": 1, "b": 2}})
        with pytest.raises(StorageError, match="which of 2 columns"):
            await db.fetch_value("SELECT a, b FROM t")
        ways.answers.append({"data": {"a": 1}})
        assert await db.fetch_value("SELECT a FROM t") == 1
        wrong: Any
        for wrong in (None, "rows", [1], [{"data": 1}]):
            ways.answers.append(wrong)
            with pytest.raises(StorageError):
                await db.fetch_all("SELECT 1")
        for wrong in (None, -1, True, "3"):
            ways.answers.append(wrong)
            with pytest.raises(StorageError, match="No result from operation"):
                await db.execute("SELECT 1")


async def test_a_savepoint_is_made_of_statements() -> None:
    ways = Ways()
    async with database(ways) as db:
        ways.answers += ["tx-1", 0, 0, 0, 0, 0]
        async with db.transaction() as outer:
            async with outer.transaction():
                pass
            with pytest.raises(ZeroDivisionError):
                async with outer.transaction():
                    raise ZeroDivisionError
    said = [sent["params"].get("query", sent["operation"]) for sent in ways.sent]
    undone = ["SAVEPOINT pywatt_1", "ROLLBACK TO SAVEPOINT pywatt_1", "RELEASE SAVEPOINT pywatt_1"]
    assert said == ["begin_transaction", "SAVEPOINT pywatt_1", "RELEASE SAVEPOINT pywatt_1", *undone, "transaction_commit", "close"]


# ── one at a time, whatever happens to the callers ──────────────────────────────────────────────────────────────────


async def test_one_operation_is_in_flight_at_a_time() -> None:
    ways = Ways()
    async with database(ways) as db:
        ways.answers += list(range(20))
        assert await asyncio.gather(*(db.execute("SELECT 1") for _ in range(20))) == list(range(20))
        assert ways.most_at_once == 1
        assert all("request_id" not in sent for sent in ways.sent)


async def test_a_transaction_that_began_for_nobody_is_rolled_back() -> None:
    ways = Ways()
    async with database(ways) as db:
        ways.gate.clear()
        entering = asyncio.create_task(db.transaction().__aenter__())
        while not ways.sent:
            await asyncio.sleep(0)
        entering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await entering
        ways.answers.append("tx-9")
        ways.gate.set()
        async with asyncio.timeout(10):
            while len(ways.sent) < 2:
                await asyncio.sleep(0)
        assert (ways.sent[1]["operation"], ways.sent[1]["params"]) == ("transaction_rollback", {"transaction_id": "tx-9"})


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (RequestTimeout("late"), RequestTimeout, "execute was not answered within 5 s"),
        (ChannelClosed("gone", executed="no"), Unavailable, "it was not executed"),
        (ChannelClosed("gone"), Unavailable, "it may or may not have been executed"),
        (ServiceOperationResult(success=False, error="syntax error"), StorageError, "syntax error"),
        (ServiceOperationResult(success=False), StorageError, "Unknown error"),
    ],
)
async def test_what_goes_wrong_is_one_of_pywatts_errors(error: Any, kind: type[Exception], text: str) -> None:
    ways = Ways()
    async with database(ways) as db:
        ways.answers.append(error)
        with pytest.raises(kind, match=text) as caught:
            await db.execute("SELECT 1")
        assert caught.value.__cause__ is not None


async def test_what_is_closed_says_so() -> None:
    ways = Ways()
    async with database(ways) as db, cache(ways) as opened:
        pass
    with pytest.raises(StorageError, match="the database is closed"):
        await db.ping()
    with pytest.raises(StorageError, match="the cache is closed"):
        await opened.get("k")


# ── opening ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("error", "id", "text"), [("no backend", None, "no backend"), (None, None, "Unknown connection error"), (None, "", "No connection ID")]
)
async def test_a_service_that_is_not_opened_says_why(error: str | None, id: str | None, text: str) -> None:
    class Refusing(Ways):
        async def request(self, message: Any, *, timeout: float) -> Message:
            return ServiceResponse(message.id, message.service_type, success=id is not None, error=error, connection_id=id)

    with pytest.raises(Unavailable, match=rf"\[databases.main\] the orchestrator did not open the database: {text}"):
        async with open_hosted_database(POSTGRES, context(Refusing())):
            pass


async def test_without_an_orchestrator_there_is_nothing_to_open() -> None:
    for where in (Context(module_id="users", section="databases.main"), context(Channels())):
        with pytest.raises(ConfigError, match=r"\[databases.main\] use = \"orchestrator\": this module runs without one"):
            async with open_hosted_database(POSTGRES, where):
                pass


async def test_an_orchestrator_that_is_not_pywatts_has_to_be_told_the_kind_of_database() -> None:
    with pytest.raises(ConfigError, match="db_type is missing"):
        async with open_hosted_database(HostedDatabaseOptions(), context(Ways())):
            pass


# ── with ids ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_pywatt_orchestrator_is_told_no_password_and_asked_many_things_at_once() -> None:
    ways = Ways()
    ways.answers.append({"dialect": "postgresql"})
    options = HostedDatabaseOptions(service="app", password=Secret("canary-88"), timeout=5)
    async with open_hosted_database(options, context(ways, "databases.main", HOSTING)) as db:
        assert db.dialect == "postgresql"
        assert ways.sent[0]["config"] == {"database": "app", "pywatt_values": True}
        ways.answers += list(range(200))
        await asyncio.gather(*(db.execute("SELECT 1") for _ in range(200)))
        assert 1 < ways.most_at_once <= 64
        ids = [sent["request_id"] for sent in ways.sent[1:]]
        assert len(set(ids)) == len(ids)
    assert "canary-88" not in json.dumps(ways.sent)


async def test_whoever_does_not_wait_any_more_calls_the_operation_off() -> None:
    ways = Ways()
    ways.answers.append({"dialect": "sqlite"})
    async with open_hosted_database(HostedDatabaseOptions(timeout=5), context(ways, "databases.main", HOSTING)) as db:
        ways.gate.clear()
        asking = asyncio.create_task(db.execute("SELECT 1"))
        while len(ways.sent) < 3:
            await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        async with asyncio.timeout(10):
            while len(ways.sent) < 4:
                await asyncio.sleep(0)
        assert (ways.sent[3]["operation"], ways.sent[3]["params"]) == ("cancel", {"request_id": ways.sent[2]["request_id"]})
        ways.gate.set()
        ways.answers += [None, RequestTimeout("late"), None]
        async with asyncio.timeout(10):
            while ways.under_way:
                await asyncio.sleep(0)
        ways.answers[:] = [RequestTimeout("late")]
        with pytest.raises(RequestTimeout):
            await db.execute("SELECT 2")
        async with asyncio.timeout(10):
            while len(ways.sent) < 6:
                await asyncio.sleep(0)
        assert ways.sent[5]["params"] == {"request_id": ways.sent[4]["request_id"]}


@pytest.mark.parametrize(
    ("failure", "kind"),
    [({"kind": "conflict", "conflict": "unique"}, "Conflict"), ({"kind": "not_found"}, "NotFound"), ({"kind": 5}, "StorageError")],
)
async def test_errors_keep_their_kind(failure: Any, kind: str) -> None:
    ways = Ways()
    ways.answers += [{"dialect": "sqlite"}, ServiceOperationResult(success=False, error="no luck", result={"failure": failure})]
    async with open_hosted_database(HostedDatabaseOptions(timeout=5), context(ways, "databases.main", HOSTING)) as db:
        with pytest.raises(StorageError, match="no luck") as caught:
            await db.execute("SELECT 1")
        assert type(caught.value).__name__ == kind
        assert getattr(caught.value, "kind", "unique") == "unique"
        assert kind != "NotFound" or isinstance(caught.value, NotFound)


def test_messages_hide_what_they_hold() -> None:
    message = ServiceOperation("conn-1", "Cache", "set", {"value": "canary-5"})  # type: ignore[arg-type]  # parsed
    assert "canary-5" not in repr(message)
