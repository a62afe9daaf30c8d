import asyncio
import os
from dataclasses import dataclass

import pytest

from pywatt_core.builtin.memory_cache import MemoryCache
from pywatt_core.builtin.memory_options import MemoryOptions
from pywatt_core.config import load
from pywatt_core.errors import ChannelClosed, ConfigError, LocalProtocolError, NotFound, StorageError, Unavailable
from pywatt_core.lifecycle import open_registry
from pywatt_core.registry import Registry
from pywatt_core.resources import open_resources
from pywatt_core.services.secret_chain import SecretChain
from pywatt_core.services.secrets import SecretClient
from pywatt_core.state import AppState


@dataclass
class Point:
    x: int
    y: int


async def opened(config, **secrets):
    class Given:
        async def get(self, name):
            return secrets.get(name)

    settings = load(init=config, environ={}, defer=True)
    registry = open_registry(settings)
    state = AppState(module_id="test", config=settings, secrets=SecretClient(SecretChain([("given", Given())])))
    try:
        await open_resources(state, registry)
    except BaseException:
        await state.close()
        raise
    return state


async def test_main_or_the_only_one_is_the_database():
    for config in (
        {"databases": {"main": {"use": "sqlite"}, "other": {"use": "sqlite"}}},
        {"databases": {"other": {"use": "sqlite"}}},
    ):
        state = await opened(config)
        name = "main" if "main" in config["databases"] else "other"
        assert state.database is state.databases[name]
        await state.close()


async def test_an_ambiguous_or_missing_database_says_what_to_write():
    state = await opened({"databases": {"one": {"use": "sqlite"}, "two": {"use": "sqlite"}}})
    with pytest.raises(ConfigError, match="there are 2: one, two"):
        _ = state.database
    with pytest.raises(ConfigError, match=r"\[caches.main\]\nuse = \"memory\""):
        _ = state.cache
    await state.close()


async def test_typed_values_go_through_the_cache():
    state = await opened({"caches": {"main": {"use": "memory"}}})
    assert await state.cache_get("k") is None
    await state.cache_set("k", {"a": [1, None, "ü"]})
    assert await state.cache_get("k") == {"a": [1, None, "ü"]}
    await state.cache_set("p", Point(1, 2), ttl=60)
    assert await state.cache_get("p", type=Point) == Point(1, 2)
    assert 0 < await state.cache.ttl("p") <= 60
    with pytest.raises(StorageError, match="the value cached under 'k' cannot be read: .*`x`"):
        await state.cache_get("k", type=Point)
    with pytest.raises(StorageError, match="the value for 'k' cannot be cached"):
        await state.cache_set("k", object())
    with pytest.raises(NotFound):
        await state.cache.ttl("nowhere")
    await state.close()


async def test_rows_come_back_from_a_query_and_none_from_a_statement_without_rows():
    state = await opened({"databases": {"main": {"use": "sqlite"}}})
    assert await state.execute_query("CREATE TABLE t (n INTEGER)") == []
    assert await state.execute_query("INSERT INTO t VALUES (?), (?)", (1, 2)) == []
    rows = await state.execute_query("SELECT n FROM t WHERE n > :least", {"least": 1})
    assert [row.n for row in rows] == [2]
    await state.close()


async def test_a_reference_is_resolved_before_its_database_opens(tmp_path):
    config = {"folder": str(tmp_path), "databases": {"main": {"use": "sqlite", "path": "secret:WHERE"}}}
    state = await opened(config, WHERE="hidden-away.db")
    await state.execute_query("CREATE TABLE t (n INTEGER)")
    assert (tmp_path / "hidden-away.db").exists()
    await state.close()


async def test_an_offered_database_opens_at_first_use_and_only_then(tmp_path):
    config = {
        "folder": str(tmp_path),
        "offers": {"databases": {"main": {"use": "sqlite", "path": "late.db"}}, "caches": {"main": {"use": "memory"}}},
    }
    state = await opened(config)
    await asyncio.sleep(0)
    assert not (tmp_path / "late.db").exists()
    async with state.database.transaction() as transaction:
        await transaction.execute("CREATE TABLE t (n INTEGER)")
    assert (tmp_path / "late.db").exists()
    await state.cache_set("k", 1)
    assert await state.cache_get("k") == 1
    await state.close()


async def test_the_blocking_face_works_from_a_thread_with_transactions_and_iteration():
    state = await opened({"databases": {"main": {"use": "sqlite"}}, "caches": {"main": {"use": "memory"}}}, KEY="the-secret-value")

    def view():
        database = state.sync.database
        database.execute("CREATE TABLE t (n INTEGER)")
        with database.transaction() as transaction:
            transaction.execute("INSERT INTO t VALUES (1)")
            transaction.execute("INSERT INTO t VALUES (2)")
        with pytest.raises(ValueError, match="undo"), database.transaction() as transaction:
            transaction.execute("INSERT INTO t VALUES (3)")
            raise ValueError("undo")
        state.sync.cache_set("k", {"v": 1})
        return (
            [row.n for row in database.iterate("SELECT n FROM t ORDER BY n")],
            state.sync.databases["main"].fetch_value("SELECT count(*) FROM t"),
            state.sync.cache_get("k"),
            state.sync.get_secret("KEY").expose_secret(),
            state.sync.module_id,
        )

    assert await asyncio.to_thread(view) == ([1, 2], 2, {"v": 1}, "the-secret-value", "test")
    with pytest.raises(RuntimeError, match="would block the event loop"):
        state.sync.execute_query("SELECT 1")
    await state.close()


