"""Options of the providers ``orchestrator``, for ``[databases.NAME]``, ``[caches.NAME]`` and ``[auth.NAME]``. Times are in seconds."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from ..redaction import Secret

PolicyName = Literal["LRU", "FIFO", "MRU", "LFU", "None"]


def _check_timeout(timeout: float) -> None:
    if not 0 < timeout < math.inf:
        raise ValueError(f"timeout is {timeout}: more than 0 seconds are needed, and an end")


@dataclass(frozen=True, kw_only=True)
class PoolOptions:
    """The connections that an orchestrator which is not PyWatt's shall keep."""

    min_connections: int = 2
    max_connections: int = 10
    acquire_timeout_seconds: int = 30
    idle_timeout_seconds: int = 300
    max_lifetime_seconds: int = 1800


@dataclass(frozen=True, kw_only=True)
class HostedDatabaseOptions:
    """A database that the orchestrator hosts as ``[services.NAME]``. All but the first two are for orchestrators that are not PyWatt's."""

    service: str | None = None
    """The NAME; that of the section by default: ``[databases.main]`` is ``[services.main]``."""
    timeout: float = 60.0
    """How long one operation may take."""
    db_type: Literal["postgres", "postgresql", "mysql", "sqlite"] | None = None
    """What kind of database it is. A PyWatt orchestrator knows that; with any other it has to be said."""
    database: str | None = None
    """The database's name, or the file of SQLite; `service` by default."""
    host: str | None = None
    """The server that the orchestrator shall connect to."""
    port: int | None = None
    """Its port."""
    username: str | None = None
    """Who to connect as."""
    password: Secret | None = None
    """Sent to the orchestrator, where it is not PyWatt's."""
    ssl_mode: str | None = None
    """As the server's driver spells it."""
    extra_params: dict[str, str] = field(default_factory=dict)
    """Further parameters of the connection."""
    pool: PoolOptions = field(default_factory=PoolOptions)
    """The connections that it shall keep."""

    def __post_init__(self) -> None:
        _check_timeout(self.timeout)


@dataclass(frozen=True, kw_only=True)
class HostedCacheOptions:
    """A cache that the orchestrator hosts as ``[services.NAME]``. All but the first three are for orchestrators that are not PyWatt's."""

    service: str | None = None
    """The NAME; that of the section by default: ``[caches.main]`` is ``[services.main]``."""
    timeout: float = 10.0
    """How long one operation may take."""
    default_ttl: float | None = None
    """How long values are kept that are stored without a time of their own; None leaves that to the cache."""
    cache_type: Literal["InMemory", "Redis", "Memcached", "File"] = "InMemory"
    """What kind of cache it shall be."""
    hosts: tuple[str, ...] = ("localhost",)
    """The servers that the orchestrator shall connect to."""
    port: int | None = None
    """Their port."""
    username: str | None = None
    """Who to connect as."""
    password: Secret | None = None
    """Sent to the orchestrator, where it is not PyWatt's."""
    database: int | None = None
    """The number of a Redis database."""
    namespace: str | None = None
    """What every key begins with, at the orchestrator."""
    policy: PolicyName = "LRU"
    """What goes when there is no room left."""
    max_size_bytes: int | None = 10_485_760
    """How much room there is."""
    file_path: str | None = None
    """Where a file cache keeps its files."""
    tls_enabled: bool = False
    """Whether it shall connect over TLS."""
    extra_params: dict[str, str] = field(default_factory=dict)
    """Further parameters of the connection."""
    pool: PoolOptions = field(default_factory=lambda: PoolOptions(min_connections=1))
    """The connections that it shall keep."""

    def __post_init__(self) -> None:
        _check_timeout(self.timeout)
        if self.default_ttl is not None and not 0 < self.default_ttl < math.inf:
            raise ValueError(f"default_ttl is {self.default_ttl}: more than 0 seconds are needed, or nothing at all")


@dataclass(frozen=True, kw_only=True)
class HostedAuthOptions:
    """An authenticator that the orchestrator hosts as ``[services.NAME]``; its keys stay there."""

    service: str | None = None
    """The NAME; that of the section by default: ``[auth.main]`` is ``[services.main]``. For orchestrators that are not PyWatt's it has
    no meaning: they have one."""
    timeout: float = 10.0
    """How long the check of one token may take."""

    def __post_init__(self) -> None:
        _check_timeout(self.timeout)
