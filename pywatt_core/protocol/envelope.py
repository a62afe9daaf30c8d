"""What all formats share: the envelope, which members hold values of any shape, and what such a value may not be."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, Generic, TypeAlias, TypeVar

import msgspec
from msgspec import Struct, field

from .lenient import Loose, Unreadable
from .messages import Announce, Init, Message, Metadata, ServiceOperation, ServiceOperationResult, ServiceRequest, ServiceType
from .values import with_article

T = TypeVar("T")
Read: TypeAlias = "Callable[[bytes], Message | Envelope[Any] | Loose]"
Write: TypeAlias = Callable[[Any], bytes]

LOOSE_MEMBERS: Final[dict[type[Message], tuple[str, ...]]] = {
    ServiceRequest: ("config",),
    ServiceOperation: ("params",),
    ServiceOperationResult: ("result", "params"),
    Init: ("pywatt",),
    Announce: ("pywatt",),
}
"""The messages that carry values of any shape, and in which members."""


class Envelope(Struct, Generic[T], frozen=True, kw_only=True, omit_defaults=True):
    """What channels wrap messages in (protocol 4.1)."""

    id: str | None = None
    content: T
    metadata: Metadata = field(default_factory=Metadata)


UNWRITABLE: Final = (TypeError, ValueError, OverflowError, RecursionError, NotImplementedError)
"""What encoders raise for messages that hold what cannot travel."""

UNREAD: Final = (msgspec.DecodeError, ValueError, TypeError, RecursionError, Unreadable)
"""What msgspec and our hooks raise for what they do not take; TypeError for a MessagePack key that cannot be one."""


def check_finite(name: str, value: Any) -> None:
    """Raise ValueError that names the member, where `is_finite` is False of it."""
    if not is_finite(msgspec.to_builtins(value, enc_hook=plain_value)):
        raise ValueError(f"NaN and infinity cannot be sent - at `$.{name}`")


def is_finite(value: Any) -> bool:
    """False where NaN or an infinity is somewhere within plain values."""
    pending = [value]
    while pending:
        value = pending.pop()
        if isinstance(value, float):
            if not math.isfinite(value):
                return False
        elif isinstance(value, dict):
            pending += value.values()
        elif isinstance(value, list | tuple):
            pending += value
    return True


def plain_value(value: Any) -> Any:
    """msgspec's hook for our own types, in every format; TypeError for others'."""
    if isinstance(value, bytes):
        return bytes(value)
    if isinstance(value, ServiceType):
        return value.wire
    raise TypeError(f"{with_article(type(value).__name__)} cannot be sent")
