"""When a connection is tried again."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywatt_core.policies import ExponentialBackoff, FixedInterval, NoReconnect, Reconnecting, ReconnectPolicy

MIDDLE = 0.5
"""The random number that leaves a wait as it is."""


def test_the_policies_have_the_names_of_the_earlier_sdk() -> None:
    assert (ReconnectPolicy.None_, ReconnectPolicy.FixedInterval, ReconnectPolicy.ExponentialBackoff) == (
        NoReconnect,
        FixedInterval,
        ExponentialBackoff,
    )


def test_no_reconnecting_ends_with_the_first_failure_and_the_first_loss() -> None:
    assert [NoReconnect().next_delay(failures, MIDDLE) for failures in (0, 1)] == [None, None]


def test_a_fixed_interval_waits_as_long_each_time_until_its_attempts_are_used_up() -> None:
    policy = FixedInterval(delay=2.0, max_attempts=3)
    assert [policy.next_delay(failures, MIDDLE) for failures in range(5)] == [0.0, 2.0, 2.0, None, None]
    assert FixedInterval(delay=2.0).next_delay(10**9, MIDDLE) == 2.0


def test_a_backoff_doubles_up_to_its_limit() -> None:
    policy = ExponentialBackoff()
    assert [policy.next_delay(failures, MIDDLE) for failures in (0, 1, 2, 3, 9, 10, 10**6)] == [0.0, 0.1, 0.2, 0.4, 25.6, 30.0, 30.0]
    assert ExponentialBackoff(max_attempts=2).next_delay(2, MIDDLE) is None


@given(st.integers(1, 200), st.floats(0, 1, exclude_max=True), st.sampled_from([FixedInterval(delay=3), ExponentialBackoff()]))
def test_waits_are_spread_by_a_fifth(failures: int, chance: float, policy: ReconnectPolicy) -> None:
    middle, spread = policy.next_delay(failures, MIDDLE), policy.next_delay(failures, chance)
    assert middle is not None and spread is not None
    assert 0.8 * middle <= spread <= 1.2 * middle


@pytest.mark.parametrize(
    ("kind", "options", "complaint"),
    [
        (FixedInterval, {"delay": 0}, "delay must be"),
        (FixedInterval, {"delay": float("inf")}, "delay must be"),
        (FixedInterval, {"max_attempts": 0}, "max_attempts must be at least 1"),
        (ExponentialBackoff, {"initial_delay": 0}, "initial_delay must be above 0"),
        (ExponentialBackoff, {"initial_delay": 2, "max_delay": 1}, "initial_delay must be above 0 and at most max_delay"),
        (ExponentialBackoff, {"max_delay": float("inf")}, "initial_delay must be"),
        (ExponentialBackoff, {"multiplier": 0.5}, "multiplier must be at least 1"),
        (ExponentialBackoff, {"multiplier": float("nan")}, "multiplier must be at least 1"),
        (ExponentialBackoff, {"max_attempts": -1}, "max_attempts must be at least 1"),
    ],
)
def test_values_that_make_no_sense_are_refused(kind: Any, options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        kind(**options)


def test_a_connection_that_lasted_is_made_again_at_once_and_one_that_did_not_counts_as_a_failure() -> None:
    rule = Reconnecting(policy=ExponentialBackoff(), calm=5.0)
    assert rule.failed(MIDDLE) == 0.1
    rule.connected(100.0)
    assert rule.lost(104.0, MIDDLE) == 0.2
    rule.connected(200.0)
    assert rule.lost(205.0, MIDDLE) == 0.0
    assert rule.failures == 0
    assert rule.failed(MIDDLE) == 0.1


def test_a_peer_that_accepts_and_hangs_up_again_is_not_besieged() -> None:
    rule = Reconnecting(policy=FixedInterval(max_attempts=4))
    delays = []
    for moment in range(10):
        rule.connected(float(moment))
        delays.append(rule.lost(float(moment), MIDDLE))
    assert delays == [1.0, 1.0, 1.0, *[None] * 7]
