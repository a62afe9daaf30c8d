"""The provider ``jwt`` of ``[auth.NAME]``."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

from pywatt_core.errors import ConfigError, Unavailable
from pywatt_core.interfaces import Authenticator, Context

from .errors import JwtAuthError
from .issuing import JwtIssuer
from .options import LOCAL, JwtOptions
from .validator import JwtValidator

log = logging.getLogger(__name__)

UNWISE: Final = {
    "compat_no_exp_check": "compat_no_exp_check is set: expired tokens are accepted",
    "allow_http": "allow_http is set: whoever sits between this machine and the keys can make tokens",
}


class JwtAuthenticator:
    """Implements `pywatt_core.access.Authenticator` for keys that only check."""

    def __init__(self, validator: JwtValidator) -> None:
        self.validator = validator

    async def authenticate(self, token: str) -> Mapping[str, Any]:
        """The claims. Raises a `JwtAuthError` that is an `InvalidToken`, or `ProxyError` where it cannot be told now."""
        return await self.validator.authenticate(token)

    def authenticate_now(self, token: str) -> Mapping[str, Any]:
        """The same for threads: it blocks where keys have to be fetched first. See `pywatt_core.http.guarding.prove_blocking`."""
        return self.validator.validate(token, dict)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class JwtTokenIssuer(JwtAuthenticator):
    """Implements `pywatt_core.access.TokenIssuer` for keys that sign too."""

    def __init__(self, validator: JwtValidator, issuer: JwtIssuer) -> None:
        super().__init__(validator)
        self._issuer = issuer

    async def issue(self, claims: Mapping[str, Any]) -> str:
        """A token that proves `claims`. Raises `JwtAuthError`."""
        return self._issuer.create(claims)


@asynccontextmanager
async def open_jwt(options: JwtOptions, context: Context) -> AsyncIterator[Authenticator]:
    """The authenticator of a section, with its keys loaded, or the orchestrator's where `mode` says so.

    Raises `ConfigError` where keys cannot be used. Keys that cannot be fetched now are a warning: tokens are answered with
    `ProxyError` (503 for clients) until they are there.
    """
    if not options.is_local:
        from pywatt_core.services.hosted import orchestrator_of
        from pywatt_core.services.hosted_auth import open_hosted_auth
        from pywatt_core.services.hosted_options import HostedAuthOptions

        try:
            orchestrator_of(context)
        except ConfigError:
            raise ConfigError(
                f"{context.section}: there is no key to check tokens with, and this module runs without an orchestrator that could have "
                f"one: set one of {', '.join(LOCAL)}, or start it with `pywatt up`"
            ) from None
        hosted = HostedAuthOptions(service=options.service or None, timeout=options.timeout)
        async with AsyncExitStack() as stack:
            try:
                authenticator = await stack.enter_async_context(open_hosted_auth(hosted, context))
            except Unavailable as error:
                if options.mode == "proxy":
                    raise
                raise Unavailable(f"{error}. It was asked because no key is set here: {', '.join(LOCAL)}") from error
            yield authenticator
        return
    try:
        validator = JwtValidator(options, folder=context.folder)
    except ConfigError as error:
        raise ConfigError(f"{context.section}: {error}") from None
    for name, meaning in UNWISE.items():
        if getattr(options, name):
            log.warning("%s: %s", context.section, meaning)
    await validator.load()
    try:
        issuer = JwtIssuer(options)
    except JwtAuthError:
        yield JwtAuthenticator(validator)
    else:
        yield JwtTokenIssuer(validator, issuer)
