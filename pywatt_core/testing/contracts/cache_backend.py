"""The backend under test: how the contract of a cache gets at it, and what it declares about itself."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager

import pytest

from pywatt_core.interfaces import Cache

Backend = AbstractAsyncContextManager[Cache]

POLL = 0.01
"""Seconds between two looks at something that another clock decides; every test has a deadline of its own."""


class CacheBackend:
    """Subclasses give `backend`, and declare what differs from these attributes."""

    short = 0.05
    """The shortest time limit that the backend keeps to, in seconds."""
    largest = 10 * 1024 * 1024
    """Bytes that one value may have."""
    longest_key = 1000
    """Characters that a key may have; one more than ten times as many are refused where `refuses_long_keys`."""
    refuses_long_keys = False
    """Keys much longer than `longest_key` are refused."""
    odd_keys = True
    """Keys may hold any character; otherwise spaces and control characters are refused."""
    negative_counters = True
    """Counters go below zero."""
    namespaces = True
    """`clear(namespace)` is possible; otherwise it is refused."""
    reads_ttl = True
    """`ttl(key)` is possible; otherwise it is refused."""
    counts_items = True
    """`stats` tells the number of items."""
    concurrency = 50
    """Tasks that use the cache at once."""
    cancellations = 200
    """How many random cancellations to try."""

    @property
    def soon(self) -> float:
        """A time limit, in seconds, that is not over before the next operation, even where the machine is busy."""
        return max(self.short, 0.5)

    @pytest.fixture
    def backend(self) -> AbstractAsyncContextManager[Cache]:
        """An async context manager that opens an empty cache. Each test enters it once."""
        pytest.fail(f"{type(self).__name__} needs a fixture `backend` that gives an async context manager")


async def gone(cache: Cache, key: str) -> None:
    """Wait until the key has expired. The test's own deadline ends a wait that is in vain."""
    while await cache.exists(key):  # noqa: ASYNC110 - only the backend's clock knows
        await asyncio.sleep(POLL)
