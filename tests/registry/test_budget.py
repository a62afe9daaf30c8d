"""Foreign code on a budget: whatever it does, it is named, and the host goes on or ends with a word."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from typing import Any

import pytest

from pywatt_core.errors import PluginError
from pywatt_core.registry.budget import within_budget


def spin() -> None:
    while True:
        pass


def raising(error: BaseException) -> Any:
    raise error


def test_what_ends_in_time_is_returned() -> None:
    assert within_budget("the plugin 'x'", "at import", lambda: 5) == 5


@pytest.mark.parametrize(
    ("error", "complaint"),
    [
        (ValueError("a\nb"), r"the plugin 'x' raised ValueError: a b at import"),
        (ImportError(), r"the plugin 'x' raised ImportError at import"),
        (SystemExit(3), r"the plugin 'x' called sys.exit\(3\) at import"),
        (RecursionError("deep"), "RecursionError"),
        (GeneratorExit(), "GeneratorExit"),
        (ValueError("y" * 5000), "y{300}…"),
    ],
)
def test_whatever_is_raised_becomes_a_plugin_error_with_its_cause(error: BaseException, complaint: str) -> None:
    with pytest.raises(PluginError, match=complaint) as caught:
        within_budget("the plugin 'x'", "at import", lambda: raising(error))
    assert caught.value.__cause__ is error


def test_the_users_interrupt_passes() -> None:
    with pytest.raises(KeyboardInterrupt):
        within_budget("the plugin 'x'", "at import", lambda: raising(KeyboardInterrupt()))


def test_code_that_overruns_is_interrupted() -> None:
    with pytest.raises(PluginError, match=r"the plugin 'x' took longer than 0.1 s in a hook and was interrupted"):
        within_budget("the plugin 'x'", "in a hook", spin, 0.1)


def test_code_that_waits_is_interrupted() -> None:
    with pytest.raises(PluginError, match="took longer"):
        within_budget("the plugin 'x'", "in a hook", threading.Event().wait, 0.1)


def test_code_that_swallows_the_first_interruption_meets_another() -> None:
    def stubborn() -> None:
        try:
            spin()
        except BaseException:
            spin()

    with pytest.raises(PluginError, match="took longer"):
        within_budget("the plugin 'x'", "in a hook", stubborn, 0.1)


def test_an_alarm_that_somebody_else_set_goes_on() -> None:
    rang = threading.Event()
    before = signal.signal(signal.SIGALRM, lambda *_: rang.set())
    others = signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        within_budget("the plugin 'x'", "at import", lambda: None)
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 0
        assert rang.wait(10)
    finally:
        signal.signal(signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, *others)


def test_other_threads_run_without_a_limit_and_errors_are_named_there_too() -> None:
    outcome: list[object] = []

    def inside() -> None:
        outcome.append(within_budget("the plugin 'x'", "at import", lambda: 5, 0.1))
        try:
            within_budget("the plugin 'x'", "at import", lambda: raising(SystemExit(1)), 0.1)
        except PluginError as error:
            outcome.append(str(error))

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join(10)
    assert outcome == [5, "the plugin 'x' called sys.exit(1) at import"]


def test_code_that_nothing_can_interrupt_is_named_and_ends_the_process() -> None:
    program = """
from pywatt_core.registry import budget
budget.GRACE = 0.3

def immortal():
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass

budget.within_budget("the plugin 'x' of pywatt-x 1.0", "at import", immortal, 0.1)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 4
    assert done.stderr == (
        "pywatt: the plugin 'x' of pywatt-x 1.0 did not end at import, and nothing could interrupt it: the process ends. "
        "Remove that distribution, or name it under [plugins] disable\n"
    )


def test_many_calls_in_a_row_share_one_watchdog() -> None:
    for number in range(50):
        assert within_budget("the plugin 'x'", "in a hook", lambda number=number: number) == number  # type: ignore[misc]
    assert sum(thread.name == "pywatt plugin watchdog" for thread in threading.enumerate()) <= 1
