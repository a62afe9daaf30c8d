from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywatt_core.protocol.priorities import HIGHEST_FIRST, PriorityMessageQueue, StreamPriority

LEVELS = st.sampled_from(list(StreamPriority))


@given(st.lists(st.none() | LEVELS, max_size=60), st.integers(1, 10))
def test_the_highest_goes_first_and_the_oldest_within_a_level(steps: list[StreamPriority | None], limit: int) -> None:
    queue: PriorityMessageQueue[int] = PriorityMessageQueue(limit)
    model: list[tuple[int, int]] = []
    for number, step in enumerate(steps):
        if step is None:
            if model:
                wanted = min(model)
                model.remove(wanted)
                assert queue.get() == wanted[1]
            else:
                with pytest.raises(IndexError, match="the queue is empty"):
                    queue.get()
        elif queue.put(number, step):
            model.append((HIGHEST_FIRST.index(step), number))
        else:
            assert len(model) == limit
        assert len(queue) == len(model) <= limit
        assert queue.full == (len(model) == limit)


def test_room_is_made_by_the_oldest_of_the_lowest_level() -> None:
    queue: PriorityMessageQueue[str] = PriorityMessageQueue(3)
    queue.put("first", StreamPriority.NORMAL)
    queue.put("urgent", StreamPriority.CRITICAL)
    queue.put("second", StreamPriority.NORMAL)
    assert queue.drop(StreamPriority.LOW) is None, "what is lower never drives out what is higher"
    assert queue.drop(StreamPriority.NORMAL) == "first"
    assert queue.drop() == "second"
    assert queue.drop(StreamPriority.HIGH) is None
    assert queue.drop(StreamPriority.CRITICAL) == "urgent"
    assert queue.drop() is None
    queue.put("again")
    queue.clear()
    assert len(queue) == 0


def test_what_is_not_wanted_any_more_is_taken_out() -> None:
    queue: PriorityMessageQueue[str] = PriorityMessageQueue(3)
    for item in "abc":
        queue.put(item)
    queue.remove("b")
    with pytest.raises(ValueError):
        queue.remove("a", StreamPriority.HIGH)
    assert [queue.get() for _ in range(len(queue))] == ["a", "c"]


def test_a_queue_has_room_for_something() -> None:
    with pytest.raises(ValueError, match="limit must be at least 1, not 0"):
        PriorityMessageQueue(0)


def test_priorities_go_by_their_names() -> None:
    assert StreamPriority.parse("critical") is StreamPriority.CRITICAL
    assert StreamPriority.parse("Low") is StreamPriority.parse(StreamPriority.LOW)
    with pytest.raises(ValueError, match="a priority is one of Low, Normal, High, Critical, not 'urgent'"):
        StreamPriority.parse("urgent")
