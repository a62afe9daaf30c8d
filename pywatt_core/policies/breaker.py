"""Leaving alone, for a while, what keeps failing (protocol 13.2). Pure: the clock is an argument."""

from __future__ import annotations

import enum


class BreakerState(enum.Enum):
    """Where a breaker is."""

    CLOSED = "Closed"
    """All may pass."""
    OPEN = "Open"
    """Nobody may pass."""
    HALF_OPEN = "HalfOpen"
    """A few may pass, to see whether it works again."""


class CircuitBreaker:
    """Ask `allow` before each attempt, and report each one that was allowed exactly once: `succeeded`, `failed` or `abandoned`.

    Closed, it opens with a failure when the present window holds at least `minimum_requests` results and
    `failure_threshold` failures. Open, it lets nobody pass until more than `timeout` seconds have gone by since the last
    failure. Then at most `success_threshold` attempts are under way at once: that many successes close it, any failure
    opens it again. An attempt that nobody ever reports gives its place back after `timeout` seconds.

    Times are in seconds, of any clock that does not go back. Raises `ValueError` for values that make no sense.
    """

    __slots__ = (
        "_failures",
        "_last_failure",
        "_last_probe",
        "_probes",
        "_requests",
        "_successes",
        "_window",
        "failure_threshold",
        "minimum_requests",
        "opened",
        "state",
        "success_threshold",
        "timeout",
        "window_size",
    )

    def __init__(
        self,
        *,
        failure_threshold: int = 5,
        success_threshold: int = 3,
        timeout: float = 60.0,
        window_size: float = 60.0,
        minimum_requests: int = 10,
    ) -> None:
        counts = {"failure_threshold": failure_threshold, "success_threshold": success_threshold, "minimum_requests": minimum_requests}
        for name, count in counts.items():
            if count < 1:
                raise ValueError(f"{name} must be at least 1, not {count}")
        for name, seconds in {"timeout": timeout, "window_size": window_size}.items():
            if not seconds > 0:
                raise ValueError(f"{name} must be above 0 seconds, not {seconds}")
        self.failure_threshold, self.success_threshold, self.minimum_requests = failure_threshold, success_threshold, minimum_requests
        self.timeout, self.window_size = timeout, window_size
        self.state = BreakerState.CLOSED
        """As of the last call: an open breaker becomes half-open when somebody asks after its timeout."""
        self.opened = 0
        """How often it opened."""
        self._requests = self._failures = self._probes = self._successes = 0
        self._window: float | None = None
        self._last_failure = self._last_probe = 0.0

    def __repr__(self) -> str:
        return f"CircuitBreaker({self.state.value}, failures={self._failures}, opened={self.opened})"

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

    def succeeded(self, now: float, times: int = 1) -> None:
        """An attempt worked; `times` reports several at once, of a closed breaker whose `allow` needs not be asked then."""
        if self.state is BreakerState.CLOSED:
            self._count(now, times)
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

    def _count(self, now: float, times: int = 1) -> None:
        if self._window is None or now - self._window > self.window_size:
            self._window, self._requests, self._failures = now, 0, 0
        self._requests += times

    def _open(self) -> None:
        self.state = BreakerState.OPEN
        self.opened += 1
