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
    from .middleware import create_jwt_middleware, extract_jwt_claims
    from .options import JwtOptions
    from .requirements import Requirement, require, require_scopes
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
    "Requirement",
    "SerializationError",
    "create_jwt_middleware",
    "create_token",
    "extract_jwt_claims",
    "open_jwt",
    "require",
    "require_scopes",
]

_HOMES = {
    "authenticator": "open_jwt",
    "config": "JwtConfig",
    "errors": "ExpiredSignature InvalidClaims InvalidSignature JwtAuthError JwtError MissingToken ProxyError SerializationError",
    "issuing": "JwtIssuer create_token",
    "middleware": "create_jwt_middleware extract_jwt_claims",
    "options": "JwtOptions",
    "requirements": "Requirement require require_scopes",
    "validator": "JwtValidator",
}


@hookimpl
def pywatt_register_authenticators() -> Iterable[Provider[Authenticator]]:
    return [Provider("jwt", "pywatt_jwt.options:JwtOptions", "pywatt_jwt.authenticator:open_jwt")]


__getattr__ = lazily(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
