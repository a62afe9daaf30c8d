"""The health of a channel, from given results."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywatt_core.policies.health import SAMPLES, Health


def test_a_channel_that_nothing_is_known_of_is_taken_to_be_fine() -> None:
    health = Health()
    assert (health.known, health.p95, health.error_rate, health.availability(0)) == (False, 0.010, 0.0, 1.0)


def test_the_p95_is_that_of_the_last_hundred_answers() -> None:
    health = Health()
    for index in range(300):
        health.succeeded(index, 9.0 if index < 200 else (index - 200) / 1000)
    assert health.p95 == pytest.approx(0.095)
    health.succeeded(300, 0.5)
    assert health.p95 == pytest.approx(0.096)


def test_what_nobody_waited_for_counts_as_a_success_without_a_time() -> None:
    health = Health()
    health.succeeded(0)
    assert health.p95 == 0.010
    assert health.successes == 1


def test_a_failure_keeps_the_availability_down_for_a_minute() -> None:
    health = Health()
    for _ in range(9):
        health.succeeded(0)
    health.failed(10)
    assert health.error_rate == pytest.approx(0.1)
    assert health.availability(69.9) == 0.8
    assert health.availability(70) == pytest.approx(0.9)


def test_after_five_quiet_minutes_the_counts_begin_anew() -> None:
    health = Health()
    health.failed(0)
    health.succeeded(300)
    assert (health.successes, health.failures) == (1, 1)
    health.succeeded(600.1)
    assert (health.successes, health.failures) == (1, 0)
    health.failed(1000)
    assert (health.successes, health.failures) == (0, 1)
    assert health.totals == (2, 2)


def test_answers_outside_the_window_are_left_out() -> None:
    health = Health()
    for when, took in ((0, 3.0), (100, 1.0), (250, 2.0)):
        health.succeeded(when, took)
    assert health.latencies(301) == [1.0, 2.0]


def test_the_recent_share_of_failures_forgets_what_is_old_while_there_is_always_something_to_do() -> None:
    health = Health()
    health.failed(0)
    for now in range(1, 400):
        health.succeeded(now)
        share = health.recent_error_rate(now)
        assert share == pytest.approx(1 / (now + 1)) if now < 300 else share in (0, pytest.approx(1 / 301, rel=0.1))
    assert health.recent_error_rate(400) == 0
    assert health.totals == (399, 1)
    health.failed(400)
    assert health.recent_error_rate(699) > 0
    assert health.recent_error_rate(710) == 0


def test_one_slow_answer_is_not_held_against_a_channel_for_ever() -> None:
    health = Health()
    health.succeeded(0, 3.0)
    health.succeeded(299)
    assert health.p95 == 3.0
    health.succeeded(300)
    assert health.p95 == 0.010


@given(st.lists(st.one_of(st.none(), st.floats(min_value=0, max_value=10)), max_size=1500), st.integers(min_value=0, max_value=50))
def test_memory_is_bounded_and_every_number_stays_in_its_range(answers: list[float | None], failures: int) -> None:
    health = Health()
    for answer in answers:
        health.succeeded(1, answer)
    for _ in range(failures):
        health.failed(1)
    assert len(health.samples) <= SAMPLES
    assert 0 <= health.recent_error_rate(2) <= 1
    assert 0 <= health.error_rate <= 1
    assert 0 <= health.availability(100) <= 1
    assert health.p95 == 0.010 or health.p95 in answers
