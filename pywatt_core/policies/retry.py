"""Whether and when to try again what failed (protocol 13.3). Pure: chance is an argument."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Retry:
    """At most `max_attempts` attempts in all; after the k-th, a pause of ``base_delay * multiplier ** (k - 1)`` seconds.

    A pause is at most `max_delay`, then spread by `jitter_factor`: 0.1 means 5 % to either side. Raises `ValueError` for
    values that make no sense.
    """

    max_attempts: int = 3
    base_delay: float = 0.1
    multiplier: float = 2.0
    max_delay: float = 30.0
    jitter_factor: float = 0.1
    retry_on_all_errors: bool = False
    """Try again after any error; else only where the connection failed or did not answer in time."""

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise ValueError(f"max_attempts must be at least 1, not {self.max_attempts}")
        if not 0 <= self.base_delay <= self.max_delay < float("inf"):
            raise ValueError(f"base_delay must be at least 0 and at most max_delay, not {self.base_delay} of {self.max_delay}")
        if not self.multiplier >= 1:
            raise ValueError(f"multiplier must be at least 1, not {self.multiplier}")
        if not 0 <= self.jitter_factor < 2:
            raise ValueError(f"jitter_factor must be at least 0 and below 2, not {self.jitter_factor}")

    def next_delay(self, attempt: int, *, transient: bool, chance: float) -> float | None:
        """Seconds to wait after attempt number `attempt` (1 is the first) has failed, or None: give up.

        `transient` says that the connection failed or did not answer in time; `chance` is a random number from 0 up to 1.
        """
        if attempt < 1:
            raise ValueError(f"attempt counts from 1, not {attempt}")
        if attempt >= self.max_attempts or not (transient or self.retry_on_all_errors):
            return None
        try:
            wait = min(self.max_delay, self.base_delay * self.multiplier ** (attempt - 1))
        except OverflowError:
            wait = self.max_delay
        return wait * (1 + self.jitter_factor * (chance - 0.5))
