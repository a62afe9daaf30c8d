"""What a handler of a router raises to say how a request failed (protocol 6.5, 7.3). The display texts are the reference's."""

from __future__ import annotations

from typing import ClassVar

from ..errors import AuthError, ChannelClosed, Forbidden, PyWattError, RequestTimeout


class HttpError(PyWattError):
    """One failure of one request: `status` and `code` are what the client gets, the text is what it is shown.

    The kinds are attributes: ``raise HttpError.NotFound("user 7")``. `HttpIpcError` and `HttpTcpError` are the same class.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "INTERNAL_ERROR"
    prefix: ClassVar[str] = "Other error"

    InvalidRequest: ClassVar[type[InvalidRequest]]
    NotFound: ClassVar[type[NotFound]]
    Unauthorized: ClassVar[type[Unauthorized]]
    Forbidden: ClassVar[type[ForbiddenRequest]]
    Timeout: ClassVar[type[Timeout]]
    IpcCommunication: ClassVar[type[IpcCommunication]]
    Internal: ClassVar[type[Internal]]
    Sdk: ClassVar[type[Sdk]]
    Json: ClassVar[type[Json]]
    Io: ClassVar[type[Io]]
    Other: ClassVar[type[Other]]

    def __init__(self, message: str) -> None:
        super().__init__(f"{self.prefix}: {message}")
        self.message = message


HttpIpcError = HttpTcpError = HttpError


class InvalidRequest(HttpError):
    """The request cannot be understood: 400."""

    status, code, prefix = 400, "BAD_REQUEST", "Invalid request"


class NotFound(HttpError):
    """What was asked for does not exist: 404."""

    status, code, prefix = 404, "NOT_FOUND", "Not found"


class Unauthorized(HttpError):
    """Nobody knows who asks: 401."""

    status, code, prefix = 401, "UNAUTHORIZED", "Unauthorized"


class ForbiddenRequest(HttpError):
    """Whoever asks may not: 403."""

    status, code, prefix = 403, "FORBIDDEN", "Forbidden"


class Timeout(HttpError):
    """It took too long: 408. A number is taken for seconds: ``Timeout after 5s``."""

    status, code, prefix = 408, "TIMEOUT", "Timeout"

    def __init__(self, message: str | float) -> None:
        if isinstance(message, str):
            super().__init__(message)
        else:
            PyWattError.__init__(self, f"Timeout after {message:g}s")
            self.message = f"{message:g}s"


class IpcCommunication(HttpError):
    """What the handler needs cannot be reached: 502 over links, 500 over TCP."""

    status, code, prefix = 502, "IPC_COMMUNICATION_ERROR", "IPC communication error"


class Internal(HttpError):
    """Something is wrong here: 500."""

    prefix = "Internal error"


class Sdk(HttpError):
    """PyWatt failed: 500."""

    prefix = "SDK error"


class Json(HttpError):
    """JSON could not be written: 500."""

    prefix = "JSON error"


class Io(HttpError):
    """Reading or writing failed: 500."""

    prefix = "I/O error"


class Other(HttpError):
    """Anything else: 500."""


HttpError.InvalidRequest, HttpError.NotFound, HttpError.Unauthorized = InvalidRequest, NotFound, Unauthorized
HttpError.Forbidden, HttpError.Timeout, HttpError.IpcCommunication = ForbiddenRequest, Timeout, IpcCommunication
HttpError.Internal, HttpError.Sdk, HttpError.Json, HttpError.Io, HttpError.Other = Internal, Sdk, Json, Io, Other


def as_http(error: BaseException) -> HttpError:
    """The failure that an exception of a handler stands for; PyWatt's own errors keep their meaning."""
    if isinstance(error, HttpError):
        return error
    if isinstance(error, Forbidden):
        return ForbiddenRequest(str(error))
    if isinstance(error, AuthError):
        return Unauthorized(str(error))
    if isinstance(error, RequestTimeout | TimeoutError):
        return Timeout(str(error) or "it took too long")
    if isinstance(error, ChannelClosed):
        return IpcCommunication(str(error))
    if isinstance(error, PyWattError):
        return Sdk(str(error))
    return Other(str(error) or type(error).__name__)
