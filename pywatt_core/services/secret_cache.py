"""Delivered secrets: bounded, each fresh for a while, some of them kept for as long as the module lives."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from ..redaction import Secret

SIZE = 1000
"""Secrets that are remembered beside those that are kept."""

RETRY = 30.0
"""Seconds that a value whose time is over is used on before its source, which could not be reached, is asked again."""


class Delivered(NamedTuple):
    """One value and until when it is fresh, by the cache's clock."""

    secret: Secret
    fresh_until: float
    delivered: float


class SecretCache:
    """Values by name. Those whose names are kept stay; of all others the `size` that were used last.

    `ttl` is in seconds, None for values that stay fresh until they are replaced. `clock` counts seconds.
    """

    def __init__(self, size: int = SIZE, ttl: float | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._size, self._ttl, self._clock = size, ttl, clock
        self._values: dict[str, Delivered] = {}
        self._kept: dict[str, int] = {}
        """How many want each one to stay."""
        self._loose: OrderedDict[str, None] = OrderedDict()

    def get(self, name: str) -> Secret | None:
        """The value that was delivered last, fresh or not."""
        found = self._values.get(name)
        if found is None:
            return None
        if name in self._loose:
            self._loose.move_to_end(name)
        return found.secret

    def is_fresh(self, name: str) -> bool:
        """Whether there is a value whose time is not over."""
        found = self._values.get(name)
        return found is not None and (self._ttl is None or self._clock() < found.fresh_until)

    def age(self, name: str) -> float:
        """Seconds since the value was delivered; infinity where there is none."""
        found = self._values.get(name)
        return float("inf") if found is None else self._clock() - found.delivered

    def put(self, name: str, secret: Secret) -> None:
        """Take a value that has just been delivered."""
        now = self._clock()
        self._values[name] = Delivered(secret, now + (self._ttl or 0.0), now)
        if name in self._kept:
            return
        self._loosen(name)

    def use_on(self, name: str) -> None:
        """The value's time is over and its source cannot be reached: it is not asked for again for a while."""
        found = self._values[name]
        self._values[name] = found._replace(fresh_until=self._clock() + min(RETRY, self._ttl or RETRY))

    def forget(self, name: str) -> None:
        """Drop a value; its name stays kept where it was."""
        self._values.pop(name, None)
        self._loose.pop(name, None)

    def keep(self, names: Iterable[str]) -> None:
        """Never drop these to make room for others."""
        for name in names:
            self._kept[name] = self._kept.get(name, 0) + 1
            self._loose.pop(name, None)

    def let_go(self, names: Iterable[str]) -> None:
        """Take back one `keep` of each: what nobody wants to stay any more may be dropped."""
        for name in names:
            self._kept[name] -= 1
            if not self._kept[name]:
                del self._kept[name]
                if name in self._values:
                    self._loosen(name)

    def is_kept(self, name: str) -> bool:
        """Whether somebody wants this one to stay."""
        return name in self._kept

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._values))

    def __len__(self) -> int:
        return len(self._values)

    def _loosen(self, name: str) -> None:
        """It may be dropped from now on, after all others that may."""
        self._loose[name] = None
        self._loose.move_to_end(name)
        if len(self._loose) > self._size:
            oldest, _ = self._loose.popitem(last=False)
            del self._values[oldest]
