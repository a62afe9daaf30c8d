"""When a batch has to go."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywatt_core.policies.batching import Batch


def test_a_batch_goes_when_it_is_long_enough_large_enough_or_old_enough() -> None:
    long, large, old = Batch[str](max_size=2), Batch[str](max_bytes=10), Batch[str](max_delay=1)
    assert [long.add("a", 1, 0), long.add("b", 1, 0)] == [False, True]
    assert [large.add("a", 9, 0), large.add("b", 1, 0)] == [False, True]
    assert [old.add("a", 1, 0), old.add("b", 1, 0.5), old.add("c", 1, 1)] == [False, False, True]


def test_a_lone_item_says_when_it_has_to_go() -> None:
    batch = Batch[str](max_delay=1)
    assert batch.due is None
    batch.add("a", 1, 10)
    assert batch.due == 11
    assert batch.take() == ["a"]
    assert (batch.due, len(batch)) == (None, 0)


def test_a_full_batch_takes_nothing_more_until_it_is_taken() -> None:
    batch = Batch[str](max_size=1)
    assert batch.add("a", 1, 0)
    with pytest.raises(OverflowError, match="take it first"):
        batch.add("b", 1, 0)
    assert batch.take() == ["a"]
    assert batch.add("b", 1, 0)


@given(st.lists(st.tuples(st.integers(min_value=0, max_value=50), st.floats(min_value=0, max_value=2)), max_size=200))
def test_nothing_is_lost_doubled_or_put_out_of_order(items: list[tuple[int, float]]) -> None:
    batch, now, out = Batch[int](max_size=5, max_bytes=100, max_delay=3), 0.0, []
    for number, (size, gap) in enumerate(items):
        now += gap
        if batch.add(number, size, now):
            taken = batch.take()
            assert len(taken) <= 5
            out += taken
    assert out + batch.take() == list(range(len(items)))


@pytest.mark.parametrize("options", [{"max_size": 0}, {"max_bytes": 0}, {"max_delay": -1}])
def test_a_batch_that_makes_no_sense_is_refused(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least"):
        Batch(**options)
