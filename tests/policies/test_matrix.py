"""The routing matrix: its JSON, its conditions, and which entry a message falls under."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pywatt_core.policies.channels import ChannelPreferences, ChannelType
from pywatt_core.policies.health import Health
from pywatt_core.policies.matrix import (
    ChannelPreference,
    Characteristics,
    Condition,
    MessagePriority,
    MessageType,
    RoutingMatrix,
    characteristics,
)
from pywatt_core.protocol.durations import Duration

TCP, IPC = ChannelType.TCP, ChannelType.IPC

DEFAULT = (
    '{"local_small_messages":{"primary":"Ipc","fallback":"Tcp","conditions":[{"MaxSize":1024}],"weight":1.0},'
    '"local_large_messages":{"primary":"Tcp","fallback":"Ipc","conditions":[],"weight":1.0},'
    '"remote_messages":{"primary":"Tcp","fallback":null,"conditions":[],"weight":1.0},'
    '"urgent_messages":{"primary":"Ipc","fallback":"Tcp","conditions":[{"MaxLatency":{"secs":0,"nanos":10000000}}],"weight":1.0},'
    '"bulk_transfer":{"primary":"Tcp","fallback":null,"conditions":[],"weight":1.0},'
    '"real_time":{"primary":"Ipc","fallback":"Tcp","conditions":[{"MaxLatency":{"secs":0,"nanos":5000000}}],"weight":1.0},'
    '"file_transfer":{"primary":"Tcp","fallback":null,"conditions":[],"weight":1.0}}'
)


def test_the_default_matrix_is_that_of_the_reference() -> None:
    assert msgspec.json.encode(RoutingMatrix()).decode() == DEFAULT
    assert msgspec.json.decode(DEFAULT, type=RoutingMatrix) == RoutingMatrix()


def test_two_matrices_share_nothing() -> None:
    RoutingMatrix().real_time.weight = 2.0
    assert RoutingMatrix().real_time.weight == 1.0


@pytest.mark.parametrize("vector", ["channel_preference", "channel_preference_nofallback"])
def test_an_entry_reads_and_writes_what_the_reference_wrote(vector: str) -> None:
    from tools.environment import ROOT

    vectors = msgspec.json.decode((ROOT / "tests" / "data" / "vectors.json").read_bytes())
    text = next(one["json"] for one in vectors if one["name"] == vector)
    assert msgspec.json.encode(msgspec.json.decode(text, type=ChannelPreference)).decode() == text


@pytest.mark.parametrize("text", ["{}", '{"MaxSize":1,"MinHealth":0.5}', '{"MaxSize":-1}', '{"MaxWeight":1}', '"MaxSize"'])
def test_a_condition_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(text, type=Condition)


def slow() -> Health:
    """A channel whose p95 is 20 ms and whose availability is 0.8."""
    health = Health()
    health.succeeded(0, 0.020)
    health.failed(0)
    return health


@pytest.mark.parametrize(
    ("condition", "size", "health", "throughput", "holds"),
    [
        (Condition(max_size=1024), 1024, None, 0, True),
        (Condition(max_size=1024), 1025, None, 0, False),
        (Condition(max_latency=Duration(0, 20_000_000)), 0, slow(), 0, True),
        (Condition(max_latency=Duration(0, 19_000_000)), 0, slow(), 0, False),
        (Condition(min_health=0.8), 0, slow(), 0, True),
        (Condition(min_health=0.81), 0, slow(), 0, False),
        (Condition(min_throughput=10), 0, slow(), 10, True),
        (Condition(min_throughput=10), 0, slow(), 9, False),
        (Condition(max_latency=Duration(0)), 0, None, 0, True),
        (Condition(min_health=1), 0, Health(), 0, True),
        (Condition(min_throughput=10), 0, Health(), 0, True),
    ],
)
def test_when_a_condition_holds(condition: Condition, size: int, health: Health | None, throughput: float, holds: bool) -> None:
    assert condition.holds(size, health, lambda: throughput, now=1) is holds


@pytest.mark.parametrize(
    ("message", "entry"),
    [
        ({"priority": MessagePriority.CRITICAL, "type": MessageType.REAL_TIME}, "urgent_messages"),
        ({"priority": MessagePriority.HIGH}, "real_time"),
        ({"type": MessageType.REAL_TIME, "priority": MessagePriority.BULK}, "real_time"),
        ({"priority": MessagePriority.BULK, "type": MessageType.FILE_TRANSFER}, "bulk_transfer"),
        ({"type": MessageType.FILE_TRANSFER, "target": "10.0.0.1:1"}, "file_transfer"),
        ({"target": "10.0.0.1:1"}, "remote_messages"),
        ({"target": "users", "size": 1023}, "local_small_messages"),
        ({"target": "users", "size": 1024, "priority": MessagePriority.LOW}, "local_large_messages"),
    ],
)
def test_which_entry_a_message_falls_under(message: dict[str, Any], entry: str) -> None:
    assert RoutingMatrix().select(Characteristics(**message)) == entry


@pytest.mark.parametrize(
    ("size", "kind"),
    [(99, MessageType.CONTROL), (100, MessageType.DATA), (1048576, MessageType.DATA), (1048577, MessageType.FILE_TRANSFER)],
)
def test_without_metadata_the_size_tells_the_type(size: int, kind: MessageType) -> None:
    assert characteristics("users", size) == Characteristics("users", size, type=kind)


def test_metadata_tell_the_characteristics() -> None:
    properties = {"priority": "bulk", "type": "file_transfer", "requires_ack": True, "timeout": 1500, "retryable": False}
    assert characteristics("a", 5, properties) == Characteristics("a", 5, MessagePriority.BULK, MessageType.FILE_TRANSFER, True, 1.5, False)


@pytest.mark.parametrize("wrong", [None, 7, [], {}, "Urgent", True])
def test_metadata_that_cannot_be_read_count_as_absent(wrong: Any) -> None:
    properties = dict.fromkeys(("priority", "type"), wrong) | {"timeout": "5", "requires_ack": 1, "retryable": 0}
    assert characteristics("a", 5, properties) == Characteristics("a", 5)


@pytest.mark.parametrize(
    ("preference", "local", "remote"),
    [("default", (IPC, TCP), (TCP, None)), ("prefer_tcp", (TCP, IPC), (TCP, None)), ("prefer_ipc", (IPC, TCP), (IPC, TCP))],
)
def test_preferences_turn_the_matrix_round(preference: str, local: Any, remote: Any) -> None:
    matrix = RoutingMatrix.preferring(ChannelPreferences.preset(preference))
    assert (matrix.local_small_messages.primary, matrix.local_small_messages.fallback) == local
    assert (matrix.remote_messages.primary, matrix.remote_messages.fallback) == remote


def test_a_weight_is_learned_within_its_bounds_where_the_entry_mentions_the_channel() -> None:
    entry = ChannelPreference(IPC, TCP)
    for _ in range(30):
        entry.learn(TCP, 0.1)
    assert entry.weight == 2.0
    for _ in range(30):
        entry.learn(IPC, -0.2)
    assert entry.weight == 0.1
    entry.learn(ChannelType.STDIO, 0.1)
    assert entry.weight == 0.1
