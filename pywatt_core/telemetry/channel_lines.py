"""The ways to the orchestrator on a module's page of metrics. Nothing is counted for it: figures are taken when the page is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Protocol
from weakref import WeakSet

from ..policies.breaker import BreakerState
from .series import escape_label, metrics, number

if TYPE_CHECKING:
    from ..policies.breaker import CircuitBreaker
    from .channel_metrics import ChannelMetrics


class Measurable(Protocol):
    """What `expose` takes: the ways of one module."""

    def figures(self) -> Mapping[str, ChannelMetrics]: ...
    def breakers(self) -> Mapping[str, CircuitBreaker]: ...


Take = Callable[["ChannelMetrics", "CircuitBreaker"], float]

FAMILIES: tuple[tuple[str, str, str, Take], ...] = (
    ("connected", "gauge", "1 while the channel is connected.", lambda one, _: one.availability),
    ("messages_sent_total", "counter", "Messages sent.", lambda one, _: one.messages_sent),
    ("messages_received_total", "counter", "Messages received.", lambda one, _: one.messages_received),
    ("bytes_sent_total", "counter", "Bytes sent.", lambda one, _: one.bytes_sent),
    ("bytes_received_total", "counter", "Bytes received.", lambda one, _: one.bytes_received),
    ("successes_total", "counter", "Calls that went well.", lambda one, _: one.successes),
    ("failures_total", "counter", "Calls that failed by the channel's fault, and lost connections.", lambda one, _: one.failures),
    ("waiting", "gauge", "Requests under way.", lambda one, _: one.queue_depth),
    ("breaker_open", "gauge", "1 while the channel is left alone because it kept failing.", lambda _, breaker: _is_open(breaker)),
    ("breaker_opened_total", "counter", "How often it began to be left alone.", lambda _, breaker: breaker.opened),
)

QUANTILES: tuple[tuple[str, Callable[[ChannelMetrics], float]], ...] = (
    ("0.5", lambda one: one.p50_latency_ms),
    ("0.95", lambda one: one.p95_latency_ms),
    ("0.99", lambda one: one.p99_latency_ms),
)

_exposed: WeakSet[Measurable] = WeakSet()


def expose(channels: Measurable) -> None:
    """Show these on the page of metrics as long as they exist; doing it twice is doing it once."""
    metrics.collector(_lines)
    _exposed.add(channels)


def _is_open(breaker: CircuitBreaker) -> float:
    return float(breaker.state is BreakerState.OPEN)


def _lines() -> Iterable[str]:
    found: dict[str, tuple[ChannelMetrics, CircuitBreaker]] = {}
    for channels in list(_exposed):
        breakers = channels.breakers()
        for name, one in channels.figures().items():
            if name in breakers:
                found.setdefault(name, (one, breakers[name]))
    if found:
        yield from channel_lines(found)


def channel_lines(found: Mapping[str, tuple[ChannelMetrics, CircuitBreaker]]) -> Iterable[str]:
    """The lines for some channels, family by family."""
    label = {name: f'channel="{escape_label(name)}"' for name in found}
    for family, kind, help, take in FAMILIES:
        yield f"# HELP pywatt_channel_{family} {help}"
        yield f"# TYPE pywatt_channel_{family} {kind}"
        for name, (one, breaker) in found.items():
            yield f"pywatt_channel_{family}{{{label[name]}}} {number(take(one, breaker))}"
    yield "# HELP pywatt_channel_latency_seconds What answers of the last five minutes took."
    yield "# TYPE pywatt_channel_latency_seconds gauge"
    for name, (one, _) in found.items():
        for quantile, figure in QUANTILES:
            yield f'pywatt_channel_latency_seconds{{{label[name]},quantile="{quantile}"}} {number(figure(one) / 1000)}'
