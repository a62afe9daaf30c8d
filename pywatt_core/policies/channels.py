"""What a channel is, what it can carry and which one is preferred (protocol 5.5). The Structs have the JSON shapes of the reference."""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping
from types import MappingProxyType

from msgspec import Struct

MIB = 1024 * 1024


class ChannelType(enum.Enum):
    """Kinds of ways; the reference knows the first two."""

    TCP = "Tcp"
    IPC = "Ipc"
    """A Unix socket."""
    STDIO = "Stdio"
    """Standard input and output: always there, and the last resort."""
    OTHER = "Other"
    """A plugin's own."""

    @classmethod
    def of(cls, name: str) -> ChannelType:
        """The kind of the channel that is called so."""
        return _TYPES.get(name, cls.OTHER)


_TYPES = MappingProxyType({"tcp": ChannelType.TCP, "unix": ChannelType.IPC, "stdio": ChannelType.STDIO})


class ChannelCapabilities(Struct, frozen=True, kw_only=True):
    """What may be sent over a channel; `max_message_size` is in bytes, None where there is no limit."""

    module_messaging: bool = True
    http_proxy: bool = True
    service_calls: bool = True
    file_transfer: bool = False
    streaming: bool = False
    batching: bool = False
    compression: bool = False
    max_message_size: int | None = None

    @classmethod
    def _all(cls, size: int) -> ChannelCapabilities:
        return cls(file_transfer=True, streaming=True, batching=True, compression=True, max_message_size=size)

    @classmethod
    def tcp_standard(cls) -> ChannelCapabilities:
        """Everything, in messages of 64 MiB at most."""
        return cls._all(64 * MIB)

    @classmethod
    def ipc_standard(cls) -> ChannelCapabilities:
        """Everything, in messages of 128 MiB at most."""
        return cls._all(128 * MIB)

    @classmethod
    def high_performance(cls) -> ChannelCapabilities:
        """Everything, in messages of 1 GiB at most."""
        return cls._all(1024 * MIB)


class ChannelPreferences(Struct, frozen=True, kw_only=True):
    """Which of TCP and Unix sockets may be used, and which one first."""

    use_tcp: bool = True
    use_ipc: bool = True
    prefer_ipc_for_local: bool = True
    prefer_tcp_for_remote: bool = True
    enable_fallback: bool = True
    """Whether another way is taken where the preferred one fails, standard input and output included."""

    @classmethod
    def preset(cls, name: str) -> ChannelPreferences:
        """``default``, ``tcp_only``, ``ipc_only``, ``prefer_ipc`` or ``prefer_tcp``. Raises `ValueError` that lists them."""
        try:
            return _PRESETS[name]
        except KeyError:
            raise ValueError(f"a preference is one of {', '.join(_PRESETS)}, not {name!r}") from None

    @classmethod
    def tcp_only(cls) -> ChannelPreferences:
        """TCP or nothing."""
        return cls(use_ipc=False, prefer_ipc_for_local=False, enable_fallback=False)

    @classmethod
    def ipc_only(cls) -> ChannelPreferences:
        """A Unix socket or nothing."""
        return cls(use_tcp=False, prefer_tcp_for_remote=False, enable_fallback=False)

    @classmethod
    def prefer_ipc(cls) -> ChannelPreferences:
        """A Unix socket first, for every target."""
        return cls(prefer_tcp_for_remote=False)

    @classmethod
    def prefer_tcp(cls) -> ChannelPreferences:
        """TCP first, for every target."""
        return cls(prefer_ipc_for_local=False)

    def allow(self, kind: ChannelType) -> bool:
        """Whether a channel of this kind may be used."""
        return (self.use_tcp or kind is not ChannelType.TCP) and (self.use_ipc or kind is not ChannelType.IPC)


_PRESETS: Mapping[str, ChannelPreferences] = MappingProxyType(
    {
        "default": ChannelPreferences(),
        "tcp_only": ChannelPreferences.tcp_only(),
        "ipc_only": ChannelPreferences.ipc_only(),
        "prefer_ipc": ChannelPreferences.prefer_ipc(),
        "prefer_tcp": ChannelPreferences.prefer_tcp(),
    }
)


class TargetLocation(enum.Enum):
    """Where a target is, as far as its name tells."""

    LOCAL = "Local"
    REMOTE = "Remote"
    UNKNOWN = "Unknown"

    @classmethod
    def of(cls, target: str) -> TargetLocation:
        """Local: the name of a module, ``localhost…``, ``127.0.0.1…``, ``unix://…``. Remote: whatever else has a colon."""
        return cls.LOCAL if ":" not in target or target.startswith(("127.0.0.1", "localhost", "unix://")) else cls.REMOTE


def recommend(target: str, present: Collection[ChannelType], preferences: ChannelPreferences) -> ChannelType | None:
    """The kind of channel for `target` among those `present`, by the simple rule of the reference; None where none may be used.

    Where neither preference applies: TCP before Unix sockets, standard input and output last.
    """
    allowed = [kind for kind in ChannelType if kind in present and preferences.allow(kind)]
    local = TargetLocation.of(target) is TargetLocation.LOCAL
    if local and preferences.prefer_ipc_for_local:
        first, second = ChannelType.IPC, ChannelType.TCP
    elif not local and preferences.prefer_tcp_for_remote:
        first, second = ChannelType.TCP, ChannelType.IPC
    else:
        return _first_of(allowed)
    if first in allowed:
        return first
    if not preferences.enable_fallback:
        return None
    return second if second in allowed else _first_of(allowed)


def _first_of(allowed: list[ChannelType]) -> ChannelType | None:
    by_rank = [ChannelType.TCP, ChannelType.IPC, ChannelType.OTHER, ChannelType.STDIO]
    return min(allowed, key=by_rank.index, default=None)
