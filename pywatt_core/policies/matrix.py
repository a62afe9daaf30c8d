"""Which kind of channel suits which message (protocol 13.1). The Structs have the JSON shapes of the reference."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from msgspec import Meta, Struct, field

from ..protocol.durations import Duration
from .channels import ChannelType, TargetLocation

if TYPE_CHECKING:
    from .channels import ChannelPreferences
    from .health import Health

LARGE = 1024 * 1024
"""Bytes above which a message without metadata is taken for a file."""
SMALL = 100
"""Bytes below which it is taken for a word of control."""
SMALL_LOCAL = 1024
"""Bytes below which a message within the machine is small."""
LIGHTEST, HEAVIEST = 0.1, 2.0


class MessagePriority(enum.Enum):
    """How urgent a message is."""

    CRITICAL = "Critical"
    HIGH = "High"
    NORMAL = "Normal"
    LOW = "Low"
    BULK = "Bulk"


class MessageType(enum.Enum):
    """What a message is for."""

    CONTROL = "Control"
    DATA = "Data"
    FILE_TRANSFER = "FileTransfer"
    STREAM = "Stream"
    REAL_TIME = "RealTime"
    BATCH = "Batch"


_PRIORITIES = {one.name.lower(): one for one in MessagePriority}
_KINDS = {one.name.lower(): one for one in MessageType}


class Characteristics(NamedTuple):
    """What the choice of a channel depends on; `size` is in bytes, `timeout` in seconds."""

    target: str = ""
    size: int = 0
    priority: MessagePriority = MessagePriority.NORMAL
    type: MessageType = MessageType.DATA
    requires_ack: bool = False
    timeout: float | None = None
    retryable: bool = True


def characteristics(target: str, size: int, properties: Mapping[str, Any] | None = None) -> Characteristics:
    """Read off a message. `properties` are those of its metadata: ``priority``, ``type``, ``requires_ack``, ``timeout`` (in
    milliseconds), ``retryable``; what cannot be read counts as absent. Without metadata the size tells the type.
    """
    if properties is None:
        kind = MessageType.FILE_TRANSFER if size > LARGE else MessageType.CONTROL if size < SMALL else MessageType.DATA
        return Characteristics(target, size, type=kind)
    timeout = properties.get("timeout")
    return Characteristics(
        target,
        size,
        _PRIORITIES.get(_text(properties.get("priority")), MessagePriority.NORMAL),
        _KINDS.get(_text(properties.get("type")), MessageType.DATA),
        properties.get("requires_ack") is True,
        timeout / 1000 if isinstance(timeout, int) and not isinstance(timeout, bool) and timeout >= 0 else None,
        properties.get("retryable") is not False,
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


class Condition(Struct, frozen=True, omit_defaults=True, rename="pascal", forbid_unknown_fields=True):
    """What a channel, or the message, has to fulfil: exactly one of the members. ``{"MaxSize": 1024}`` in JSON."""

    max_size: Annotated[int, Meta(ge=0)] | None = None
    """Bytes at most."""
    max_latency: Duration | None = None
    """The channel's p95 at most."""
    min_health: float | None = None
    """The channel's availability at least, from 0 to 1."""
    min_throughput: Annotated[int, Meta(ge=0)] | None = None
    """Messages per second at least, over the last minute."""

    def __post_init__(self) -> None:
        if sum(value is not None for value in (self.max_size, self.max_latency, self.min_health, self.min_throughput)) != 1:
            raise ValueError("a condition is exactly one of MaxSize, MaxLatency, MinHealth, MinThroughput")

    def holds(self, size: int, health: Health | None, throughput: Callable[[], float], now: float) -> bool:
        """Whether a message of `size` bytes may take the channel; one that nothing is known of yet counts as fine."""
        if self.max_size is not None:
            return size <= self.max_size
        if health is None or not health.known:
            return True
        if self.max_latency is not None:
            return not health.samples or health.p95 <= self.max_latency.seconds
        if self.min_health is not None:
            return health.availability(now) >= self.min_health
        return throughput() >= (self.min_throughput or 0)


class ChannelPreference(Struct):
    """One entry of the matrix. `weight` is learned; it is told, but chooses nothing."""

    primary: ChannelType
    fallback: ChannelType | None = None
    conditions: list[Condition] = field(default_factory=list)
    weight: float = 1.0

    def learn(self, kind: ChannelType, by: float) -> bool:
        """Make the entry heavier or lighter where it mentions `kind`, and tell whether it does; the weight stays between 0.1 and 2."""
        if kind is not self.primary and kind is not self.fallback:
            return False
        self.weight = min(HEAVIEST, max(LIGHTEST, self.weight + by))
        return True


def _local(*conditions: Condition) -> ChannelPreference:
    return ChannelPreference(ChannelType.IPC, ChannelType.TCP, list(conditions))


class RoutingMatrix(Struct, kw_only=True):
    """An entry for each sort of message. The defaults are those of the reference."""

    local_small_messages: ChannelPreference = field(default_factory=lambda: _local(Condition(max_size=SMALL_LOCAL)))
    local_large_messages: ChannelPreference = field(default_factory=lambda: ChannelPreference(ChannelType.TCP, ChannelType.IPC))
    remote_messages: ChannelPreference = field(default_factory=lambda: ChannelPreference(ChannelType.TCP))
    urgent_messages: ChannelPreference = field(default_factory=lambda: _local(Condition(max_latency=Duration(0, 10_000_000))))
    bulk_transfer: ChannelPreference = field(default_factory=lambda: ChannelPreference(ChannelType.TCP))
    real_time: ChannelPreference = field(default_factory=lambda: _local(Condition(max_latency=Duration(0, 5_000_000))))
    file_transfer: ChannelPreference = field(default_factory=lambda: ChannelPreference(ChannelType.TCP))

    def entries(self) -> list[ChannelPreference]:
        """All of them."""
        return [getattr(self, name) for name in self.__struct_fields__]

    def select(self, message: Characteristics) -> str:
        """The name of the entry that a message falls under."""
        if message.priority is MessagePriority.CRITICAL:
            return "urgent_messages"
        if message.priority is MessagePriority.HIGH or message.type is MessageType.REAL_TIME:
            return "real_time"
        if message.priority is MessagePriority.BULK:
            return "bulk_transfer"
        if message.type is MessageType.FILE_TRANSFER:
            return "file_transfer"
        if TargetLocation.of(message.target) is TargetLocation.REMOTE:
            return "remote_messages"
        return "local_small_messages" if message.size < SMALL_LOCAL else "local_large_messages"

    @classmethod
    def preferring(cls, preferences: ChannelPreferences) -> RoutingMatrix:
        """The default matrix, turned round where the preferences want it: Unix sockets not preferred for what is local, TCP
        not preferred for what is remote.
        """
        matrix = cls()
        for entry in matrix.entries():
            ipc_first = entry.primary is ChannelType.IPC
            if ipc_first and not preferences.prefer_ipc_for_local:
                entry.primary, entry.fallback = ChannelType.TCP, ChannelType.IPC
            elif not ipc_first and not preferences.prefer_tcp_for_remote:
                entry.primary, entry.fallback = ChannelType.IPC, ChannelType.TCP
        return matrix
