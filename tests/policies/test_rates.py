"""Rates from totals, against the list of all events."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywatt_core.policies.rates import RateWindow


def test_nothing_seen_is_no_rate() -> None:
    assert RateWindow().rates(5, 7, 9) == (0.0, 0.0)


def test_a_steady_rate_is_told_as_it_is_for_each_total() -> None:
    window = RateWindow(60)
    for second in range(300):
        window.note(second, second * 10, second * 1000)
    assert window.rates(299, 2990, 299_000) == pytest.approx((10, 1000))


def test_what_happened_before_the_window_does_not_count() -> None:
    window = RateWindow(60)
    window.note(0, 0)
    window.note(1, 1_000_000)
    for second in range(2, 100):
        window.note(second, 1_000_000)
    assert window.rates(100, 1_000_000) == (0.0,)


def test_a_mark_says_when_the_next_one_is_due() -> None:
    window = RateWindow(60, steps=60)
    assert window.note(10, 0) == 11
    assert window.note(10.5, 0) == 11
    assert window.note(11, 0) == 12


@given(st.lists(st.floats(min_value=0.01, max_value=5), min_size=1, max_size=300))
def test_a_rate_is_never_far_from_the_events_of_the_window(gaps: list[float]) -> None:
    window, now, times = RateWindow(60), 0.0, []
    window.note(0, 0)
    for gap in gaps:
        now += gap
        times.append(now)
        window.note(now, len(times))
    (rate,) = window.rates(now, len(times))
    # The mark that the rate is seen from is the last one that is as old as the window: one gap older at most.
    fewest = sum(when > now - 60 for when in times)
    most = sum(when > now - 60 - 5 - 1 for when in times)
    elapsed = max(min(now, 60), 1)
    assert fewest / (elapsed + 6) - 1e-9 <= rate <= most / elapsed + 1e-9


@pytest.mark.parametrize("options", [{"window": 0}, {"steps": 0}])
def test_a_window_that_makes_no_sense_is_refused(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="makes no sense"):
        RateWindow(**options)
