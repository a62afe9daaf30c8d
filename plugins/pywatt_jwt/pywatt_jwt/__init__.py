"""JSON Web Tokens for PyWatt: checked, made, and required of whoever calls.

``[auth.NAME] use = "jwt"`` opens an authenticator; `JwtConfig`, `JwtValidator` and `create_token` do the same in code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pywatt_core.hookspecs import hookimpl
from pywatt_core.interfaces import Authenticator, Context, Provider
from pywatt_core.lazy import lazily

from .options import JwtOptions

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractAsyncContextManager

    from .config import JwtConfig
    from .errors import (
        ExpiredSignature,
        InvalidClaims,
        InvalidSignature,
        JwtAuthError,
        JwtError,
        MissingToken,
        ProxyError,
        SerializationError,
    )
    from .issuing import create_token
    from .validator import JwtValidator

__all__ = [
    "ExpiredSignature",
    "InvalidClaims",
    "InvalidSignature",
    "JwtAuthError",
    "JwtConfig",
    "JwtError",
    "JwtOptions",
    "JwtValidator",
    "MissingToken",
    "ProxyError",
    "SerializationError",
    "create_token",
    "open_jwt",
]

_HOMES = {
    "config": "JwtConfig",
    "errors": "ExpiredSignature InvalidClaims InvalidSignature JwtAuthError JwtError MissingToken ProxyError SerializationError",
    "issuing": "create_token",
    "validator": "JwtValidator",
}


def open_jwt(options: JwtOptions, context: Context) -> AbstractAsyncContextManager[Authenticator]:
    """The authenticator of a section, with its keys loaded. Raises `ConfigError`, or `Unavailable` where keys cannot be fetched."""
    from .authenticator import opened  # imports joserfc and cryptography, which only an opened section needs

    return opened(options, context)


@hookimpl
def pywatt_register_authenticators() -> Iterable[Provider[Authenticator]]:
    return [Provider("jwt", JwtOptions, open_jwt)]


__getattr__ = lazily(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
