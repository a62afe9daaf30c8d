"""Which of several open channels a message takes (protocol 13.1). Pure: the clock is an argument.

The matrix names a primary and a fallback kind of channel for each sort of message; these come first, as far as they are
open and meet the conditions, then every other open channel, standard input and output last. Among channels of one rank
the one that was used least is taken.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from .channels import ChannelCapabilities, ChannelPreferences, ChannelType
from .health import INITIAL_P95, Health
from .matrix import HEAVIEST, ChannelPreference, Characteristics, MessageType, RoutingMatrix, characteristics

MOST_USES = 1000
"""Uses of one channel after which all counts begin anew."""

_RANKS = 4
"""Primary, fallback, any other, standard input and output; then the same again of those that do not offer what a message needs."""

_NEEDS = {MessageType.FILE_TRANSFER: "file_transfer", MessageType.STREAM: "streaming", MessageType.BATCH: "batching"}


def _no_throughput() -> float:
    return 0.0


class Route:
    """One channel, as the router sees it. Tell the router what changes; do not change it here."""

    __slots__ = ("capabilities", "health", "kind", "name", "open", "proven", "throughput", "uses")

    def __init__(
        self,
        name: str,
        kind: ChannelType,
        *,
        capabilities: ChannelCapabilities | None = None,
        health: Health | None = None,
        throughput: Callable[[], float] = _no_throughput,
        open: bool = False,
    ) -> None:
        self.name, self.kind, self.open = name, kind, open
        self.capabilities = capabilities or ChannelCapabilities()
        self.health = health
        self.throughput = throughput
        """Messages per second over the last minute."""
        self.uses = 0
        self.proven = False
        """Whether there is nothing more to learn from a success."""


class RoutingDecision(NamedTuple):
    """What was decided, and why. Times are in seconds."""

    order: tuple[str, ...]
    """The names of the channels to try, the best first; never empty."""
    confidence: float
    """From 0 to 1."""
    reason: str
    expected_latency: float
    """The p95 of the first."""
    weight: float
    """What was learned about the entry of the matrix."""

    @property
    def primary(self) -> str:
        """The channel to take."""
        return self.order[0]

    @property
    def fallback(self) -> str | None:
        """The one to take where that fails."""
        return self.order[1] if len(self.order) > 1 else None


class ChannelRouter:
    """Decides, remembers what it decided for `cache_ttl` seconds, and forgets all of it when a channel opens or closes."""

    def __init__(
        self,
        matrix: RoutingMatrix | None = None,
        preferences: ChannelPreferences | None = None,
        *,
        cache_ttl: float = 60.0,
        max_cache_size: int = 1000,
        load_balancing: bool = True,
        learning_rate: float = 0.1,
    ) -> None:
        if not cache_ttl >= 0 or max_cache_size < 0 or not 0 <= learning_rate <= 1:
            raise ValueError("cache_ttl and max_cache_size are at least 0, learning_rate is from 0 to 1")
        self.preferences = preferences or ChannelPreferences()
        self._matrix = matrix or RoutingMatrix.preferring(self.preferences)
        self.cache_ttl, self.max_cache_size = cache_ttl, max_cache_size
        self.load_balancing, self.learning_rate = load_balancing, learning_rate
        self._routes: dict[str, Route] = {}
        self._cache: OrderedDict[tuple[object, ...], tuple[float, RoutingDecision]] = OrderedDict()

    @property
    def matrix(self) -> RoutingMatrix:
        """What suits which message; set another one to replace it."""
        return self._matrix

    @matrix.setter
    def matrix(self, matrix: RoutingMatrix) -> None:
        self._matrix = matrix
        self._cache.clear()
        self._doubt()

    @property
    def cached(self) -> int:
        """Decisions that are remembered."""
        return len(self._cache)

    # ── what there is ───────────────────────────────────────────────────────────────────────────────────────────────

    def add(self, route: Route) -> None:
        """One more channel, or another one of the same name."""
        self._routes[route.name] = route
        self._cache.clear()

    def remove(self, name: str) -> None:
        """One channel less; nothing happens where there is none of this name."""
        if self._routes.pop(name, None) is not None:
            self._cache.clear()

    def set_open(self, name: str, open: bool) -> None:
        """A channel has opened or closed."""
        route = self._routes.get(name)
        if route is not None and route.open is not open:
            route.open = open
            self._cache.clear()

    # ── choosing ────────────────────────────────────────────────────────────────────────────────────────────────────

    def choose(self, target: str, size: int, properties: Mapping[str, Any] | None, now: float) -> RoutingDecision | None:
        """Like `decide`, for a message of which target, size in bytes and the properties of its metadata are known."""
        return self.decide(characteristics(target, size, properties), now)

    def decide(self, message: Characteristics, now: float) -> RoutingDecision | None:
        """The channels to try for a message, None where none is open that may be used."""
        key = (message.target, message.priority._value_, message.type._value_, message.size, message.timeout)  # members hash slowly
        found = self._cache.get(key)
        if found is not None and now - found[0] <= self.cache_ttl:
            decision = found[1]
        else:
            ranks = self._ranks(message, now)
            if not ranks:
                return None
            order = [route for rank in ranks for route in self._balanced(rank)]
            decision = self._decision(message, order, now)
            if len(ranks[0]) == 1:  # else the next message may take another channel of the same rank
                self._remember(key, now, decision)
        self._count(decision.primary)
        return decision

    def _ranks(self, message: Characteristics, now: float) -> list[list[Route]]:
        """The open channels that may be used, those of one list equally good, the best first."""
        entry: ChannelPreference = getattr(self._matrix, self._matrix.select(message))
        ranks: list[list[Route]] = [[] for _ in range(2 * _RANKS)]
        for route in self._routes.values():
            if not route.open or not self.preferences.allow(route.kind):
                continue
            rank = 3 if route.kind is ChannelType.STDIO else 2
            if route.kind in (entry.primary, entry.fallback) and self._meets(route, entry, message, now):
                rank = 0 if route.kind is entry.primary else 1
            ranks[rank if _can_carry(route, message) else rank + _RANKS].append(route)
        return [rank for rank in ranks if rank]

    def _meets(self, route: Route, entry: ChannelPreference, message: Characteristics, now: float) -> bool:
        return all(one.holds(message.size, route.health, route.throughput, now) for one in entry.conditions)

    def _balanced(self, rank: list[Route]) -> list[Route]:
        return sorted(rank, key=lambda route: route.uses) if self.load_balancing and len(rank) > 1 else rank

    def _count(self, name: str) -> None:
        route = self._routes[name]
        route.uses += 1
        if route.uses > MOST_USES:
            for one in self._routes.values():
                one.uses = 0

    def _decision(self, message: Characteristics, order: list[Route], now: float) -> RoutingDecision:
        if not self.preferences.enable_fallback:
            order = order[:1]
        name = self._matrix.select(message)
        entry: ChannelPreference = getattr(self._matrix, name)
        first = order[0]
        wanted = "primary" if first.kind is entry.primary else "fallback" if first.kind is entry.fallback else "what is open"
        return RoutingDecision(
            tuple(route.name for route in order),
            confidence(first.health, message.timeout, now),
            f"{name}: {first.name} ({wanted})",
            first.health.p95 if first.health is not None else INITIAL_P95,
            entry.weight,
        )

    def _remember(self, key: tuple[object, ...], now: float, decision: RoutingDecision) -> None:
        if self.max_cache_size == 0:
            return
        self._cache.pop(key, None)
        while len(self._cache) >= self.max_cache_size:
            self._cache.popitem(last=False)
        self._cache[key] = now, decision

    # ── learning ────────────────────────────────────────────────────────────────────────────────────────────────────

    def succeeded(self, name: str) -> None:
        """A message went well over this channel."""
        route = self._routes.get(name)
        if route is not None and not route.proven:
            entries = [entry for entry in self._matrix.entries() if entry.learn(route.kind, self.learning_rate)]
            route.proven = all(entry.weight == HEAVIEST for entry in entries)

    def failed(self, name: str) -> None:
        """A message failed over this channel, and the channel is to blame."""
        route = self._routes.get(name)
        if route is not None:
            for entry in self._matrix.entries():
                entry.learn(route.kind, -2 * self.learning_rate)
            self._doubt()

    def _doubt(self) -> None:
        for route in self._routes.values():
            route.proven = False


def _can_carry(route: Route, message: Characteristics) -> bool:
    """Whether the channel offers what the message needs; one that does not is tried after all that do."""
    able = route.capabilities
    if able.max_message_size is not None and message.size > able.max_message_size:
        return False
    return bool(getattr(able, _NEEDS.get(message.type, "module_messaging")))


def confidence(health: Health | None, timeout: float | None, now: float) -> float:
    """How sure a channel of this health is to carry a message in time, from 0 to 1."""
    if health is None:
        health = Health()
    sure = 0.8 * health.availability(now)
    if timeout is not None:
        if health.p95 < timeout / 2:
            sure += 0.1
        elif health.p95 > timeout:
            sure -= 0.3
    return min(1.0, max(0.0, sure * (1 - health.error_rate)))
