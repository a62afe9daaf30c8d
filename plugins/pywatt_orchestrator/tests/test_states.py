"""The table of states: what can happen when, and what cannot."""

from __future__ import annotations

import pytest

from pywatt_orchestrator.states import TRANSITIONS, Event, State, following


def test_the_ordinary_life_leads_from_stopped_to_ready_and_back() -> None:
    state = State.STOPPED
    seen = []
    for event in (Event.START, Event.ANNOUNCE, Event.PROBED, Event.STOP, Event.EXIT_DONE):
        state = following(state, event)
        seen.append(state.value)
    assert seen == ["starting", "announced", "ready", "stopping", "stopped"]


@pytest.mark.parametrize("state", list(State))
def test_from_every_state_there_is_a_way_to_run_and_a_way_to_stop(state: State) -> None:
    assert reachable(state) >= {State.READY, State.STOPPED}


def reachable(state: State) -> set[State]:
    found, waiting = {state}, [state]
    while waiting:
        here = waiting.pop()
        for (before, _), after in TRANSITIONS.items():
            if before is here and after not in found:
                found.add(after)
                waiting.append(after)
    return found


@pytest.mark.parametrize("state", [State.STARTING, State.ANNOUNCED, State.READY])
def test_a_process_may_end_by_itself_in_three_ways_whenever_there_is_one(state: State) -> None:
    ends = [following(state, event) for event in (Event.EXIT_AGAIN, Event.EXIT_DONE, Event.EXIT_FAILED)]
    assert ends == [State.BACKOFF, State.STOPPED, State.FAILED]


def test_a_process_that_was_told_to_end_is_stopped_and_never_restarted() -> None:
    assert following(State.STOPPING, Event.EXIT_DONE) is State.STOPPED
    with pytest.raises(RuntimeError, match="'exit, to be restarted' cannot happen to an instance that is 'stopping'"):
        following(State.STOPPING, Event.EXIT_AGAIN)


def test_an_announce_counts_once() -> None:
    with pytest.raises(RuntimeError, match="'announce' cannot happen"):
        following(State.ANNOUNCED, Event.ANNOUNCE)
