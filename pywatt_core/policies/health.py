"""How well a channel does, from what was tried over it (protocol 13.1). Pure: the clock is an argument."""

from __future__ import annotations

from collections import deque
from itertools import islice

P95_SAMPLES = 100
"""The last answers that `Health.p95` looks at."""
SAMPLES = 1000
"""Answers that are kept."""
INITIAL_P95 = 0.010
"""Seconds that an answer is taken to need where none has been seen."""
AFTER_FAILURE = 60.0
"""Seconds during which a failure keeps a channel's availability down."""
AVAILABILITY_AFTER_FAILURE = 0.8
QUIET = 300.0
"""Seconds without any result after which what was before is forgotten."""
RECENT = 300.0
"""Seconds that `Health.recent_error_rate` looks back, to a step of them."""
STEP = 5.0
OLD = 300.0
"""Seconds after which an answer no longer tells how long the next one takes, where anything came since."""


def rank(ordered: list[float], share: float) -> float:
    """The value at index ``floor(n * share)`` of a sorted list; 0 where the list is empty."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


class Health:
    """Successes, failures and the time that answers took. All times are in seconds."""

    __slots__ = ("_failure", "_forgotten", "_last", "_p95", "_recent", "failures", "samples", "successes")

    def __init__(self) -> None:
        self.successes = 0
        self.failures = 0
        self.samples: deque[tuple[float, float]] = deque(maxlen=SAMPLES)
        """When an answer came, and what it took."""
        self._forgotten = (0, 0)
        self._recent: deque[tuple[float, int, int]] = deque()
        """Successes and failures of each step, by when it began."""
        self._last = float("-inf")
        self._failure = float("-inf")
        self._p95: tuple[tuple[float, float], float] | None = None

    def succeeded(self, now: float, took: float | None = None, *, times: int = 1) -> None:
        """Something worked, `times` in all; `took` is given where somebody waited for an answer."""
        if now - self._last > QUIET:
            self._forget()
        self._last = now
        self.successes += times
        self._note(now, times, 0)
        samples = self.samples
        while samples and samples[0][0] <= now - OLD:
            samples.popleft()
        if took is not None:
            self.samples.append((now, took))

    def failed(self, now: float) -> None:
        """Something did not work, and the channel is to blame."""
        if now - self._last > QUIET:
            self._forget()
        self._last = self._failure = now
        self.failures += 1
        self._note(now, 0, 1)

    def _note(self, now: float, successes: int, failures: int) -> None:
        recent = self._recent
        if recent and now - recent[-1][0] < STEP:
            began, before, failed = recent.pop()
            recent.append((began, before + successes, failed + failures))
        else:
            recent.append((now, successes, failures))
            while recent[0][0] <= now - RECENT:
                recent.popleft()

    def _forget(self) -> None:
        self._forgotten = self.totals
        self.successes = self.failures = 0

    @property
    def totals(self) -> tuple[int, int]:
        """Successes and failures since the beginning, what was forgotten included."""
        return self._forgotten[0] + self.successes, self._forgotten[1] + self.failures

    @property
    def known(self) -> bool:
        """Whether anything has been tried at all."""
        return self._last != float("-inf")

    @property
    def p95(self) -> float:
        """What 95 of the last 100 answers did not exceed; those are forgotten `OLD` seconds later."""
        samples = self.samples
        if not samples:
            return INITIAL_P95
        newest = samples[-1]
        if self._p95 is None or self._p95[0] is not newest:
            took = sorted(took for _, took in islice(reversed(samples), P95_SAMPLES))
            self._p95 = newest, rank(took, 0.95)
        return self._p95[1]

    @property
    def error_rate(self) -> float:
        """The share of failures in the present bout of use, from 0 to 1."""
        return self.failures / max(1, self.failures + self.successes)

    def recent_error_rate(self, now: float) -> float:
        """The share of failures within the last five minutes, from 0 to 1."""
        steps = [step for step in tuple(self._recent) if step[0] > now - RECENT]
        failures = sum(step[2] for step in steps)
        return failures / max(1, failures + sum(step[1] for step in steps))

    def availability(self, now: float) -> float:
        """From 0 to 1: 0.8 for a minute after a failure, else the share of successes."""
        return AVAILABILITY_AFTER_FAILURE if now - self._failure < AFTER_FAILURE else 1 - self.error_rate

    def latencies(self, now: float, window: float = 300.0) -> list[float]:
        """What the answers of the last `window` seconds took, sorted."""
        return sorted(took for when, took in tuple(self.samples) if when > now - window)
