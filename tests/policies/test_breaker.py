"""A breaker's decisions, from given times."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pywatt_core.policies.breaker import BreakerState, CircuitBreaker


def state_of(breaker: CircuitBreaker) -> BreakerState:
    return breaker.state


def opened(**options: Any) -> CircuitBreaker:
    """A breaker that opened at the time 0."""
    breaker = CircuitBreaker(**options)
    for _ in range(max(breaker.minimum_requests, breaker.failure_threshold)):
        assert breaker.allow(0)
        breaker.failed(0)
    assert state_of(breaker) is BreakerState.OPEN
    return breaker


def test_a_breaker_opens_with_the_failure_that_fulfils_both_counts() -> None:
    breaker = CircuitBreaker()
    for _ in range(9):
        breaker.failed(0)
    assert state_of(breaker) is BreakerState.CLOSED
    assert breaker.allow(0)
    breaker.failed(0)
    assert state_of(breaker) is BreakerState.OPEN
    assert not breaker.allow(0)


def test_many_successes_do_not_hide_the_failures_of_one_window() -> None:
    breaker = CircuitBreaker()
    for _ in range(100):
        breaker.succeeded(0)
    for _ in range(4):
        breaker.failed(1)
    assert state_of(breaker) is BreakerState.CLOSED
    breaker.failed(1)
    assert state_of(breaker) is BreakerState.OPEN


def test_successes_may_be_reported_together() -> None:
    breaker = CircuitBreaker()
    breaker.succeeded(0, times=9)
    for _ in range(5):
        breaker.failed(1)
    assert state_of(breaker) is BreakerState.OPEN


def test_what_lies_in_an_earlier_window_is_forgotten() -> None:
    breaker = CircuitBreaker(failure_threshold=2, minimum_requests=2, window_size=10)
    breaker.failed(0)
    breaker.failed(10.5)
    assert state_of(breaker) is BreakerState.CLOSED
    breaker.failed(20.5)
    assert state_of(breaker) is BreakerState.OPEN


def test_an_open_breaker_lets_somebody_try_when_more_than_the_timeout_has_passed_since_the_last_failure() -> None:
    breaker = opened()
    assert not breaker.allow(60)
    assert breaker.retry_after(15) == 45
    assert breaker.allow(60.001)
    assert state_of(breaker) is BreakerState.HALF_OPEN
    assert breaker.retry_after(60.001) == 0


def test_a_failure_that_arrives_late_makes_the_pause_longer() -> None:
    breaker = opened()
    breaker.failed(30)
    assert not breaker.allow(61)
    assert breaker.allow(90.5)


def test_no_more_try_at_once_than_it_takes_to_close() -> None:
    breaker = opened(success_threshold=2)
    assert [breaker.allow(61) for _ in range(4)] == [True, True, False, False]
    breaker.succeeded(62)
    assert not breaker.allow(62)
    breaker.succeeded(62)
    assert state_of(breaker) is BreakerState.CLOSED
    assert all(breaker.allow(62) for _ in range(100))


def test_any_failure_of_a_try_opens_it_again_at_once() -> None:
    breaker = opened(success_threshold=3)
    assert breaker.allow(61)
    breaker.succeeded(61)
    assert breaker.allow(61)
    breaker.failed(62)
    assert state_of(breaker) is BreakerState.OPEN
    assert breaker.opened == 2
    assert not breaker.allow(122)
    assert breaker.allow(122.1)


def test_a_try_that_was_abandoned_gives_its_place_back() -> None:
    breaker = opened(success_threshold=1)
    assert breaker.allow(61)
    assert not breaker.allow(61)
    breaker.abandoned(62)
    assert breaker.allow(62)


def test_a_try_that_nobody_reports_gives_its_place_back_in_the_end() -> None:
    breaker = opened(success_threshold=1)
    assert breaker.allow(61)
    assert not breaker.allow(121)
    assert breaker.retry_after(100) == 21
    assert breaker.allow(121.1)


def test_a_closed_breaker_begins_with_an_empty_window() -> None:
    breaker = opened(success_threshold=1)
    assert breaker.allow(61)
    breaker.succeeded(61)
    for _ in range(9):
        breaker.failed(61)
    assert state_of(breaker) is BreakerState.CLOSED


@pytest.mark.parametrize("name", ["failure_threshold", "success_threshold", "minimum_requests", "timeout", "window_size"])
def test_a_breaker_that_makes_no_sense_is_refused_by_name(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        CircuitBreaker(**{name: 0})


class Traffic(RuleBasedStateMachine):
    """Any order of attempts, results and pauses."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker = CircuitBreaker(failure_threshold=2, minimum_requests=3, success_threshold=2, timeout=5, window_size=20)
        self.now, self.flying, self.last_failure = 0.0, 0, -1.0

    @rule(seconds=st.floats(min_value=0, max_value=12))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def attempt(self) -> None:
        before = self.breaker.state
        if self.breaker.allow(self.now):
            self.flying += 1
            if before is BreakerState.OPEN:
                assert self.now - self.last_failure > 5
        else:
            assert before is not BreakerState.CLOSED

    @precondition(lambda self: self.flying)
    @rule(worked=st.sampled_from([True, False, None]))
    def end(self, worked: bool | None) -> None:
        self.flying -= 1
        before = self.breaker.state
        if worked is None:
            self.breaker.abandoned(self.now)
            assert self.breaker.state is before
        elif worked:
            self.breaker.succeeded(self.now)
            assert before is not BreakerState.OPEN or self.breaker.state is BreakerState.OPEN
        else:
            self.last_failure = self.now
            self.breaker.failed(self.now)
            assert before is BreakerState.CLOSED or self.breaker.state is BreakerState.OPEN

    @invariant()
    def it_never_stays_shut(self) -> None:
        assert self.breaker.retry_after(self.now) <= 5 + 1e-9


TestTraffic = Traffic.TestCase
TestTraffic.settings = settings(max_examples=60, stateful_step_count=40)
