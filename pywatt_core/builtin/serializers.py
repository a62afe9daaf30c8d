"""JSON for payloads and cache values."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ..interfaces import Context

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class JsonOptions:
    """JSON has no options."""


class JsonSerializer:
    """Dataclasses, msgspec Structs, TypedDicts, pydantic models and plain values, as UTF-8 JSON."""

    format = "json"

    def encode(self, value: object) -> bytes:
        """Raises `TypeError` for a value that JSON cannot hold, and for one that would not be read again."""
        import msgspec

        from ..protocol.typed import dumped_for_json
        from ..protocol.volume import TOO_MANY, too_many_in_json

        try:
            data = msgspec.json.encode(value, enc_hook=dumped_for_json)
        except (ValueError, OverflowError, RecursionError) as error:  # a lone surrogate, a circle
            raise TypeError(f"JSON cannot hold this {type(value).__name__}: {error}") from error
        if too_many_in_json(data):
            raise TypeError(f"JSON cannot hold this {type(value).__name__}: {TOO_MANY}")
        return data

    def decode(self, data: bytes, type: type[T]) -> T:
        """Raises `RemoteProtocolError` that names the field, whatever the bytes are."""
        from ..protocol.payloads import reader

        value: T = reader(type, "Json")(data)
        return value


@asynccontextmanager
async def open_json(options: JsonOptions, context: Context) -> AsyncIterator[JsonSerializer]:
    yield JsonSerializer()
