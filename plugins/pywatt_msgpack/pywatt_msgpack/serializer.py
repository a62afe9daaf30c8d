"""Values to MessagePack and back."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import msgpack
import msgspec

from pywatt_core.errors import RemoteProtocolError
from pywatt_core.protocol.typed import from_plain, guarded_reader, plain
from pywatt_core.protocol.volume import TOO_MANY, too_many_in_msgpack

if TYPE_CHECKING:
    from .options import Options

T = TypeVar("T")

_TIMESTAMP = re.compile(rb"[\x04\x08\x0c\xd6\xd7]\xff").search
"""What every timestamp begins with, if more than that: the library makes objects of them whatever its hooks say."""


class MsgpackSerializer:
    """Dataclasses, msgspec Structs, TypedDicts, pydantic models and plain values. Byte strings, infinities and NaN come back.

    Read is one value of text-keyed maps, lists, text that is UTF-8, bytes and numbers. Refused are extension types, timestamps
    among them, other keys, whatever follows the value, what is longer than ``max_bytes``, and more than 500,000 values.
    """

    format = "msgpack"

    def __init__(self, options: Options) -> None:
        self._limit = options.max_bytes

    def encode(self, value: object) -> bytes:
        """Raises `TypeError` for a value that MessagePack cannot hold, and for one that would not be read again."""
        try:
            data: bytes = msgpack.packb(plain(value), use_bin_type=True)
        except (ValueError, OverflowError, RecursionError, NotImplementedError) as error:
            raise TypeError(f"MessagePack cannot hold this {type(value).__name__}: {error}") from error
        excess = self._excess(data)
        if excess:
            raise TypeError(f"MessagePack cannot hold this {type(value).__name__}: {excess}")
        return data

    def _excess(self, data: bytes) -> str:
        """What is too much about these bytes; empty where nothing is."""
        if len(data) > self._limit:
            return f"{len(data)} bytes of MessagePack are over the limit of {self._limit} (max_bytes)"
        return TOO_MANY if too_many_in_msgpack(data) else ""

    def decode(self, data: bytes, type: type[T]) -> T:
        """Raises `RemoteProtocolError` that names the field, whatever the bytes are."""
        plain_value = self.read(data)
        value: T = guarded_reader(lambda one: from_plain(one, type))(plain_value)
        return value

    def read(self, data: bytes) -> Any:
        """The plain value. Raises `RemoteProtocolError`."""
        excess = self._excess(data)
        if excess:
            raise RemoteProtocolError(excess)
        try:
            value = msgpack.unpackb(
                data,
                raw=False,
                use_list=True,
                strict_map_key=True,
                unicode_errors="strict",
                timestamp=0,
                ext_hook=_refuse_extension,
                object_pairs_hook=_map,
            )
        except _Refused as error:
            raise RemoteProtocolError(str(error)) from None
        except msgpack.ExtraData:
            raise RemoteProtocolError("something follows the MessagePack value") from None
        except msgpack.StackError:
            raise RemoteProtocolError("nested too deeply") from None
        except UnicodeDecodeError:
            raise RemoteProtocolError("text that is not UTF-8") from None
        except (ValueError, TypeError, RecursionError, MemoryError) as error:
            raise RemoteProtocolError(f"not MessagePack ({error or error.__class__.__name__})") from None
        if _TIMESTAMP(data) is not None:
            try:
                msgspec.to_builtins(value, builtin_types=(bytes,))
            except TypeError:
                raise RemoteProtocolError("the extension type -1 is not read") from None
        return value


class _Refused(Exception):
    """What the hooks refuse."""


def _refuse_extension(code: int, data: bytes) -> NoReturn:
    raise _Refused(f"the extension type {code} is not read")


def _map(pairs: list[tuple[Any, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Refused("a key is there twice")
    if not all(isinstance(key, str) for key in found):
        raise _Refused("a key that is no text")
    return found
