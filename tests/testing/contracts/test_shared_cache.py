"""The contract of a shared cache fails for two that share nothing."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from pywatt_core.builtin.memory_cache import MemoryCache
from pywatt_core.builtin.memory_options import MemoryOptions
from pywatt_core.errors import Conflict
from pywatt_core.testing.contracts import SharedCacheContract

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

contract = SharedCacheContract()


@asynccontextmanager
async def opened(cache: MemoryCache) -> AsyncIterator[MemoryCache]:
    yield cache


def one_each() -> tuple[object, object]:
    return opened(MemoryCache(MemoryOptions())), opened(MemoryCache(MemoryOptions()))


TESTS = [name for name in dir(SharedCacheContract) if name.startswith("test_")]


@pytest.mark.parametrize("name", TESTS)
async def test_two_that_share_nothing_fail_every_test(name: str) -> None:
    with pytest.raises((AssertionError, pytest.fail.Exception, Conflict)):
        await getattr(contract, name)(one_each())


@pytest.mark.parametrize("name", TESTS)
async def test_one_that_is_opened_twice_passes(name: str) -> None:
    cache = MemoryCache(MemoryOptions())
    await getattr(contract, name)((opened(cache), opened(cache)))
