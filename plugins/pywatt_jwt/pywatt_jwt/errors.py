"""What is wrong with a token. The texts are for the log: they hold nothing of the token and nothing of a key.

Each is a `JwtAuthError`, and at the same time the core's own kind, so that whoever knows only the core answers rightly:
401 for `InvalidToken` and what derives from it, 503 for `Unavailable`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pywatt_core.errors import AuthError, ExpiredToken, Forbidden, InvalidToken, PyWattError, RequestTimeout, Unavailable
from pywatt_core.http import bearer


class JwtAuthError(AuthError):
    """Root of everything that checking a token raises, and making one."""


class MissingToken(JwtAuthError, bearer.MissingToken):
    """There is no token."""


class JwtError(JwtAuthError, InvalidToken):
    """It is no token that is read here: not three parts, a header that is refused, an algorithm that no key has, no key for it."""


class InvalidSignature(JwtAuthError, InvalidToken):
    """The signature does not hold."""


class InvalidClaims(JwtAuthError, InvalidToken):
    """The signature holds, the claims do not fit; `reason` is the word that the client is told."""


class ExpiredSignature(InvalidClaims, ExpiredToken):
    """The token was good once."""


class SerializationError(InvalidClaims):
    """The claims cannot be read as the type that was asked for."""


class ProxyError(JwtAuthError, Unavailable):
    """It cannot be told now: the keys, or the orchestrator that has them, cannot be reached."""


@contextmanager
def own_errors() -> Iterator[None]:
    """What an authenticator raises that knows the core's errors alone, as one of these. `Forbidden` stays what it is."""
    try:
        yield
    except (JwtAuthError, Forbidden):
        raise
    except (AuthError, Unavailable, RequestTimeout) as error:
        raise _own(error) from error


def _own(error: PyWattError) -> JwtAuthError:
    text = str(error)
    if isinstance(error, bearer.MissingToken):
        return MissingToken(text)
    if isinstance(error, ExpiredToken):
        return ExpiredSignature(text, reason=error.reason)
    if isinstance(error, InvalidToken):
        return InvalidClaims(text, reason=error.reason) if error.reason else JwtError(text)
    return JwtAuthError(text) if isinstance(error, AuthError) else ProxyError(text)
