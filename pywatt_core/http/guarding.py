"""Endpoints that are announced with ``auth`` are guarded: which requests need a token, and whose authenticator checks it.

`AsgiFront` and `WsgiFront` ask a `Guard` before the application sees a request, so it makes no difference over which way
the request came: a port, a link whole or in pieces, or the in-process client of tests.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias
from urllib.parse import unquote

from .. import telemetry
from ..errors import ConfigError, Forbidden, InvalidToken, PyWattError, RequestTimeout, Unavailable
from ..protocol.messages import AnnouncedEndpoint
from .bearer import Refusal, refusal_of, token_of
from .guarded_paths import GuardedPath, PathIndex, is_itself, readings

if TYPE_CHECKING:
    from ..access import Authenticator
    from .asgi import Scope
    from .wsgi import Environ

logger = logging.getLogger("pywatt.auth")

CHECK_TIMEOUT: Final = 10.0
"""Seconds for checking the token of one request, after which it is answered 503."""

TOO_LATE: Final = f"a token was not checked within {CHECK_TIMEOUT:g} s"

QUIET: Final = 10.0
_said = float("-inf")

PREFLIGHT: Final = "preflight"
"""A sign of a request: a browser asks whether it may send another one, for which it never has a token."""
OVERRIDDEN: Final = "overridden"
"""A sign of a request: it asks for another method than its own, which some applications listen to."""

ASKING: Final = "access-control-request-method"
OVERRIDING: Final = frozenset({"x-http-method-override", "x-http-method", "x-method-override"})

ANY_METHOD: Final = frozenset({"*", "ANY"})

Claims: TypeAlias = Mapping[str, Any]
Signs: TypeAlias = Collection[str] | Callable[[], Collection[str]]
"""What `signs_of` finds, or how to find it where it matters."""
Wanted: TypeAlias = "tuple[Authenticator, ...]"


def signs_of(headers: Collection[str], query: str) -> frozenset[str]:
    """What the names of a request's headers, in lower case, and its query say about its method."""
    overridden = not OVERRIDING.isdisjoint(headers) or "_method" in (unquote(query) if "%" in query else query)
    return frozenset(sign for sign, there in ((PREFLIGHT, ASKING in headers), (OVERRIDDEN, overridden)) if there)


class _Endpoint(NamedTuple):
    path: GuardedPath
    methods: frozenset[str]
    asked: Wanted
    """Nobody for one without `auth`."""

    def names(self, method: str) -> bool:
        return method in self.methods or (method != "OPTIONS" and not ANY_METHOD.isdisjoint(self.methods))


def guard_of(endpoints: Iterable[AnnouncedEndpoint] | None, state: Any, *, beside: Iterable[str] = ()) -> Guard | None:
    """The guard for what a module announces; None where no endpoint has `auth`.

    An `auth` is the name of a section ``[auth.NAME]`` of `state`, an `AppState`, or what the only section of that kind has in ``use``;
    for "jwt" also the only one whose tokens the orchestrator checks, since those are of that kind on the wire.
    `beside` are paths that everybody may GET, unless an endpoint names them. Raises `ConfigError` with the lines to add.
    """
    listed = list(endpoints or ())
    wanted = dict.fromkeys(endpoint.auth for endpoint in listed if endpoint.auth)
    if not wanted:
        return None
    sections = state.config.sections("auth")
    found: dict[str, Authenticator] = {}
    for auth in wanted:
        kinds = (auth, "orchestrator") if auth == "jwt" else (auth,)
        named = [auth] if auth in state.authenticators else []
        for kind in kinds:
            named = named or [name for name, section in sections.items() if section.use == kind]
        if len(named) != 1:
            paths = ", ".join(dict.fromkeys(endpoint.path for endpoint in listed if endpoint.auth == auth))
            raise ConfigError(_nobody(auth, paths, named, sections))
        found[auth] = state.authenticators[named[0]]
    known = {endpoint.path for endpoint in listed}
    return Guard([*listed, *(AnnouncedEndpoint(path=path, methods=["GET"]) for path in beside if path not in known)], found)


def _nobody(auth: str, paths: str, several: Sequence[str], sections: Mapping[str, Any]) -> str:
    said = f'announced with auth="{auth}": {paths}'
    if several:
        use = sections[several[0]].use
        return f'{said}. Of the sections with use = "{use}" any may be meant: {", ".join(several)}. Name one: auth="{several[0]}"'
    if sections:
        there = ", ".join(f'[auth.{name}] with use = "{section.use}"' for name, section in sections.items())
        way_out = (
            f'Where one of them is meant, auth="{next(iter(sections))}" names it; otherwise add a section [auth.{auth}] to pywatt.toml'
        )
        return f"{said}. No section is called that or uses it, there is {there}. {way_out}"
    return (
        f'{said}. No section says who checks the tokens. Add to pywatt.toml:\n\n[auth.{auth}]\nuse = "jwt"\nsecret_key = "secret:JWT_KEY"'
    )


