"""``[routing]``: which way messages take, when a way is left alone, and what is worth an alert."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal

from ..policies.breaker import CircuitBreaker
from ..policies.channels import ChannelPreferences
from ..policies.retry import Retry
from ..policies.router import ChannelRouter

if TYPE_CHECKING:
    from ..telemetry.channel_metrics import AlertLimits, SlaTargets


@dataclass(frozen=True, kw_only=True)
class RoutingOptions:
    """Every option. Times are in seconds, latencies in milliseconds where the name says so."""

    preference: Literal["default", "tcp_only", "ipc_only", "prefer_ipc", "prefer_tcp"] = "default"
    """Which of TCP and Unix sockets may be used, and which one first; with the two ``_only`` nothing else is tried."""
    load_balancing: bool = True
    """Let channels that suit a message equally well take turns."""
    cache_ttl: float = 60.0
    """How long a decision is remembered; a channel that opens or closes ends it."""
    cache_size: int = 1000
    """Decisions that are remembered."""

    breaker_failures: int = 5
    """Failures within `breaker_window` after which a channel is left alone."""
    breaker_minimum: int = 10
    """Messages within `breaker_window` below which it never is."""
    breaker_successes: int = 3
    """Successes after which it is used freely again; as many are tried at once."""
    breaker_timeout: float = 60.0
    """How long it is left alone."""
    breaker_window: float = 60.0
    """How long failures count."""

    retry_attempts: int = 3
    """Attempts in all for what certainly was not carried out; each tries every channel."""
    retry_delay: float = 0.1
    """After the first attempt; twice as long after each further one."""
    retry_max_delay: float = 30.0
    """The longest pause."""
    retry_jitter: float = 0.1
    """How far pauses are spread: 0.1 is 5 % to either side."""

    alert_latency_ms: float = 500.0
    """Above this p95 somebody is told, in the log."""
    alert_error_rate: float = 0.05
    """Above this share of failures."""
    alert_queue: int = 1000
    """Above so many requests that wait."""
    alert_pause: float = 300.0
    """How long the same is not told again."""

    sla_availability: float = 0.999
    """The targets that `state.sla_status()` compares with."""
    sla_latency_ms: float = 100.0
    """Of the p95."""
    sla_throughput: float = 1000.0
    """Messages per second."""
    sla_error_rate: float = 0.01
    """From 0 to 1."""

    def __post_init__(self) -> None:
        for option in fields(self):
            name, value = option.name, getattr(self, option.name)
            if isinstance(value, bool | str):
                continue
            least = 1 if name in COUNTS else 0
            if not least <= value < float("inf"):
                raise ValueError(f"{name} is {value}; it is a number from {least} upwards")
        for name in ("breaker_timeout", "breaker_window"):
            if getattr(self, name) == 0:
                raise ValueError(f"{name} is 0; it is a number of seconds above 0")
        if self.retry_delay > self.retry_max_delay:
            raise ValueError(f"retry_delay is {self.retry_delay}; it is at most retry_max_delay, {self.retry_max_delay}")
        if self.retry_jitter >= 2:
            raise ValueError(f"retry_jitter is {self.retry_jitter}; it is below 2")

    def router(self) -> ChannelRouter:
        """Chooses among several channels."""
        preferences = ChannelPreferences.preset(self.preference)
        return ChannelRouter(
            preferences=preferences, cache_ttl=self.cache_ttl, max_cache_size=self.cache_size, load_balancing=self.load_balancing
        )

    def breaker(self) -> CircuitBreaker:
        """One for each channel."""
        return CircuitBreaker(
            failure_threshold=self.breaker_failures,
            success_threshold=self.breaker_successes,
            timeout=self.breaker_timeout,
            window_size=self.breaker_window,
            minimum_requests=self.breaker_minimum,
        )

    def retry(self) -> Retry:
        """How often and how soon."""
        return Retry(
            max_attempts=self.retry_attempts,
            base_delay=self.retry_delay,
            max_delay=self.retry_max_delay,
            jitter_factor=self.retry_jitter,
        )

    def alert_limits(self) -> AlertLimits:
        """Beyond which figures somebody is told."""
        from ..telemetry.channel_metrics import AlertLimits

        return AlertLimits(self.alert_latency_ms, self.alert_error_rate, self.alert_queue, self.alert_pause)

    def sla_targets(self) -> SlaTargets:
        """What channels are held to."""
        from ..telemetry.channel_metrics import SlaTargets

        return SlaTargets(self.sla_availability, self.sla_latency_ms, self.sla_throughput, self.sla_error_rate)


COUNTS = {"breaker_failures", "breaker_minimum", "breaker_successes", "retry_attempts"}
"""Options that are at least 1."""
