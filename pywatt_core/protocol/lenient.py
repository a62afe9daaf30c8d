"""The second attempt at what the fast decoder refused: every tolerated spelling brought into the one that is sent.

Sources of the spellings: an earlier Python port (protocol 18, table P), the reference's envelopes and stdout wrapper
(4.2, 6.2), its reading of enums (introduction), and the tolerance promised in 2.2 and 3.4 to 3.7. Nothing here runs for a
message in the regular form.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import accumulate, islice
from typing import Any, Final

import msgspec

from ..errors import RemoteProtocolError
from .messages import MESSAGES, Message, Role
from .values import Metadata, ServiceType

MAX_DEPTH: Final = 127
"""Containers within containers, the outermost included; what the reference reads (protocol, introduction)."""


class Unreadable(RemoteProtocolError):
    """A payload that is no message. The text names the field and never contains a value.

    `kind`: ``"text"`` no JSON object of any known shape, ``"encoding"`` not even UTF-8 or a format nobody reads, ``"unknown"`` an `op`
    that the sender does not have, ``"invalid"`` a known `op` with wrong members. `op` is empty where unknown; `members` are
    those of the message as found, for the search of a correlation key.
    """

    def __init__(self, text: str, *, kind: str = "invalid", op: str = "", members: dict[str, Any] | None = None) -> None:
        super().__init__(text)
        self.kind = kind
        self.op = op
        self.members = members or {}


class Loose:
    """A message found inside an envelope or wrapper, or in an odd spelling; `metadata` and `id` where the envelope had them."""

    __slots__ = ("content", "id", "metadata")

    def __init__(self, content: Message, metadata: Metadata | None = None, id: str | None = None) -> None:
        self.content = content
        self.metadata = metadata
        self.id = id


# ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def read_value(kind: type, value: Any) -> Any:
    """msgspec's hook for our own types. Raises ValueError, which msgspec completes with the path of the field."""
    if kind is ServiceType:
        return ServiceType.parse(value)
    raise TypeError(f"no way to read {kind.__name__}")


def read_object(value: object, sender: Role) -> Message | Loose:
    """The message that `value`, decoded but untyped, stands for. Raises `Unreadable`."""
    if not isinstance(value, dict):
        raise Unreadable(f"Expected a JSON object, got {_kind_of(value)}", kind="text")
    if "op" in value:
        return _read_tagged(value, sender, "$")
    content = value.get("content")
    if isinstance(content, dict):
        return _read_enveloped(value, content, sender)
    if sender is Role.MODULE and "listen" in value and "endpoints" in value:
        return _read_tagged({**value, "op": "announce"}, sender, "$")
    raise Unreadable("Object missing required field `op`", kind="text")


def _read_enveloped(value: dict[str, Any], content: dict[str, Any], sender: Role) -> Loose:
    if "op" in content:
        message = _read_tagged(content, sender, "$.content")
    elif sender is Role.MODULE and "request_id" in content and "status_code" in content:
        message = _read_tagged({**content, "op": "http_response"}, sender, "$.content")
    else:
        raise Unreadable("Object missing required field `op` - at `$.content`", kind="text")
    metadata = value.get("metadata")
    try:
        known = Metadata() if metadata is None else msgspec.convert(metadata, Metadata)
    except msgspec.ValidationError as error:
        raise Unreadable(safe_text(error, "$.metadata"), op=message.op, members=content) from None
    found = value.get("id")
    return Loose(message, known, found if isinstance(found, str) else None)


def _read_tagged(value: dict[str, Any], sender: Role, path: str) -> Message:
    op = value["op"]
    if not isinstance(op, str):
        raise Unreadable(f"Expected `str`, got {_kind_of(op)} - at `{path}.op`")
    kind = MESSAGES[sender].get(op)
    if kind is None:
        raise Unreadable(f"no message that the {sender.value} may send has this `op` - at `{path}.op`", kind="unknown")
    nested = value.get(op)
    if isinstance(nested, dict):  # {"op": "get_secret", "get_secret": {"name": …}, "announce": null, …}
        value, path = {**nested, "op": op}, f"{path}.{op}"
    mend = MENDERS.get(op)
    try:
        mended = value if mend is None else mend(dict(value))
        return msgspec.convert(mended, kind, dec_hook=read_value)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:  # ValidationError is a ValueError
        raise Unreadable(safe_text(error, path), op=op, members=value) from None


_SHOWN_VALUE = re.compile(r"^(Invalid(?: enum)? value) .*?(?= - at `|$)", re.DOTALL)


