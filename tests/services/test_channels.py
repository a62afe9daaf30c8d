"""Which way a message takes, over real sockets: the far ends are real links in the orchestrator's role."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest

from pywatt_core.errors import ChannelClosed, LocalProtocolError, RequestTimeout
from pywatt_core.interfaces import ChannelState
from pywatt_core.policies.breaker import BreakerState
from pywatt_core.policies.channels import ChannelType
from pywatt_core.policies.reconnecting import ExponentialBackoff, NoReconnect
from pywatt_core.protocol.messages import EncodedMessage, GetSecret, PortRequest, RouteToModule, Secret
from pywatt_core.services.channels import Channels
from pywatt_core.transports.link import new_id

from .channel_stage import LARGE, SMALL, Stage, ask, route, staged

if TYPE_CHECKING:
    pass


@pytest.fixture
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return Stage(tmp_path_factory.mktemp("s"))


# ── choosing ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_without_an_orchestrator_the_way_out_is_named() -> None:
    with pytest.raises(ChannelClosed, match="runs without an orchestrator.*pywatt run") as caught:
        await Channels().request(GetSecret("A"), timeout=1)
    assert caught.value.executed == "no"


@staged
async def test_standard_output_is_the_way_where_there_is_no_other(stage: Stage) -> None:
    channels = await stage.open("stdio")
    assert await ask(channels) == "stdio"
    assert channels.names == ("stdio",)


@staged
async def test_an_open_channel_goes_before_standard_output(stage: Stage) -> None:
    channels = await stage.open("stdio", "unix")
    assert await ask(channels) == "unix"
    assert channels.names == ("unix", "stdio")
    assert channels.states() == {"unix": ChannelState.CONNECTED}


@staged
async def test_what_needs_no_waiting_and_no_choice_is_handed_over_at_once(stage: Stage) -> None:
    channels = await stage.open("stdio", "unix")

    def note(data: bytes = SMALL) -> RouteToModule:
        return RouteToModule("users", "__response__", new_id(), EncodedMessage(data, "Json"))

    sent = note()
    assert channels.post(sent)
    await stage.far["unix"].arrived.wait()
    assert stage.far["unix"].received == [sent]
    connection = stage.ways["unix"].connection
    assert connection is not None
    connection.pause_writing()
    assert not channels.post(note()), "the peer does not read: who sends has to wait"
    connection.resume_writing()
    await stage.lose("unix")
    assert channels.post(note()), "what is left is standard output"
    await stage.far["stdio"].arrived.wait()
    assert [message.op for message in stage.far["stdio"].received] == ["route_to_module"]
    assert not Channels().post(note())


@staged
async def test_with_two_channels_the_message_decides(stage: Stage) -> None:
    channels = await stage.open("stdio", "tcp", "unix")
    assert [await route(channels, SMALL), await route(channels, LARGE), await route(channels, SMALL, priority="bulk")] == [
        "unix",
        "tcp",
        "tcp",
    ]


@pytest.mark.parametrize(("preference", "way"), [("prefer_tcp", "tcp"), ("tcp_only", "tcp"), ("ipc_only", "unix"), ("prefer_ipc", "unix")])
@staged
async def test_the_preference_decides_too(stage: Stage, preference: str, way: str) -> None:
    channels = await stage.open("stdio", "tcp", "unix", preference=preference)
    assert await route(channels, SMALL) == way
    assert channels.recommend("users:find") == way


@staged
async def test_what_may_be_used_alone_and_is_not_open_is_an_error_that_says_so(stage: Stage) -> None:
    channels = await stage.open("stdio", "unix", preference="tcp_only", retry_attempts=1)
    with pytest.raises(ChannelClosed, match="'tcp_only' allows no other.*stdio is connected, unix is connected"):
        await ask(channels)
    assert channels.recommend() is None


@staged
async def test_without_any_channel_a_preference_does_not_silence_the_module(stage: Stage) -> None:
    assert await ask(await stage.open("stdio", preference="tcp_only")) == "stdio"


@staged
async def test_a_channel_that_comes_later_is_taken_when_it_is_there_and_left_when_it_goes(stage: Stage) -> None:
    channels = await stage.open("stdio")
    await stage.add("unix", NoReconnect())
    assert await ask(channels) == "unix"
    channels.remove("unix")
    assert await ask(channels) == "stdio"
    channels.remove("unix")


# ── failing over ────────────────────────────────────────────────────────────────────────────────────────────────────


@staged
async def test_a_lost_channel_is_passed_over_at_once(stage: Stage) -> None:
    channels = await stage.open("stdio", "unix")
    assert await ask(channels) == "unix"
    await stage.lose("unix")
    assert await ask(channels) == "stdio"
    assert stage.slept == []


@staged
async def test_what_may_have_been_carried_out_is_not_sent_again(stage: Stage) -> None:
    channels = await stage.open("stdio", "unix")
    stage.far["unix"].cuts = True
    with pytest.raises(ChannelClosed) as caught:
        await route(channels)
    assert caught.value.executed == "unknown"
    assert stage.far["stdio"].received == []
    assert await route(channels) == "stdio"


@pytest.mark.parametrize("others", [("stdio", "unix"), ("stdio", "tcp", "unix")])
@staged
async def test_what_may_be_carried_out_twice_goes_another_way(stage: Stage, others: tuple[str, ...]) -> None:
    channels = await stage.open(*others)
    stage.far["unix"].cuts = True
    expected = "tcp" if "tcp" in others else "stdio"
    assert await route(channels, idempotent=True) == expected
    assert len(stage.far["unix"].received) == 1
    assert await ask(channels) == expected


@staged
async def test_once_something_may_have_been_carried_out_no_later_failure_denies_it(stage: Stage) -> None:
    channels = await stage.open("tcp", "unix", retry_attempts=1)
    stage.far["unix"].cuts = True
    await stage.far["tcp"].close()
    with pytest.raises(ChannelClosed) as caught:
        await route(channels, idempotent=True)
    assert caught.value.executed == "unknown"


@staged
async def test_what_is_not_to_be_tried_again_is_not(stage: Stage) -> None:
    channels = await stage.open("stdio", "unix", policy=ExponentialBackoff())
    await stage.lose("unix")
    stage.far["stdio"].cuts = True
    with pytest.raises(ChannelClosed):
        await route(channels, retryable=False, idempotent=True)
    assert stage.slept == []


@staged
async def test_where_nothing_is_open_now_it_is_tried_again_after_a_pause(stage: Stage) -> None:
    channels = await stage.open("unix", policy=ExponentialBackoff(initial_delay=0.01, max_delay=0.02))
    await stage.lose("unix")

    async def come_back() -> None:
        await stage.far["unix"].open()
        await stage.ways["unix"].connected(10)

    stage.while_asleep = come_back
    assert await ask(channels) == "unix"
    assert stage.slept == [pytest.approx(0.1)]


@staged
async def test_after_three_rounds_it_gives_up_and_says_what_is_known(stage: Stage) -> None:
    channels = await stage.open("unix", policy=ExponentialBackoff())
    await stage.lose("unix")
    with pytest.raises(ChannelClosed, match="no way to the orchestrator is open: unix is (connecting|disconnected)") as caught:
        await ask(channels)
    assert caught.value.executed == "no"
    assert stage.slept == [pytest.approx(0.1), pytest.approx(0.2)]


@staged
async def test_no_pause_outlasts_the_time_given(stage: Stage) -> None:
    channels = await stage.open("unix", policy=ExponentialBackoff())
    await stage.lose("unix")
    with pytest.raises(ChannelClosed):
        await ask(channels, timeout=0.15)
    assert stage.slept == [pytest.approx(0.1)]


@staged
async def test_what_will_not_come_back_is_not_waited_for(stage: Stage) -> None:
    channels = await stage.open("stdio")
    stage.far["stdio"].cuts = True
    with pytest.raises(ChannelClosed):
        await ask(channels)
    with pytest.raises(ChannelClosed, match="was not sent: the link is closed"):
        await channels.send(PortRequest(request_id=new_id()))
    assert stage.slept == []


@staged
async def test_messages_without_an_answer_go_another_way_too(stage: Stage) -> None:
    channels = await stage.open("stdio", "unix")
    message = RouteToModule("users", "tell", new_id(), EncodedMessage(SMALL, "Json"))
    await channels.send(message)
    await stage.far["unix"].arrived.wait()
    await stage.lose("unix")
    await channels.send(message)
    await stage.far["stdio"].arrived.wait()
    assert [len(far.received) for far in stage.far.values()] == [1, 1]


# ── breakers ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def fail(channels: Channels, times: int) -> None:
    """Ask for what is never answered, so often."""
    for _ in range(times):
        with pytest.raises(RequestTimeout):
            await ask(channels, timeout=0.001)


@staged
async def test_a_channel_that_keeps_failing_is_left_alone_and_tried_again_later(stage: Stage) -> None:
    channels = await stage.open("stdio", "unix", breaker_failures=2, breaker_minimum=3, breaker_successes=1, breaker_timeout=30)
    assert await ask(channels) == "unix"
    stage.far["unix"].silent = True
    await fail(channels, 2)
    assert channels.health()["unix"].breaker is BreakerState.OPEN
    assert not channels.health()["unix"].healthy
    assert channels.recommend() == "stdio"
    stage.far["unix"].silent = False
    assert await ask(channels) == "stdio"
    stage.clock.now += 31
    assert await ask(channels) == "unix"
    assert channels.health()["unix"].healthy


@staged
async def test_where_only_an_open_breaker_is_left_the_error_says_when_to_come_back(stage: Stage) -> None:
    channels = await stage.open("unix", breaker_failures=2, breaker_minimum=2)
    stage.far["unix"].silent = True
    await fail(channels, 2)
    with pytest.raises(ChannelClosed, match="circuit breaker open for unix, which keeps failing: the next attempt is in 60 s") as caught:
        await ask(channels)
    assert caught.value.executed == "no"


@staged
async def test_a_slow_module_does_not_count_against_the_channel(stage: Stage) -> None:
    channels = await stage.open("unix", breaker_failures=1, breaker_minimum=1)
    stage.far["unix"].silent = True
    for _ in range(3):
        with pytest.raises(RequestTimeout):
            await route(channels, timeout=0.001)
    assert channels.health()["unix"].breaker is BreakerState.CLOSED


@staged
async def test_one_lost_connection_is_one_failure_however_much_was_under_way(stage: Stage) -> None:
    channels = await stage.open("unix", breaker_failures=2, breaker_minimum=1)
    stage.far["unix"].silent = True
    under_way = [asyncio.create_task(route(channels)) for _ in range(20)]
    await stage.far["unix"].arrived.wait()
    await stage.lose("unix")
    assert all(isinstance(one, ChannelClosed) for one in await asyncio.gather(*under_way, return_exceptions=True))
    assert channels.breakers()["unix"].state is BreakerState.CLOSED
    assert channels.health()["unix"].error_rate == 1


@staged
async def test_the_caller_s_own_mistakes_and_second_thoughts_count_against_nobody(stage: Stage) -> None:
    channels = await stage.open("tcp", "unix", breaker_failures=1, breaker_minimum=1)
    with pytest.raises(LocalProtocolError):
        await channels.request(Secret("A", "b"), timeout=1)
    stage.far["unix"].silent = True
    task = asyncio.create_task(route(channels))
    await stage.far["unix"].arrived.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert {status.breaker for status in channels.health().values()} == {BreakerState.CLOSED}
    assert [status.waiting for status in channels.health().values()] == [0, 0]


# ── figures ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@staged
async def test_every_way_counts_what_goes_over_it(stage: Stage) -> None:
    channels = await stage.open("stdio", "tcp", "unix")
    for _ in range(5):
        await route(channels, SMALL)
    await route(channels, LARGE)
    metrics = channels.metrics()
    assert {name: (one.messages_sent, one.messages_received, one.successes) for name, one in metrics.items()} == {
        "stdio": (0, 0, 0),
        "tcp": (1, 1, 1),
        "unix": (5, 5, 5),
    }
    assert metrics["tcp"].bytes_sent > 5000 > metrics["tcp"].bytes_received > 0
    assert [one.channel_type for one in metrics.values()] == [ChannelType.STDIO, ChannelType.TCP, ChannelType.IPC]
    assert all(one.availability == 1 for one in metrics.values())


@staged
async def test_totals_go_on_over_a_reconnection(stage: Stage) -> None:
    channels = await stage.open("unix", policy=ExponentialBackoff(initial_delay=0.01, max_delay=0.02))
    await ask(channels)
    before = channels.metrics()["unix"]
    for link in list(stage.far["unix"].links):
        link.abort(ConnectionError("cut by the test"))
    await stage.ways["unix"].connected(10)
    async with asyncio.timeout(10):
        while stage.ways["unix"].health().connections < 2:
            await asyncio.sleep(0)
    await ask(channels)
    after = channels.metrics()["unix"]
    assert (before.messages_sent, after.messages_sent) == (1, 2)
    assert after.bytes_received == pytest.approx(2 * before.bytes_received, abs=4)
    assert after.failures == 1


@staged
async def test_where_much_is_sent_not_each_message_is_looked_at_and_yet_all_are_counted(stage: Stage) -> None:
    channels = await stage.open("unix", policy=ExponentialBackoff())
    await asyncio.gather(*(ask(channels) for _ in range(600)))
    stage.clock.now += 1
    for _ in range(2):
        await ask(channels)
    looked_at = len(channels._lanes["unix"].health.samples)
    for _ in range(20):
        await ask(channels)
    assert len(channels._lanes["unix"].health.samples) == looked_at + 1
    stage.far["unix"].cuts = True
    with pytest.raises(ChannelClosed):
        await route(channels)
    metrics = channels.metrics()["unix"]
    assert (metrics.successes, metrics.messages_sent) == (622, 623)
    assert metrics.failures == 2  # the message, and the connection


@staged
async def test_latency_and_throughput_are_measured(stage: Stage) -> None:
    channels = await stage.open("unix")
    for _ in range(60):
        stage.clock.now += 1
        await ask(channels)
    metrics = channels.metrics()["unix"]
    assert metrics.throughput_mps == pytest.approx(2, rel=0.1)
    assert metrics.bandwidth_bps > metrics.throughput_mps
    assert metrics.p95_latency_ms == 0  # by a clock that stands still while an answer is under way
    assert channels.comparison().highest_throughput == "unix"
    assert channels.sla()["unix"].throughput.compliant is False


@staged
async def test_the_loss_of_a_channel_is_told_once_and_not_when_the_module_ends(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "pywatt_core.services.channels")
    channels = await stage.open("stdio", "unix", "tcp")
    await stage.lose("unix")
    channels.health()
    told = [record for record in caplog.records if record.name == "pywatt_core.services.channels"]
    assert [(record.getMessage(), record.levelname, vars(record)["alert"]) for record in told] == [
        ("channel unix: the connection is lost", "ERROR", "ConnectionFailure")
    ]
    channels.close()
    await stage.lose("tcp")
    assert len([record for record in caplog.records if record.name == "pywatt_core.services.channels"]) == 1


@staged
async def test_what_goes_wrong_for_long_is_told(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    channels = await stage.open("unix", alert_error_rate=0.01, breaker_minimum=1000)
    stage.far["unix"].silent = True
    await fail(channels, 2)
    stage.far["unix"].silent = False
    for _ in range(40):
        stage.clock.now += 1
        await ask(channels)
    texts = [record.getMessage() for record in caplog.records if "alert" in vars(record)]
    assert len(texts) == 1
    assert texts[0].startswith("channel unix: ")
    assert "of the last five minutes' messages failed, more than 1.0%" in texts[0]


@pytest.mark.parametrize("names", [("unix",), ("unix", "tcp")])
@staged
async def test_what_only_goes_wrong_is_told(stage: Stage, names: tuple[str, ...], caplog: pytest.LogCaptureFixture) -> None:
    channels = await stage.open(*names, breaker_minimum=1000, alert_queue=1)
    for far in stage.far.values():
        far.silent = True
    waiting = [asyncio.create_task(route(channels)) for _ in range(2)]
    for _ in range(20):
        stage.clock.now += 1
        with pytest.raises(RequestTimeout):
            await route(channels, timeout=0.001)
    await fail(channels, 1)
    for _ in range(20):
        stage.clock.now += 1
        await fail(channels, 1)
    texts = {record.getMessage().partition(",")[0] for record in caplog.records if "alert" in vars(record)}
    assert texts == {"channel unix: 2 requests wait", "channel unix: 100.0% of the last five minutes' messages failed"}
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


@staged
async def test_what_waits_is_told(stage: Stage) -> None:
    channels = await stage.open("stdio", "unix")
    stage.far["unix"].silent = True
    under_way = [asyncio.create_task(route(channels)) for _ in range(3)]
    await stage.far["unix"].arrived.wait()
    assert {name: one.waiting for name, one in channels.health().items()} == {"unix": 3, "stdio": 0}
    for task in under_way:
        task.cancel()
    await asyncio.gather(*under_way, return_exceptions=True)
    assert channels.metrics()["unix"].queue_depth == 0


@staged
async def test_a_decision_can_be_asked_for(stage: Stage) -> None:
    channels = await stage.open("stdio", "tcp", "unix")
    decision = channels.decide("users", 10)
    assert decision is not None
    assert decision.order == ("unix", "tcp", "stdio")
    assert decision.reason == "local_small_messages: unix (primary)"
    assert 0.7 < decision.confidence <= 0.8


@pytest.mark.parametrize(
    ("target", "way"), [("users:find", "unix"), ("users.2:find", "unix"), ("users", "unix"), ("10.0.0.1:80", "tcp"), ("host:80", "tcp")]
)
@staged
async def test_a_module_is_near_and_an_address_is_far(stage: Stage, target: str, way: str) -> None:
    assert (await stage.open("stdio", "tcp", "unix")).recommend(target) == way


@staged
async def test_capabilities_are_told_as_they_are(stage: Stage) -> None:
    found = (await stage.open("stdio", "unix")).capabilities()
    assert found["unix"].streaming
    assert not found["unix"].compression
    assert found["unix"].max_message_size == 134_217_728
