"""The options of the cache ``file``, apart from the cache itself so that looking at what there is imports no database."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from .memory_options import Policy


@dataclass(frozen=True, kw_only=True)
class FileOptions:
    """The keys of a ``[caches.NAME]`` section with ``use = "file"``."""

    path: str = "cache.db"
    """The file, made with its folder where it does not exist, readable by its owner alone. Processes of one machine may share it."""
    max_items: int = 100_000
    """Keys kept at most."""
    max_bytes: int = 256 * 1024 * 1024
    """Bytes of keys and values kept at most, together; the file is somewhat larger."""
    default_ttl: float | None = None
    """Seconds that a value is kept where `set` does not say; none means until something else needs the room."""
    policy: Policy = "lru"
    """Which key goes when there is no room: least recently used, least frequently used, oldest, most recently used, any,
    or none (then what does not fit is refused)."""
    synchronous: Literal["off", "normal", "full"] = "normal"
    """What survives a power cut: ``full`` everything, ``normal`` all but the last changes; ``off`` may cost the file. A process that
    dies costs nothing at all."""
    busy_timeout: float = 5.0
    """Seconds that an operation waits for another process."""

    def __post_init__(self) -> None:
        if not self.path or self.path == ":memory:":
            raise ValueError('path names no file: use = "memory" is the cache without one')
        for name in ("max_items", "max_bytes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: at least 1 is needed")
        if self.default_ttl is not None and not 0 < self.default_ttl < math.inf:
            raise ValueError(f"default_ttl is {self.default_ttl}: more than 0 seconds are needed, or leave it out")
        if self.policy not in get_args(Policy):
            raise ValueError(f"policy is {self.policy!r}: one of {', '.join(get_args(Policy))} is needed")
        if not 0 <= self.busy_timeout < math.inf:
            raise ValueError(f"busy_timeout is {self.busy_timeout}: a number of seconds, 0 or more, is needed")
