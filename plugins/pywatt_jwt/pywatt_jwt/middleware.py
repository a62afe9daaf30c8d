"""Tokens are required of a whole application, whatever it is made with; what all the integrations share.

The integrations of single endpoints are `pywatt_jwt.fastapi`, `pywatt_jwt.starlette` and `pywatt_jwt.flask`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar, overload
from weakref import WeakValueDictionary

from pywatt_core.access import Authenticator
from pywatt_core.errors import ConfigError
from pywatt_core.http.bearer import AUTHENTICATOR_KEY, CLAIMS_KEY, Refusal
from pywatt_core.http.guarding import Guard, prove, prove_blocking, refused
from pywatt_core.protocol.messages import AnnouncedEndpoint, HttpResponse

from .claims import reader_of
from .errors import MissingToken
from .options import JwtOptions
from .requirements import NOTHING_MORE, Requirement

if TYPE_CHECKING:
    from pywatt_core.http.asgi import AsgiApp, Receive, Scope, Send
    from pywatt_core.http.request import RouterRequest
    from pywatt_core.http.wsgi import Environ, WsgiApp

    from .validator import JwtValidator

T = TypeVar("T")
Source: TypeAlias = "JwtOptions | JwtValidator | Authenticator | str | None"
"""Who checks tokens: a `JwtConfig`, something made of one, the NAME of a section ``[auth.NAME]``, or None for ``state.authenticator``."""

STATE_KEY: Final = "pywatt.state"
"""Where the fronts of the core put the module's `AppState`, in scopes and environs alike."""

EVERYTHING: Final = "/{*rest}"

SECTION: Final = re.compile(r"(?=.{1,31}\Z)[a-z][a-z0-9]*(?:_[a-z0-9]+)*")
"""What the name of a section looks like, and a good key does not: the name is announced, and stands in openapi.json."""


class Checker:
    """Checks the token of one request and what its claims allow; they are handed on as `into`: see `JwtConfig.claims_type`."""

    def __init__(self, source: Source = None, *, into: Any = None, require: Requirement = NOTHING_MORE) -> None:
        if not isinstance(require, Requirement):
            raise TypeError(f'require= takes what require("admin") and require_scopes("read") return, not {type(require).__name__}')
        if isinstance(source, str) and SECTION.fullmatch(source) is None:
            raise ValueError(
                "a text says which section [auth.NAME] checks tokens: lower case letters, digits and _, 31 at most. What was given is none "
                "and not repeated here, as it may be a key: that belongs into JwtConfig(secret_key=…)"
            )
        self._source = _validating(source) if isinstance(source, JwtOptions) or hasattr(source, "validate_async") else source
        if not (source is None or isinstance(self._source, (str, Authenticator))):
            raise TypeError(
                f"tokens are checked by a JwtConfig, a JwtValidator, an authenticator or the name of one, not {type(source).__name__}"
            )
        if into is None and isinstance(self._source, _Validating):
            into = self._source.claims_type
        self._read = reader_of(into)
        self.require = require
        self.announced = source if isinstance(source, str) else "jwt"
        """What endpoints that are checked in this way are announced with."""

    async def check(self, place: MutableMapping[str, Any], authorization: Sequence[str]) -> Any:
        """The claims of a request whose scope or environ is `place`; they are left there. Raises what `pywatt_core.http.bearer` answers."""
        authenticator, claims = self._known(place)
        if claims is None:
            claims = await prove(authenticator, authorization)
        return self._admitted(place, authenticator, claims)

    def check_blocking(self, place: MutableMapping[str, Any], authorization: Sequence[str]) -> Any:
        """The same in a thread that is not the loop's."""
        authenticator, claims = self._known(place)
        if claims is None:
            claims = prove_blocking(authenticator, authorization, place.get(STATE_KEY))
        return self._admitted(place, authenticator, claims)

    def _known(self, place: Mapping[str, Any]) -> tuple[Authenticator, Mapping[str, Any] | None]:
        """Who checks, and the claims where the same one has found them in this request before."""
        authenticator = self._authenticator(place)
        return authenticator, place[CLAIMS_KEY] if place.get(AUTHENTICATOR_KEY) is authenticator else None

    def _authenticator(self, place: Mapping[str, Any]) -> Authenticator:
        if self._source is not None and not isinstance(self._source, str):
            return self._source
        state = place.get(STATE_KEY)
        if state is None:
            raise ConfigError(
                "there is no AppState in this request, and so no authenticator of a section [auth.NAME]: the application is not served "
                "by a PyWatt module. Serve it as one, or hand over a JwtConfig"
            )
        found: Authenticator = state.authenticator if self._source is None else state.authenticators[self._source]
        return found

    def _admitted(self, place: MutableMapping[str, Any], authenticator: Authenticator, claims: Mapping[str, Any]) -> Any:
        self.require.check(claims)
        handed_on = claims if self._read is None else self._read(dict(claims))
        place[CLAIMS_KEY], place[AUTHENTICATOR_KEY] = claims, authenticator
        return handed_on