async def test_what_was_opened_is_closed_when_a_later_one_fails(tmp_path):
    good = tmp_path / "good.db"
    config = {"databases": {"good": {"use": "sqlite", "path": str(good)}, "later": {"use": "sqlite", "path": "/proc/nowhere/x.db"}}}
    with pytest.raises((Unavailable, StorageError), match="/proc/nowhere"):
        await opened(config)
    assert good.exists()
    assert not [name for name in os.listdir(tmp_path) if name.endswith(("-wal", "-shm"))], (
        "SQLite removes these when the last connection closes"
    )


async def test_a_state_shows_names_and_no_values():
    state = await opened({"databases": {"main": {"use": "sqlite"}}}, KEY="the-secret-value")
    await state.get_secret("KEY")
    await state.set_secret("OTHER", "another-secret-value")
    assert (await state.get_secret("OTHER")).expose_secret() == "another-secret-value"
    assert repr(state) == "AppState('test', databases=['main'], caches=[])"
    await state.close()
    await state.close()


async def test_a_cache_uses_the_serializer_that_its_section_names():
    state = await opened(
        {"caches": {"main": {"use": "memory", "serializer": "msgpack"}, "other": {"use": "memory"}}, "serializers": {"msgpack": {}}}
    )
    async with Registry().open("serializers", state.config.serializers["msgpack"]) as serializer:
        state.serializers["msgpack"] = serializer
        await state.cache_set("k", {"n": 1})
        assert await state.cache.get("k") == serializer.encode({"n": 1})
        assert state.typed_cache().serializer is state.typed_cache("main").serializer is serializer
        await state.typed_cache("other").set("k", {"n": 1})
        assert await state.caches["other"].get("k") == b'{"n":1}'
    with pytest.raises(ConfigError, match=r"state.caches\['third'\]"):
        state.typed_cache("third")


async def test_a_serializer_that_nobody_brings_is_named():
    settings = load(init={"caches": {"main": {"use": "memory", "serializer": "cbor"}}}, environ={})
    secrets = SecretClient(SecretChain([]))
    state = AppState(module_id="test", config=settings, secrets=secrets, caches={"main": MemoryCache(MemoryOptions())})
    with pytest.raises(ConfigError, match=r'serializer = "cbor".*\n\n\[serializers.cbor\]'):
        await state.cache_get("k")


async def test_typed_values_for_threads():
    state = await opened({"caches": {"main": {"use": "memory"}}})

    def work() -> object:
        typed = state.sync.typed_cache()
        with state.sync.cache.lock("lock") as lock:
            lock.extend(60)
            assert lock.token > 0
        typed.set("k", Point(1, 2))
        assert typed.get_or_set("p", lambda: Point(3, 4), Point) == Point(3, 4)
        return typed.get("k", Point)

    assert await asyncio.to_thread(work) == Point(1, 2)


async def test_a_name_that_is_not_configured_is_told_with_the_lines_to_add():
    state = await opened({"caches": {"main": {"use": "memory"}}})
    for named, section in ((state.caches, r"\[caches.sessions\]"), (state.databases, r"\[databases.sessions\]")):
        with pytest.raises(ConfigError, match=section):
            named["sessions"]
        assert named.get("sessions") is None
        assert "sessions" not in named
    await state.close()


@pytest.mark.parametrize("target", ["users:__cancel__", "users:__stream__", "users.2:__x", "__orchestrator__:publish"])
async def test_what_is_pywatts_own_is_refused_at_once(target: str):
    state = AppState(module_id="test", config=load(init={}, environ={}), secrets=SecretClient(SecretChain([])))
    for call in (state.send_request(target), state.send_message(target)):
        with pytest.raises(LocalProtocolError, match=f"'{target}' cannot be asked: names with two leading underscores are PyWatt's own"):
            await call
    await state.close()


async def test_a_module_that_runs_alone_has_no_ways_and_says_what_brings_them():
    state = AppState(module_id="test", config=load(init={}, environ={}), secrets=SecretClient(SecretChain([])))
    assert (state.channel_health(), state.channel_metrics(), state.channel_capabilities(), state.sla_status()) == ({}, {}, {}, {})
    assert state.recommend_channel("users:find") is None
    for call in (state.send_request("users:find", 1), state.send_message("users:find", 1), state.open_stream("users:up").__aenter__()):
        with pytest.raises(ChannelClosed, match="start it with `pywatt run` or `pywatt up`") as caught:
            await call
        assert caught.value.executed == "no"
    assert await state.publish("topic", 1) == 0
    await state.close()
