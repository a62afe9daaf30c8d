"""How often and how soon to try again."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywatt_core.policies.retry import Retry


def test_three_attempts_are_made_in_all_and_the_pauses_double() -> None:
    retry = Retry()
    delays = [retry.next_delay(attempt, transient=True, chance=0.5) for attempt in (1, 2, 3)]
    assert delays == [pytest.approx(0.1), pytest.approx(0.2), None]


def test_jitter_moves_a_pause_by_five_per_cent_to_either_side() -> None:
    retry = Retry(max_attempts=9)
    assert retry.next_delay(1, transient=True, chance=0) == pytest.approx(0.095)
    assert retry.next_delay(1, transient=True, chance=0.999999) == pytest.approx(0.105)


def test_what_the_connection_is_not_to_blame_for_is_not_tried_again_unless_it_is_wanted() -> None:
    assert Retry().next_delay(1, transient=False, chance=0.5) is None
    assert Retry(retry_on_all_errors=True).next_delay(1, transient=False, chance=0.5) is not None


@given(attempt=st.integers(min_value=1, max_value=10**6), chance=st.floats(min_value=0, max_value=1, exclude_max=True))
def test_a_pause_never_exceeds_the_maximum_and_its_jitter(attempt: int, chance: float) -> None:
    delay = Retry(max_attempts=10**7).next_delay(attempt, transient=True, chance=chance)
    assert delay is not None
    assert 0 < delay <= 30 * 1.05


def test_an_attempt_counts_from_one() -> None:
    with pytest.raises(ValueError, match="counts from 1"):
        Retry().next_delay(0, transient=True, chance=0.5)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_attempts": 0}, "max_attempts"),
        ({"base_delay": 31}, "base_delay"),
        ({"multiplier": 0.9}, "multiplier"),
        ({"jitter_factor": 2}, "jitter_factor"),
    ],
)
def test_a_retry_that_makes_no_sense_is_refused_by_name(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Retry(**options)
