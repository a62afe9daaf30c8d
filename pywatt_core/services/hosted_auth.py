"""The authenticator ``orchestrator``: tokens are checked by the orchestrator, and its keys stay there (protocol 11, 15.2)."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from ..errors import AuthError, InvalidToken, PyWattError, Unavailable
from ..protocol.hosted import LARGEST, SMALLEST
from ..protocol.messages import ServiceType
from ..protocol.values import with_article
from .hosted import Refused, Service, is_concurrent, orchestrator_of

if TYPE_CHECKING:
    from ..interfaces import Context
    from .hosted_options import HostedAuthOptions

MOST_CHARACTERS: Final = 65_536
"""Of a token; a longer one is refused here, so that nobody fills the link with it. The authenticator's own limit is lower as a rule."""

DEEPEST: Final = 32
"""Levels of lists and objects in claims that a token is made of."""

LONGEST_REASON: Final = 200
"""Characters of what a foreign orchestrator says about a token that are kept for the log."""


class HostedAuthenticator:
    """Implements `pywatt_core.access.TokenIssuer`. Nothing is kept here: each token is checked with the keys that hold now."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def authenticate(self, token: str) -> Mapping[str, Any]:
        """The claims. Raises `InvalidToken`, `ExpiredToken`, `Forbidden`, or `Unavailable` where the orchestrator cannot tell now."""
        if not isinstance(token, str) or not 0 < len(token) <= MOST_CHARACTERS or not token.isascii():
            raise InvalidToken("what was sent as a token cannot be one: ASCII text of a bounded length is needed")
        claims = await self._call("validate", {"token": token}, token)
        if not isinstance(claims, dict):
            raise InvalidToken("No claims returned from validation")
        return claims

    async def issue(self, claims: Mapping[str, Any]) -> str:
        """A token that proves `claims`. Raises `AuthError` where this module may not have one, or the claims are no good."""
        token = await self._call("generate", {"claims": _plain(claims)}, "")
        if not isinstance(token, str) or not token:
            raise AuthError("Invalid token format")
        return token

    async def close(self) -> None:
        """Say goodbye."""
        await self._service.close()

    async def _call(self, operation: str, params: Mapping[str, Any], token: str) -> Any:
        try:
            return await self._service.call(operation, params)
        except AuthError:
            raise
        except Unavailable:
            raise
        except PyWattError as error:
            if not self._service.concurrent and isinstance(error.__cause__, Refused):
                raise _refused(operation, str(error.__cause__), token) from None
            raise Unavailable(f"the orchestrator cannot tell now: {error}") from error


def _refused(operation: str, said: str, token: str) -> AuthError:
    """What an orchestrator that knows no kinds of errors means by a refusal (protocol 11.2). The token is none of the log's business."""
    text = (said.replace(token, "…") if token else said)[:LONGEST_REASON]
    return InvalidToken(text) if operation == "validate" else AuthError(text)


def _plain(claims: Mapping[str, Any]) -> dict[str, Any]:
    """Claims as the reference sends them, their names sorted. Raises `AuthError` for what would not arrive as it is."""
    if not isinstance(claims, Mapping) or not all(isinstance(name, str) for name in claims):
        raise AuthError("claims are a mapping with text as names")
    return {name: _json(claims[name], name, DEEPEST) for name in sorted(claims)}


def _json(value: Any, name: str, depth: int) -> Any:
    if value is None or value is True or value is False:
        return value
    if isinstance(value, str):
        if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
            raise AuthError(f"the claim {name!r} holds characters that UTF-8 cannot express")
        return str(value)
    if isinstance(value, int) and SMALLEST <= value <= LARGEST:
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    if depth and isinstance(value, list | tuple):
        return [_json(one, name, depth - 1) for one in value]
    if depth and isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _json(one, name, depth - 1) for key, one in value.items()}
    raise AuthError(f"the claim {name!r} holds {with_article(type(value).__name__)} that JSON does not have, or that lies too deep")


@asynccontextmanager
async def open_hosted_auth(options: HostedAuthOptions, context: Context) -> AsyncIterator[HostedAuthenticator]:
    """Raises `ConfigError` where there is no orchestrator, and `Unavailable` with its reason where it does not open the authenticator."""
    orchestrator = orchestrator_of(context)
    config: dict[str, Any] = {"config": {}}
    if is_concurrent(orchestrator):
        config = {"config": {"service": options.service or context.section.rpartition(".")[2]}}
    service = await Service.open(
        orchestrator, ServiceType.JWT, config, noun="authenticator", section=context.section, timeout=options.timeout
    )
    try:
        yield HostedAuthenticator(service)
    finally:
        await service.close()
