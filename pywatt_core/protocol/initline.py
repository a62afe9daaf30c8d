"""The first line that a module reads, checked more strictly than any other and then read tolerantly (protocol 2.1, 2.2).

Strict in JSON, because a mistake here is a mistake for life: no repeated known key, no NaN, no lone surrogate, no nesting
beyond the limit. Tolerant in spelling: what an earlier Python port's orchestrator sends is accepted.
"""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

import msgspec

from ..errors import LocalProtocolError
from .framing import INIT_LIMIT
from .lenient import Unreadable, _plain_listen, read_value, safe_text, too_deep, unit_name
from .messages import Init, Message, TcpAddress, TcpChannel, UnixAddress, listen_address
from .values import socket_address

_KNOWN = frozenset(Init.__struct_fields__) | {"op"}
_LEVELS = {"none": "None", "token": "Token", "mtls": "Mtls"}


def decode_init(line: bytes) -> Init:
    """The init message of the first line, without its newline. Raises `Unreadable`, which names the field, never a value."""
    try:
        text = line.decode()
    except UnicodeDecodeError:
        raise Unreadable("the init line is not UTF-8", kind="encoding") from None
    if line.count(b"[") + line.count(b"{") > 127 and too_deep(line):
        raise Unreadable("the init line is nested deeper than 127 containers")
    try:
        value = json.loads(text, object_pairs_hook=_pairs, parse_constant=_no_constant, parse_float=_float)
        text.encode()
        json.dumps(value, ensure_ascii=False).encode()
    except Unreadable:
        raise
    except UnicodeEncodeError:
        raise Unreadable("the init line holds a lone surrogate") from None
    except json.JSONDecodeError as error:
        raise Unreadable(f"the init line is no JSON: {error.msg} (column {error.colno})", kind="text") from None
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"the init line is no JSON that can be read ({type(error).__name__})") from None
    return _convert(_unwrap(value))


class _Pairs(dict[str, Any]):
    """A JSON object that remembers which keys were written twice."""

    repeated: frozenset[str] = frozenset()


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = _Pairs(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        found.repeated = frozenset(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
    return found


def _no_constant(name: str) -> NoReturn:
    raise Unreadable(f"the init line is no JSON: {name} is not a number")


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise Unreadable("the init line holds a number out of range")
    return number


def _unwrap(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Unreadable("the init line: Expected a JSON object", kind="text")
    _refuse_repeated(value, "$")
    if value.get("op", "init") != "init":
        raise Unreadable("the init line: Expected no `op`, or `init` - at `$.op`", kind="unknown")
    for name in ("init", "content"):  # nested by an earlier Python port, or enveloped
        inner = value.get(name)
        if isinstance(inner, dict) and "module_id" not in value:
            return _unwrap(inner)
    return value


def _refuse_repeated(value: dict[str, Any], path: str, known: frozenset[str] = _KNOWN) -> None:
    for key in getattr(value, "repeated", ()):
        if key in known:
            raise Unreadable(f"the init line: repeated field `{key}` - at `{path}`")


def _convert(found: dict[str, Any]) -> Init:
    value = _plain_listen({**found, "op": "init"})
    if value.get("env") is None:
        value["env"] = {}
    if isinstance(value.get("tcp_channel"), dict):
        value["tcp_channel"] = _tcp_channel(value["tcp_channel"])
    if isinstance(value.get("ipc_channel"), dict):
        _refuse_repeated(value["ipc_channel"], "$.ipc_channel", frozenset({"socket_path", "required"}))
    level = unit_name(value.get("security_level"))
    value["security_level"] = _LEVELS.get(level.lower(), level) if isinstance(level, str) else "None" if level is None else level
    for name, kind in (("log_level", str), ("debug_mode", bool)):  # the reference takes any type here, and ignores it
        if not isinstance(value.get(name), kind):
            value.pop(name, None)
    try:
        init = msgspec.convert(value, Init, dec_hook=read_value)
    except (ValueError, TypeError, RecursionError) as error:
        raise Unreadable(f"the init line: {safe_text(error)}", op="init") from None
    if not init.module_id:
        raise Unreadable("the init line: Expected a module id that is not empty - at `$.module_id`", op="init")
    return msgspec.structs.replace(init, listen=str(_listen(init.listen)))


def check_init(init: Init, line: bytes) -> None:
    """Refuse to send what the reference would refuse to read. Raises `LocalProtocolError`, which names the field.

    `line` is what `init` was written as.
    """
    if len(line) > INIT_LIMIT:
        raise LocalProtocolError(f"the init line of {len(line)} bytes is over the limit of {INIT_LIMIT}")
    check_types(init)
    try:
        decode_init(line)
    except Unreadable as error:
        raise LocalProtocolError(f"'init' may not be sent: {error}") from None
    if init.tcp_channel is not None and socket_address(init.tcp_channel.address) is None:
        raise LocalProtocolError("'init' may not be sent: Expected IP:PORT - at `$.tcp_channel.address`")


def check_types(message: Message) -> None:
    """Refuse to send a message whose types are wrong: worth its while for what is sent once in a life.

    Raises `LocalProtocolError`, which names the field.
    """
    try:
        msgspec.convert(msgspec.to_builtins(message), type(message))
    except (ValueError, TypeError, RecursionError) as error:
        raise LocalProtocolError(f"{message.op!r} may not be sent: {safe_text(error)}") from None


def _listen(text: str) -> TcpAddress | UnixAddress:
    try:
        return listen_address(text)
    except ValueError as error:
        raise Unreadable(f"the init line: {error} - at `$.listen`", op="init") from None


def _tcp_channel(value: dict[str, Any]) -> dict[str, Any]:
    """Host and port in place of an address, and a host name in one, as an earlier Python port sends them."""
    _refuse_repeated(value, "$.tcp_channel", frozenset(TcpChannel.__struct_fields__))
    host, port = value.get("host"), value.get("port")
    if "address" not in value and isinstance(host, str) and type(port) is int and 0 <= port <= 0xFFFF:
        value = {**value, "address": f"[{host}]:{port}" if ":" in host else f"{host}:{port}"}
    address = value.get("address")
    if isinstance(address, str):
        if normal := socket_address(address):
            value = {**value, "address": str(normal)}
        elif not _is_host_and_port(address):
            raise Unreadable("the init line: Expected IP:PORT or HOST:PORT - at `$.tcp_channel.address`", op="init")
    return value


def _is_host_and_port(text: str) -> bool:
    host, _, port = text.rpartition(":")
    return bool(host) and not set(host) & set(" /:[]") and port.isascii() and port.isdigit() and int(port) <= 0xFFFF
