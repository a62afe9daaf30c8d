"""The figures of a channel, from given results and times."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pywatt_core.policies.channels import ChannelType
from pywatt_core.policies.health import Health
from pywatt_core.protocol.durations import Duration
from pywatt_core.telemetry.channel_metrics import (
    AlertLimits,
    Alerts,
    AlertSeverity,
    AlertType,
    ChannelMetrics,
    Comparison,
    PoolMetrics,
    SlaTargets,
    SystemTime,
    Traffic,
    compare,
    measured,
    sla_status,
)


def figures(health: Health | None = None, **changed: Any) -> ChannelMetrics:
    """The figures of a channel that is connected since the time 0; it is 100 now."""
    made = measured(
        ChannelType.TCP, health or Health(), Traffic(3, 4, 30, 40), (1.5, 2.5), now=100, wall=5.000000007, connected_since=0, queue_depth=2
    )
    return msgspec.structs.replace(made, **changed)


def test_the_json_has_the_fields_of_the_reference_in_its_order() -> None:
    text = msgspec.json.encode(figures()).decode()
    names = (
        "channel_type messages_sent messages_received bytes_sent bytes_received failures successes error_rate avg_latency_ms "
        "p50_latency_ms p95_latency_ms p99_latency_ms max_latency_ms throughput_mps "
        "bandwidth_bps uptime last_updated availability queue_depth pool_stats"
    )
    assert list(msgspec.json.decode(text)) == names.split()
    assert '"channel_type":"Tcp","messages_sent":3,"messages_received":4,"bytes_sent":30,"bytes_received":40,' in text
    assert '"uptime":{"secs":100,"nanos":0},"last_updated":{"secs_since_epoch":5,"nanos_since_epoch":7},' in text
    assert text.endswith('"availability":1.0,"queue_depth":2,"pool_stats":null}')
    assert msgspec.json.decode(text, type=ChannelMetrics) == figures()


def test_a_pool_has_the_fields_of_the_reference() -> None:
    pool = PoolMetrics(
        active_connections=1,
        idle_connections=2,
        max_pool_size=3,
        total_connections_created=4,
        total_connections_destroyed=5,
        avg_connection_lifetime=Duration(6, 7),
    )
    assert msgspec.json.encode(pool).decode() == (
        '{"active_connections":1,"idle_connections":2,"max_pool_size":3,"total_connections_created":4,"total_connections_destroyed":5,'
        '"avg_connection_lifetime":{"secs":6,"nanos":7}}'
    )


def test_a_moment_before_the_year_1970_is_one_too() -> None:
    assert SystemTime.of(-0.25) == SystemTime(-1, 750_000_000)


def test_percentiles_are_those_of_the_reference() -> None:
    health = Health()
    for milliseconds in range(1, 201):
        health.succeeded(99, milliseconds / 1000)
    found = figures(health)
    assert (found.p50_latency_ms, found.p95_latency_ms, found.p99_latency_ms) == pytest.approx((101, 191, 199))
    assert (found.max_latency_ms, found.avg_latency_ms) == pytest.approx((200, 100.5))


def test_latencies_of_long_ago_do_not_count_and_no_latency_is_none() -> None:
    health = Health()
    health.succeeded(0, 9.0)
    found = measured(ChannelType.IPC, health, Traffic(), (0, 0), now=301, wall=0, connected_since=None, queue_depth=0)
    assert (found.p50_latency_ms, found.max_latency_ms, found.successes) == (0, 0, 1)
    assert (found.availability, found.uptime) == (0, Duration(0))


def test_errors_are_counted_since_the_beginning_and_their_share_is_that_of_five_minutes() -> None:
    health = Health()
    health.succeeded(0)
    health.failed(1)

    def found(now: float) -> ChannelMetrics:
        return measured(ChannelType.TCP, health, Traffic(), (0, 0), now=now, wall=0, connected_since=0, queue_depth=0)

    assert (found(2).successes, found(2).failures) == (1, 1)
    assert found(2).error_rate == pytest.approx(1 / 2)
    health.succeeded(200)
    assert found(200).error_rate == pytest.approx(1 / 3)
    assert (found(400).error_rate, found(400).failures) == (0, 1)


def test_one_early_loss_is_told_once_however_little_is_sent() -> None:
    health, alerts, told = Health(), Alerts(), []
    health.failed(0)
    for now in range(10, 3600, 60):
        health.succeeded(now)
        one = measured(ChannelType.TCP, health, Traffic(), (0, 0), now=now, wall=0, connected_since=0, queue_depth=0)
        told += alerts.check("unix", one, now)
    assert [alert.type for alert in told] == [AlertType.HIGH_ERROR_RATE]


def test_a_channel_that_meets_all_four_targets_is_compliant() -> None:
    status = sla_status(figures(p95_latency_ms=50.0, throughput_mps=2000.0, error_rate=0.005))
    assert status.compliant
    assert msgspec.json.decode(msgspec.json.encode(status))["latency"] == {
        "current": 50.0,
        "target": 100.0,
        "compliant": True,
        "difference_percent": -50.0,
    }


@pytest.mark.parametrize(
    ("worse", "which"),
    [
        ({"availability": 0.998}, "availability"),
        ({"p95_latency_ms": 101.0}, "latency"),
        ({"throughput_mps": 999.0}, "throughput"),
        ({"error_rate": 0.011}, "error_rate"),
    ],
)
def test_one_missed_target_is_enough(worse: dict[str, float], which: str) -> None:
    status = sla_status(figures(None, **{"throughput_mps": 1000.0, **worse}))
    assert not status.compliant
    assert [name for name in ("availability", "latency", "throughput", "error_rate") if not getattr(status, name).compliant] == [which]


def test_a_target_of_nothing_has_no_percentage() -> None:
    assert sla_status(figures(), SlaTargets(throughput=0)).throughput.difference_percent == 0


def test_the_best_channel_by_each_figure() -> None:
    slow = figures(p95_latency_ms=9.0, max_latency_ms=9.0, throughput_mps=5.0)
    quick = figures(p95_latency_ms=1.0, max_latency_ms=2.0, error_rate=0.5, availability=0.0)
    unused = figures(throughput_mps=0.0, availability=0.0, error_rate=0.1)
    assert compare({"slow": slow, "quick": quick, "unused": unused}) == Comparison("quick", "slow", "slow", "slow")
    assert compare({}) == Comparison()


def test_alerts_tell_what_is_beyond_its_limit() -> None:
    found = Alerts().check("tcp", figures(p95_latency_ms=501.0, error_rate=0.06, queue_depth=1001), 0)
    assert [(one.type, one.severity, one.channel) for one in found] == [
        (AlertType.HIGH_LATENCY, AlertSeverity.WARNING, "tcp"),
        (AlertType.HIGH_ERROR_RATE, AlertSeverity.WARNING, "tcp"),
        (AlertType.QUEUE_BACKLOG, AlertSeverity.WARNING, "tcp"),
    ]
    assert [one.text for one in found] == [
        "answers take 501 ms (p95), more than 500 ms",
        "6.0% of the last five minutes' messages failed, more than 5.0%",
        "1001 requests wait, more than 1000",
    ]
    assert Alerts().check("tcp", figures(p95_latency_ms=500.0, error_rate=0.05, queue_depth=1000), 0) == []


def test_the_same_is_told_of_one_channel_once_in_five_minutes() -> None:
    alerts = Alerts()
    assert [one.severity for one in alerts.lost("tcp", 0)] == [AlertSeverity.CRITICAL]
    assert alerts.lost("tcp", 299) == []
    assert len(alerts.lost("unix", 299)) == 1
    assert len(alerts.lost("tcp", 300)) == 1
    assert len(Alerts(AlertLimits(pause=0)).check("tcp", figures(error_rate=1.0), 0)) == 1


def test_severities_have_an_order() -> None:
    assert AlertSeverity.INFO < AlertSeverity.WARNING < AlertSeverity.CRITICAL
