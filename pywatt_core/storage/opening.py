"""Databases and caches opened by hand: awaited, or as ``async with``."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractAsyncContextManager
from functools import cache
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from ..errors import ConfigError
from ..held import Held
from ..interfaces import Context, Orchestrator
from ..redaction import Secret
from ..state import current_state
from .configs import CacheConfig, CachePolicy, CacheType, DatabaseConfig, DatabaseType, hidden

if TYPE_CHECKING:
    from ..config import Section
    from ..registry import Registry
    from ..services.hosted_options import PoolOptions
    from ..state import AppState

T = TypeVar("T", bound="_Opened")

Mode = Literal["auto", "proxy", "direct"]

# ── what is open ────────────────────────────────────────────────────────────────────────────────────────────────────


class _Opened:
    """What a provider opened, and how it is closed."""

    def __init__(self, held: Held[Any], value: Any) -> None:
        self._held, self._value = held, value

    def __getattr__(self, name: str) -> Any:
        return getattr(self._value, name)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._value!r})"

    async def close(self) -> None:
        """Close it; may be called twice."""
        await self._held.close()


class DatabaseConnection(_Opened):
    """An open database: everything that `pywatt_core.interfaces.Database` promises, and ``close()``."""


class CacheService(_Opened):
    """An open cache: everything that `pywatt_core.interfaces.Cache` promises, and ``close()``."""


class Opening(Generic[T]):
    """Awaited it opens; ``async with`` opens and closes."""

    def __init__(self, make: Callable[[], AbstractAsyncContextManager[Any]], face: type[T]) -> None:
        self._make, self._face = make, face
        self._opened: T | None = None

    def __await__(self) -> Generator[Any, None, T]:
        return self._open().__await__()

    async def _open(self) -> T:
        held: Held[Any] = Held(self._make, self._face.__name__)
        try:
            value = await held.value()
        except BaseException:
            held.abandon()
            raise
        return self._face(held, value)

    async def __aenter__(self) -> T:
        self._opened = await self._open()
        return self._opened

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            await opened.close()


# ── opening ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def create_database_connection(
    config: DatabaseConfig, mode: Mode = "auto", *, state: AppState[Any] | None = None
) -> Opening[DatabaseConnection]:
    """Open a database. `state` is the module's own, found by itself where this process runs one.

    Opening raises `ConfigError` for options that the provider does not know, `PluginError` where it is not installed, `Unavailable`.
    """
    state = state or current_state()
    orchestrator = _orchestrator(mode, state)

    def make() -> AbstractAsyncContextManager[Any]:
        if orchestrator is None:
            return _provider("databases", _DATABASES[config.kind], _database_options(config), state)
        from ..services.hosted_database import open_hosted_database
        from ..services.hosted_options import HostedDatabaseOptions

        kind: Any = config.kind.value
        options = HostedDatabaseOptions(
            service=config.service or config.database or "main",
            db_type=kind,
            database=config.database,
            host=_one_host(config),
            port=config.port,
            username=config.username or config.user,
            password=hidden(config.password),
            ssl_mode=config.ssl_mode,
            extra_params={name: str(value) for name, value in config.extra_params.items()},
            pool=_pool(_pool_as_options(config)),
        )
        return open_hosted_database(options, _context("databases", state, orchestrator))

    return Opening(make, DatabaseConnection)


def create_cache_service(config: CacheConfig, mode: Mode = "auto", *, state: AppState[Any] | None = None) -> Opening[CacheService]:
    """Open a cache; as `create_database_connection`."""
    state = state or current_state()
    orchestrator = _orchestrator(mode, state)

    def make() -> AbstractAsyncContextManager[Any]:
        if orchestrator is None:
            return _provider("caches", _CACHES[config.kind], _cache_options(config), state)
        from ..services.hosted import is_concurrent
        from ..services.hosted_cache import open_hosted_cache
        from ..services.hosted_options import HostedCacheOptions

        policy = config.chosen_policy
        if policy is CachePolicy.RANDOM and not is_concurrent(orchestrator):
            raise ConfigError("policy is RANDOM, which this orchestrator does not know: choose another one")
        said: dict[str, Any] = {"policy": policy.value} if policy is not None and policy is not CachePolicy.RANDOM else {}
        if config.max_size_bytes is not None:
            said["max_size_bytes"] = config.max_size_bytes
        kind: Any = config.kind.value
        options = HostedCacheOptions(
            service=config.service or "main",
            cache_type=kind,
            hosts=tuple(config.hosts) or (config.host or "localhost",),
            port=config.port,
            username=config.username,
            password=hidden(config.password),
            database=config.database,
            namespace=config.namespace,
            default_ttl=config.ttl,
            file_path=config.file_path,
            tls_enabled=config.tls_enabled,
            extra_params={name: str(value) for name, value in config.extra_params.items()},
            **said,
        )
        return open_hosted_cache(options, _context("caches", state, orchestrator))

    return Opening(make, CacheService)


_DATABASES = {DatabaseType.POSTGRESQL: "postgres", DatabaseType.MYSQL: "mysql", DatabaseType.SQLITE: "sqlite"}
_CACHES = {CacheType.IN_MEMORY: "memory", CacheType.REDIS: "redis", CacheType.MEMCACHED: "memcached", CacheType.FILE: "file"}


def _orchestrator(mode: Mode, state: AppState[Any] | None) -> Orchestrator | None:
    """Whose service it shall be; None where this process opens it."""
    if mode not in ("auto", "proxy", "direct"):
        raise ConfigError(f'mode is {mode!r}: "auto", "proxy" or "direct" is needed')
    if mode == "direct":
        return None
    if state is not None and state.init is not None:
        return Orchestrator(state.channels, state.init.pywatt)
    if mode == "auto":
        return None
    raise ConfigError('mode is "proxy", and this process runs without an orchestrator: start it with `pywatt up`, or take mode="direct"')


def _context(kind: str, state: AppState[Any] | None, orchestrator: Orchestrator | None) -> Context:
    folder = state.config.folder if state is not None else None
    return Context(module_id=state.module_id if state is not None else "", section=f"{kind}.main", folder=folder, orchestrator=orchestrator)


@cache
def _registry() -> Registry:
    from ..registry import Registry

    return Registry()


def _provider(kind: str, use: str, options: Mapping[str, Any], state: AppState[Any] | None) -> AbstractAsyncContextManager[Any]:
    from ..config import Section

    section: Section = Section(use, {name: value for name, value in options.items() if value not in (None, (), "")}, f"{kind}.main")
    return _registry().open(kind, section, _context(kind, state, None))


def _database_options(config: DatabaseConfig) -> dict[str, Any]:
    if config.kind is DatabaseType.SQLITE:
        return {
            "url": config.url,
            "database": config.database,
            "pool": _pool_as_options(config),
            **config.extra_params,
        }
    return {
        "url": config.url,
        "host": config.host,
        "hosts": list(config.hosts) or None,
        "port": config.port,
        "database": config.database,
        "username": config.username,
        "user": config.user,
        "password": _plain(config.password),
        "ssl_mode": config.ssl_mode,
        "pool": _pool_as_options(config),
        **config.extra_params,
    }


def _cache_options(config: CacheConfig) -> dict[str, Any]:
    options: dict[str, Any] = {"default_ttl": config.ttl, **config.extra_params}
    if config.kind in (CacheType.IN_MEMORY, CacheType.FILE):
        policy = config.chosen_policy
        options |= {"policy": policy.value.lower() if policy is not None else None, "max_bytes": config.max_size_bytes}
        return options | ({"path": config.file_path} if config.kind is CacheType.FILE else {})
    options |= {
        "url": config.url,
        "host": config.host,
        "hosts": list(config.hosts) or None,
        "port": config.port,
        "namespace": config.namespace,
    }
    if config.kind is CacheType.REDIS:
        options |= {"username": config.username, "password": _plain(config.password), "database": config.database}
        options |= {"tls_enabled": True} if config.tls_enabled else {}
    elif config.tls_enabled or config.username or config.password is not None:
        raise ConfigError("a memcached server is reached without TLS, names and passwords: remove tls_enabled, username and password")
    return options


def _plain(password: Secret | str | None) -> str | None:
    return password.expose_secret() if isinstance(password, Secret) else password


def _one_host(config: DatabaseConfig) -> str | None:
    return config.host if config.host is not None else next(iter(config.hosts), None)


def _pool_as_options(config: DatabaseConfig) -> dict[str, Any] | None:
    """The pool's options as providers spell them: ``acquire_timeout``, which is ``acquire_timeout_seconds`` on the wire."""
    said = config.pool if config.pool is not None else config.pool_config
    return None if said is None else {name.removesuffix("_seconds"): value for name, value in said.items()}


def _pool(said: Mapping[str, Any] | None) -> PoolOptions:
    from ..services.hosted_options import PoolOptions

    names = ("acquire_timeout", "idle_timeout", "max_lifetime")
    spelt = {f"{name}_seconds" if name in names else name: value for name, value in (said or {}).items()}
    try:
        return PoolOptions(**{name: int(value) for name, value in spelt.items()})
    except TypeError as error:
        raise ConfigError(f"pool: {error}") from None
