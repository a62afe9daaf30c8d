"""Tokens are checked."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from joserfc import jwt
from joserfc.errors import BadSignatureError, ExpiredTokenError, JoseError
from joserfc.jwk import OctKey

from .errors import ExpiredSignature, InvalidSignature, JwtError, ProxyError
from .options import JwtOptions


class JwtValidator:
    """Checks tokens: ``JwtValidator(JwtConfig(secret_key="…")).validate(token)``. One serves a whole process, any number of threads.

    `clock` gives the time in seconds since 1970.
    """

    def __init__(self, config: JwtOptions, *, clock: Callable[[], float] = time.time) -> None:
        self.config = config
        self._clock = clock

    def validate(self, token: str, into: Any = None) -> Any:
        """The claims that a token proves, as `into`, else as `JwtConfig.claims_type`, else as a dict.

        Raises a `JwtAuthError`: `JwtError`, `InvalidSignature`, `InvalidClaims`, `ExpiredSignature`, or `ProxyError` where keys cannot
        be had now.
        """
        if len(token) > self.config.max_token:
            raise JwtError(f"the token is longer than {self.config.max_token} characters")
        if self.config.secret_key is None:
            raise ProxyError("no key is configured")
        key = OctKey.import_key(self.config.secret_key.expose_secret().encode())
        try:
            claims = jwt.decode(token, key, algorithms=["HS256"]).claims
            jwt.JWTClaimsRegistry(now=lambda: int(self._clock()), leeway=int(self.config.leeway), exp={"essential": True}).validate(claims)
        except BadSignatureError:
            raise InvalidSignature("the signature does not hold") from None
        except ExpiredTokenError:
            raise ExpiredSignature("the token has expired", reason="ExpiredSignature") from None
        except (JoseError, ValueError) as error:
            raise JwtError(f"the token is refused: {type(error).__name__}") from None
        return claims

    async def validate_async(self, token: str, into: Any = None) -> Any:
        """The same, waiting without blocking where keys have to be fetched first."""
        return self.validate(token, into)

    async def authenticate(self, token: str) -> Mapping[str, Any]:
        """The claims as a mapping: `pywatt_core.access.Authenticator`."""
        claims: Mapping[str, Any] = await self.validate_async(token, dict)
        return claims