class Guard:
    """Which requests to the endpoints of one application need a token.

    `endpoints` are those that the decorator names and the paths that a server answers itself; `authenticators` maps each `auth`
    among them to who checks it. Raises `ConfigError` for an `auth` that nobody stands for: nothing is ever served unguarded
    by mistake.

    * A path is guarded where a router may take it for that of an endpoint with `auth`, by any rule (`guarded_paths`).
    * It is open where it is beyond doubt that of an endpoint without `auth`, which is announced within the guarded one, or beside
      it for another method.
    * Methods that are not announced are guarded as those that are. So are WebSockets. A browser's preflight passes where no
      guarded endpoint names OPTIONS.
    """

    def __init__(self, endpoints: Iterable[AnnouncedEndpoint], authenticators: Mapping[str, Authenticator]) -> None:
        self.attached = False
        """Whether something asks this guard: a front sets it. A server that does not may not serve guarded endpoints."""
        self._guarded: list[_Endpoint] = []
        self._open: list[_Endpoint] = []
        self._own: dict[str, Wanted] = {}
        self._roots: tuple[str, ...] = ()
        for endpoint in endpoints:
            path, methods = GuardedPath(endpoint.path), _methods(endpoint)
            if not endpoint.auth:
                self._open.append(_Endpoint(path, methods, ()))
                continue
            if endpoint.auth not in authenticators:
                raise ConfigError(
                    f"the endpoint {endpoint.path} is announced with auth={endpoint.auth!r}, for which there is no authenticator"
                )
            asked = (authenticators[endpoint.auth],)
            self._guarded.append(_Endpoint(path, methods, asked))
            self._own[endpoint.path] = _together(self._own.get(endpoint.path, ()), asked)
        self._guarded_paths = PathIndex(one.path for one in self._guarded)
        self._open_paths = PathIndex(one.path for one in self._open)

    def unanswered(self, routes: Iterable[AnnouncedEndpoint], prefix: str = "") -> list[str]:
        """The guarded paths, below `prefix`, that none of an application's `routes` has anything to do with: they may be misspelt."""
        known = [GuardedPath(route.path) for route in routes]
        paths = [GuardedPath(prefix + path) for path in self._own]
        return [path.path for path in paths if not any(one.overlaps(path) for one in known)]

    def attach(self, roots: Iterable[str] = ()) -> None:
        """Say that this guard is asked. Below `roots` the application finds its routes a second time, as with FastAPI's ``root_path``."""
        self.attached = True
        self._roots = tuple(root.rstrip("/") for root in roots if root.strip("/"))

    def needed(self, method: str, path: str, raw: str | None = None, signs: Signs = ()) -> Wanted:
        """Who has to accept a request's token: nobody, one, or all of several where it is not sure which endpoint is meant.

        `path` is the decoded path below the application's prefix, as its router sees it, `raw` the same before it was decoded.
        """
        wanted = self._needed(method, path, raw, signs)
        for root in self._roots:
            if path.startswith(root):
                wanted = _together(wanted, self._needed(method, path[len(root) :] or "/", None, signs))
        return wanted

    def needed_beside(self, path: str) -> Wanted:
        """The same for a path that the server answers itself, such as ``/health``: guarded where an endpoint names it literally."""
        return self._own.get(path, ())

    def needed_in(self, scope: Scope, path: str) -> Wanted:
        """`needed` of an ASGI request or WebSocket, which stands at `path` below its ``root_path``."""
        raw: bytes | None = scope.get("raw_path")
        below_root = None if raw is None else raw.removeprefix(scope.get("root_path", "").encode()).decode("latin-1")
        headers = [name.decode("latin-1") for name, _ in scope["headers"]]
        return self.needed(
            scope.get("method", "GET"), path, below_root, signs_of(headers, scope.get("query_string", b"").decode("latin-1"))
        )

    def needed_in_environ(self, environ: Environ) -> Wanted:
        """`needed` of a WSGI request."""
        path = environ["PATH_INFO"].encode("latin-1", "replace").decode("utf-8", "replace")

        def signs() -> Collection[str]:
            headers = [key[5:].lower().replace("_", "-") for key in environ if key.startswith("HTTP_")]
            return signs_of(headers, environ.get("QUERY_STRING", ""))

        return self.needed(environ["REQUEST_METHOD"], path, None, signs)

    def _needed(self, method: str, path: str, raw: str | None, signs: Signs) -> Wanted:
        found = readings(path, raw)
        meant = [self._guarded[number] for number in self._guarded_paths.may_be(found)]
        if not meant:
            return ()
        signs = signs() if callable(signs) else signs
        method = method.upper()
        if method == "OPTIONS" and PREFLIGHT in signs and not any(guarded.names(method) for guarded in meant):
            return ()
        if OVERRIDDEN not in signs and is_itself(path, raw):
            if self._open and self._is_open(method, path, found, meant):
                return ()
            meant = _narrowest(method, path, meant)
        return _together(*(guarded.asked for guarded in meant))

    def _is_open(self, method: str, path: str, found: Sequence[str], meant: Sequence[_Endpoint]) -> bool:
        """Whether an endpoint without `auth` is announced for exactly this, within or beside each guarded one that may be meant."""
        for number in self._open_paths.may_be(found):
            endpoint = self._open[number]
            if endpoint.names(method) and endpoint.path.is_exactly(path) and all(_leaves_open(one, endpoint, method) for one in meant):
                return True
        return False

    # ── checking ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def check(self, wanted: Wanted, authorization: Sequence[str]) -> Claims | Refusal:
        """The claims of a request, from the values of its ``Authorization`` headers, or what to answer in the application's place."""
        try:
            claims, *_ = [await prove(authenticator, authorization) for authenticator in wanted]
            return claims
        except Exception as error:
            return refused(error)

    def check_blocking(self, wanted: Wanted, authorization: Sequence[str], state: Any) -> Claims | Refusal:
        """The same for the threads of a WSGI server. What has to wait for something waits on the loop of `state`."""
        try:
            claims, *_ = [prove_blocking(authenticator, authorization, state) for authenticator in wanted]
            return claims
        except Exception as error:
            return refused(error)


