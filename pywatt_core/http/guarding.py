"""Endpoints that are announced with ``auth`` are guarded: which requests need a token, and whose authenticator checks it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import PyWattError
from .bearer import Refusal, refusal_of, token_of

if TYPE_CHECKING:
    from ..access import Authenticator
    from ..protocol.messages import AnnouncedEndpoint


class Guard:
    """Asked by `AsgiFront` and `WsgiFront` for each request, before the application sees it.

    `endpoints` are those that the decorator names with ``auth=``; `authenticators` the open ones of ``[auth.NAME]``. Raises
    `ConfigError`, with the lines to add, for an `auth` that no section stands for: nothing is ever served unguarded by mistake.
    """

    def __init__(self, endpoints: Iterable[AnnouncedEndpoint], authenticators: Mapping[str, Authenticator]) -> None:
        raise NotImplementedError

    def needed(self, method: str, path: str) -> Authenticator | None:
        """Who has to check a request, by its method and its decoded path as the framework's router sees it; None: nobody."""
        raise NotImplementedError

    async def check(self, authenticator: Authenticator, authorization: Sequence[str]) -> Mapping[str, Any] | Refusal:
        """The claims of a request, from the values of its ``Authorization`` headers, or what to answer in the application's place."""
        try:
            return await authenticator.authenticate(token_of(authorization))
        except PyWattError as error:
            return refusal_of(error)