class _Validating:
    """A validator as an authenticator, for threads as well."""

    def __init__(self, source: Any) -> None:
        self._made_of = source  # lives as long as this, so that its id is nobody else's
        if isinstance(source, JwtOptions):
            from .validator import JwtValidator  # imports cryptography

            source = JwtValidator(source)
        self._validator: JwtValidator = source
        self.claims_type = getattr(source.config, "claims_type", None)

    async def authenticate(self, token: str) -> Mapping[str, Any]:
        return await self._validator.authenticate(token)

    def authenticate_now(self, token: str) -> Mapping[str, Any]:
        claims: Mapping[str, Any] = self._validator.validate(token, dict)
        return claims


_VALIDATING: Final[WeakValueDictionary[int, _Validating]] = WeakValueDictionary()
"""By the `id` of what each was made of, which lives as long as it does."""


def _validating(source: Any) -> _Validating:
    """One for each configuration: all endpoints that name the same one share its keys, and what it has found out about a request."""
    found = _VALIDATING.get(id(source))
    if found is None:  # two threads may both make one: they are alike
        found = _VALIDATING[id(source)] = _Validating(source)
    return found


# ── whole applications ──────────────────────────────────────────────────────────────────────────────────────────────


class Fence:
    """Which requests to a whole application need a token: all but those to the paths in `exclude`, and a browser's preflights.

    `exclude` holds paths as they are announced: ``/login``, ``/public/{*rest}``. What is not beyond doubt one of them needs a token.
    """

    def __init__(self, checker: Checker, exclude: Iterable[str]) -> None:
        if isinstance(exclude, str):
            raise TypeError(f"exclude= is a list of paths: exclude=[{exclude!r}]")
        everything = AnnouncedEndpoint(path=EVERYTHING, methods=["*"], auth="jwt")
        excluded = [AnnouncedEndpoint(path=path, methods=["*", "OPTIONS"]) for path in exclude]
        self.checker = checker
        self._guard = Guard([everything, *excluded], {"jwt": _Nobody()})

    async def refusal_in(self, scope: Scope) -> Refusal | None:
        """What to answer to an ASGI request in the application's place; None where it may see it."""
        root, path = scope.get("root_path", ""), scope["path"]
        below = path[len(root) :] if root and (path == root or path.startswith(root + "/")) else path
        if not self._guard.needed_in(scope, below or "/"):
            return None
        try:
            await self.checker.check(scope, [value.decode("latin-1") for name, value in scope["headers"] if name == b"authorization"])
        except Exception as error:
            return refused(error)
        return None

    def refusal_in_environ(self, environ: Environ) -> Refusal | None:
        """The same of a WSGI request."""
        if not self._guard.needed_in_environ(environ):
            return None
        try:
            self.checker.check_blocking(environ, said_in(environ))
        except Exception as error:
            return refused(error)
        return None

    async def refusal_of_request(self, request: RouterRequest) -> Refusal | None:
        """The same of a request to one of PyWatt's own routers."""
        if not self._guard.needed(request.method, request.path, request.path):
            return None
        said = request.headers.get("authorization")
        place: dict[str, Any] = {STATE_KEY: request.state}
        try:
            await self.checker.check(place, [] if said is None else [said])
        except Exception as error:
            return refused(error)
        request.claims = place[CLAIMS_KEY]
        return None


class _Nobody:
    """Stands for the checker in a fence's guard, which only says where a token is needed."""

    async def authenticate(self, token: str) -> Mapping[str, Any]:
        raise AssertionError("a fence asks its checker")


def said_in(environ: Environ) -> list[str]:
    """The values of a WSGI request's ``Authorization`` headers; a server joins several with commas, which no token has."""
    said = environ.get("HTTP_AUTHORIZATION")
    return [] if said is None else [said]


class AsgiJwt:
    """An ASGI application behind a fence."""

    def __init__(self, app: AsgiApp, fence: Fence) -> None:
        self.app = app
        self._fence = fence

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket") and (refusal := await self._fence.refusal_in(scope)) is not None:
            from pywatt_core.http.asgi_front import turn_away

            await turn_away(scope, send, refusal)
        else:
            await self.app(scope, receive, send)


