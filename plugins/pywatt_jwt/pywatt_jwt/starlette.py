"""Endpoints of Starlette that need a token: ``@jwt_required()``, ``@require("admin")``; and its own ``AuthenticationMiddleware``.

With ``Middleware(AuthenticationMiddleware, backend=JwtBackend(), on_error=on_error)`` the caller is ``request.user``, and Starlette's
``@requires("read")`` looks at the token's scopes.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

try:
    from starlette.authentication import AuthCredentials, AuthenticationBackend, AuthenticationError, BaseUser
    from starlette.concurrency import run_in_threadpool
    from starlette.exceptions import WebSocketException
    from starlette.requests import HTTPConnection
    from starlette.responses import Response
    from starlette.websockets import WebSocket
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(f"{__name__} needs Starlette: pip install 'pywatt-jwt[starlette]' ({error})", name=error.name) from error

from pywatt_core.http.arrival import AUTH_MARK
from pywatt_core.http.asgi_front import POLICY_VIOLATION
from pywatt_core.http.bearer import CLAIMS_KEY, Refusal
from pywatt_core.http.guarding import refused

from . import requirements
from .middleware import Checker, Source
from .requirements import NOTHING_MORE, Requirement

F = TypeVar("F", bound=Callable[..., Any])


def jwt_required(*, source: Source = None, claims_type: Any = None, require: Requirement = NOTHING_MORE) -> Callable[[F], F]:
    """A decorator for endpoints: functions, and methods of ``HTTPEndpoint`` and ``WebSocketEndpoint``, that take a request or WebSocket.

    `extract_jwt_claims` then gives the claims. `source` says who checks, as for `create_jwt_middleware`. `claims_type` is tried on the
    claims of each request, so that `extract_jwt_claims` cannot fail.
    """
    checker = Checker(source, into=claims_type, require=require)

    def decorate(endpoint: F) -> F:
        if inspect.isclass(endpoint):
            raise TypeError(f"decorate the methods of {endpoint.__name__}, or what it is mounted in: a class is called with its scope")
        is_coroutine = inspect.iscoroutinefunction(endpoint)

        @functools.wraps(endpoint)
        async def guarded(*args: Any, **kwargs: Any) -> Any:
            connection = _connection(args, kwargs)
            refusal = await _refusal(checker, connection)
            if refusal is not None:
                return await _turned_away(connection) if isinstance(connection, WebSocket) else _response(refusal)
            answer = endpoint(*args, **kwargs) if is_coroutine else await run_in_threadpool(endpoint, *args, **kwargs)
            return await answer if inspect.isawaitable(answer) else answer  # what calls a coroutine function need be none

        setattr(guarded, AUTH_MARK, checker.announced)
        return guarded  # type: ignore[return-value]  # what was decorated, behind a check

    return decorate


def require(
    *roles: str, source: Source = None, claims_type: Any = None, claim: str | Iterable[str] = requirements.ROLE_CLAIMS
) -> Callable[[F], F]:
    """A decorator for endpoints that only callers with one of `roles` may use."""
    return jwt_required(source=source, claims_type=claims_type, require=requirements.require(*roles, claim=claim))


def require_scopes(
    *scopes: str, source: Source = None, claims_type: Any = None, claim: str | Iterable[str] = requirements.SCOPE_CLAIMS
) -> Callable[[F], F]:
    """A decorator for endpoints that only callers may use whose token has all of `scopes`."""
    return jwt_required(source=source, claims_type=claims_type, require=requirements.require_scopes(*scopes, claim=claim))


async def _refusal(checker: Checker, connection: HTTPConnection) -> Refusal | None:
    try:
        await checker.check(connection.scope, connection.headers.getlist("authorization"))
    except Exception as error:
        return refused(error)
    return None


def _connection(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> HTTPConnection:
    for value in (*args, *kwargs.values()):
        if isinstance(value, HTTPConnection):
            return value
    raise TypeError("a decorated endpoint takes the request or the WebSocket")


async def _turned_away(websocket: WebSocket) -> None:
    """Raised where Starlette closes the WebSocket then: methods of the same class that come after this one are not called."""
    if "starlette.exception_handlers" in websocket.scope:
        raise WebSocketException(POLICY_VIOLATION)
    await websocket.close(POLICY_VIOLATION)


def _response(refusal: Refusal) -> Response:
    return Response(refusal.body, refusal.status, dict(refusal.headers))


# ── request.user ────────────────────────────────────────────────────────────────────────────────────────────────────


class JwtUser(BaseUser):
    """Who calls, by a token that was good."""

    def __init__(self, claims: Mapping[str, Any]) -> None:
        self.claims = claims

    @property
    def is_authenticated(self) -> bool:
        return True

    @property
    def identity(self) -> str:
        """``sub``; empty where the token has none."""
        return str(self.claims.get("sub") or "")

    @property
    def display_name(self) -> str:
        """``name``, ``preferred_username`` or ``sub``."""
        found = (self.claims.get(claim) for claim in ("name", "preferred_username", "sub"))
        return next((name for name in found if isinstance(name, str) and name), "")

    @property
    def roles(self) -> frozenset[str]:
        """The roles that the token gives."""
        return requirements.roles_of(self.claims)


class NotAdmitted(AuthenticationError):
    """A token was sent that is not good here; `refusal` is what to answer."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(f"refused with {refusal.status}")
        self.refusal = refusal


class JwtBackend(AuthenticationBackend):
    """For Starlette's ``AuthenticationMiddleware``. Its scopes are ``authenticated`` and those of the token; roles are on `JwtUser`.

    A request without an ``Authorization`` header is anonymous, and endpoints decide with ``@requires``; a token that is no good is
    refused.
    """

    def __init__(self, *, source: Source = None, require: Requirement = NOTHING_MORE) -> None:
        self._checker = Checker(source, require=require)

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, BaseUser] | None:
        if "authorization" not in conn.headers:
            return None
        refusal = await _refusal(self._checker, conn)
        if refusal is not None:
            raise NotAdmitted(refusal)
        claims = conn.scope[CLAIMS_KEY]
        return AuthCredentials(["authenticated", *sorted(requirements.scopes_of(claims))]), JwtUser(claims)


def on_error(connection: HTTPConnection, error: AuthenticationError) -> Response:
    """For ``AuthenticationMiddleware(on_error=…)``: the answers that everything else of PyWatt gives."""
    return _response(error.refusal) if isinstance(error, NotAdmitted) else Response(status_code=401, headers={"www-authenticate": "Bearer"})
