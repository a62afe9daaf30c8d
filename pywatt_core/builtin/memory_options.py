"""The options of the cache ``memory``, apart from the cache itself so that looking at what there is imports no event loop."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

Policy = Literal["lru", "lfu", "fifo", "mru", "random", "none"]


@dataclass(frozen=True, kw_only=True)
class MemoryOptions:
    """The keys of a ``[caches.NAME]`` section with ``use = "memory"``."""

    max_items: int = 10_000
    """Keys kept at most."""
    max_bytes: int = 64 * 1024 * 1024
    """Bytes of values and characters of keys kept at most, together."""
    default_ttl: float | None = None
    """Seconds that a value is kept where `set` does not say; none means until something else needs the room."""
    policy: Policy = "lru"
    """Which key goes when there is no room: least recently used, least frequently used, oldest, most recently used, any,
    or none (then what does not fit is refused)."""

    def __post_init__(self) -> None:
        for name in ("max_items", "max_bytes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: at least 1 is needed")
        if self.default_ttl is not None and not 0 < self.default_ttl < math.inf:
            raise ValueError(f"default_ttl is {self.default_ttl}: more than 0 seconds are needed, or leave it out")
        if self.policy not in get_args(Policy):
            raise ValueError(f"policy is {self.policy!r}: one of {', '.join(get_args(Policy))} is needed")
