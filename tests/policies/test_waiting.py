"""Waiting and restarting, decided from given times and given chances."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywatt_core.policies.waiting import Backoff, Intensity, Restarts

chances = st.floats(min_value=0, max_value=1, exclude_max=True)
waits = st.floats(min_value=0.001, max_value=100)


@st.composite
def backoffs(draw: st.DrawFn) -> Backoff:
    initial = draw(waits)
    maximum = draw(st.floats(min_value=initial, max_value=1000))
    factor = draw(st.floats(min_value=1, max_value=10))
    return Backoff(initial=initial, maximum=maximum, factor=factor, jitter=draw(st.floats(min_value=0, max_value=0.99)))


def test_without_jitter_each_wait_is_the_factor_times_the_one_before_until_the_maximum() -> None:
    backoff = Backoff(initial=0.1, factor=2, maximum=1, jitter=0)
    assert [backoff.delay(attempt, 0.5) for attempt in range(1, 7)] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0, 1.0])


@given(backoffs(), st.integers(min_value=1, max_value=10**9), chances)
def test_a_wait_stays_within_the_jitter_of_the_maximum_whatever_the_attempt(backoff: Backoff, attempt: int, chance: float) -> None:
    delay = backoff.delay(attempt, chance)
    assert math.isfinite(delay)
    assert backoff.initial * (1 - backoff.jitter) <= delay * 1.000001
    assert delay <= backoff.maximum * (1 + backoff.jitter) * 1.000001


@given(backoffs(), st.integers(min_value=1, max_value=200), chances)
def test_with_one_chance_a_later_attempt_never_waits_less(backoff: Backoff, attempt: int, chance: float) -> None:
    assert backoff.delay(attempt + 1, chance) >= backoff.delay(attempt, chance)


def test_jitter_spreads_the_wait_evenly_on_both_sides() -> None:
    backoff = Backoff(initial=10, maximum=10, jitter=0.2)
    assert [backoff.delay(1, chance) for chance in (0, 0.5)] == pytest.approx([8, 10])
    assert backoff.delay(1, 0.999999) == pytest.approx(12, abs=0.001)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"initial": 0}, "initial"),
        ({"initial": 31}, "initial"),
        ({"factor": 0.5}, "factor"),
        ({"jitter": 1}, "jitter"),
        ({"jitter": -0.1}, "jitter"),
    ],
)
def test_a_backoff_that_makes_no_sense_is_refused_by_name(options: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Backoff(**options)


def test_an_attempt_counts_from_one() -> None:
    with pytest.raises(ValueError, match="counts from 1"):
        Backoff().delay(0, 0.5)


@pytest.mark.parametrize(("options", "words"), [({"limit": 0}, "limit"), ({"window": 0}, "window")])
def test_an_intensity_that_makes_no_sense_is_refused_by_name(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Intensity(**options)


def test_a_full_window_says_how_long_until_the_oldest_event_leaves_it() -> None:
    intensity = Intensity(limit=2, window=10)
    intensity.add(100)
    assert intensity.room(100) == 0
    intensity.add(103)
    assert intensity.room(104) == 6
    assert intensity.room(110) == 0


@given(st.lists(st.floats(min_value=0, max_value=30), max_size=60), st.integers(min_value=1, max_value=6))
def test_whoever_waits_for_room_never_exceeds_the_limit_in_any_window(gaps: list[float], limit: int) -> None:
    intensity, now, times = Intensity(limit=limit, window=10), 0.0, []
    for gap in gaps:
        now += gap
        now += intensity.room(now)
        intensity.add(now)
        times.append(now)
    assert_within(times, limit)


def assert_within(times: list[float], limit: int) -> None:
    """No window of 10 s holds more than `limit` of `times`."""
    for first, last in zip(times, times[limit:], strict=False):
        assert last - first >= 10 - 1e-6


@given(st.lists(st.tuples(st.floats(min_value=0, max_value=40), chances), min_size=1, max_size=60))
def test_a_crash_loop_starts_at_most_five_times_in_ten_seconds(lives: list[tuple[float, float]]) -> None:
    restarts, now, starts = Restarts(), 0.0, []
    for life, chance in lives:
        restarts.started(now)
        starts.append(now)
        now += life
        now += restarts.next_delay(now, well_for=life, chance=chance)
    assert_within(starts, 5)


def test_the_first_restarts_come_at_once_and_the_later_ones_wait_longer_and_longer() -> None:
    restarts, now, delays = Restarts(), 0.0, []
    for _ in range(12):
        restarts.started(now)
        delays.append(restarts.next_delay(now, well_for=0, chance=0.5))
        now += delays[-1]
    assert delays[:4] == [0, 0, 0, 0]
    assert delays[4] == 10
    assert delays[5:10] == [2, 4, 8, 16, 32]
    assert delays[10:] == [60, 60]
    assert restarts.count == 12


def test_a_process_that_was_well_for_long_is_restarted_at_once_again() -> None:
    restarts = Restarts()
    for _ in range(8):
        restarts.started(0)
        restarts.next_delay(0, well_for=0, chance=0.5)
    restarts.started(100)
    assert restarts.next_delay(161, well_for=61, chance=0.5) == 0


def test_a_restart_that_a_person_asked_for_begins_anew() -> None:
    restarts = Restarts()
    for _ in range(8):
        restarts.started(0)
        restarts.next_delay(0, well_for=0, chance=0.5)
    restarts.forget()
    restarts.started(1)
    assert restarts.next_delay(1, well_for=0, chance=0.5) == 0
