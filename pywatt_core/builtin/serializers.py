"""JSON for payloads and cache values."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import RemoteProtocolError

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
        """Raises `TypeError` for a value that JSON cannot hold."""
        import msgspec

        return msgspec.json.encode(value, enc_hook=_plain)

    def decode(self, data: bytes, type: type[T]) -> T:
        """Raises `RemoteProtocolError` that names the field, whatever the bytes are."""
        import msgspec

        try:
            return msgspec.json.decode(data, type=type, dec_hook=_build)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            raise RemoteProtocolError(f"not a valid {getattr(type, '__name__', type)}: {error or 'nested too deeply'}") from error


def _plain(value: object) -> Any:
    dump = getattr(value, "model_dump", None)
    if dump is None:
        raise TypeError(f"JSON cannot hold a {type(value).__name__}")
    return dump(mode="json")


def _build(kind: type[Any], value: object) -> Any:
    validate = getattr(kind, "model_validate", None)
    if validate is None:
        raise NotImplementedError(f"JSON cannot be read as a {kind.__name__}")
    try:
        return validate(value)
    except ValueError as error:  # pydantic's errors are ValueErrors, and quote what they refuse
        places = getattr(error, "errors", None)
        shown = "; ".join(f"{'.'.join(map(str, one['loc'])) or 'the value'}: {one['msg']}" for one in places()) if places else "refused"
        raise ValueError(shown) from None


@asynccontextmanager
async def open_json(options: JsonOptions, context: Context) -> AsyncIterator[JsonSerializer]:
    yield JsonSerializer()
