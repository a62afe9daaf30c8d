"""When to try again. Pure: the clock and the random number are arguments, so every decision can be replayed.

`Backoff` says how long to wait after the k-th failure in a row, `Intensity` how many events a window of time may hold,
and `Restarts` joins the two into the rule by which a supervisor restarts a process.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Backoff:
    """Exponential waiting with jitter: ``initial * factor ** (attempt - 1)`` seconds, at most `maximum`, spread by `jitter`.

    `jitter` is a share of the wait: 0.2 spreads it evenly over 80 % to 120 %, so that many who failed together do not
    come back together. Raises `ValueError` for values that make no sense.
    """

    initial: float = 0.1
    factor: float = 2.0
    maximum: float = 30.0
    jitter: float = 0.2

    def __post_init__(self) -> None:
        if not 0 < self.initial <= self.maximum:
            raise ValueError(f"initial must be above 0 and at most maximum, not {self.initial} of {self.maximum}")
        if self.factor < 1:
            raise ValueError(f"factor must be at least 1, not {self.factor}")
        if not 0 <= self.jitter < 1:
            raise ValueError(f"jitter must be at least 0 and below 1, not {self.jitter}")

    def delay(self, attempt: int, chance: float) -> float:
        """Seconds to wait after failure number `attempt` (1 is the first); `chance` is a random number from 0 up to 1."""
        if attempt < 1:
            raise ValueError(f"attempt counts from 1, not {attempt}")
        try:
            wait = min(self.maximum, self.initial * self.factor ** (attempt - 1))
        except OverflowError:
            wait = self.maximum
        return wait * (1 + self.jitter * (2 * chance - 1))


@dataclass(kw_only=True)
class Intensity:
    """At most `limit` events in any `window` seconds; times are given and must not go back."""

    limit: int = 5
    window: float = 10.0
    _times: deque[float] = field(default_factory=deque, repr=False)

    def __post_init__(self) -> None:
        if self.limit < 1:
            raise ValueError(f"limit must be at least 1, not {self.limit}")
        if self.window <= 0:
            raise ValueError(f"window must be above 0 seconds, not {self.window}")

    def add(self, now: float) -> None:
        """Count one event that happens at `now`."""
        self._times.append(now)
        if len(self._times) > self.limit:
            self._times.popleft()

    def room(self, now: float) -> float:
        """Seconds until one more event fits: 0 where it fits now."""
        if len(self._times) < self.limit:
            return 0.0
        return max(0.0, self._times[0] + self.window - now)

    def clear(self) -> None:
        """Forget what was counted."""
        self._times.clear()


@dataclass(kw_only=True)
class Restarts:
    """When a process that ended may start again: at once while `intensity` has room, then by `backoff`.

    A process that was well for `calm` seconds has proved itself: what came before is forgotten.
    """

    intensity: Intensity = field(default_factory=Intensity)
    backoff: Backoff = field(default_factory=lambda: Backoff(initial=1.0, factor=2.0, maximum=60.0, jitter=0.2))
    calm: float = 60.0
    count: int = 0
    """Restarts decided since the beginning or the last `forget`."""
    _attempt: int = field(default=0, repr=False)

    def started(self, now: float) -> None:
        """Note a start, the first one included."""
        self.intensity.add(now)

    def next_delay(self, now: float, *, well_for: float, chance: float) -> float:
        """Seconds until the next start, for a process that ended at `now` after `well_for` seconds of being ready."""
        self.count += 1
        if well_for >= self.calm:
            self._attempt = 0
            self.intensity.clear()
        room = self.intensity.room(now)
        if room == 0 and self._attempt == 0:
            return 0.0
        self._attempt += 1
        return max(room, self.backoff.delay(self._attempt, chance))

    def forget(self) -> None:
        """Begin anew, as after a restart that a person asked for."""
        self.intensity.clear()
        self._attempt = 0
