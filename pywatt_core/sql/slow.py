"""The log of slow statements: their text and how long they took, never their values, and never more lines than a person reads."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from ..statements import shortened

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable

LINES, SECONDS = 10, 10.0
"""So many lines in so many seconds; the others are counted."""


class SlowLog:
    """Told how long each statement took, it logs the slow ones to `log`."""

    def __init__(self, log: logging.Logger, threshold: float, *, clock: Callable[[], float] = monotonic) -> None:
        self.threshold = threshold or float("inf")
        """Seconds from which on a statement is slow; a caller that compares first saves a call for each one that is not."""
        self._log = log
        self._clock = clock
        self._since = float("-inf")
        self._lines = 0
        self._silent = 0

    def slow(self, sql: str, seconds: float) -> None:
        """A statement took longer than `threshold`."""
        now = self._clock()
        if now - self._since >= SECONDS:
            self._since, self._lines = now, 0
        if self._lines >= LINES:
            self._silent += 1
            return
        self._lines += 1
        more, self._silent = self._silent, 0
        text = f"; {more} more were slow and not logged" if more else ""
        self._log.warning("slow statement, %.3f s (slow_statement is %g s): %s%s", seconds, self.threshold, shortened(sql), text)
