"""What is measured of one channel, as figures, against targets and as alerts (protocol 13.5). Pure: times are given.

The Structs have the JSON shapes of the reference, with three differences: latencies are fractions of milliseconds, not cut
to whole ones, since a Unix socket answers within one; throughput and bandwidth are really computed, from messages and
bytes of the last minute; and `channel_type` may be ``"Stdio"`` or ``"Other"`` too.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import NamedTuple, Protocol

from msgspec import Struct

from ..policies.channels import ChannelType
from ..policies.health import Health, rank
from ..protocol.durations import NANOS, Duration

LATENCY_WINDOW = 300.0
"""Seconds that an answer's latency counts."""


class SystemTime(Struct, frozen=True):
    """A moment as the reference writes it, in UTC."""

    secs_since_epoch: int
    nanos_since_epoch: int

    @classmethod
    def of(cls, seconds: float) -> SystemTime:
        """From what ``time.time()`` says."""
        return cls(*divmod(round(seconds * NANOS), NANOS))


class PoolFigures(Protocol):
    """What a pool of connections tells."""

    @property
    def active(self) -> int: ...
    @property
    def available(self) -> int: ...
    @property
    def max(self) -> int: ...
    @property
    def created(self) -> int: ...
    @property
    def destroyed(self) -> int: ...
    @property
    def lifetime(self) -> float: ...


class Pool(Protocol):
    """`ConnectionPool`, or what is like it."""

    @property
    def stats(self) -> PoolFigures: ...


class PoolMetrics(Struct, kw_only=True):
    """A pool of connections. A channel that has one offers this with a method `pool_metrics`."""

    active_connections: int
    idle_connections: int
    max_pool_size: int
    total_connections_created: int
    total_connections_destroyed: int
    avg_connection_lifetime: Duration

    @classmethod
    def of(cls, pool: Pool) -> PoolMetrics:
        """Of a pool as it is now."""
        stats = pool.stats
        return cls(
            active_connections=stats.active,
            idle_connections=stats.available,
            max_pool_size=stats.max,
            total_connections_created=stats.created,
            total_connections_destroyed=stats.destroyed,
            avg_connection_lifetime=Duration.of(stats.lifetime),
        )


class ChannelMetrics(Struct, kw_only=True):
    """One channel, since the module has it unless a field says otherwise."""

    channel_type: ChannelType
    messages_sent: int
    messages_received: int
    bytes_sent: int
    bytes_received: int
    failures: int
    successes: int
    error_rate: float
    """The share of failures within the last 5 minutes, from 0 to 1."""
    avg_latency_ms: float
    """This and the next four: of the orchestrator's own last 1000 answers within 5 minutes, 0 where there are none."""
    p50_latency_ms: float
    p95_latency_ms: float
    p99_latency_ms: float
    max_latency_ms: float
    throughput_mps: float
    """Messages per second, both directions, over the last minute."""
    bandwidth_bps: float
    """Bytes per second, both directions, over the last minute."""
    uptime: Duration
    """Of the present connection."""
    last_updated: SystemTime
    availability: float
    """1 while it is connected, else 0."""
    queue_depth: int
    """Requests that have no answer yet."""
    pool_stats: PoolMetrics | None = None


class Traffic(NamedTuple):
    """Totals of what went over a channel."""

    messages_sent: int = 0
    messages_received: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0


def measured(
    kind: ChannelType,
    health: Health,
    traffic: Traffic,
    rates: tuple[float, float],
    *,
    now: float,
    wall: float,
    connected_since: float | None,
    queue_depth: int,
    pool: PoolMetrics | None = None,
) -> ChannelMetrics:
    """All figures of one channel. `rates` are messages and bytes per second; `now` is of the clock of `health`, `wall` the time of day."""
    took = health.latencies(now, LATENCY_WINDOW)
    successes, failures = health.totals
    return ChannelMetrics(
        channel_type=kind,
        messages_sent=traffic.messages_sent,
        messages_received=traffic.messages_received,
        bytes_sent=traffic.bytes_sent,
        bytes_received=traffic.bytes_received,
        failures=failures,
        successes=successes,
        error_rate=health.recent_error_rate(now),
        avg_latency_ms=1000 * sum(took) / max(1, len(took)),
        p50_latency_ms=1000 * rank(took, 0.5),
        p95_latency_ms=1000 * rank(took, 0.95),
        p99_latency_ms=1000 * rank(took, 0.99),
        max_latency_ms=1000 * rank(took, 1.0),
        throughput_mps=rates[0],
        bandwidth_bps=rates[1],
        uptime=Duration.of(max(0.0, now - connected_since) if connected_since is not None else 0.0),
        last_updated=SystemTime.of(wall),
        availability=1.0 if connected_since is not None else 0.0,
        queue_depth=queue_depth,
        pool_stats=pool,
    )


# ── targets ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class SlaTargets(NamedTuple):
    """What a channel is held to."""

    availability: float = 0.999
    latency_ms: float = 100.0
    """Compared with the p95."""
    throughput: float = 1000.0
    """Messages per second: a channel with little to do stays below it, and is told not compliant."""
    error_rate: float = 0.01


