"""How much happens per second, seen from totals that only grow. Pure: the clock is an argument."""

from __future__ import annotations

from collections import deque


class RateWindow:
    """The rates of several totals over the last `window` seconds.

    `note` keeps a mark of the totals, at most one for each of `steps` equal parts of the window: memory does not grow.
    """

    __slots__ = ("_marks", "_step", "window")

    def __init__(self, window: float = 60.0, *, steps: int = 60) -> None:
        if not window > 0 or steps < 1:
            raise ValueError(f"a window of {window} seconds in {steps} steps makes no sense")
        self.window = window
        self._step = window / steps
        self._marks: deque[tuple[float, tuple[float, ...]]] = deque(maxlen=steps + 2)

    def note(self, now: float, *totals: float) -> float:
        """Keep the totals as they are at `now`; return when the next mark is due, which is when to call again."""
        marks = self._marks
        if not marks or now - marks[-1][0] >= self._step:
            marks.append((now, totals))
            while len(marks) > 1 and marks[1][0] <= now - self.window:
                marks.popleft()
        return marks[-1][0] + self._step

    def rates(self, now: float, *totals: float) -> tuple[float, ...]:
        """Per second, for each of the totals as they are now.

        Seen from the last mark that is at least a window old, else from the first: over the time since then, though at
        least over one step, so that a first event is no burst.
        """
        before = None
        for mark in tuple(self._marks):
            if before is not None and mark[0] > now - self.window:
                break
            before = mark
        if before is None:
            return (0.0,) * len(totals)
        elapsed = max(now - before[0], self._step)
        return tuple((total - earlier) / elapsed for total, earlier in zip(totals, before[1], strict=True))
