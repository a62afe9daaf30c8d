"""Every exception PyWatt raises, grouped by who has to act.

An exception's text is for a person: it names what is wrong, where, and the way out. It never contains a secret.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

T = TypeVar("T")

Result = Annotated[T, "or raises PyWattError"]
"""What a call of the earlier SDK returned; here a call returns the value and raises the error."""


class PyWattError(Exception):
    """Root of all PyWatt exceptions."""


PyWattSDKError = PyWattError
"""The name that the earlier SDK used."""


class ConfigError(PyWattError):
    """The operator must change the configuration; the text lists every problem found, each with its path and source.

    `problems` holds them one by one (``pywatt_core.config.Problem``) where more than a text is known.
    """

    def __init__(self, message: str, *, problems: tuple[Any, ...] = ()) -> None:
        super().__init__(message)
        self.problems = problems


class PluginError(PyWattError):
    """A plugin broke its contract, or no plugin fits; the text names the distribution that has to change."""


class ProtocolError(PyWattError):
    """Somebody broke the wire protocol."""


class LocalProtocolError(ProtocolError):
    """Our side tried to send what may not be sent now: a bug of ours or of the caller's."""


class RemoteProtocolError(ProtocolError):
    """The peer sent what cannot be read or may not be sent; the text names the field."""


class ChannelClosed(PyWattError):
    """The link to the peer is gone.

    `executed` says what is known of the request that was under way: ``"no"`` when not a byte of it left this process,
    ``"unknown"`` when the peer may have received and executed it.
    """

    def __init__(self, message: str, *, executed: str = "unknown") -> None:
        super().__init__(message)
        self.executed = executed


class RequestTimeout(PyWattError):
    """The peer did not answer before the deadline; it may or may not have executed the request."""


class RemoteError(PyWattError):
    """The peer answered, and its answer is an error.

    `code` is for programs: ``"module_not_found"``, ``"endpoint_not_found"``, ``"bad_request"``, ``"application_error"``, ``"unavailable"``,
    ``"disconnected"``, ``"overloaded"``, ``"cancelled"``, ``"unsupported_format"``, or one of the peer's own. `cause` is what
    led to it at the peer, a `RemoteError` too, or None. `executed` says what is known of the request: ``"yes"``, ``"no"`` or ``"unknown"``.
    """

    def __init__(self, message: str, *, code: str = "error", cause: RemoteError | None = None, executed: str = "unknown") -> None:
        super().__init__(message)
        self.code = code
        self.cause = cause
        self.executed = executed


class BootstrapError(PyWattError):
    """The module could not be brought up; the cause is kept as ``__cause__``."""


class ServerError(PyWattError):
    """The HTTP server could not be made, bound or started."""


class StorageError(PyWattError):
    """A database or cache failed; the backend's own exception is kept as ``__cause__``."""


class NotFound(StorageError):
    """What was asked for does not exist."""


class Conflict(StorageError):
    """The change collides with what is stored: a unique key, a foreign key, a lost race.

    `kind` is for programs: ``"unique"``, ``"foreign key"``, ``"not null"``, ``"check"``, ``"exclusion"``, ``"trigger"``,
    ``"constraint"`` for any other; ``"serialization"`` and ``"deadlock"`` where running the whole transaction again may succeed;
    empty where the backend does not say.
    """

    def __init__(self, message: str = "", *, kind: str = "") -> None:
        super().__init__(message)
        self.kind = kind


class Unavailable(StorageError):
    """The backend cannot be reached now; trying again later may work."""


class SecretError(PyWattError):
    """A secret could not be read, parsed or stored; the text never contains its value."""


class SecretNotFound(SecretError):
    """No source knows the secret; the text names it and the sources that were asked."""


class AuthError(PyWattError):
    """The caller is not who it has to be, or may not do this."""


class InvalidToken(AuthError):
    """The token cannot be trusted.

    The text is for the log. `reason` is the one word that a client may be told of a token whose signature holds
    (``"InvalidAudience"``, ``"Missing required claim: exp"``); empty otherwise.
    """

    def __init__(self, message: str = "", *, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason


class ExpiredToken(InvalidToken):
    """The token was good once."""


class Forbidden(AuthError):
    """The caller is known and may not do this."""
