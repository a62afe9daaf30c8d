"""JSON Web Tokens for PyWatt: checked, made, and required of whoever calls.

``[auth.NAME] use = "jwt"`` opens an authenticator; `JwtConfig`, `JwtValidator` and `create_token` do the same in code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pywatt_core.hookspecs import hookimpl
from pywatt_core.interfaces import Authenticator, Provider
from pywatt_core.lazy import lazily

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .authenticator import open_jwt
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
    from .issuing import JwtIssuer, create_token
    from .options import JwtOptions
    from .validator import JwtValidator

__all__ = [
    "ExpiredSignature",
    "InvalidClaims",
    "InvalidSignature",
    "JwtAuthError",
    "JwtConfig",
    "JwtError",
    "JwtIssuer",
    "JwtOptions",
    "JwtValidator",
    "MissingToken",
    "ProxyError",
    "SerializationError",
    "create_token",
    "open_jwt",
]

_HOMES = {
    "authenticator": "open_jwt",
    "config": "JwtConfig",
    "errors": "ExpiredSignature InvalidClaims InvalidSignature JwtAuthError JwtError MissingToken ProxyError SerializationError",
    "issuing": "JwtIssuer create_token",
    "options": "JwtOptions",
    "validator": "JwtValidator",
}


@hookimpl
def pywatt_register_authenticators() -> Iterable[Provider[Authenticator]]:
    return [Provider("jwt", "pywatt_jwt.options:JwtOptions", "pywatt_jwt.authenticator:open_jwt")]


__getattr__ = lazily(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