def safe_text(error: BaseException, path: str = "$") -> str:
    """What msgspec says, without the value that it shows in two cases, and with `path` for its ``$``."""
    if isinstance(error, RecursionError):
        return f"nested deeper than {MAX_DEPTH} containers"
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8"
    if not isinstance(error, ValueError):
        return f"not readable ({type(error).__name__})"
    text = _SHOWN_VALUE.sub(r"\1", str(error))
    if " - at `$" in text:
        return text if path == "$" else text.replace(" - at `$", f" - at `{path}", 1)
    return f"{text} - at `{path}`" if isinstance(error, msgspec.ValidationError) else text


def _kind_of(value: object) -> str:
    for kind, name in (
        (bool, "bool"),
        (type(None), "null"),
        (str, "str"),
        (dict, "object"),
        (list, "array"),
        (int, "int"),
        (float, "float"),
    ):
        if isinstance(value, kind):
            return f"`{name}`"
    return f"`{type(value).__name__}`"


# ── spellings, by `op` ──────────────────────────────────────────────────────────────────────────────────────────────


def _plain_listen(value: dict[str, Any]) -> dict[str, Any]:
    """``{"Unix": path}`` and ``{"Tcp": "ip:port"}`` become the string within."""
    listen = value.get("listen")
    if isinstance(listen, dict) and len(listen) == 1:
        ((name, inner),) = listen.items()
        if name in ("Unix", "Tcp") and isinstance(inner, str):
            value["listen"] = inner
    return value


def _content_identifies(value: dict[str, Any]) -> dict[str, Any]:
    """``{"op": "identify", "content": id}`` is read like the member ``module_id``."""
    if isinstance(value.get("content"), str):
        value.setdefault("module_id", value["content"])
    return value


def _no_port_is_zero(value: dict[str, Any]) -> dict[str, Any]:
    """A refusal needs no port."""
    if value.get("success") is False and value.get("port") is None:
        value["port"] = 0
    return value


def _provider_metadata(value: dict[str, Any]) -> dict[str, Any]:
    """A provider's ``metadata: null`` is an empty map, missing ``providers`` an empty list."""
    if value.get("providers") is None:
        value["providers"] = []
    elif isinstance(value["providers"], list):
        value["providers"] = [
            {**one, "metadata": {}} if isinstance(one, dict) and one.get("metadata") is None else one for one in value["providers"]
        ]
    return value


def _format_name(value: dict[str, Any]) -> dict[str, Any]:
    """``{"Json": null}`` is the enum value ``"Json"``."""
    payload = value.get("payload")
    if isinstance(payload, dict):
        value["payload"] = {**payload, "format": unit_name(payload["format"])} if "format" in payload else payload
    return value


def unit_name(value: Any) -> Any:
    """The name within ``{"Name": null}``, as which a unit enum value may be written; anything else unchanged."""
    if isinstance(value, dict) and len(value) == 1:
        ((name, inner),) = value.items()
        return name if inner is None else value
    return value


MENDERS: Final[dict[str, Callable[[dict[str, Any]], dict[str, Any]]]] = {
    "announce": _plain_listen,
    "identify": _content_identifies,
    "port_response": _no_port_is_zero,
    "discover_service_providers_response": _provider_metadata,
    "route_to_module": _format_name,
    "routed_module_message": _format_name,
    "routed_module_response": _format_name,
}


# ── depth ───────────────────────────────────────────────────────────────────────────────────────────────────────────

_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)  # the last one may be unfinished: no second try from within it
_NOT_BRACKETS = bytes(code for code in range(256) if code not in b"[]{}")
_STEPS = {code: 1 if code in b"[{" else -1 for code in b"[]{}"}


def too_deep(text: bytes) -> bool:
    """Whether JSON nests deeper than `MAX_DEPTH`. Linear, and quick about what nests no deeper than usual."""
    brackets = text.translate(None, _NOT_BRACKETS)
    for _ in range(MAX_DEPTH // 2):  # each round takes away one or two levels, if no string contains brackets
        if not brackets:
            return False
        fewer = brackets.replace(b"[]", b"").replace(b"{}", b"")
        if len(fewer) > len(brackets) * 15 // 16:
            break
        brackets = fewer
    steps = map(_STEPS.__getitem__, _STRING.sub(b"", text).translate(None, _NOT_BRACKETS))
    return any(depth > MAX_DEPTH for depth in _peaks(accumulate(steps)))


def _peaks(depths: Iterator[int]) -> Iterator[int]:
    """The greatest of each thousand, so that a bomb is refused at its beginning."""
    while chunk := list(islice(depths, 1000)):
        yield max(chunk)
