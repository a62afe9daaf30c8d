"""Which key a full cache gives up: one small class a policy, each operation in constant time."""

from __future__ import annotations

import random
from collections import OrderedDict
from typing import Protocol

from ..errors import StorageError

FULL = "the cache is full and its policy 'none' gives up nothing: delete keys, raise max_items or max_bytes, or choose a policy"


class Eviction(Protocol):
    """Told of every key that comes, is used and goes; says which one has to go next."""

    def added(self, key: str) -> None: ...
    def used(self, key: str) -> None: ...
    def removed(self, key: str) -> None: ...
    def victim(self) -> str:
        """The key to give up; only asked while there is one. Raises `StorageError` where the policy gives up none."""
        ...


class OldestFirst:
    """``fifo``: the key that came first, however often it is used."""

    def __init__(self) -> None:
        self._keys: OrderedDict[str, None] = OrderedDict()

    def added(self, key: str) -> None:
        self._keys[key] = None

    def used(self, key: str) -> None:
        pass

    def removed(self, key: str) -> None:
        del self._keys[key]

    def victim(self) -> str:
        return next(iter(self._keys))


class LeastRecentlyUsed(OldestFirst):
    """``lru``: the key whose last use lies furthest back."""

    def used(self, key: str) -> None:
        self._keys.move_to_end(key)


class MostRecentlyUsed(LeastRecentlyUsed):
    """``mru``: the key that was used last, for loops over more than fits."""

    def victim(self) -> str:
        return next(reversed(self._keys))


class LeastFrequentlyUsed:
    """``lfu``: the key used least often; among those, the one whose last use lies furthest back."""

    def __init__(self) -> None:
        self._uses: dict[str, int] = {}
        self._keys: dict[int, OrderedDict[str, None]] = {}
        self._fewest = 0

    def added(self, key: str) -> None:
        self._uses[key] = 1
        self._keys.setdefault(1, OrderedDict())[key] = None
        self._fewest = 1

    def used(self, key: str) -> None:
        uses = self._uses[key]
        self._leave(key, uses)
        if self._fewest == uses and uses not in self._keys:
            self._fewest = uses + 1
        self._uses[key] = uses + 1
        self._keys.setdefault(uses + 1, OrderedDict())[key] = None

    def removed(self, key: str) -> None:
        self._leave(key, self._uses.pop(key))

    def _leave(self, key: str, uses: int) -> None:
        keys = self._keys[uses]
        del keys[key]
        if not keys:
            del self._keys[uses]

    def victim(self) -> str:
        if self._fewest not in self._keys:  # the keys that were used least have been deleted
            self._fewest = min(self._keys)
        return next(iter(self._keys[self._fewest]))


class AnyKey:
    """``random``: any key, each with the same chance."""

    def __init__(self) -> None:
        self._keys: list[str] = []
        self._places: dict[str, int] = {}

    def added(self, key: str) -> None:
        self._places[key] = len(self._keys)
        self._keys.append(key)

    def used(self, key: str) -> None:
        pass

    def removed(self, key: str) -> None:
        place, last = self._places.pop(key), self._keys.pop()
        if last != key:
            self._keys[place] = last
            self._places[last] = place

    def victim(self) -> str:
        return random.choice(self._keys)


class NoKey(OldestFirst):
    """``none``: nothing is given up; what does not fit is refused."""

    def victim(self) -> str:
        raise StorageError(FULL)


POLICIES: dict[str, type[Eviction]] = {
    "lru": LeastRecentlyUsed,
    "lfu": LeastFrequentlyUsed,
    "fifo": OldestFirst,
    "mru": MostRecentlyUsed,
    "random": AnyKey,
    "none": NoKey,
}
