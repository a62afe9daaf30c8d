"""The names of the earlier SDK: databases and caches opened by hand, by this process or by the orchestrator."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

import pywatt_core
from pywatt_core import (
    CacheConfig,
    CachePolicy,
    CacheType,
    ConfigError,
    DatabaseConfig,
    DatabaseType,
    StorageError,
    create_cache_service,
    create_database_connection,
)
from pywatt_core.config import Settings
from pywatt_core.interfaces import Cache, Database
from pywatt_core.protocol.messages import Init, ServiceOperationResult, ServiceRequest, ServiceResponse
from pywatt_core.redaction import redact
from pywatt_core.resources import open_resources
from pywatt_core.services.secrets import SecretClient
from pywatt_core.state import AppState, current_state
from pywatt_core.storage.opening import Opening


class Ways:
    """Instead of channels to an orchestrator that is not PyWatt's."""

    names = ("stdio",)
    stdio = None

    def __init__(self) -> None:
        self.sent: list[Any] = []

    async def request(self, message: Any, *, timeout: float) -> Any:
        self.sent.append(message)
        if isinstance(message, ServiceRequest):
            return ServiceResponse(message.id, message.service_type, success=True, connection_id="c")
        return ServiceOperationResult(success=True, result=7)


def module(ways: Any) -> AppState[Any]:
    init = Init(orchestrator_api="http://x", module_id="users", env={}, listen="127.0.0.1:0")

    async def fetch(name: str) -> str:
        raise AssertionError(name)

    return AppState(module_id="users", config=Settings(), secrets=SecretClient(fetch), init=init, channels=ways)


# ── spellings ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("postgres", "POSTGRESQL"),
        ("PostgreSQL", "POSTGRES"),
        ("POSTGRES", "POSTGRESQL"),
        ("MariaDB", "MYSQL"),
        ("mysql", "MYSQL"),
        ("sqlite", "SQLITE"),
    ],
)
def test_kinds_of_databases_are_known_by_every_name(text: str, kind: str) -> None:
    assert DatabaseType(text) is DatabaseType[kind]
    assert DatabaseConfig(type=text).kind is DatabaseConfig(db_type=DatabaseType[kind]).kind is DatabaseType[kind]


def test_postgres_is_postgresql() -> None:
    assert list(DatabaseType) == [DatabaseType.POSTGRESQL, DatabaseType.MYSQL, DatabaseType.SQLITE]
    assert DatabaseType["POSTGRES"] is DatabaseType["POSTGRESQL"]


@pytest.mark.parametrize("text", ["memory", "InMemory", "IN_MEMORY", "in-memory"])
def test_kinds_of_caches_and_policies_are_known_by_every_name(text: str) -> None:
    assert CacheConfig(cache_type=text).kind is CacheType.IN_MEMORY
    assert CacheConfig().kind is CacheType.IN_MEMORY
    assert {policy.name for policy in CachePolicy} == {"LRU", "LFU", "FIFO", "MRU", "RANDOM", "NONE"}
    assert CacheConfig(policy="none").chosen_policy is CachePolicy.NONE


