"""``[routing]``: what is refused, and what becomes of the rest."""

from __future__ import annotations

from typing import Any

import pytest

from pywatt_core.config.sections import check_section
from pywatt_core.policies.breaker import CircuitBreaker
from pywatt_core.policies.retry import Retry
from pywatt_core.services.routing_options import RoutingOptions
from pywatt_core.telemetry.channel_metrics import AlertLimits, SlaTargets


def test_the_defaults_are_those_of_the_policies() -> None:
    options = RoutingOptions()
    assert options.retry() == Retry()
    assert options.alert_limits() == AlertLimits()
    assert options.sla_targets() == SlaTargets()
    made, own = options.breaker(), CircuitBreaker()
    for name in ("failure_threshold", "success_threshold", "timeout", "window_size", "minimum_requests"):
        assert getattr(made, name) == getattr(own, name)
    router = options.router()
    assert (router.cache_ttl, router.max_cache_size, router.load_balancing, router.learning_rate) == (60, 1000, True, 0.1)


def test_every_option_arrives_where_it_belongs() -> None:
    options = RoutingOptions(preference="tcp_only", cache_ttl=1, cache_size=2, breaker_failures=3, retry_attempts=4, alert_queue=5)
    assert not options.router().preferences.use_ipc
    assert (options.router().cache_ttl, options.router().max_cache_size) == (1, 2)
    assert options.breaker().failure_threshold == 3
    assert options.retry().max_attempts == 4
    assert options.alert_limits().queue_depth == 5


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"preference": "udp"}, "prefer_tcp"),
        ({"breaker_failures": 0}, "from 1 upwards"),
        ({"retry_attempts": 0}, "from 1 upwards"),
        ({"cache_ttl": -1}, "from 0 upwards"),
        ({"alert_pause": float("inf")}, "from 0 upwards"),
        ({"breaker_timeout": 0.0}, "above 0"),
        ({"retry_delay": 31.0}, "at most retry_max_delay"),
        ({"retry_jitter": 2.0}, "below 2"),
        ({"prefrence": "tcp_only"}, "preference"),
    ],
)
def test_what_makes_no_sense_is_refused_at_its_place(table: dict[str, Any], words: str) -> None:
    options, problems = check_section(table, RoutingOptions, "routing")
    assert options is None
    assert [problem.path for problem in problems] == [f"routing.{next(iter(table))}"]
    assert words in f"{problems[0].message} {problems[0].remedy}"
