"""What every provider of a kind has to do, as tests: subclass a contract, give it one fixture, and pytest runs them all.

A contract's class attributes say what a backend can do. What it cannot do it declares, and then has to refuse clearly,
which is tested as well.
"""

from __future__ import annotations

import pkgutil
from typing import TYPE_CHECKING

import pytest

from ...lazy import lazily

if TYPE_CHECKING:
    from .authenticator import AuthContract
    from .cache import CacheContract
    from .channel import ChannelContract
    from .database import DatabaseContract
    from .secret_source import SecretSourceContract
    from .serializer import SerializerContract
    from .server import ServerContract
    from .shared_cache import SharedCacheContract

__all__ = [
    "AuthContract",
    "CacheContract",
    "ChannelContract",
    "DatabaseContract",
    "SecretSourceContract",
    "SerializerContract",
    "ServerContract",
    "SharedCacheContract",
]

# A plugin author who breaks a contract wants to see the values: pytest shows them only for modules that it rewrites.
pytest.register_assert_rewrite(*[f"{__name__}.{module.name}" for module in pkgutil.iter_modules(__path__)])

__getattr__ = lazily(
    __name__,
    {
        "authenticator": "AuthContract",
        "cache": "CacheContract",
        "channel": "ChannelContract",
        "database": "DatabaseContract",
        "secret_source": "SecretSourceContract",
        "serializer": "SerializerContract",
        "server": "ServerContract",
        "shared_cache": "SharedCacheContract",
    },
)
