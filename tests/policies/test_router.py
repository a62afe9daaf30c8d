"""Which channel a message takes, from given channels and times."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywatt_core.policies.channels import ChannelCapabilities, ChannelPreferences, ChannelType
from pywatt_core.policies.health import Health
from pywatt_core.policies.matrix import Characteristics, MessagePriority, MessageType, RoutingMatrix
from pywatt_core.policies.router import ChannelRouter, Route, RoutingDecision, confidence

if TYPE_CHECKING:
    from collections.abc import Callable

SMALL = Characteristics("users", 200)
LARGE = Characteristics("users", 20_000)
REMOTE = Characteristics("10.0.0.1:80", 200)
URGENT = Characteristics("users", 200, MessagePriority.CRITICAL)


def router(*names: str, preference: str = "default", load_balancing: bool = True) -> ChannelRouter:
    """A router with these channels, all open; ``tcp2`` is another one of the kind of ``tcp``."""
    made = ChannelRouter(preferences=ChannelPreferences.preset(preference), load_balancing=load_balancing)
    for name in names:
        made.add(Route(name, ChannelType.of(name.rstrip("0123456789")), health=Health(), open=True))
    return made


def decided(made: ChannelRouter, message: Characteristics = SMALL, now: float = 0.0) -> RoutingDecision:
    decision = made.decide(message, now)
    assert decision is not None
    return decision


@pytest.mark.parametrize(
    ("message", "order"),
    [
        (SMALL, ("unix", "tcp", "stdio")),
        (LARGE, ("tcp", "unix", "stdio")),
        (REMOTE, ("tcp", "unix", "stdio")),
        (URGENT, ("unix", "tcp", "stdio")),
        (Characteristics("users", 2_000_000, type=MessageType.FILE_TRANSFER), ("tcp", "unix", "stdio")),
    ],
)
def test_the_matrix_orders_the_channels_and_stdio_comes_last(message: Characteristics, order: tuple[str, ...]) -> None:
    decision = decided(router("stdio", "tcp", "unix"), message)
    assert decision.order == order
    assert (decision.primary, decision.fallback) == order[:2]


def test_a_channel_that_is_not_open_is_not_chosen() -> None:
    made = router("stdio", "tcp", "unix")
    made.set_open("unix", False)
    assert decided(made).order == ("tcp", "stdio")
    made.set_open("tcp", False)
    assert decided(made).order == ("stdio",)
    made.set_open("stdio", False)
    assert made.decide(SMALL, 0) is None


def test_the_primary_is_passed_over_where_it_does_not_meet_the_conditions() -> None:
    made = router("tcp", "unix")
    slow = Health()
    slow.succeeded(0, 0.5)
    made.add(Route("unix", ChannelType.IPC, health=slow, open=True))
    assert decided(made, URGENT).order == ("tcp", "unix")
    assert "fallback" in decided(made, URGENT).reason


def test_a_channel_that_cannot_carry_the_message_is_the_last_resort() -> None:
    made = router("stdio", "tcp")
    made.add(Route("unix", ChannelType.IPC, capabilities=ChannelCapabilities(max_message_size=100), open=True))
    assert decided(made).order == ("tcp", "stdio", "unix")


@pytest.mark.parametrize(
    ("preference", "order"),
    [("tcp_only", ("tcp",)), ("ipc_only", ("unix",)), ("prefer_tcp", ("tcp", "unix", "stdio")), ("prefer_ipc", ("unix", "tcp", "stdio"))],
)
def test_preferences_decide(preference: str, order: tuple[str, ...]) -> None:
    assert decided(router("stdio", "tcp", "unix", preference=preference)).order == order


def test_channels_of_one_rank_take_turns_and_others_do_not() -> None:
    made = router("tcp", "tcp2", "unix")
    assert [decided(made, LARGE).primary for _ in range(4)] == ["tcp", "tcp2", "tcp", "tcp2"]
    assert [decided(made, SMALL).primary for _ in range(3)] == ["unix"] * 3
    still = router("tcp", "tcp2", load_balancing=False)
    assert [decided(still, LARGE).primary for _ in range(3)] == ["tcp"] * 3


def test_counts_of_use_begin_anew_after_a_thousand() -> None:
    made = router("tcp", "tcp2")
    chosen = [decided(made, LARGE).primary for _ in range(2100)]
    assert abs(chosen.count("tcp") - chosen.count("tcp2")) <= 2


def test_a_decision_is_remembered_until_its_time_is_over() -> None:
    made = router("tcp", "unix")
    assert decided(made, URGENT, 0).primary == "unix"
    slow = Health()
    slow.succeeded(0, 0.5)
    made._routes["unix"].health = slow
    assert decided(made, URGENT, 60).primary == "unix"
    assert decided(made, URGENT, 60.1).primary == "tcp"


def test_a_change_of_connection_and_another_matrix_make_it_forget() -> None:
    made = router("tcp", "unix")
    changes: list[Callable[[], object]] = [
        lambda: made.set_open("tcp", False),
        lambda: setattr(made, "matrix", RoutingMatrix()),
        lambda: made.remove("tcp"),
    ]
    for change in changes:
        decided(made)
        assert made.cached == 1
        change()
        assert made.cached == 0


def test_it_remembers_no_more_than_it_may_and_forgets_the_oldest() -> None:
    made = ChannelRouter(max_cache_size=3)
    made.add(Route("unix", ChannelType.IPC, open=True))
    for size in range(10):
        decided(made, Characteristics("users", size), size)
    assert made.cached == 3
    nothing = ChannelRouter(max_cache_size=0)
    nothing.add(Route("unix", ChannelType.IPC, open=True))
    decided(nothing)
    assert nothing.cached == 0


@pytest.mark.parametrize(
    ("failures", "latency", "timeout", "expected"),
    [(0, 0.010, None, 0.8), (0, 0.010, 1.0, 0.9), (0, 0.6, 1.0, 0.8), (0, 2.0, 1.0, 0.5), (1, 0.010, None, 0.8 * 0.8 * 0.5)],
)
def test_how_sure_it_is(failures: int, latency: float, timeout: float | None, expected: float) -> None:
    health = Health()
    health.succeeded(0, latency)
    for _ in range(failures):
        health.failed(0)
    assert confidence(health, timeout, 1) == pytest.approx(expected)


def test_what_is_learned_shows_as_weight_and_chooses_nothing() -> None:
    made = router("tcp", "unix")
    made.failed("unix")
    made.set_open("unix", True)
    assert made.matrix.local_small_messages.weight == pytest.approx(0.8)
    made.succeeded("tcp")
    made.succeeded("unknown")
    assert made.matrix.file_transfer.weight == pytest.approx(1.1)
    assert made.matrix.local_small_messages.weight == pytest.approx(0.9)
    decision = decided(made)
    assert decision.primary == "unix"
    assert decision.weight == pytest.approx(0.9)


messages = st.builds(
    Characteristics,
    st.sampled_from(["users", "10.0.0.1:80", ""]),
    st.integers(min_value=0, max_value=300_000_000),
    st.sampled_from(MessagePriority),
    st.sampled_from(MessageType),
    st.booleans(),
    st.one_of(st.none(), st.floats(min_value=0, max_value=60)),
)


@given(
    st.lists(st.tuples(st.sampled_from(["tcp", "unix", "stdio", "nats", "tcp2"]), st.booleans()), max_size=12),
    st.sampled_from(["default", "tcp_only", "ipc_only", "prefer_ipc", "prefer_tcp"]),
    st.lists(messages, min_size=1, max_size=8),
)
def test_every_decision_names_open_and_allowed_channels_each_once(
    states: list[tuple[str, bool]], preference: str, wanted: list[Characteristics]
) -> None:
    made = router("tcp", "unix", "stdio", "nats", "tcp2", preference=preference)
    now_open = dict.fromkeys(("tcp", "unix", "stdio", "nats", "tcp2"), True)
    for name, is_open in states:
        made.set_open(name, is_open)
        now_open[name] = is_open
        for message in wanted:
            decision = made.decide(message, 0)
            able = {one for one, there in now_open.items() if there and made.preferences.allow(ChannelType.of(one.rstrip("2")))}
            assert (decision is None) == (not able)
            if decision is not None:
                assert set(decision.order) == able if made.preferences.enable_fallback else set(decision.order) <= able
                assert len(set(decision.order)) == len(decision.order)
                assert 0 <= decision.confidence <= 1


@pytest.mark.parametrize("options", [{"cache_ttl": -1}, {"max_cache_size": -1}, {"learning_rate": 2}])
def test_a_router_that_makes_no_sense_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="at least 0"):
        ChannelRouter(**options)  # type: ignore[arg-type]