class SlaMetric(Struct, frozen=True):
    """One figure beside its target."""

    current: float
    target: float
    compliant: bool
    difference_percent: float
    """How far the figure is above the target, negative below it; 0 for a target of 0."""


class SlaStatus(Struct, frozen=True):
    """All figures beside their targets; `compliant` says that all four are."""

    compliant: bool
    availability: SlaMetric
    latency: SlaMetric
    throughput: SlaMetric
    error_rate: SlaMetric


def sla_status(metrics: ChannelMetrics, targets: SlaTargets = SlaTargets()) -> SlaStatus:  # noqa: B008  # immutable
    """How a channel does against its targets."""

    def at_least(current: float, target: float) -> SlaMetric:
        return SlaMetric(current, target, current >= target, _difference(current, target))

    def at_most(current: float, target: float) -> SlaMetric:
        return SlaMetric(current, target, current <= target, _difference(current, target))

    four = (
        at_least(metrics.availability, targets.availability),
        at_most(metrics.p95_latency_ms, targets.latency_ms),
        at_least(metrics.throughput_mps, targets.throughput),
        at_most(metrics.error_rate, targets.error_rate),
    )
    return SlaStatus(all(one.compliant for one in four), *four)


def _difference(current: float, target: float) -> float:
    return (current - target) / target * 100 if target else 0.0


class Comparison(Struct, frozen=True):
    """The best channel by each figure, None where there is no channel; of equals, the first."""

    lowest_latency: str | None = None
    highest_throughput: str | None = None
    highest_availability: str | None = None
    lowest_error_rate: str | None = None


def compare(channels: Mapping[str, ChannelMetrics]) -> Comparison:
    """Set channels side by side. One that has answered nothing yet has no latency to compare."""
    answered = [name for name, one in channels.items() if one.max_latency_ms > 0]
    return Comparison(
        min(answered, key=lambda name: channels[name].p95_latency_ms, default=None),
        max(channels, key=lambda name: channels[name].throughput_mps, default=None),
        max(channels, key=lambda name: channels[name].availability, default=None),
        min(channels, key=lambda name: channels[name].error_rate, default=None),
    )


# ── alerts ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class AlertSeverity(enum.IntEnum):
    """How bad it is."""

    INFO = 1
    WARNING = 2
    CRITICAL = 3


class AlertType(enum.Enum):
    """What is told. The reference names two more, LowThroughput and LowAvailability, and never raises them."""

    HIGH_LATENCY = "HighLatency"
    HIGH_ERROR_RATE = "HighErrorRate"
    CONNECTION_FAILURE = "ConnectionFailure"
    QUEUE_BACKLOG = "QueueBacklog"


class Alert(NamedTuple):
    """One thing to look at."""

    type: AlertType
    severity: AlertSeverity
    channel: str
    text: str


class AlertLimits(NamedTuple):
    """Beyond which figures somebody is told."""

    latency_ms: float = 500.0
    """Of the p95."""
    error_rate: float = 0.05
    queue_depth: int = 1000
    pause: float = 300.0
    """Seconds before the same is told of the same channel again."""


class Alerts:
    """Decides what is worth telling, and not again too soon."""

    def __init__(self, limits: AlertLimits = AlertLimits()) -> None:  # noqa: B008  # immutable
        self.limits = limits
        self._told: dict[tuple[str, AlertType], float] = {}

    def check(self, channel: str, metrics: ChannelMetrics, now: float) -> list[Alert]:
        """What is beyond its limit now."""
        limits = self.limits
        found = []
        if metrics.p95_latency_ms > limits.latency_ms:
            text = f"answers take {metrics.p95_latency_ms:.0f} ms (p95), more than {limits.latency_ms:g} ms"
            found.append(Alert(AlertType.HIGH_LATENCY, AlertSeverity.WARNING, channel, text))
        if metrics.error_rate > limits.error_rate:
            text = f"{metrics.error_rate:.1%} of the last five minutes' messages failed, more than {limits.error_rate:.1%}"
            found.append(Alert(AlertType.HIGH_ERROR_RATE, AlertSeverity.WARNING, channel, text))
        if metrics.queue_depth > limits.queue_depth:
            text = f"{metrics.queue_depth} requests wait, more than {limits.queue_depth}"
            found.append(Alert(AlertType.QUEUE_BACKLOG, AlertSeverity.WARNING, channel, text))
        return [alert for alert in found if self._may_tell(alert, now)]

    def lost(self, channel: str, now: float) -> list[Alert]:
        """The connection is lost."""
        alert = Alert(AlertType.CONNECTION_FAILURE, AlertSeverity.CRITICAL, channel, "the connection is lost")
        return [alert] if self._may_tell(alert, now) else []

    def _may_tell(self, alert: Alert, now: float) -> bool:
        key = (alert.channel, alert.type)
        told = self._told.get(key)
        if told is not None and now - told < self.limits.pause:
            return False
        self._told[key] = now
        return True
