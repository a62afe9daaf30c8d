"""Foreign code on a budget: what plugins do at import and in hooks is timed, and whatever they raise becomes a reason.

In the main thread SIGALRM interrupts code that overruns. Code that survives even that (it swallows every exception, or
sits in C) is named by a watchdog thread, which then ends the process. Other threads cannot be interrupted: there,
exceptions are caught and time is not limited.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING, TypeVar

from ..errors import PluginError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

T = TypeVar("T")

BUDGET = 5.0
"""Seconds that the import of one plugin, or one of its hooks, may take."""

GRACE = 2.0
"""Seconds between the interruption and the end of the process."""

REPEAT = 0.25
"""Seconds between interruptions of code that swallowed the first one."""

EXIT_CODE = 4


class Overrun(BaseException):
    """Raised inside the code that took too long; not an `Exception`, so that ``except Exception`` does not swallow it."""


def within_budget(label: str, doing: str, call: Callable[[], T], seconds: float = BUDGET) -> T:
    """Call `call`. Raises `PluginError` that begins with `label` for whatever it raises (the cause is kept) and for an overrun.

    `doing` is a phrase such as ``at import``. Only `KeyboardInterrupt` passes: it is the user's.
    """
    try:
        if threading.current_thread() is not threading.main_thread():
            return call()
        return _timed(label, doing, call, seconds)
    except KeyboardInterrupt:
        raise
    except Overrun:
        raise PluginError(f"{label} took longer than {seconds:g} s {doing} and was interrupted") from None
    except SystemExit as error:
        raise PluginError(f"{label} called sys.exit({error.code!r}) {doing}") from error
    except BaseException as error:
        raise PluginError(f"{label} raised {said(error)} {doing}") from error


def said(error: BaseException) -> str:
    """``ValueError: what it says``, on one line and not without end."""
    text = " ".join(str(error).split())
    shown = text if len(text) <= 300 else f"{text[:300]}…"
    return f"{type(error).__name__}: {shown}" if shown else type(error).__name__


def _timed(label: str, doing: str, call: Callable[[], T], seconds: float) -> T:
    running = True

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        if running:
            raise Overrun

    handler = signal.signal(signal.SIGALRM, interrupt)
    others, interval = signal.setitimer(signal.ITIMER_REAL, seconds, REPEAT)
    started = time.monotonic()
    _watchdog.begin(f"{label} did not end {doing}", seconds + GRACE)
    try:
        try:
            return call()
        finally:
            running = False  # an alarm that still comes before this line leaves through the outer finally
    finally:
        _watchdog.end()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler if handler is not None else signal.SIG_DFL)
        if others:  # somebody else's alarm, such as a test runner's, goes on where it stood
            signal.setitimer(signal.ITIMER_REAL, max(others - (time.monotonic() - started), 0.001), interval)


class _Watchdog:
    """One thread that lives while there is something to watch, and a little longer: hooks come in dozens."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._watched: tuple[str, float] | None = None
        self._thread: threading.Thread | None = None

    def begin(self, label: str, seconds: float) -> None:
        with self._changed:
            self._watched = (label, time.monotonic() + seconds)
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="pywatt plugin watchdog", daemon=True)
                self._thread.start()

    def end(self) -> None:
        with self._changed:
            self._watched = None

    def _watch(self) -> None:
        with self._changed:
            while True:
                watched = self._watched
                self._changed.wait(1.0 if watched is None else max(watched[1] - time.monotonic(), 0.0))
                if self._watched is None and watched is None:
                    self._thread = None
                    return
                if watched is not None and self._watched is watched and time.monotonic() >= watched[1]:
                    _end_process(watched[0])


def _end_process(label: str) -> None:
    text = (
        f"pywatt: {label}, and nothing could interrupt it: the process ends. Remove that distribution, or name it under [plugins] disable\n"
    )
    try:
        os.write(2, text.encode())
    finally:
        os._exit(EXIT_CODE)


_watchdog = _Watchdog()
