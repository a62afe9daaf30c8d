"""The negative answer that a malformed request is owed, so that its sender need not wait for the timeout (protocol 3.4, 3.7)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from .lenient import Unreadable
from .messages import HttpResponse, HttpResponseStart, Message, PortResponse, ServiceOperationResult, ServiceResponse, ServiceType


def _text(members: Mapping[str, Any], name: str) -> str:
    value = members[name]
    if not isinstance(value, str):
        raise TypeError(name)
    return value


def _http(members: Mapping[str, Any], reason: str) -> Message:
    headers = {"content-type": "text/plain; charset=utf-8"}
    return HttpResponse(_text(members, "request_id"), 400, headers, f"unreadable request: {reason}".encode())


def _http_stream(members: Mapping[str, Any], reason: str) -> Message:
    headers = [("content-type", "text/plain; charset=utf-8")]
    return HttpResponseStart(_text(members, "request_id"), 400, headers, f"unreadable request: {reason}".encode())


def _operation(members: Mapping[str, Any], reason: str) -> Message:
    request_id = members.get("request_id")
    return ServiceOperationResult(
        success=False,
        error=reason,
        params={name: members.get(name) for name in ("connection_id", "service_type", "operation", "params")},
        connection_id=_text(members, "connection_id"),
        request_id=request_id if isinstance(request_id, str) else None,
    )


def _service(members: Mapping[str, Any], reason: str) -> Message:
    return ServiceResponse(_text(members, "id"), ServiceType.parse(members["service_type"]), success=False, error=reason)


def _port(members: Mapping[str, Any], reason: str) -> Message:
    return PortResponse(_text(members, "request_id"), success=False, port=0, error_message=reason)


_REFUSALS: Final[dict[str, Callable[[Mapping[str, Any], str], Message]]] = {
    "http_request": _http,
    "http_stream_request": _http_stream,
    "service_operation": _operation,
    "service_request": _service,
    "port_request": _port,
}


def refusal_of(error: Unreadable) -> Message | None:
    """The answer to send, None where the request has none or does not even say whom it would be for."""
    make = _REFUSALS.get(error.op)
    if make is None or error.kind != "invalid":
        return None
    try:
        return make(error.members, str(error))
    except (KeyError, TypeError, ValueError):
        return None
