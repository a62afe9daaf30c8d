"""One way to the orchestrator with everything that is known of it: its health, its breaker, its figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from msgspec import structs

from ..interfaces import ChannelState
from ..policies.breaker import BreakerState, CircuitBreaker
from ..policies.channels import ChannelCapabilities, ChannelType
from ..policies.health import Health
from ..policies.rates import RateWindow

if TYPE_CHECKING:
    from ..interfaces import Channel
    from ..telemetry.channel_metrics import ChannelMetrics
    from ..transports.link import Link

STDIO = "stdio"

CAPABILITIES = {
    ChannelType.TCP: structs.replace(ChannelCapabilities.tcp_standard(), compression=False),
    ChannelType.IPC: structs.replace(ChannelCapabilities.ipc_standard(), compression=False),
    ChannelType.STDIO: structs.replace(ChannelCapabilities.tcp_standard(), compression=False),
    ChannelType.OTHER: ChannelCapabilities(),
}
"""What a channel can carry where it does not say so itself (`capabilities`). Nothing that PyWatt sends is compressed."""


BUSY = 500
"""Messages a second above which not each one is looked at."""
UNSEEN = 15
"""How many go unseen after each one that is looked at, then."""


class ChannelStatus(NamedTuple):
    """How a way is, at one look. Times are in seconds."""

    name: str
    type: ChannelType
    state: ChannelState
    breaker: BreakerState
    availability: float
    """From 0 to 1: 0 while it is not connected, 0.8 for a minute after a failure, else the share of successes."""
    error_rate: float
    """From 0 to 1, of the present bout of use."""
    p95: float
    """What 95 of the last 100 answers did not exceed; 0.01 where there are none."""
    throughput: float
    """Messages per second over the last minute."""
    waiting: int
    """Requests under way."""
    error: str = ""
    """Why it is not connected, where that is known."""

    @property
    def healthy(self) -> bool:
        """Connected, and not left alone."""
        return self.state is ChannelState.CONNECTED and self.breaker is not BreakerState.OPEN


class Lane:
    """A way, and what is known of it."""

    __slots__ = (
        "before",
        "blamed",
        "breaker",
        "capabilities",
        "every",
        "given",
        "health",
        "kind",
        "name",
        "rates",
        "reported",
        "request",
        "send",
        "since",
        "unseen",
        "waiting",
        "way",
    )

    def __init__(self, name: str, way: Channel | Link, breaker: CircuitBreaker) -> None:
        self.name, self.way, self.breaker = name, way, breaker
        self.request, self.send = way.request, way.send
        self.kind = ChannelType.of(name)
        self.health = Health()
        self.rates = RateWindow()
        self.waiting = 0
        """Calls under way, of those that were sent after a choice."""
        self.unseen = self.given = self.every = 0
        """How many of the next messages are not looked at; how many that was at first; how many it will be the next time."""
        self.before = 0
        """Messages sent when `adapt` was called last."""
        self.since: float | None = None
        """When the present connection was made."""
        self.blamed = False
        """Whether the loss of the present connection has been counted: all that was under way fails with it, once."""
        self.reported = 0
        """Successes that the breaker knows of."""
        capabilities = getattr(way, "capabilities", None)
        if not isinstance(capabilities, ChannelCapabilities):
            capabilities = CAPABILITIES[self.kind]
        self.capabilities: ChannelCapabilities = capabilities

    @property
    def state(self) -> ChannelState:
        """Of the connection; standard input and output have no other than open and closed."""
        state = getattr(self.way, "state", None)
        if isinstance(state, ChannelState):
            return state
        closed = self.way.closed.done() if self.kind is ChannelType.STDIO else False  # type: ignore[union-attr]  # a Link
        return ChannelState.FAILED if closed else ChannelState.CONNECTED

    def see(self, now: float) -> bool:
        """Note whether it is connected now; True where it was until now and is no longer."""
        is_open, was_open = self.state is ChannelState.CONNECTED, self.since is not None
        if is_open and not was_open:
            self.since, self.blamed = now, False
        elif was_open and not is_open:
            self.since = None
        return was_open and not is_open

    # ── results ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def allow(self, now: float) -> bool:
        """Whether the breaker lets another attempt pass."""
        return self.breaker.allow(now)

    def worked(self, now: float, took: float | None) -> None:
        """An attempt worked; `took` where somebody waited for an answer. A closed breaker is told later, in one go."""
        self.health.succeeded(now, took)
        if self.breaker.state is not BreakerState.CLOSED:
            self.breaker.succeeded(now)
            self.reported = self.health.totals[0]

    def failed(self, now: float, *, lost: bool) -> None:
        """An attempt failed, and this way is to blame. `lost`: with its connection, which the breaker counts once."""
        self.health.failed(now)
        self.report(now)
        if lost and self.blamed:
            self.breaker.abandoned(now)
        else:
            self.blamed = self.blamed or lost
            self.breaker.failed(now)

    def adapt(self) -> None:
        """Called about once a second: where much is sent, one message in sixteen tells enough."""
        sent = self.traffic()[0]
        self.every = UNSEEN if sent - self.before > BUSY else 0
        self.before = sent

    def settle(self, now: float) -> None:
        """Count those that were not looked at, and all went well."""
        if self.given != self.unseen:
            self.health.succeeded(now, times=self.given - self.unseen)
            self.given = self.unseen

    @property
    def calls(self) -> int:
        """Requests under way."""
        counted: int | None = getattr(self.way, "in_flight", None)
        return counted if counted is not None else self.waiting

    def report(self, now: float) -> None:
        """Tell the breaker of the successes since the last time."""
        self.settle(now)
        done = self.health.totals[0]
        if done > self.reported and self.breaker.state is BreakerState.CLOSED:
            self.breaker.succeeded(now, done - self.reported)
        self.reported = done

    # ── figures ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def traffic(self) -> tuple[int, ...]:
        """Messages sent, messages received, bytes sent, bytes received: as the way counts them, else what went well through here."""
        counted: tuple[int, ...] | None = getattr(self.way, "traffic", None)
        return counted if counted is not None else (self.health.totals[0], 0, 0, 0)

    def mark(self, now: float) -> float:
        """Keep the totals for the rates; return when to do so again."""
        traffic = self.traffic()
        return self.rates.note(now, traffic[0] + traffic[1], traffic[2] + traffic[3])

    def metrics(self, now: float, wall: float) -> ChannelMetrics:
        """All its figures."""
        from ..telemetry.channel_metrics import PoolMetrics, Traffic, measured

        traffic = self.traffic()
        messages, octets = self.rates.rates(now, traffic[0] + traffic[1], traffic[2] + traffic[3])
        pool = getattr(self.way, "pool_metrics", None)
        found = pool() if callable(pool) else None
        return measured(
            self.kind,
            self.health,
            Traffic(*traffic),
            (messages, octets),
            now=now,
            wall=wall,
            connected_since=self.since,
            queue_depth=self.calls,
            pool=found if isinstance(found, PoolMetrics) else None,
        )

    def throughput(self, now: float) -> float:
        """Messages per second over the last minute."""
        traffic = self.traffic()
        return self.rates.rates(now, traffic[0] + traffic[1], traffic[2] + traffic[3])[0]

    def status(self, now: float) -> ChannelStatus:
        """How it is, at one look."""
        state = self.state
        return ChannelStatus(
            name=self.name,
            type=self.kind,
            state=state,
            breaker=self.breaker.state,
            availability=self.health.availability(now) if state is ChannelState.CONNECTED else 0.0,
            error_rate=self.health.error_rate,
            p95=self.health.p95,
            throughput=self.throughput(now),
            waiting=self.calls,
            error=str(getattr(self.way, "error", "") or "") if state is not ChannelState.CONNECTED else "",
        )
