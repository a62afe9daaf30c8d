"""The text of a token, read strictly: three parts in canonical base64url, JSON objects that say everything once.

Nothing here knows keys or time. What is wrong is a `ValueError` whose text holds nothing of the token.
"""

from __future__ import annotations

import binascii
import json
import math
from typing import Any, Final, NamedTuple, NoReturn

import msgspec

DEEPEST: Final = 32
"""Levels of objects and lists in a header or in claims."""

LONGEST_NAME: Final = 256
"""Characters of a key's name (``kid``) and of ``typ``."""

_STANDARD = bytes.maketrans(b"-_+/=", b"+/!!!")
"""From the alphabet of URLs to that of `binascii`; what only the latter has becomes what neither has."""
_PADDING: Final = (b"", None, b"==", b"=")
_LAST: Final = (b"", b"", b"AQgw", b"AEIMQUYcgkosw048")
"""The last characters that leave no bit unused, by how many characters there are beyond full groups of four."""

_decode = msgspec.json.Decoder().decode


class Header(NamedTuple):
    """What a token says about itself before anybody knows whether it may be believed."""

    algorithm: str
    """As in `options.ALGORITHMS`, ``EdDSA`` under its newer name."""
    kid: str | None
    type: str
    """``typ`` in lower case, without ``application/``; ``jwt`` where there is none."""


def unbase64(part: bytes) -> bytes:
    """The bytes behind base64url without padding. Each sequence of bytes has exactly one text: every other is refused."""
    beyond = len(part) % 4
    padding = _PADDING[beyond]
    if padding is None or (beyond and part[-1] not in _LAST[beyond]):
        raise ValueError("a part of the token is not base64url")
    try:
        return binascii.a2b_base64(part.translate(_STANDARD) + padding, strict_mode=True)
    except binascii.Error:
        raise ValueError("a part of the token is not base64url") from None


def json_object(data: bytes) -> dict[str, Any]:
    """A JSON object (RFC 8259) that says each member once and is not nested too deeply."""
    try:
        text = data.decode()
        found = _decode(text)
    except (ValueError, RecursionError):  # UnicodeDecodeError and msgspec's errors are ValueErrors
        raise ValueError("a part of the token is not JSON") from None
    if found.__class__ is not dict:
        raise ValueError("a part of the token is not a JSON object")
    if not _says_everything_once(text, found):
        check_members(text)
    if text.count("[") + text.count("{") > DEEPEST and _depth(found) > DEEPEST:
        raise ValueError(f"a part of the token is nested more than {DEEPEST} levels deep")
    return found


def _says_everything_once(text: str, found: dict[str, Any]) -> bool:
    """True where that is certain at a glance: as many colons as there are members, beside those inside texts.

    A member that is said twice brings a colon more than what was read accounts for. With an escape in the text, or with objects inside
    the object, nothing is certain: `check_members` looks closely.
    """
    if "\\" in text:
        return False
    colons = text.count(":") - len(found)
    for name, value in found.items():
        if ":" in name:
            colons -= name.count(":")
        kind = value.__class__
        if kind is str:
            colons -= value.count(":")
        elif kind is list:
            for one in value:
                if one.__class__ is str:
                    colons -= one.count(":")
    return not colons


def check_members(text: str) -> None:
    """Raises `ValueError` where an object in JSON text says a member twice."""
    try:
        json.loads(text, object_pairs_hook=_once, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("an object says a member twice")
    return members


def _refuse(name: str) -> NoReturn:
    raise ValueError("there is a number that JSON does not have")


def _depth(value: Any) -> int:
    """Levels of objects and lists, counted without recursion."""
    deepest, level = 0, [value]
    while level:
        level = [inner for one in level if isinstance(one, dict | list) for inner in (one.values() if isinstance(one, dict) else one)]
        deepest += 1
        if deepest > DEEPEST + 1:
            break
    return deepest - 1


def header_of(part: bytes) -> Header:
    """The header of a signed token, from its base64url text. Members that only say where a key could be found are passed over."""
    said = json_object(unbase64(part))
    algorithm = said.get("alg")
    if not isinstance(algorithm, str):
        raise ValueError("the header names no algorithm")
    for name in ("crit", "b64", "zip", "enc"):
        if name in said:
            raise ValueError(f"the header has {name}, which is not supported")
    kid, kind = said.get("kid"), said.get("typ", "JWT")
    if not (kid is None or (isinstance(kid, str) and len(kid) <= LONGEST_NAME)):
        raise ValueError("the header's kid is not a text of bounded length")
    if not (isinstance(kind, str) and len(kind) <= LONGEST_NAME):
        raise ValueError("the header's typ is not a text of bounded length")
    return Header(canonical(algorithm), kid, kind.lower().removeprefix("application/"))


def canonical(algorithm: str) -> str:
    """``Ed25519`` for ``EdDSA``, the name that RFC 9864 replaces; every other name as it is."""
    return "Ed25519" if algorithm == "EdDSA" else algorithm


def is_time(value: object) -> bool:
    """Whether a value is a NumericDate: a finite number that is no truth value."""
    return value.__class__ is int or (value.__class__ is float and math.isfinite(value))
