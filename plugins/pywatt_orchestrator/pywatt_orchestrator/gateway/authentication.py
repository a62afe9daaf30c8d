"""A request to a path that is announced with ``auth``: its token is checked before its body is read or a module hears of it."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from pywatt_core.errors import AuthError, PyWattError, Unavailable
from pywatt_core.http.bearer import refusal_of, token_of

from .lines import header_lines
from .waiting import HeldBack

if TYPE_CHECKING:
    from .client import ClientConnection

logger = logging.getLogger("pywatt.gateway")

TOLD_EVERY: Final = 10.0
"""Seconds between two lines of the log that say that tokens cannot be checked."""


class Authentication(HeldBack):
    """Holds a request back until its token has been checked, as long as `authenticate_timeout` allows; refuses it where it must."""

    def __init__(self, client: ClientConnection, name: str) -> None:
        super().__init__(client, name)
        self._table = client.gateway.table
        self._token = ""

    def start(self) -> None:
        """A request without a token is answered at once, and one with more than one."""
        self._client.module = self._name
        try:
            self._token = token_of([value.decode("latin-1") for value in self._client.request.lines.fields(b"authorization")])
        except AuthError as error:
            self._refuse(error)
            return
        super().start()

    async def _wait(self) -> None:
        client, gateway = self._client, self._client.gateway
        seconds = client.options.authenticate_timeout
        try:
            if gateway.authenticate is None:
                raise Unavailable("nobody is there to check tokens")
            async with asyncio.timeout(seconds):
                await gateway.authenticate(self._token)
        except TimeoutError:
            self._refuse(Unavailable(f"checking a token took longer than {seconds:g} s"))
        except PyWattError as error:
            self._refuse(error)
        except asyncio.CancelledError:
            if self._task.cancelling():
                raise
            self._refuse(Unavailable("checking a token was broken off"))  # by whoever checks, not because the client has left
        except Exception as error:  # nothing of it is shown: it may hold the token
            self._refuse(Unavailable(f"checking a token failed: {type(error).__name__}"))
        else:
            if gateway.table is not self._table:
                client.request.route = None
            self._go_on(checked=True)

    def _refuse(self, error: PyWattError) -> None:
        if isinstance(error, AuthError):
            logger.debug("a request to module %s is refused: %s: %s", self._name, type(error).__name__, error)
        else:
            self._warn(error)
        status, headers, body = refusal_of(error)
        self._client.answer(status, header_lines(headers), body)

    def _warn(self, error: PyWattError) -> None:
        gateway = self._client.gateway
        if gateway.now - gateway.warned >= TOLD_EVERY:
            gateway.warned = gateway.now
            logger.warning("a request to module %s cannot be let in: %s", self._name, error)
