"""The border: what redis-py raises becomes one of PyWatt's errors, and never with a value, a key's content or a password.

Redis quotes arguments in some of its texts (``unknown command … with args beginning with …``), so only texts of our own are used.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from typing import Final

from redis import exceptions

from pywatt_core.errors import StorageError, Unavailable

BACKEND_ERRORS: Final = (exceptions.RedisError, OSError, TimeoutError, asyncio.IncompleteReadError, EOFError)
"""What connecting, sending and reading may raise."""

NOT_A_NUMBER = "the value is not a decimal integer of 64 bits, or would not be one any more"

LOGIN_REFUSED: Final = "the login was refused: check username and password"
LOGIN_WANTED: Final = "the server wants a login: set password"

REFUSALS: Final[tuple[tuple[type[Exception], type[StorageError], str], ...]] = (
    (exceptions.AuthenticationError, Unavailable, LOGIN_REFUSED),
    (exceptions.BusyLoadingError, Unavailable, "the server is still loading its data"),
    (exceptions.MasterDownError, Unavailable, "the server has lost its primary"),
    (exceptions.ClusterDownError, Unavailable, "the cluster is down: some of its slots have no node"),
    (exceptions.TryAgainError, Unavailable, "the cluster is moving the key: try again"),
    (exceptions.ReadOnlyError, Unavailable, "the server is a replica, which refuses changes"),
    (exceptions.NoPermissionError, StorageError, "the user may not run this command, or not on this key"),
    (exceptions.OutOfMemoryError, StorageError, "the server's memory is full: raise its maxmemory, or set a maxmemory-policy"),
)
"""Errors by class, the more special ones first."""

TEXTS: Final = (
    ("WRONGTYPE", "the key holds something that no cache has put there: a list, a set, a hash or a stream"),
    ("not an integer", NOT_A_NUMBER),
    ("increment or decrement would overflow", NOT_A_NUMBER),
    ("decrement would overflow", NOT_A_NUMBER),
    ("invalid expire time", "ttl is too large for the server"),
    ("unknown command", "the server does not know this command: Redis 6.2 or newer is needed"),
    ("syntax error", "the server does not know this form of the command: Redis 6.2 or newer is needed"),
    ("DB index", "the server has no database of this number"),
    ("SELECT is not allowed", "the server has no database of this number: it is part of a cluster"),
    ("cluster support disabled", "the server is no node of a cluster: remove cluster = true"),
    ("MISCONF", "the server refuses changes, because it cannot save them to its disk"),
    ("NOREPLICAS", "the server refuses changes, because too few replicas follow it"),
    ("BUSY ", "the server is busy with a script"),
    ("max number of clients", "the server takes no more connections: raise its maxclients"),
)
"""What a refusal's text begins with or holds, and what it means."""


class Lost(Unavailable):
    """The connection broke with the command under way. `executed` is ``"no"`` where not a byte of it had left, else ``"unknown"``."""

    def __init__(self, message: str, *, executed: str) -> None:
        super().__init__(message)
        self.executed = executed


class NoScript(StorageError):
    """The server has forgotten the script."""


class Moved(StorageError):
    """The key's slot is at another node of the cluster: for good, or (`asking`) for this question alone."""

    def __init__(self, host: str, port: int, *, asking: bool) -> None:
        super().__init__(f"the key is at {host}:{port}, because the server is a node of a cluster: set cluster = true")
        self.host, self.port, self.asking = host, port, asking


def refusal(error: Exception, server: object) -> StorageError:
    """The error for what a server answered instead of a reply."""
    if isinstance(error, exceptions.NoScriptError):
        return NoScript(f"{server} has forgotten the script")
    if isinstance(error, exceptions.AskError):  # MovedError is one
        return Moved(error.host, error.port, asking=not isinstance(error, exceptions.MovedError))
    for kind, ours, _ in REFUSALS:
        if isinstance(error, kind):
            return ours(f"{server}: {reason(error)}")
    text = str(error)
    for mark, meaning in TEXTS:
        if mark in text:
            return StorageError(f"{server}: {meaning}")
    return StorageError(f"{server} refused the command with {getattr(error, 'status_code', None) or text.partition(' ')[0] or 'an error'}")


def reason(error: BaseException) -> str:
    """Why a connection failed, in a few words."""
    if getattr(error, "status_code", None) == "NOAUTH":
        return LOGIN_WANTED
    for kind, _, meaning in REFUSALS:
        if isinstance(error, kind):
            return meaning
    root = _root(error)
    if isinstance(root, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {root.verify_message}"
    if isinstance(root, ssl.SSLError):
        return f"TLS failed: {root.reason or 'the connection was cut'}"
    if isinstance(root, TimeoutError | exceptions.TimeoutError):
        return "no answer in time"
    if isinstance(root, OSError):
        return os.strerror(root.errno) if root.errno and root.errno > 0 else root.strerror or type(root).__name__
    text = str(root)
    for mark, meaning in TEXTS:
        if mark in text:
            return meaning
    if "No master found" in text or "No slave found" in text:
        return "the sentinels know no primary of this service"
    return "the server closed the connection" if "closed by server" in text or "Connection lost" in text else type(root).__name__


def _root(error: BaseException) -> BaseException:
    """The system's or TLS's error that redis-py has wrapped, or the error itself."""
    seen = error
    while not isinstance(seen, OSError) and (inner := seen.__cause__ or seen.__context__) is not None and inner is not error:
        seen = inner
    return seen if isinstance(seen, OSError | exceptions.TimeoutError) else error
