"""The cache ``orchestrator``: one that the orchestrator hosts, with the interface of every other (protocol 11)."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any

from ..errors import NotFound, RemoteProtocolError, StorageError
from ..interfaces import CacheStats
from ..protocol.hosted import from_base64, to_base64
from ..protocol.messages import ServiceType
from .caching import CLOSED, LARGEST, SMALLEST, Filling, bytes_value, steps, text_key, text_keys, value_ttl
from .hosted import Service, is_concurrent, orchestrator_of
from .hosted_database import pool_config
from .shared_locks import SharedLocks

if TYPE_CHECKING:
    from ..interfaces import CacheLock, Context
    from .hosted_options import HostedCacheOptions


class HostedCache:
    """Implements `pywatt_core.interfaces.Cache`. Times are whole seconds with an orchestrator that is not PyWatt's, rounded up."""

    def __init__(self, service: Service, default_ttl: float | None = None) -> None:
        self._service, self._default_ttl = service, default_ttl
        self._locks = SharedLocks(self)
        self._filling = Filling(self)
        self._held: dict[str, str] = {}
        """By owner: what the orchestrator calls a lock that is held."""

    # ── values ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def get(self, key: str) -> bytes | None:
        """The value, None where there is none."""
        return self._bytes(await self._call("get", key=_key(key)))

    async def set(self, key: str, value: bytes, *, ttl: float | None = None) -> None:
        """Store a value for `ttl` seconds, or as long as the default says."""
        await self._call("set", key=_key(key), ttl_seconds=self._ttl(ttl), value=_value(key, value))

    async def delete(self, key: str) -> bool:
        """Tell whether it was there."""
        return await self._call("delete", key=_key(key)) is True

    async def exists(self, key: str) -> bool:
        return await self._call("exists", key=_key(key)) is True

    async def ttl(self, key: str) -> float | None:
        """Seconds that the key has left; None where it has no limit. Raises `NotFound` where there is no such key."""
        if not self._service.concurrent:
            raise StorageError("this orchestrator does not tell how long a key has left")
        answer = await self._call("ttl", key=_key(key))
        if answer is None:
            raise NotFound(f"the cache has no key {key!r}")
        left = answer.get("ttl_seconds") if isinstance(answer, dict) else None
        return None if left is None else float(left)

    async def set_nx(self, key: str, value: bytes, *, ttl: float | None = None) -> bool:
        """Store only where the key is absent, atomically; tell whether it was stored."""
        return await self._call("set_nx", key=_key(key), ttl_seconds=self._ttl(ttl), value=_value(key, value)) is True

    async def get_set(self, key: str, value: bytes) -> bytes | None:
        """Replace atomically and return what was there."""
        return self._bytes(await self._call("get_set", key=_key(key), value=_value(key, value)))

    async def increment(self, key: str, delta: int = 1) -> int:
        """Add atomically to a decimal integer of 64 bits (0 where the key is absent) and return the sum."""
        delta = steps(delta)
        if not SMALLEST <= delta <= LARGEST:
            raise StorageError(f"the value of {key!r} would leave the 64 bits that a counter has")
        total = await self._call("increment", delta=delta, key=_key(key))
        if type(total) is not int:
            raise StorageError("the orchestrator did not say what the counter is now: No result from operation")
        return total

    async def decrement(self, key: str, delta: int = 1) -> int:
        return await self.increment(key, -steps(delta))

    async def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Only the keys that were found."""
        found = await self._call("get_many", keys=[_key(key) for key in text_keys(keys)])
        if found is None:
            return {}
        if not isinstance(found, dict):
            raise StorageError("the orchestrator sent no values")
        return {key: self._bytes(value) or b"" for key, value in found.items()}

    async def set_many(self, items: Mapping[str, bytes], *, ttl: float | None = None) -> None:
        values = {_key(key): _value(key, value) for key, value in items.items()}
        await self._call("set_many", items=values, ttl_seconds=self._ttl(ttl))

    async def delete_many(self, keys: Sequence[str]) -> int:
        """How many of them were there."""
        count = await self._call("delete_many", keys=[_key(key) for key in text_keys(keys)])
        return count if type(count) is int else 0

    async def clear(self, namespace: str | None = None) -> None:
        """Drop everything, or the keys that begin with ``namespace + ":"``, for every module that uses the cache."""
        await self._call("clear", namespace=namespace)

    async def get_or_set(
        self, key: str, make: Callable[[], Awaitable[bytes] | bytes], *, ttl: float | None = None, timeout: float = 30.0
    ) -> bytes:
        """What is there, or what `make` gives, stored: among all modules one computes. See `Filling.get_or_set`."""
        return await self._filling.get_or_set(key, make, ttl=ttl, timeout=timeout)

    async def stats(self) -> CacheStats:
        """Those of the whole cache, all modules that use it together."""
        said = await self._call("stats")
        if not isinstance(said, dict):
            raise StorageError("the orchestrator sent no figures: No result from operation")
        names = ("hits", "misses", "sets", "deletes", "item_count", "memory_used_bytes")
        return CacheStats(**{name: said[name] for name in names if type(said.get(name)) is int})

    async def ping(self) -> None:
        """Ask the orchestrator. Raises `Unavailable` where it does not answer."""
        await self._call("ping")

    async def close(self) -> None:
        """Close the connection; may be called twice. The orchestrator frees the locks that are held."""
        await self._service.close()

    # ── locks ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def lock(self, key: str, *, ttl: float = 30.0, wait: float | None = 10.0) -> AbstractAsyncContextManager[CacheLock]:
        """Mutual exclusion among all modules that use the cache; `RequestTimeout` after `wait` seconds. It ends with this module."""
        if self._service.closed:
            raise StorageError(CLOSED)
        return self._locks.lock(_key(key), ttl=ttl, wait=wait)

    async def acquire_lock(self, key: str, owner: str, ttl: float) -> int | None:
        """A step of `SharedLocks`. With an orchestrator that is not PyWatt's the token is the time of this machine's clock."""
        token = await self._call("lock", key=key, ttl_seconds=self._seconds(ttl))
        if token is None:
            return None
        if not isinstance(token, str):
            raise StorageError("the orchestrator did not name the lock")
        self._held[owner] = token
        fencing = token.partition(".")[0]
        return int(fencing) if self._service.concurrent and fencing.isdecimal() else time.time_ns()

    async def extend_lock(self, key: str, owner: str, ttl: float) -> bool:
        """Likewise."""
        if not self._service.concurrent:
            raise StorageError("this orchestrator cannot extend a lock: ask for a longer ttl at first")
        token = self._held.get(owner)
        return token is not None and await self._call("extend_lock", key=key, lock_token=token, ttl_seconds=ttl) is True

    async def release_lock(self, key: str, owner: str) -> bool:
        """Likewise."""
        token = self._held.pop(owner, None)
        return token is not None and await self._call("unlock", key=key, lock_token=token) is True

    # ── the wire ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _call(self, operation: str, **params: Any) -> Any:
        return await self._service.call(operation, params, free=operation in ("unlock", "extend_lock"))

    def _ttl(self, ttl: float | None) -> float | None:
        seconds = value_ttl(ttl, self._default_ttl)
        return None if seconds is None else self._seconds(seconds)

    def _seconds(self, seconds: float) -> float:
        return seconds if self._service.concurrent else max(1, math.ceil(seconds))

    def _bytes(self, result: Any) -> bytes | None:
        if result is None:
            return None
        try:
            return from_base64(result, "result")
        except RemoteProtocolError as error:
            raise StorageError(f"the orchestrator sent a value that cannot be read: {error}") from error


def _key(key: str) -> str:
    try:
        text_key(key).encode()
    except UnicodeEncodeError:
        raise StorageError("a key holds characters that UTF-8 cannot express") from None
    return key


def _value(key: str, value: bytes) -> str:
    return to_base64(bytes_value(key, value))


@asynccontextmanager
async def open_hosted_cache(options: HostedCacheOptions, context: Context) -> AsyncIterator[HostedCache]:
    """Raises `ConfigError` where there is no orchestrator, and `Unavailable` with its reason where it does not open the cache."""
    orchestrator = orchestrator_of(context)
    name = options.service or context.section.rpartition(".")[2]
    config = {"extra_params": {"service": name}} if is_concurrent(orchestrator) else _config(options)
    service = await Service.open(orchestrator, ServiceType.CACHE, config, noun="cache", section=context.section, timeout=options.timeout)
    try:
        yield HostedCache(service, options.default_ttl)
    finally:
        await service.close()


def _config(options: HostedCacheOptions) -> dict[str, Any]:
    """``service_request.config`` in the inherited protocol, its keys sorted."""
    ttl = options.default_ttl
    return {
        "cache_type": options.cache_type,
        "connection_timeout_seconds": 5,
        "database": options.database,
        "default_ttl": None if ttl is None else {"nanos": round(ttl % 1 * 10**9) % 10**9, "secs": int(ttl)},
        "default_ttl_seconds": 300 if ttl is None else math.ceil(ttl),
        "extra_params": dict(options.extra_params),
        "file_path": options.file_path,
        "hosts": list(options.hosts),
        "max_size_bytes": options.max_size_bytes,
        "namespace": options.namespace,
        "operation_timeout_seconds": 2,
        "password": options.password.expose_secret() if options.password is not None else None,
        "policy": options.policy,
        "pool": pool_config(options.pool),
        "port": options.port,
        "tls_enabled": options.tls_enabled,
        "username": options.username,
    }
