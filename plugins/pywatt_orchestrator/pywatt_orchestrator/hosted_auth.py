"""A process's connection to an authenticator that we host: `validate` and `generate` of protocol 11.2. The keys stay here."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from pywatt_core.access import TokenIssuer
from pywatt_core.errors import AuthError, Forbidden, PyWattError, StorageError, Unavailable
from pywatt_core.protocol.hosted import plain_result

from .hosted import Connection, read_params

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from pywatt_core.access import Authenticator

    from .services import Hosted

log = logging.getLogger(__name__)


class Validate(Struct):
    """What a token is checked with."""

    token: str


class Generate(Struct):
    """What a token is made of."""

    claims: dict[str, Any]


class AuthConnection(Connection):
    """`Connection` to an authenticator. It is looked up for each operation, so that one with new keys takes over at once."""

    async def open(self) -> None:
        await self.hosted.open()

    async def perform(self, operation: str, params: Any, asked: str | None) -> Any:
        if operation == "validate":
            return await claims_of(self.hosted, read_params(operation, params, Validate).token)
        if operation == "generate":
            return await self._generate(read_params(operation, params, Generate).claims)
        raise StorageError(f"an authenticator has no operation {operation!r}")

    async def _generate(self, claims: dict[str, Any]) -> str:
        name = self.hosted.name
        if not self.hosted.issues_for(self.module):
            raise Forbidden(f'{self.module} may not have tokens made: add "{self.module}" to issue in [services.{name}]')
        authenticator: Authenticator = await self.hosted.open()
        if not isinstance(authenticator, TokenIssuer):
            raise AuthError(f"the authenticator {name!r} checks tokens and makes none")
        token = await _carefully(self.hosted, authenticator.issue(claims))
        if not isinstance(token, str) or not token:
            raise Unavailable(f"the authenticator {name!r} made no token")
        return token


async def claims_of(hosted: Hosted, token: str) -> dict[str, Any]:
    """The claims that a token proves, in JSON's values. Raises `AuthError`, or `Unavailable` where it cannot be told now.

    What an authenticator raises beside these is a fault of its own, and no word of it is passed on: it may hold the token.
    """
    authenticator: Authenticator = await hosted.open()
    claims = await _carefully(hosted, authenticator.authenticate(token))
    if not isinstance(claims, Mapping):
        raise Unavailable(f"the authenticator {hosted.name!r} gave no claims")
    plain: dict[str, Any] = plain_result(claims)
    return plain


async def _carefully(hosted: Hosted, work: Awaitable[Any]) -> Any:
    try:
        return await work
    except (AuthError, Unavailable):
        raise
    except PyWattError as error:
        raise Unavailable(f"the authenticator {hosted.name!r} cannot tell now: {error}") from error
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise Unavailable(f"the authenticator {hosted.name!r} broke it off") from None  # who asked is still waiting
    except (Exception, SystemExit) as error:
        log.error("[services.%s] failed: %s in %s", hosted.name, type(error).__name__, _place(error))
        raise Unavailable(f"the authenticator {hosted.name!r} failed: {type(error).__name__}") from None


def _place(error: BaseException) -> str:
    """Where it was raised: no more can be shown of an error that nobody foresaw."""
    at = error.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    return f"{at.tb_frame.f_code.co_filename}:{at.tb_lineno}" if at is not None else "an unknown place"
