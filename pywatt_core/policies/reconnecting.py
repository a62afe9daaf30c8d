"""When a connection that failed or broke is tried again (protocol 5.1). Pure: the clock and chance are arguments."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

from .waiting import Backoff

JITTER = 0.2
"""The share by which a wait is spread, so that many who lost one peer do not come back together."""


class ReconnectPolicy(ABC):
    """How long to wait after a failure. `ReconnectPolicy.None_`, `.FixedInterval` and `.ExponentialBackoff` are the three there are."""

    None_: ClassVar[type[NoReconnect]]
    FixedInterval: ClassVar[type[FixedInterval]]
    ExponentialBackoff: ClassVar[type[ExponentialBackoff]]

    @abstractmethod
    def next_delay(self, failures: int, chance: float) -> float | None:
        """Seconds until the next attempt after `failures` in a row, 0 for a connection that was good and broke; None gives up.

        `chance` is a random number from 0 up to 1.
        """


@dataclass(frozen=True)
class NoReconnect(ReconnectPolicy):
    """One attempt, one connection: a failure or a loss is the end."""

    def next_delay(self, failures: int, chance: float) -> float | None:
        return None


@dataclass(frozen=True, kw_only=True)
class FixedInterval(ReconnectPolicy):
    """`delay` seconds (±20 %) between attempts, `max_attempts` in a row at most; None is without limit.

    Raises `ValueError` for values that make no sense.
    """

    delay: float = 1.0
    max_attempts: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.delay < float("inf"):
            raise ValueError(f"delay must be a number of seconds above 0, not {self.delay}")
        _check_attempts(self.max_attempts)

    def next_delay(self, failures: int, chance: float) -> float | None:
        if self.max_attempts is not None and failures >= self.max_attempts:
            return None
        return self.delay * (1 + JITTER * (2 * chance - 1)) if failures else 0.0


@dataclass(frozen=True, kw_only=True)
class ExponentialBackoff(ReconnectPolicy):
    """`initial_delay` seconds, each wait `multiplier` times the one before, at most `max_delay`, all ±20 %.

    `max_attempts` in a row end it; None is without limit. Raises `ValueError` for values that make no sense.
    """

    initial_delay: float = 0.1
    max_delay: float = 30.0
    multiplier: float = 2.0
    max_attempts: int | None = None
    _backoff: Backoff = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 0 < self.initial_delay <= self.max_delay < float("inf"):
            raise ValueError(f"initial_delay must be above 0 and at most max_delay, not {self.initial_delay} of {self.max_delay}")
        if not 1 <= self.multiplier < float("inf"):
            raise ValueError(f"multiplier must be at least 1, not {self.multiplier}")
        _check_attempts(self.max_attempts)
        backoff = Backoff(initial=self.initial_delay, factor=self.multiplier, maximum=self.max_delay, jitter=JITTER)
        object.__setattr__(self, "_backoff", backoff)

    def next_delay(self, failures: int, chance: float) -> float | None:
        if self.max_attempts is not None and failures >= self.max_attempts:
            return None
        return self._backoff.delay(failures, chance) if failures else 0.0


def _check_attempts(attempts: int | None) -> None:
    if attempts is not None and attempts < 1:
        raise ValueError(f"max_attempts must be at least 1, not {attempts}")


ReconnectPolicy.None_, ReconnectPolicy.FixedInterval, ReconnectPolicy.ExponentialBackoff = NoReconnect, FixedInterval, ExponentialBackoff


@dataclass(kw_only=True)
class Reconnecting:
    """Counts failures in a row and asks the policy. A connection that lasted `calm` seconds has proved itself: the count begins anew."""

    policy: ReconnectPolicy
    calm: float = 5.0
    failures: int = field(default=0, init=False)
    """Failures in a row; a connection that broke before it proved itself is one."""
    _since: float | None = field(default=None, init=False, repr=False)

    def connected(self, now: float) -> None:
        """An attempt has worked."""
        self._since = now

    def failed(self, chance: float) -> float | None:
        """An attempt has failed: seconds until the next, None where there is none."""
        self.failures += 1
        return self.policy.next_delay(self.failures, chance)

    def lost(self, now: float, chance: float) -> float | None:
        """The connection broke: seconds until the next attempt, None where there is none."""
        if self._since is not None and now - self._since >= self.calm:
            self.failures = 0
            return self.policy.next_delay(0, chance)
        return self.failed(chance)
