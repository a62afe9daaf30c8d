"""Leaving alone, for a while, what keeps failing (protocol 13.2). Pure: the clock is an argument."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field


class BreakerState(enum.Enum):
    """Where a breaker is."""

    CLOSED = "Closed"
    """All may pass."""
    OPEN = "Open"
    """Nobody may pass."""
    HALF_OPEN = "HalfOpen"
    """A few may pass, to see whether it works again."""


@dataclass(kw_only=True)
class CircuitBreaker:
    """Ask `allow` before each attempt, and report each one that was allowed exactly once: `succeeded`, `failed` or `abandoned`.

    Closed, it opens with a failure when the present window holds at least `minimum_requests` results and
    `failure_threshold` failures. Open, it lets nobody pass until more than `timeout` seconds have gone by since the last
    failure. Then at most `success_threshold` attempts are under way at once: that many successes close it, any failure
    opens it again. An attempt that nobody ever reports gives its place back after `timeout` seconds.

    Times are in seconds, of any clock that does not go back. Raises `ValueError` for values that make no sense.
    """

    failure_threshold: int = 5
    success_threshold: int = 3
    timeout: float = 60.0
    window_size: float = 60.0
    minimum_requests: int = 10
    state: BreakerState = field(default=BreakerState.CLOSED, init=False)
    """As of the last call: an open breaker becomes half-open when somebody asks after its timeout."""
    opened: int = field(default=0, init=False)
    """How often it opened."""
    _requests: int = field(default=0, init=False, repr=False)
    _failures: int = field(default=0, init=False, repr=False)
    _window: float | None = field(default=None, init=False, repr=False)
    _last_failure: float = field(default=0.0, init=False, repr=False)
    _probes: int = field(default=0, init=False, repr=False)
    _successes: int = field(default=0, init=False, repr=False)
    _last_probe: float = field(default=0.0, init=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("failure_threshold", "success_threshold", "minimum_requests"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("timeout", "window_size"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0 seconds, not {getattr(self, name)}")

    def allow(self, now: float) -> bool:
        """Whether an attempt may be made at `now`."""
        if self.state is BreakerState.CLOSED:
            return True
        if self.state is BreakerState.OPEN:
            if now - self._last_failure <= self.timeout:
                return False
            self.state = BreakerState.HALF_OPEN
            self._probes = self._successes = 0
        elif self._probes >= self.success_threshold - self._successes:
            if now - self._last_probe <= self.timeout:
                return False
            self._probes = 0
        self._probes += 1
        self._last_probe = now
        return True

    def retry_after(self, now: float) -> float:
        """Seconds until `allow` may say yes, as far as can be known now: 0 where it says yes already."""
        if self.state is BreakerState.OPEN:
            return max(0.0, self._last_failure + self.timeout - now)
        if self.state is BreakerState.HALF_OPEN and self._probes >= self.success_threshold - self._successes:
            return max(0.0, self._last_probe + self.timeout - now)
        return 0.0

    def succeeded(self, now: float) -> None:
        """An attempt worked."""
        if self.state is BreakerState.CLOSED:
            self._count(now)
        elif self.state is BreakerState.HALF_OPEN:
            self._probes = max(0, self._probes - 1)
            self._successes += 1
            if self._successes >= self.success_threshold:
                self.state = BreakerState.CLOSED
                self._window = None

    def failed(self, now: float) -> None:
        """An attempt failed. What began before the breaker opened and fails afterwards makes the pause longer."""
        self._last_failure = now
        if self.state is BreakerState.HALF_OPEN:
            self._open()
        elif self.state is BreakerState.CLOSED:
            self._count(now)
            self._failures += 1
            if self._requests >= self.minimum_requests and self._failures >= self.failure_threshold:
                self._open()

    def abandoned(self, now: float) -> None:
        """An attempt ended without saying anything about the other side: it was cancelled, say."""
        if self.state is BreakerState.HALF_OPEN:
            self._probes = max(0, self._probes - 1)

    def _count(self, now: float) -> None:
        if self._window is None or now - self._window > self.window_size:
            self._window, self._requests, self._failures = now, 0, 0
        self._requests += 1

    def _open(self) -> None:
        self.state = BreakerState.OPEN
        self.opened += 1
