"""The provider ``jwt`` of ``[auth.NAME]``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from pywatt_core.interfaces import Authenticator, Context

from .issuing import create_token
from .options import JwtOptions
from .validator import JwtValidator


class JwtAuthenticator:
    """Implements `pywatt_core.access.TokenIssuer`."""

    def __init__(self, options: JwtOptions) -> None:
        self._options = options
        self.validator = JwtValidator(options)

    async def authenticate(self, token: str) -> Mapping[str, Any]:
        """The claims. Raises a `JwtAuthError` that is an `InvalidToken` or `Unavailable`."""
        return await self.validator.authenticate(token)

    async def issue(self, claims: Mapping[str, Any]) -> str:
        """A token that proves `claims`. Raises `JwtAuthError`."""
        return create_token(claims, self._options)


@asynccontextmanager
async def opened(options: JwtOptions, context: Context) -> AsyncIterator[Authenticator]:
    """What `open_jwt` promises."""
    yield JwtAuthenticator(options)
