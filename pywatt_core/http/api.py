"""Responses in one shape, ``{"status", "data", "message"}``, and the helpers that make them (protocol 6.5)."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from msgspec import Raw, Struct

from ..errors import LocalProtocolError
from ..protocol.messages import HttpResponse
from ..protocol.payloads import write_bare
from .failures import HttpError

JSON = "application/json"

GENERIC = "Internal server error"
"""What a client is told of a failure whose text could hold anything; the log has the rest."""


class ApiResponse(Struct, frozen=True):
    """The body of a response; all three members are always there. `status` is ``"success"`` or ``"error"``."""

    status: str
    data: Any = None
    message: str | None = None

    @classmethod
    def success(cls, data: Any = None, message: str | None = None) -> ApiResponse:
        """What was asked for."""
        return cls("success", data, message)

    @classmethod
    def error(cls, message: str, data: Any = None) -> ApiResponse:
        """Why there is none."""
        return cls("error", data, message)

    def to_bytes(self) -> bytes:
        """JSON. Raises `HttpError.Json` for data that JSON has no form for."""
        return to_json(ApiResponse(self.status, None if self.data is None else Raw(to_json(self.data)), self.message))


def to_json(value: Any) -> bytes:
    """`value` in JSON: plain values, dataclasses, msgspec Structs, pydantic models. Raises `HttpError.Json` for anything else."""
    try:
        return write_bare(value).data
    except LocalProtocolError as error:
        raise HttpError.Json(str(error)) from error


def json_response(data: Any, status: int = 200, *, headers: Mapping[str, str] | None = None, request_id: str | None = None) -> HttpResponse:
    """`data` as a success, whatever the status is. The id is the request's own where a router sends the response."""
    return api_response(ApiResponse.success(data), status, headers=headers, request_id=request_id)


def api_response(
    body: ApiResponse,
    status: int = 200,
    *,
    code: str | None = None,
    headers: Mapping[str, str] | None = None,
    request_id: str | None = None,
) -> HttpResponse:
    """`body` with the headers that go with it: ``Content-Type``, ``X-Request-ID``, and ``X-Error-Code`` where there is a `code`."""
    id = request_id or str(uuid.uuid4())
    own = {"Content-Type": JSON, "X-Request-ID": id}
    if code is not None:
        own["X-Error-Code"] = code
    return HttpResponse(request_id=id, status_code=status, headers={**own, **(headers or {})}, body=body.to_bytes())


def success(data: Any = None, *, headers: Mapping[str, str] | None = None) -> HttpResponse:
    """200."""
    return json_response(data, 200, headers=headers)


def created(data: Any = None, *, headers: Mapping[str, str] | None = None) -> HttpResponse:
    """201."""
    return json_response(data, 201, headers=headers)


def accepted(data: Any = None, *, headers: Mapping[str, str] | None = None) -> HttpResponse:
    """202."""
    return json_response(data, 202, headers=headers)


def error_response(message: str, status: int, code: str | None = None, *, headers: Mapping[str, str] | None = None) -> HttpResponse:
    """An error with a `code` for programs, where there is one."""
    return api_response(ApiResponse.error(message), status, code=code, headers=headers)


def bad_request(message: str) -> HttpResponse:
    """400 ``BAD_REQUEST``."""
    return error_response(message, 400, "BAD_REQUEST")


def unauthorized(message: str) -> HttpResponse:
    """401 ``UNAUTHORIZED``."""
    return error_response(message, 401, "UNAUTHORIZED")


def forbidden(message: str) -> HttpResponse:
    """403 ``FORBIDDEN``."""
    return error_response(message, 403, "FORBIDDEN")


def not_found(path: str) -> HttpResponse:
    """404 ``NOT_FOUND``."""
    return error_response(f"Endpoint not found: {path}", 404, "NOT_FOUND")


def method_not_allowed(method: str, path: str) -> HttpResponse:
    """405 ``METHOD_NOT_ALLOWED``."""
    return error_response(f"Method {method} not allowed for endpoint {path}", 405, "METHOD_NOT_ALLOWED")


def timeout(message: str) -> HttpResponse:
    """408 ``TIMEOUT``."""
    return error_response(message, 408, "TIMEOUT")


def conflict(message: str) -> HttpResponse:
    """409 ``CONFLICT``."""
    return error_response(message, 409, "CONFLICT")


def internal_error(message: str) -> HttpResponse:
    """500 ``INTERNAL_ERROR``."""
    return error_response(message, 500, "INTERNAL_ERROR")


def diagnostic_response() -> HttpResponse:
    """200 from the router itself, to see that it is reached."""
    text = f"IPC diagnostic response generated at {datetime.now(UTC).isoformat()}"
    return api_response(ApiResponse("diagnostic", None, text), headers={"X-Response-Type": "diagnostic"})


def failure_response(error: HttpError, *, debug: bool = False) -> HttpResponse:
    """The response for a handler's failure; what it says about a 500 is generic unless `debug`."""
    return error_response(GENERIC if error.status == 500 and not debug else str(error), error.status, error.code)
