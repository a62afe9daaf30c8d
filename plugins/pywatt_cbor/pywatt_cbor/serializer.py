"""Values to CBOR and back."""

from __future__ import annotations

import re
from io import BytesIO
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import cbor2
import msgspec

from pywatt_core.errors import RemoteProtocolError
from pywatt_core.protocol.typed import from_plain, guarded_reader, plain
from pywatt_core.protocol.volume import TOO_MANY, too_many_in_cbor

if TYPE_CHECKING:
    from collections.abc import Callable

    from .options import Options

T = TypeVar("T")

_BIG_NUMBER = re.compile(rb"[\xc2\xc3][\x40-\x5b]").search
"""How the library writes a number that does not fit into 64 bits: as a tag, which we do not read. Bytes may look like that, text not."""

MAX_DEPTH = 127
"""Containers within containers, as in JSON."""

SELF_DESCRIBED = 55799
"""The one tag that is read: it says that what follows is CBOR."""

KNOWN_TAGS = (*range(6), 25, 28, 29, 30, *range(32, 38), 43000, 52, 54, 100, 256, 258, 260, 261, 1004, 43001)
"""The tags that the library would make objects of. All others reach its hook."""


class CborSerializer:
    """Dataclasses, msgspec Structs, TypedDicts, pydantic models and plain values. Byte strings, infinities and NaN come back.

    Read is one value of text-keyed maps, lists, text that is UTF-8, bytes and numbers of at most 64 bits. Refused are tags, with them
    shared references, regular expressions and numbers without bounds; undefined and simple values; keys that are no text or are there
    twice; nesting deeper than 127; whatever follows the value; what is longer than ``max_bytes``; and more than 500,000 values.
    """

    format = "cbor"

    def __init__(self, options: Options) -> None:
        self._limit = options.max_bytes

    def encode(self, value: object) -> bytes:
        """Raises `TypeError` for a value that CBOR cannot hold, and for one that would not be read again."""
        try:
            plain_value = plain(value)
            data: bytes = cbor2.dumps(plain_value, encoders={memoryview: _bytes_of})
            if (b"\xc2" in data or b"\xc3" in data) and _BIG_NUMBER(data) is not None:
                _check_numbers(plain_value)
        except (ValueError, OverflowError, RecursionError, NotImplementedError, cbor2.CBORError) as error:
            raise TypeError(f"CBOR cannot hold this {type(value).__name__}: {error}") from error
        excess = self._excess(data)
        if excess:
            raise TypeError(f"CBOR cannot hold this {type(value).__name__}: {excess}")
        return data

    def _excess(self, data: bytes) -> str:
        """What is too much about these bytes; empty where nothing is."""
        if len(data) > self._limit:
            return f"{len(data)} bytes of CBOR are over the limit of {self._limit} (max_bytes)"
        return TOO_MANY if too_many_in_cbor(data) else ""

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
        source = BytesIO(data)
        decoder = cbor2.CBORDecoder(
            source,
            tag_hook=_refuse_tag,
            semantic_decoders=_TAGS,
            max_depth=MAX_DEPTH,
            allow_duplicate_keys=False,
            strict_hashable_types=True,
        )
        try:
            value = decoder.decode()
            # The library has objects for undefined and for simple values, and takes bytes for keys; msgspec knows none of them.
            msgspec.to_builtins(value, builtin_types=(bytes,), str_keys=True)
        except cbor2.CBORError as error:
            reason = error.__cause__ if isinstance(error.__cause__, _Refused) else error
            raise RemoteProtocolError(f"not CBOR that is read here: {reason}") from None
        except TypeError:
            raise RemoteProtocolError("not CBOR that is read here: undefined, a simple value or a key that is no text") from None
        except (ValueError, OverflowError, RecursionError, MemoryError) as error:
            raise RemoteProtocolError(f"not CBOR that is read here ({type(error).__name__})") from None
        if source.tell() != len(data):
            raise RemoteProtocolError("something follows the CBOR value")
        return value


class _Refused(Exception):
    """What the hooks refuse."""


def _refuser(number: int) -> Callable[[Any, bool], NoReturn]:
    def refuse(value: Any, immutable: bool) -> NoReturn:
        raise _Refused(f"the tag {number} is not read")

    return refuse


def _as_it_is(value: Any, immutable: bool) -> Any:
    return value


def _refuse_tag(tag: cbor2.CBORTag, immutable: bool) -> NoReturn:
    raise _Refused(f"the tag {tag.tag} is not read")


_TAGS = {**{number: _refuser(number) for number in KNOWN_TAGS}, SELF_DESCRIBED: _as_it_is}


def _bytes_of(encoder: cbor2.CBOREncoder, value: Any) -> None:
    encoder.encode(bytes(value))


def _check_numbers(value: Any) -> None:
    """Raise ValueError where a number has more than 64 bits."""
    pending = [value]
    while pending:
        value = pending.pop()
        if isinstance(value, int):
            if not -(2**64) <= value < 2**64:
                raise ValueError("a whole number of more than 64 bits")
        elif isinstance(value, dict):
            pending += value.values()
        elif isinstance(value, list | tuple):
            pending += value
