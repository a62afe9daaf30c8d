"""How a request between modules fails: a code, a sentence and its cause, in the form that the requester reads (protocol 12.3, 12.4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from ..errors import PyWattError, RemoteError, RequestTimeout
from .messages import EncodedMessage, Metadata
from .payloads import Payload, write_bare, write_payload

NO_MODULE: Final = "module_not_found"
NO_ENDPOINT: Final = "endpoint_not_found"
BAD_REQUEST: Final = "bad_request"
APPLICATION: Final = "application_error"
UNAVAILABLE: Final = "unavailable"
"""It is not there, and was not back in time."""
DISCONNECTED: Final = "disconnected"
"""Its process ended with the request under way."""
CANCELLED: Final = "cancelled"
TIMEOUT: Final = "timeout"
OVERLOADED: Final = "overloaded"
UNSUPPORTED_FORMAT: Final = "unsupported_format"
UNSUPPORTED: Final = "unsupported"
"""The orchestrator is not PyWatt's and knows no such service."""

ENVELOPE: Final = "envelope"
"""``properties["reply"]`` of a requester that reads replies in envelopes; all others get bare values."""

DEEPEST: Final = 8
"""Causes of causes that travel."""


class Failure(Struct, frozen=True, omit_defaults=True):
    """``metadata.properties["error"]`` of a reply. `executed`: ``"yes"``, ``"no"`` or ``"unknown"``."""

    code: str
    message: str
    cause: Failure | None = None
    executed: str = "unknown"

    def error(self) -> PyWattError:
        """The exception for the requester."""
        if self.code == TIMEOUT:
            return RequestTimeout(self.message)
        cause = self.cause._remote() if self.cause is not None else None
        error = RemoteError(self.message, code=self.code, cause=cause, executed=self.executed)
        error.__cause__ = cause
        return error

    def _remote(self, depth: int = DEEPEST) -> RemoteError:
        cause = self.cause._remote(depth - 1) if self.cause is not None and depth > 1 else None
        error = RemoteError(self.message, code=self.code, cause=cause, executed=self.executed)
        error.__cause__ = cause
        return error


def failure_of(error: RemoteError, depth: int = DEEPEST) -> Failure:
    """What travels of an error that a function raised on purpose; its code stays."""
    cause = failure_of(error.cause, depth - 1) if error.cause is not None and depth > 1 else None
    return Failure(error.code, str(error), cause, error.executed)


def wants_envelope(properties: Mapping[str, Any]) -> bool:
    """Whether the requester, whose properties these are, reads replies in envelopes."""
    return properties.get("reply") == ENVELOPE


def success_reply(
    value: Any, properties: Mapping[str, Any], *, id: str, source: str, destination: str, format: str = "Json"
) -> EncodedMessage:
    """The payload of a reply; a bare value for a requester that does not say that it reads envelopes.

    Raises `LocalProtocolError` where the value cannot travel.
    """
    if not wants_envelope(properties):
        return write_bare(value, format)
    return write_payload(value, Metadata(source=source, destination=destination), format=format, id=id)


def failure_reply(failure: Failure, properties: Mapping[str, Any], *, id: str, source: str, destination: str) -> EncodedMessage:
    """The same for a failure, always in JSON."""
    content = {"Err": failure.message}
    if not wants_envelope(properties):
        return write_bare(content)
    described = Metadata(source=source, destination=destination, properties={"error": msgspec.to_builtins(failure)})
    return write_payload(content, described, id=id)


def failure_in(payload: Payload) -> Failure | None:
    """What a reply says went wrong; None where it is a success. What cannot be read as a failure is still one."""
    described = payload.metadata.properties.get("error") if payload.metadata.properties else None
    if described is None:
        return None
    try:
        return msgspec.convert(described, Failure)
    except (msgspec.MsgspecError, RecursionError):
        return Failure("error", "the peer answered with an error that cannot be read")


def raw(data: bytes) -> Raw:
    """Content that is encoded already."""
    return Raw(data)
