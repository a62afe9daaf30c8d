"""What the reference SDK reads and writes, written down from its schema with `json` and `struct` alone.

Nothing of PyWatt's is imported here: a fault in our codec must not be at both ends. What the reference would refuse is
`Rejected`, in its words. Times are nobody's business here.
"""

from __future__ import annotations

import base64
import json
import re
import struct
import uuid
from collections.abc import Callable
from typing import Any

HEADER = struct.Struct(">IB")
JSON, BINARY, BASE64 = 1, 2, 3

Check = Callable[[Any, str], None]


class Rejected(Exception):
    """What serde refuses."""


# ── types ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def text(value: Any, where: str) -> None:
    if not isinstance(value, str):
        raise Rejected(f"invalid type for `{where}`, expected a string")


def boolean(value: Any, where: str) -> None:
    if not isinstance(value, bool):
        raise Rejected(f"invalid type for `{where}`, expected a boolean")


def integer(least: int, most: int) -> Check:
    def check(value: Any, where: str) -> None:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise Rejected(f"invalid value for `{where}`, expected an integer from {least} to {most}")

    return check


def anything(value: Any, where: str) -> None:
    """``serde_json::Value``."""


def optional(inner: Check) -> Check:
    def check(value: Any, where: str) -> None:
        if value is not None:
            inner(value, where)

    check.optional = True  # type: ignore[attr-defined]
    return check


def listed(inner: Check) -> Check:
    def check(value: Any, where: str) -> None:
        if not isinstance(value, list):
            raise Rejected(f"invalid type for `{where}`, expected a sequence")
        for one in value:
            inner(one, where)

    return check


def mapped(inner: Check) -> Check:
    def check(value: Any, where: str) -> None:
        if not isinstance(value, dict):
            raise Rejected(f"invalid type for `{where}`, expected a map")
        for one in value.values():
            inner(one, where)

    return check


def one_of(*names: str) -> Check:
    def check(value: Any, where: str) -> None:
        if value not in names and not (isinstance(value, dict) and [*value.values()] == [None] and next(iter(value)) in names):
            raise Rejected(f"unknown variant for `{where}`, expected one of {names}")

    return check


def record(**fields: Check) -> Check:
    def check(value: Any, where: str) -> None:
        if not isinstance(value, dict):
            raise Rejected(f"invalid type for `{where}`, expected a struct")
        for name in getattr(value, "repeated", ()):
            if name in fields:
                raise Rejected(f"duplicate field `{name}`")
        for name, inner in fields.items():
            if name in value:
                inner(value[name], name)
            elif not hasattr(inner, "optional"):
                raise Rejected(f"missing field `{name}`")

    return check


def identifier(value: Any, where: str) -> None:
    text(value, where)
    if not re.fullmatch(r"(?i)(urn:uuid:|\{)?[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}\}?", value):
        raise Rejected(f"invalid UUID for `{where}`")


def service(value: Any, where: str) -> None:
    if isinstance(value, dict) and [*value] == ["Custom"] and isinstance(value["Custom"], str):
        return
    one_of("Database", "Cache", "Jwt")(value, where)


def socket_address(value: Any, where: str) -> None:
    text(value, where)
    if not re.fullmatch(r"((0|[1-9][0-9]{0,2})\.){3}(0|[1-9][0-9]{0,2}):[0-9]{1,5}|\[[0-9a-f:]+\]:[0-9]{1,5}", value):
        raise Rejected("invalid socket address syntax")


U16, U64 = integer(0, 0xFFFF), integer(0, 2**64 - 1)
BYTES = listed(integer(0, 255))
STRINGS = mapped(text)
ENCODED = record(data=BYTES, format=one_of("Json", "Binary", "Base64", "Auto"))
ENDPOINT = record(path=text, methods=listed(text), auth=optional(text))
PROVIDER = record(
    provider_id=text,
    module_id=text,
    service_type=service,
    name=text,
    version=optional(text),
    address=text,
    metadata=STRINGS,
    is_healthy=boolean,
)

INIT = record(
    orchestrator_api=text,
    module_id=text,
    env=STRINGS,
    listen=text,
    tcp_channel=optional(record(address=socket_address, tls_enabled=boolean, required=boolean)),
    ipc_channel=optional(record(socket_path=text, required=boolean)),
    auth_token=optional(text),
    security_level=one_of("None", "Token", "Mtls"),
)

TO_MODULE: dict[str, Check] = {
    "init": INIT,
    "secret": record(name=text, value=text, rotation_id=optional(text)),
    "rotated": record(keys=listed(text), rotation_id=text),
    "shutdown": record(),
    "register_service_provider_response": record(success=boolean, provider_id=optional(text), error=optional(text)),
    "discover_service_providers_response": record(success=boolean, providers=listed(PROVIDER), error=optional(text)),
    "service_response": record(id=text, service_type=service, success=boolean, error=optional(text), connection_id=optional(text)),
    "service_operation_result": record(success=boolean, result=optional(anything), error=optional(text)),
    "http_request": record(request_id=text, method=text, uri=text, headers=STRINGS, body=optional(BYTES)),
    "port_response": record(request_id=text, success=boolean, port=U16, error_message=optional(text)),
    "routed_module_message": record(source_module_id=text, original_request_id=identifier, payload=ENCODED),
    "routed_module_response": record(source_module_id=text, request_id=identifier, payload=ENCODED),
    "heartbeat": record(),
}
"""Every O→M message by its `op`."""

