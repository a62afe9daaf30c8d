"""Formats that a plugin reads and writes for the wire: pure functions, installed by name when a process starts.

JSON, bincode and MessagePack are this room's own. A codec of `CODECS` is used only between PyWatt peers that both offered it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Final, NamedTuple

from ..errors import LocalProtocolError


class Codec(NamedTuple):
    """Plain values to bytes and back: None, bool, int, float, str, bytes, lists and maps with text for keys.

    `encode` raises TypeError or ValueError for what it cannot hold. `decode` raises `RemoteProtocolError` and nothing else, whatever
    the bytes are, and bounds depth and memory by itself.
    """

    name: str
    """The name offered to peers: ``"cbor"``."""
    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]


CODECS: Final[dict[str, Codec]] = {}
"""The codecs of this process, by name. Empty unless a plugin's serializer was configured."""

CODES: Final[dict[str, int]] = {"json": 1, "msgpack": 4, "cbor": 5}
"""Frame format codes (protocol 4.3; 4 and 5 are PyWatt's own), by the names that peers offer each other."""

_preferred: list[str] = []


def install(codec: Codec, *, preferred: bool = False) -> Callable[[], None]:
    """Make `codec` known to this process; return the function that takes it back. One of the same name is replaced.

    A `preferred` one is spoken rather than MessagePack. Raises ValueError for a name that has no place on the wire.
    """
    if codec.name not in CODES or codec.name in ("json", "msgpack"):
        raise ValueError(f"no frame format is called {codec.name!r}; a plugin can bring cbor")
    CODECS[codec.name] = codec
    if preferred:
        _preferred[:] = [codec.name]

    def remove() -> None:
        if CODECS.get(codec.name) is codec:
            del CODECS[codec.name]
            _preferred.clear()

    return remove


def agreed(offered: Collection[str]) -> str:
    """What to send to a peer that said it reads `offered`: the preferred format, MessagePack, another that is here, or ``"json"``."""
    return next((name for name in (*_preferred, "msgpack", *CODECS) if name in offered), "json")


def offered_formats() -> tuple[str, ...]:
    """What this process offers to PyWatt peers in the member ``formats`` of `Extension`: msgpack, and the installed codecs."""
    return ("msgpack", *CODECS)


def codec_of(name: str) -> Codec:
    """The codec of this name. Raises `LocalProtocolError` where it is not installed; the text says how it would be."""
    codec = CODECS.get(name)
    if codec is None:
        raise LocalProtocolError(
            f'the format {name!r} is not there: install pywatt-{name} and add [serializers.{name}] use = "{name}" to the configuration'
        )
    return codec
