"""Channels on the page of metrics."""

from __future__ import annotations

import gc
import time

import pytest

from pywatt_core.interfaces import ChannelState
from pywatt_core.protocol.messages import GetSecret, Message, Metadata
from pywatt_core.services.channels import Channels
from pywatt_core.telemetry import metrics
from pywatt_core.telemetry.channel_lines import expose


class Way:
    """A channel that answers at once; what it counts is given."""

    name = "unix"
    state = ChannelState.CONNECTED
    traffic = (7, 8, 70, 80)

    def post(self, message: Message, *, metadata: Metadata | None = None) -> None:
        raise AssertionError("nothing posts here")

    async def send(self, message: Message, *, metadata: Metadata | None = None) -> None:
        """Nothing happens."""

    async def request(self, message: Message, *, timeout: float, metadata: Metadata | None = None) -> Message:
        return message

    async def close(self) -> None:
        """Nothing happens."""


async def test_the_page_tells_the_figures_of_each_channel_as_long_as_it_exists() -> None:
    channels = Channels(clock=time.monotonic)
    channels.add(Way())
    expose(channels)
    expose(channels)
    await channels.request(GetSecret("A"), timeout=1)
    lines = metrics.render(process=False).splitlines()
    for line in (
        "# TYPE pywatt_channel_messages_sent_total counter",
        'pywatt_channel_messages_sent_total{channel="unix"} 7',
        'pywatt_channel_messages_received_total{channel="unix"} 8',
        'pywatt_channel_bytes_sent_total{channel="unix"} 70',
        'pywatt_channel_bytes_received_total{channel="unix"} 80',
        'pywatt_channel_successes_total{channel="unix"} 1',
        'pywatt_channel_failures_total{channel="unix"} 0',
        'pywatt_channel_connected{channel="unix"} 1',
        'pywatt_channel_waiting{channel="unix"} 0',
        'pywatt_channel_breaker_open{channel="unix"} 0',
    ):
        assert lines.count(line) == 1, line
    (latency,) = [line for line in lines if line.startswith('pywatt_channel_latency_seconds{channel="unix",quantile="0.95"}')]
    assert float(latency.rpartition(" ")[2]) < 1
    del channels
    gc.collect()
    assert "pywatt_channel" not in metrics.render(process=False)


@pytest.mark.parametrize("attempts", [1, 100])
def test_a_page_without_channels_says_nothing_of_them(attempts: int) -> None:
    for _ in range(attempts):
        expose(Channels())
    gc.collect()
    assert "pywatt_channel" not in metrics.render(process=False)
