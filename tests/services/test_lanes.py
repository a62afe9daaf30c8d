"""What a way is known for: what it costs itself, and not what others take who are reached over it."""

from __future__ import annotations

import logging

import pytest

from pywatt_core.protocol.messages import ORCHESTRATOR, ServiceOperation, ServiceType
from pywatt_core.transports.link import new_id

from .channel_stage import Stage, ask, route, staged


@pytest.fixture
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return Stage(tmp_path_factory.mktemp("s"))


def slow(stage: Stage, seconds: float) -> None:
    """Each answer of each far end takes so long from now on, by the clock of the stage."""

    def work() -> None:
        stage.clock.now += seconds

    for far in stage.far.values():
        far.works = work


@pytest.mark.parametrize("names", [("unix",), ("unix", "tcp")])
@staged
async def test_a_slow_handler_makes_no_channel_slow(stage: Stage, names: tuple[str, ...], caplog: pytest.LogCaptureFixture) -> None:
    channels = await stage.open(*names)
    slow(stage, 3.0)
    for _ in range(20):
        await route(channels)
        await route(channels, target=(ORCHESTRATOR, "publish"))
        await channels.request(ServiceOperation("c", ServiceType.DATABASE, "query", {}, new_id()), timeout=10)
    assert {name: one.max_latency_ms for name, one in channels.metrics().items()} == dict.fromkeys(names, 0)
    assert channels.metrics()["unix"].successes >= 20
    assert channels.health()["unix"].p95 <= 0.010
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    slow(stage, 0.0)
    assert await route(channels, priority="critical") == "unix"


@pytest.mark.parametrize("names", [("unix",), ("unix", "tcp")])
@staged
async def test_what_the_orchestrator_answers_itself_is_what_a_channel_costs(stage: Stage, names: tuple[str, ...]) -> None:
    channels = await stage.open(*names, alert_latency_ms=100.0)
    slow(stage, 0.25)
    await ask(channels)
    await route(channels, target=(ORCHESTRATOR, "subscribe"))
    assert channels.metrics()["unix"].p50_latency_ms == pytest.approx(250, rel=0.01) or names != ("unix",)
    assert max(one.max_latency_ms for one in channels.metrics().values()) == pytest.approx(250, rel=0.01)


@staged
async def test_a_channel_whose_latency_is_not_known_is_fast_enough(stage: Stage) -> None:
    channels = await stage.open("unix", "tcp")
    slow(stage, 3.0)
    for _ in range(3):
        assert await route(channels, type="real_time") == "unix"
