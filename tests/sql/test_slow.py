"""The log of slow statements."""

from __future__ import annotations

import logging

import pytest

from pywatt_core.sql.slow import LINES, SECONDS, SlowLog

log = logging.getLogger("test.slow")


def test_a_slow_statement_is_logged_with_its_text_on_one_line(caplog: pytest.LogCaptureFixture) -> None:
    SlowLog(log, 0.5, clock=lambda: 0.0).slow("SELECT *\n  FROM items WHERE id = ?", 1.25)
    assert caplog.messages == ["slow statement, 1.250 s (slow_statement is 0.5 s): SELECT * FROM items WHERE id = ?"]


def test_a_threshold_of_nothing_means_none_is_slow() -> None:
    assert SlowLog(log, 0).threshold == float("inf")


def test_more_lines_than_a_person_reads_are_counted_instead(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    slow = SlowLog(log, 0.5, clock=lambda: now)
    for _ in range(LINES + 7):
        slow.slow("SELECT 1", 1.0)
    assert len(caplog.messages) == LINES
    now = SECONDS
    slow.slow("SELECT 2", 1.0)
    assert len(caplog.messages) == LINES + 1
    assert caplog.messages[-1].endswith("SELECT 2; 7 more were slow and not logged")
    slow.slow("SELECT 3", 1.0)
    assert caplog.messages[-1].endswith("SELECT 3")