class WsgiJwt:
    """A WSGI application behind a fence."""

    def __init__(self, app: WsgiApp, fence: Fence) -> None:
        self.app = app
        self._fence = fence

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        refusal = self._fence.refusal_in_environ(environ)
        if refusal is None:
            return self.app(environ, start_response)
        from pywatt_core.http.wsgi_front import turn_away

        return turn_away(start_response, refusal)


def create_jwt_middleware(
    framework: str,
    config: Source = None,
    *,
    claims_type: Any = None,
    require: Requirement = NOTHING_MORE,
    exclude: Iterable[str] = (),
) -> Callable[..., Any]:
    """Middleware that lets requests with a good token pass, and refuses the others: 401, 403, or 503 where it cannot be told now.

    * ``"fastapi"``, ``"starlette"``, ``"asgi"``: for ``app.add_middleware(…)``, or ``app = …(app)``. WebSockets are checked too.
    * ``"flask"``, ``"wsgi"``: ``app = …(app)``; of a Flask application everything is checked, pages that are not there included.
    * ``"router"``: for ``router.middleware(…)`` of PyWatt's own routers.

    `exclude` are paths that need no token, as they are announced: ``exclude=["/login", "/public/{*rest}"]``. `claims_type` is tried
    on each request's claims, so that `extract_jwt_claims` cannot fail. Raises `ValueError` for another framework.
    """
    if not isinstance(framework, str) or framework not in _MAKERS:
        raise ValueError(f"create_jwt_middleware(framework, config): framework is one of {', '.join(_MAKERS)}, not {framework!r}")
    return _MAKERS[framework](Fence(Checker(config, into=claims_type, require=require), exclude))


def _asgi(fence: Fence) -> Callable[..., Any]:
    def fenced(app: AsgiApp) -> AsgiJwt:
        return AsgiJwt(app, fence)

    return fenced


def _wsgi(fence: Fence) -> Callable[..., Any]:
    def fenced(app: Any) -> Any:
        inner = getattr(app, "wsgi_app", None)
        if inner is None:
            return WsgiJwt(app, fence)
        app.wsgi_app = WsgiJwt(inner, fence)  # a Flask application stays one: whoever has it need not know
        return app

    return fenced


def _router(fence: Fence) -> Callable[..., Any]:
    async def fenced(request: RouterRequest) -> HttpResponse | None:
        refusal = await fence.refusal_of_request(request)
        if refusal is None:
            return None
        return HttpResponse(request.request_id, refusal.status, dict(refusal.headers), refusal.body)

    return fenced


_MAKERS: Final[Mapping[str, Callable[[Fence], Callable[..., Any]]]] = {
    "fastapi": _asgi,
    "starlette": _asgi,
    "asgi": _asgi,
    "flask": _wsgi,
    "wsgi": _wsgi,
    "router": _router,
}


# ── what was proved ─────────────────────────────────────────────────────────────────────────────────────────────────


@overload
def extract_jwt_claims(request: Any, framework: str | None = None, claims_type: None = None) -> Mapping[str, Any]: ...
@overload
def extract_jwt_claims(request: Any, framework: str | None, claims_type: type[T]) -> T: ...
@overload
def extract_jwt_claims(request: Any, *, claims_type: type[T]) -> T: ...
def extract_jwt_claims(request: Any, framework: str | None = None, claims_type: Any = None) -> Any:
    """The claims of a request whose token was checked before: by middleware, a dependency, a decorator or the module's guard.

    `request` is the framework's request or WebSocket, an ASGI scope, a WSGI environ, or a `RouterRequest`; `framework` need not be told.
    Raises `MissingToken` where nothing has checked the request: no claim is ever believed unchecked.
    """
    if framework is not None and framework not in _MAKERS:
        raise ValueError(f"extract_jwt_claims(request, framework): framework is one of {', '.join(_MAKERS)}, not {framework!r}")
    claims = _claims_in(request)
    if claims is None:
        raise MissingToken("the token of this request was not checked: the endpoint has no middleware, dependency, decorator or guard")
    read = reader_of(claims_type)
    return claims if read is None else read(dict(claims))


def _claims_in(request: Any) -> Mapping[str, Any] | None:
    place = request
    for attribute in ("scope", "environ"):
        inner = getattr(request, attribute, None)
        if isinstance(inner, MutableMapping):
            place = inner
    if isinstance(place, MutableMapping):
        found: Mapping[str, Any] | None = place.get(CLAIMS_KEY)
        return found
    if hasattr(request, "claims"):
        claims: Mapping[str, Any] | None = request.claims
        return claims
    raise TypeError(f"{type(request).__name__} is no request of a framework that is known here, no scope and no environ")