async def prove(authenticator: Authenticator, authorization: Sequence[str]) -> Claims:
    """The claims that the token in the ``Authorization`` headers proves. Raises what `token_of` and `Authenticator.authenticate` raise.

    What takes longer than `CHECK_TIMEOUT` is `Unavailable`.
    """
    token = token_of(authorization)
    try:
        async with asyncio.timeout(CHECK_TIMEOUT):
            return _claims(await authenticator.authenticate(token))
    except TimeoutError as error:
        raise Unavailable(TOO_LATE) from error


def prove_blocking(authenticator: Authenticator, authorization: Sequence[str], state: Any) -> Claims:
    """The same in a thread that is not the loop's.

    A `PromptAuthenticator` is asked in this thread; where it cannot tell at once, and for all others, the loop of `state`, an
    `AppState`, does the work.
    """
    token = token_of(authorization)
    at_once = getattr(authenticator, "authenticate_now", None)
    claims = at_once(token) if at_once is not None else None
    if claims is not None:
        return _claims(claims)
    try:
        return _claims(state.sync.within(CHECK_TIMEOUT).around(authenticator).authenticate(token))
    except RequestTimeout as error:
        raise Unavailable(TOO_LATE) from error


def _claims(found: Any) -> Claims:
    if not isinstance(found, Mapping):
        raise TypeError("an authenticator returned no claims")
    return found


def refused(error: Exception) -> Refusal:
    """What is answered to a request over which `error` was raised; the log and the metrics hear of it.

    Of an exception that is none of ours only its type and place are logged: its text may hold the token.
    """
    if isinstance(error, (InvalidToken, Forbidden)):
        logger.debug("a request was refused: %s", error)
    elif isinstance(error, Unavailable):
        logger.log(logging.WARNING if _is_news() else logging.DEBUG, "a token could not be checked: %s", error)
    elif isinstance(error, PyWattError):
        logger.error("a token could not be checked: %s", error)
    else:
        logger.error("a token could not be checked: %s at %s", type(error).__name__, _place(error))
    refusal = refusal_of(error) if isinstance(error, PyWattError) else refusal_of(PyWattError())
    _count(refusal.status)
    return refusal


def _is_news() -> bool:
    """True once in `QUIET` seconds: while an authenticator is away, each request would say the same."""
    global _said
    now = time.monotonic()
    if now - _said < QUIET:
        return False
    _said = now
    return True


def _place(error: Exception) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "an unknown place" if trace is None else f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"


def _count(status: int) -> None:
    counter = telemetry.metrics.counter("pywatt_http_refused_total", "Requests to guarded endpoints that were refused.", ("status",))
    counter.labels(status).inc()


def _leaves_open(guarded: _Endpoint, endpoint: _Endpoint, method: str) -> bool:
    """Whether `endpoint` lies within `guarded`; where both name the method, it has to be the smaller part of it."""
    return guarded.path.includes(endpoint.path) and not (guarded.names(method) and endpoint.path.includes(guarded.path))


def _narrowest(method: str, path: str, meant: list[_Endpoint]) -> list[_Endpoint]:
    """Of several guarded endpoints those that were announced for the smallest part, and of these the ones for the method."""
    if len(meant) == 1 or not all(one.path.is_exactly(path) for one in meant):
        return meant
    narrow = [one for one in meant if not any(one.path.includes(other.path) and not other.path.includes(one.path) for other in meant)]
    return [one for one in narrow if one.names(method)] or narrow


def _methods(endpoint: AnnouncedEndpoint) -> frozenset[str]:
    methods = frozenset(method.upper() for method in endpoint.methods)
    return methods | {"HEAD"} if "GET" in methods else methods


def _together(*wanted: Wanted) -> Wanted:
    """All of them, each once, in their order."""
    found: list[Authenticator] = []
    for several in wanted:
        found += [one for one in several if not any(one is other for other in found)]
    return tuple(found)