@pytest.mark.parametrize(
    ("url", "kind"),
    [("postgresql+asyncpg://h/db", "POSTGRESQL"), ("mysql://h/db", "MYSQL"), ("sqlite:///x.db", "SQLITE"), ("mariadb://h/x", "MYSQL")],
)
def test_a_url_says_what_it_is(url: str, kind: str) -> None:
    assert DatabaseConfig(url=url).kind is DatabaseType[kind]


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: DatabaseConfig(), "db_type is missing"),
        (lambda: DatabaseConfig(db_type="oracle"), "db_type is 'oracle': one of MARIADB, MYSQL"),
        (lambda: DatabaseConfig(db_type="mysql", type="mysql"), "type and db_type are the same"),
        (lambda: DatabaseConfig(db_type="mysql", host="a", hosts=["b"]), "host and hosts are the same"),
        (lambda: DatabaseConfig(db_type="mysql", username="a", user="b"), "username and user are the same"),
        (lambda: DatabaseConfig(db_type="mysql", pool={}, pool_config={}), "pool and pool_config are the same"),
        (lambda: CacheConfig(cache_type="redis", host="a", hosts=["b"]), "host and hosts are the same"),
        (lambda: DatabaseConfig(db_type="mysql", url="sqlite:///x"), "db_type is mysql, and the URL is one of sqlite"),
        (lambda: CacheConfig(cache_type="disk"), "cache_type is 'disk'"),
        (lambda: CacheConfig(policy="best"), "policy is 'best'"),
        (lambda: CacheConfig(default_ttl=1, default_ttl_seconds=1), "are the same"),
        (lambda: create_database_connection(DatabaseConfig(db_type="sqlite"), "both"), "mode is 'both'"),  # type: ignore[arg-type]
        (lambda: create_database_connection(DatabaseConfig(db_type="sqlite"), "proxy"), 'mode is "proxy", and this process runs without'),
        (lambda: create_cache_service(CacheConfig(), "proxy"), 'mode is "proxy"'),
    ],
)
def test_what_does_not_fit_is_refused_at_once(make: Any, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        make()


def test_hosts_may_be_one_text() -> None:
    assert DatabaseConfig(db_type="postgres", hosts="h:5433").hosts == ("h:5433",)
    assert CacheConfig(cache_type="redis", hosts="h").hosts == ("h",)


def test_passwords_are_shown_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    config = DatabaseConfig(db_type="postgres", password="canary-7788", url="postgresql://me:canary-99@h/db")
    caplog.set_level(logging.INFO)
    assert "canary" not in repr(config) + repr(CacheConfig(password="canary-7788", url="redis://:canary-99@h"))
    assert "canary" not in repr(DatabaseConfig(db_type="mysql", extra_params={"password": "canary-1122"}))
    assert "canary" not in repr(CacheConfig(cache_type="redis", extra_params={"sentinel_password": "canary-1122"}))
    assert "canary" not in redact("what a driver may say: canary-99")


# ── opened by this process ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("spelling", ["database", "url", "pool"])
async def test_a_database_is_awaited_or_entered(tmp_path: Path, spelling: str) -> None:
    path = str(tmp_path / "test.db")
    config = {
        "database": DatabaseConfig(db_type="sqlite", database=path),
        "url": DatabaseConfig(url=f"sqlite:///{path}"),
        "pool": DatabaseConfig(type="SQLITE", database=path, pool_config={"max_connections": 2}, extra_params={"synchronous": "off"}),
    }[spelling]
    database = await create_database_connection(config)
    assert isinstance(database, Database)
    await database.execute("CREATE TABLE t (id BIGINT)")
    await database.close()
    await database.close()
    with pytest.raises(StorageError, match="closed"):
        await database.ping()
    async with create_database_connection(config, "direct") as again:
        assert await again.fetch_all("SELECT * FROM t") == []
        async with again.transaction() as transaction:
            await transaction.execute("INSERT INTO t VALUES (1)")
    with pytest.raises(StorageError, match="closed"):
        await again.ping()


@pytest.mark.parametrize("kind", ["memory", "file"])
async def test_a_cache_is_awaited_or_entered(tmp_path: Path, kind: str) -> None:
    path = str(tmp_path / "cache.db") if kind == "file" else None
    config = CacheConfig(cache_type=kind, file_path=path, policy=CachePolicy.MRU, default_ttl_seconds=60, max_size_bytes=1000)
    async with create_cache_service(config) as cache:
        assert isinstance(cache, Cache)
        await cache.set("k", b"v")
        left = await cache.ttl("k")
        assert left is not None
        assert 0 < left <= 60
        with pytest.raises(StorageError):
            await cache.set("large", bytes(2000))
    with pytest.raises(StorageError, match="closed"):
        await cache.get("k")


async def test_what_a_provider_does_not_know_is_refused_by_it(tmp_path: Path) -> None:
    for opening in (
        create_database_connection(DatabaseConfig(db_type="sqlite", extra_params={"synchronus": "off"})),
        create_cache_service(CacheConfig(extra_params={"polcy": "lru"})),
    ):
        with pytest.raises(ConfigError, match="unknown option"):
            await opening
    with pytest.raises(ConfigError, match=r"pool\.max_conections.*Did you mean 'max_connections'"):
        await create_database_connection(DatabaseConfig(db_type="sqlite", pool={"max_conections": 2}))
    with pytest.raises(ConfigError, match="memcached server"):
        await create_cache_service(CacheConfig(cache_type="memcached", tls_enabled=True))


# ── opened by the orchestrator ──────────────────────────────────────────────────────────────────────────────────────


async def test_under_an_orchestrator_it_opens_and_mode_says_otherwise(tmp_path: Path) -> None:
    ways = Ways()
    state = module(ways)
    config = DatabaseConfig(
        db_type="postgres", hosts=["db"], database="app", user="u", password="p", pool={"max_connections": 3, "acquire_timeout": 5}
    )
    async with create_database_connection(config, state=state) as database:
        assert database.dialect == "postgresql"
        assert await database.execute("SELECT 1") == 7
    said = ways.sent[0].config
    assert (said["db_type"], said["host"], said["database"], said["username"], said["password"]) == ("postgres", "db", "app", "u", "p")
    assert (said["pool"]["max_connections"], said["pool"]["acquire_timeout_seconds"]) == (3, 5)
    ways.sent.clear()
    caching = CacheConfig(cache_type="redis", hosts=["r"], namespace="n", policy=CachePolicy.MRU, default_ttl=1.5, max_size_bytes=5)
    async with create_cache_service(caching, "proxy", state=state) as cache:
        assert await cache.increment("k") == 7
    said = ways.sent[0].config
    expected = {"cache_type": "Redis", "hosts": ["r"], "namespace": "n", "policy": "MRU", "max_size_bytes": 5}
    assert {name: said[name] for name in expected} == expected
    assert said["default_ttl"] == {"secs": 1, "nanos": 500_000_000}
    ways.sent.clear()
    direct = DatabaseConfig(db_type="sqlite", database=str(tmp_path / "x.db"))
    async with create_database_connection(direct, "direct", state=state) as database:
        await database.ping()
    assert ways.sent == []


async def test_times_of_the_pool_are_known_by_both_names(tmp_path: Path) -> None:
    for said in ({"acquire_timeout": 7}, {"acquire_timeout_seconds": 7}):
        ways = Ways()
        config = DatabaseConfig(db_type="sqlite", database=str(tmp_path / "x.db"), pool_config=said)
        async with create_database_connection(config, state=module(ways)):
            assert ways.sent[0].config["pool"]["acquire_timeout_seconds"] == 7
        async with create_database_connection(config, "direct") as database:
            assert database._options.acquire_timeout == 7


async def test_a_policy_that_the_wire_does_not_have_is_not_sent() -> None:
    ways = Ways()
    with pytest.raises(ConfigError, match="policy is RANDOM"):
        await create_cache_service(CacheConfig(policy="random"), state=module(ways))
    assert ways.sent == []


async def test_the_module_of_this_process_is_found_by_itself() -> None:
    class Nothing:
        pass

    ways = Ways()
    state = module(ways)
    await open_resources(state, Nothing())  # type: ignore[arg-type]  # nothing is configured
    try:
        assert current_state() is state
        async with create_cache_service(CacheConfig()) as cache:
            assert await cache.increment("k") == 7
        assert ways.sent
    finally:
        await state.close()
    assert current_state() is None


async def test_opening_that_fails_can_be_tried_again(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.write_text("no folder")
    opening: Opening[Any] = create_database_connection(DatabaseConfig(db_type="sqlite", database=str(folder / "x.db")))
    with pytest.raises(StorageError, match="cannot be made"):
        await opening
    folder.unlink()
    database = await opening
    await database.ping()
    await database.close()


def test_every_name_is_the_packages_own() -> None:
    from pywatt_core import storage

    assert all(getattr(pywatt_core, name) is getattr(storage, name) for name in storage.__all__ if name != "Opening")
