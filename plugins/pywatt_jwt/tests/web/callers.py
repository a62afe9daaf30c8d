"""What the tests of all integrations share: a configuration, tokens for it, and an application that is asked over a link."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, NamedTuple

import pywatt_fastapi
import pywatt_flask
from pywatt_core.access import Authenticator
from pywatt_core.http.guarding import Guard
from pywatt_core.interfaces import Server, ServerOptions
from pywatt_core.protocol.messages import AnnouncedEndpoint
from pywatt_core.testing.client import Response, of_message
from pywatt_core.testing.contracts.server_probe import bound, request
from pywatt_jwt import JwtConfig, JwtValidator, create_token

CONFIG = JwtConfig(secret_key="the key of the callers, 32 bytes or more")
FOREIGN = JwtConfig(secret_key="the key of somebody else, 32 bytes or more")


class Counting:
    """An authenticator that counts the tokens it has checked."""

    def __init__(self) -> None:
        self._validator = JwtValidator(CONFIG)
        self.asked = 0

    async def authenticate(self, token: str) -> Mapping[str, Any]:
        return self.authenticate_now(token)

    def authenticate_now(self, token: str) -> Mapping[str, Any]:
        self.asked += 1
        return self._validator.validate(token, dict)


def bearer(config: JwtConfig = CONFIG, **claims: Any) -> str:
    """The value of an ``Authorization`` header with a good token."""
    return f"Bearer {create_token({'sub': 'ada', **claims}, config)}"


class Refused(NamedTuple):
    """An answer, as far as a refusal goes."""

    status: int
    text: str
    challenge: str | None


MISSING = Refused(401, "Missing Authorization header", "Bearer")
INVALID = Refused(401, "Unauthorized: InvalidToken", 'Bearer error="invalid_token"')
EXPIRED = Refused(401, "Unauthorized: ExpiredSignature", 'Bearer error="invalid_token"')
FORBIDDEN = Refused(403, "Forbidden", 'Bearer error="insufficient_scope"')


def refusal(answer: Response) -> Refused:
    body: dict[str, str] = json.loads(answer.body)
    assert len(body) == 1, "it tells nothing but the kind"
    return Refused(answer.status, next(iter(body.values())), answer.headers.get("www-authenticate"))


class Asked:
    """An application that is served."""

    def __init__(self, server: Server, address: str) -> None:
        self.server, self.address = server, address

    async def ask(self, path: str = "/me", authorization: str | None = None, *, method: str = "GET", **headers: str) -> Response:
        said = {} if authorization is None else {"authorization": authorization}
        return of_message(await self.server.handle(request(method, path, None, **said, **headers)))


@asynccontextmanager
async def served(app: Any, *, authenticator: Authenticator | None = None, guarded: str = "", port: bool = False) -> AsyncIterator[Asked]:
    """The application with an `AppState` that has the authenticator; `guarded` is a path that the module announces with auth."""
    state = None if authenticator is None else SimpleNamespace(authenticator=authenticator, authenticators={"customers": authenticator})
    guard = Guard([AnnouncedEndpoint(guarded, ["GET"], "jwt")], {"jwt": authenticator}) if guarded and authenticator else None
    options = ServerOptions(state=state, port=port, guard=guard)
    server = pywatt_fastapi.pywatt_make_server(app, options) or pywatt_flask.pywatt_make_server(app, options)
    assert server is not None
    with bound("tcp") as place:
        try:
            await server.start(place.listener if port else None)
            yield Asked(server, place.address)
        finally:
            await server.close()
