"""The memory cache keeps the contract of a cache, its bounds and its six policies."""

from __future__ import annotations

import pytest
from pywatt_core.builtin.memory_cache import MemoryOptions, open_memory
from pywatt_core.interfaces import Context
from pywatt_core.testing.contracts import CacheContract

CONTEXT = Context(module_id="test", section="caches.main")


@pytest.mark.parametrize("policy", ["lru", "lfu", "fifo", "mru", "random", "none"])
class TestContract(CacheContract):
    @pytest.fixture
    def backend(self, policy):
        return open_memory(MemoryOptions(policy=policy), CONTEXT)