FROM_MODULE: dict[str, Check] = {
    "announce": record(listen=text, endpoints=listed(ENDPOINT)),
    "get_secret": record(name=text),
    "rotation_ack": record(rotation_id=text, status=text, message=optional(text)),
    "register_service_provider": record(service_type=service, name=text, version=optional(text), address=text, metadata=optional(STRINGS)),
    "discover_service_providers": record(service_type=service, all_providers=optional(boolean)),
    "service_request": record(id=text, service_type=service, config=optional(anything)),
    "service_operation": record(connection_id=text, service_type=service, operation=text, params=anything),
    "http_response": record(request_id=text, status_code=U16, headers=STRINGS, body=optional(BYTES)),
    "port_request": record(request_id=identifier, specific_port=optional(U16)),
    "route_to_module": record(target_module_id=text, target_endpoint=text, request_id=identifier, payload=ENCODED),
    "heartbeat_ack": record(),
}
"""Every M→O message that can exist on the wire: `identify` cannot."""

METADATA = record(
    id=optional(text),
    timestamp=optional(integer(-(2**63), 2**63 - 1)),
    source=optional(text),
    destination=optional(text),
    properties=optional(mapped(anything)),
)


# ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class Object(dict[str, Any]):
    """A JSON object that remembers which keys came twice."""

    repeated: tuple[str, ...] = ()


def _object(pairs: list[tuple[str, Any]]) -> Object:
    found = Object(pairs)
    keys = [key for key, _ in pairs]
    found.repeated = tuple({key for key in keys if keys.count(key) > 1}) if len(keys) > len(found) else ()
    return found


def _no_number(name: str) -> Any:
    raise Rejected(f"{name} is no number")


def parse(payload: bytes) -> Any:
    """JSON as serde_json takes it. Raises `Rejected`."""
    try:
        return json.loads(payload.decode("utf-8", "strict"), object_pairs_hook=_object, parse_constant=_no_number)
    except UnicodeDecodeError:
        raise Rejected("stream did not contain valid UTF-8") from None
    except json.JSONDecodeError as error:
        raise Rejected(f"no JSON: {error.msg} at column {error.colno}") from None


def tagged(value: Any, table: dict[str, Check]) -> dict[str, Any]:
    """One of an internally tagged union. Raises `Rejected`."""
    if not isinstance(value, dict) or "op" not in value:
        raise Rejected("missing field `op`")
    if "op" in getattr(value, "repeated", ()):
        raise Rejected("duplicate field `op`")
    check = table.get(value["op"]) if isinstance(value["op"], str) else None
    if check is None:
        raise Rejected(f"unknown variant `{value['op']}`")
    check(value, value["op"])
    return value


def enveloped(value: Any) -> Any:
    """The content of a ``Message<T>``, whose envelope is in order. Raises `Rejected`."""
    record(id=identifier, content=anything, metadata=METADATA)(value if "metadata" in value else {**value, "metadata": {}}, "message")
    return value["content"]


# ── writing ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def compact(value: Any, *, sort: bool = False) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, sort_keys=sort)


def envelope(content: Any, **metadata: Any) -> str:
    """A ``Message<T>`` as the reference emits it."""
    return compact({"id": str(uuid.uuid4()), "content": content, "metadata": metadata})


def encoded(payload: str, format: str = "Json") -> dict[str, Any]:
    """An ``EncodedMessage``: JSON text as an array of numbers."""
    return {"data": list(payload.encode()), "format": format}


def frame(payload: str | bytes, code: int = JSON) -> bytes:
    data = payload.encode() if isinstance(payload, str) else payload
    return HEADER.pack(len(data), code) + data


def frame_text(code: int, payload: bytes) -> bytes:
    """The JSON text of a frame's payload. Raises `Rejected` for a code that ends the reader."""
    if code not in (JSON, BINARY, BASE64):
        raise Rejected(f"invalid format code {code}")
    return base64.b64decode(payload) if code == BASE64 else payload


def frames_in(buffer: bytearray) -> list[tuple[int, bytes]]:
    """The whole frames at the beginning of `buffer`, which they are taken from."""
    found = []
    while len(buffer) >= HEADER.size:
        size, code = HEADER.unpack_from(buffer)
        if len(buffer) < HEADER.size + size:
            break
        found.append((code, bytes(buffer[HEADER.size : HEADER.size + size])))
        del buffer[: HEADER.size + size]
    return found
