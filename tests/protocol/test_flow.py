"""Credit: nothing is sent that was not granted, nothing is lost, and neither side waits for the other for ever."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywatt_core.errors import RemoteProtocolError
from pywatt_core.protocol.flow import Allowance, Intake


def test_what_was_not_granted_is_refused() -> None:
    intake = Intake(100, granted=100)
    intake.received(60)
    with pytest.raises(RemoteProtocolError, match="50 bytes of a body arrived where 40 were granted"):
        intake.received(50)


def test_credit_is_granted_half_a_window_at_a_time() -> None:
    intake = Intake(100, granted=100)
    intake.received(100)
    assert [intake.consumed(20) for _ in range(5)] == [0, 0, 60, 0, 0]


def test_who_has_granted_nothing_yet_grants_the_whole_window_at_once() -> None:
    assert Intake(100).consumed(0) == 100


@given(window=st.integers(2, 1000), body=st.integers(0, 20_000), turns=st.lists(st.sampled_from(["send", "arrive", "read", "grant"])))
def test_a_body_passes_whole_within_the_window_whatever_the_order_of_events(window: int, body: int, turns: list[str]) -> None:
    allowance, intake = Allowance(window), Intake(window, granted=window)
    wire: deque[int] = deque()
    grants: deque[int] = deque()
    unread, left, read = 0, body, 0

    def act(turn: str) -> None:
        nonlocal unread, left, read
        if turn == "send" and left and (amount := allowance.spend(min(left, 64))):
            left -= amount
            wire.append(amount)
        elif turn == "arrive" and wire:
            intake.received(wire[0])
            unread += wire.popleft()
        elif turn == "read" and unread:
            if granted := intake.consumed(unread):
                grants.append(granted)
            read, unread = read + unread, 0
        elif turn == "grant" and grants:
            allowance.grant(grants.popleft())
        assert unread + sum(wire) <= window

    for turn in turns:
        act(turn)
    for _ in range(body + 10):
        for turn in ("send", "arrive", "read", "grant"):
            act(turn)
    assert (read, left) == (body, 0)
