"""The ways from a module to its orchestrator: which there are, how they are, and what they did (protocol 13.1, 13.5)."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..interfaces import ChannelState
from ..policies.breaker import BreakerState, CircuitBreaker
from ..policies.channels import ChannelCapabilities, ChannelPreferences, ChannelType, recommend
from .lanes import STDIO, ChannelStatus, Lane

if TYPE_CHECKING:
    from ..interfaces import Channel
    from ..policies.router import ChannelRouter, Route, RoutingDecision
    from ..telemetry.channel_metrics import Alert, Alerts, ChannelMetrics, Comparison, SlaStatus
    from ..transports.link import Link
    from .routing_options import RoutingOptions

log = logging.getLogger("pywatt_core.services.channels")

TEND_EVERY = 1.0
"""Seconds between two marks for the rates, while messages are sent."""
ALERT_EVERY = 10
"""Marks between two looks for what is worth an alert."""

_MODULE_TARGET = re.compile(r"[a-z][a-z0-9_]*(?:\.\d+)?:(?!\d+$)")
"""A module and its endpoint, which is no host and its port."""


class Ways:
    """Standard input and output, and the channels of the init line, each with its health, its breaker and its figures."""

    def __init__(
        self,
        stdio: Link | None = None,
        options: RoutingOptions | None = None,
        *,
        reference: bool = False,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """`reference`: the orchestrator is not PyWatt's, and expects each message where the reference sends it."""
        self.stdio = stdio
        self._reference = reference
        self.preferences = ChannelPreferences.preset(options.preference) if options is not None else ChannelPreferences()
        self._router: ChannelRouter | None = None
        self._options = options
        self._clock, self._chance, self._sleep = clock, chance, sleep
        self._lanes: dict[str, Lane] = {}
        self._only: Lane | None = None
        """The way that every message takes: one channel is open, or none but standard input and output, and nothing is wrong with it."""
        self._due = 0.0
        """When `_tend` is to be called next."""
        self._marks = 0
        self._alerts: Alerts | None = None
        self._closed = False
        if stdio is not None:
            self._enter(STDIO, stdio)

    @property
    def router(self) -> ChannelRouter:
        """Chooses where there is a choice; made when it is first asked."""
        if self._router is None:
            from ..policies.router import ChannelRouter

            self._router = self._options.router() if self._options is not None else ChannelRouter()
            for lane in self._lanes.values():
                self._router.add(self._route(lane))
        return self._router

    def _route(self, lane: Lane) -> Route:
        from ..policies.router import Route

        return Route(
            lane.name,
            lane.kind,
            capabilities=lane.capabilities,
            health=lane.health,
            throughput=lambda: lane.throughput(self._clock()),
            open=lane.since is not None,
        )

    # ── what there is ───────────────────────────────────────────────────────────────────────────────────────────────

    def add(self, channel: Channel) -> None:
        """One more way."""
        self._enter(channel.name, channel)

    def remove(self, name: str) -> None:
        """One way less; nothing happens where there is none of this name."""
        if self._lanes.pop(name, None) is not None:
            if self._router is not None:
                self._router.remove(name)
            self._look()

    def changed(self, name: str) -> None:
        """A channel says that its state has changed."""
        if name in self._lanes:
            self._look()

    def close(self) -> None:
        """The module ends: what closes from now on is no loss."""
        self._closed = True

    @property
    def names(self) -> tuple[str, ...]:
        """All ways, standard input and output included and last."""
        return (*(name for name in self._lanes if name != STDIO), *((STDIO,) if self.stdio is not None else ()))

    def states(self) -> Mapping[str, ChannelState]:
        """The state of each channel."""
        return {name: lane.state for name, lane in self._lanes.items() if name != STDIO}

    def _enter(self, name: str, way: Channel | Link) -> None:
        breaker = self._options.breaker() if self._options is not None else CircuitBreaker()
        lane = self._lanes[name] = Lane(name, way, breaker)
        lane.mark(self._clock())
        if self._router is not None:
            self._router.add(self._route(lane))
        self._look()

    def _look(self) -> None:
        """See how every way is, and whether all messages take the same."""
        now = self._clock()
        open_ones = []
        for lane in self._lanes.values():
            if lane.see(now) and not self._closed and lane.kind is not ChannelType.STDIO:
                lane.failed(now, lost=True)
                self._tell(self._alerting().lost(lane.name, now))
            if self._router is not None:
                self._router.set_open(lane.name, lane.since is not None)
            if lane.since is not None and lane.kind is not ChannelType.STDIO and self.preferences.allow(lane.kind):
                open_ones.append(lane)
        if not open_ones and self.stdio is not None and self._stdio_may_serve():
            open_ones.append(self._lanes[STDIO])
        only = open_ones[0] if len(open_ones) == 1 and not self._reference else None
        self._only = only if only is not None and only.breaker.state is BreakerState.CLOSED else None

    def _stdio_may_serve(self) -> bool:
        """Standard input and output are a way to fall back to, or the only one that there is."""
        return self.preferences.enable_fallback or len(self._lanes) == 1

    # ── results ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _failed(self, lane: Lane, *, lost: bool) -> None:
        """An attempt over this way failed, and it is to blame; `lost` with its connection."""
        was, now = lane.breaker.state, self._clock()
        lane.failed(now, lost=lost)
        if self._router is not None:
            self._router.failed(lane.name)
        if lane.breaker.state is BreakerState.OPEN and was is not BreakerState.OPEN:
            log.warning("channel %s keeps failing: it is left alone for %g s", lane.name, lane.breaker.timeout)
        self._look()
        self._seen(now)

    def _worked(self, lane: Lane, now: float, took: float | None) -> None:
        """A message went well over the only way; so did those since the last one that was looked at."""
        lane.settle(now)
        lane.health.succeeded(now, took)
        lane.unseen = lane.given = lane.every
        if now >= self._due:
            self._tend(now)

    def _seen(self, now: float) -> None:
        """A message went badly: where nothing goes well, the figures are looked at all the same."""
        if now >= self._due:
            self._tend(now)

    def _tend(self, now: float) -> None:
        """Once a second while messages are sent: marks for the rates, news for the breakers, a look for what is wrong."""
        self._due = now + TEND_EVERY
        self._marks += 1
        for lane in self._lanes.values():
            lane.mark(now)
            lane.report(now)
            lane.adapt()
        if self._marks % ALERT_EVERY == 0:
            self._tell([alert for name, one in self.metrics().items() for alert in self._alerting().check(name, one, now)])

    def _alerting(self) -> Alerts:
        if self._alerts is None:
            from ..telemetry.channel_metrics import Alerts

            self._alerts = Alerts(self._options.alert_limits()) if self._options is not None else Alerts()
        return self._alerts

    def _tell(self, alerts: list[Alert]) -> None:
        for alert in alerts:
            level = logging.ERROR if alert.severity.name == "CRITICAL" else logging.WARNING
            log.log(level, "channel %s: %s", alert.channel, alert.text, extra={"alert": alert.type.value, "severity": alert.severity.name})

    # ── figures ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def health(self) -> dict[str, ChannelStatus]:
        """How each way is now, by name."""
        self._look()
        now = self._clock()
        return {name: lane.status(now) for name, lane in self._lanes.items()}

    def capabilities(self) -> dict[str, ChannelCapabilities]:
        """What each way can carry, by name."""
        return {name: lane.capabilities for name, lane in self._lanes.items()}

    def metrics(self) -> dict[str, ChannelMetrics]:
        """All figures of each way, by name."""
        self._look()
        now = self._clock()
        for lane in self._lanes.values():
            lane.settle(now)
            lane.mark(now)
        return self.figures()

    def figures(self) -> dict[str, ChannelMetrics]:
        """The same for any thread: as far as is known, nothing is looked at."""
        now, wall = self._clock(), time.time()
        return {name: lane.metrics(now, wall) for name, lane in list(self._lanes.items())}

    def sla(self) -> dict[str, SlaStatus]:
        """How each way does against the targets of ``[routing]``, by name."""
        from ..telemetry.channel_metrics import SlaTargets, sla_status

        targets = self._options.sla_targets() if self._options is not None else SlaTargets()
        return {name: sla_status(one, targets) for name, one in self.metrics().items()}

    def comparison(self) -> Comparison:
        """The best way by each figure."""
        from ..telemetry.channel_metrics import compare

        return compare(self.metrics())

    def breakers(self) -> dict[str, CircuitBreaker]:
        """The breaker of each way, by name."""
        return {name: lane.breaker for name, lane in list(self._lanes.items())}

    def recommend(self, target: str = "") -> str | None:
        """The name of the way that the preferences want for a target (``"module:endpoint"``, a module, or an address).

        None where none is open that may be used.
        """
        self._look()
        present = {lane.kind: name for name, lane in reversed(self._lanes.items()) if lane.since is not None and not self._shut(lane)}
        if STDIO in self._lanes and not self._stdio_may_serve():
            present.pop(ChannelType.STDIO, None)
        if _MODULE_TARGET.match(target):
            target = target.partition(":")[0]
        kind = recommend(target, present, self.preferences)
        return present[kind] if kind is not None else None

    def decide(self, target: str, size: int, properties: Mapping[str, Any] | None = None) -> RoutingDecision | None:
        """What the router would decide for a message, and why; counts as a use where channels take turns."""
        self._look()
        return self.router.choose(target, size, properties, self._clock())

    def _shut(self, lane: Lane) -> bool:
        return lane.breaker.state is BreakerState.OPEN and lane.breaker.retry_after(self._clock()) > 0
