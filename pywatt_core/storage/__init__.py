"""Databases and caches opened by hand, under the names of the earlier SDK. A module's own stand in its configuration: ``state.database``.

``await create_database_connection(config)`` opens one until its ``close()``; as ``async with`` it closes by itself. `mode` says who opens
it: ``"direct"`` this process, ``"proxy"`` the orchestrator that hosts it as a service, ``"auto"`` the orchestrator where there is one.
Nothing falls back to the other: what cannot be opened says so.
"""

from __future__ import annotations

from .configs import CacheConfig, CachePolicy, CacheType, DatabaseConfig, DatabaseType
from .opening import CacheService, DatabaseConnection, Opening, create_cache_service, create_database_connection

__all__ = [
    "CacheConfig",
    "CachePolicy",
    "CacheService",
    "CacheType",
    "DatabaseConfig",
    "DatabaseConnection",
    "DatabaseType",
    "Opening",
    "create_cache_service",
    "create_database_connection",
]
