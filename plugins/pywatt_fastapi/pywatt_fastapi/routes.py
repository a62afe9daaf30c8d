"""What an application's router contains, as it is announced (protocol 2.3)."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

from starlette.endpoints import HTTPEndpoint
from starlette.routing import Host, Mount, Route, WebSocketRoute

from pywatt_core.http import AUTH_MARK, literal_path, under
from pywatt_core.protocol.messages import AnnouncedEndpoint

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

ALL_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
PARAMETER = re.compile(r"{([a-zA-Z_][a-zA-Z0-9_]*)(?::[a-zA-Z_][a-zA-Z0-9_]*)?}")
TOKEN_SCHEMES = ("HTTPBearer", "OAuth2", "OpenIdConnect")
"""FastAPI's security classes that expect a bearer token, announced as ``"jwt"``."""


def announced(inner: Any, prefix: str) -> list[AnnouncedEndpoint]:
    """Every route of application `inner` below `prefix`, in the order of its router, each path and method once: the first wins."""
    methods_of: dict[tuple[str, str | None], list[str]] = {}
    seen: set[tuple[str, str]] = set()
    for path, methods, auth in (*_walk(inner.routes), *_frontends(inner)):
        whole = under(prefix, path)
        fresh = [method for method in methods if (whole, method) not in seen]
        seen.update((whole, method) for method in fresh)
        if fresh:
            methods_of.setdefault((whole, auth), []).extend(fresh)
    return [AnnouncedEndpoint(path=path, methods=methods, auth=auth) for (path, auth), methods in methods_of.items()]


def has_literal(routes: Sequence[Any], path: str) -> bool:
    """Whether the user has `path`: a route of exactly this path, or something mounted at or above it with a path of its own."""
    return any(_holds(kind, route, path) for kind, route in _effective(routes))


def _holds(kind: Any, route: Any, path: str) -> bool:
    own: str = getattr(route, "path", None) or ""
    if isinstance(kind, Host):
        return has_literal(route.routes, path)
    if not isinstance(kind, Mount):
        return literal_path(own) == literal_path(path)
    if own and path != own and not path.startswith(f"{own}/"):
        return False
    return has_literal(route.routes, path.removeprefix(own) or "/") if route.routes else bool(own)


def _effective(routes: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    """Each route as it was written, to know its kind, and as it works, with what the routers that include it add."""
    fastapi_routing = sys.modules.get("fastapi.routing")
    if fastapi_routing is None:
        for route in routes:
            yield route, route
    else:
        for context in fastapi_routing.iter_route_contexts(list(routes)):
            yield context.original_route, context


def _walk(routes: Iterable[Any]) -> Iterator[tuple[str, Sequence[str], str | None]]:
    for kind, route in _effective(routes):
        if isinstance(kind, Host):
            if route.routes:
                yield from _walk(route.routes)
            else:
                yield "/{*rest}", ALL_METHODS, None
        elif isinstance(kind, Mount):
            mounted = template(route.path, route.param_convertors)
            yield mounted + "/{*rest}", ALL_METHODS, None
            for path, methods, auth in _walk(route.routes or ()):  # what is guarded in there has to be known by name
                if auth is not None:
                    yield mounted + path, methods, auth
        elif isinstance(kind, WebSocketRoute):
            yield template(route.path, route.param_convertors), ("GET",), _auth(route)
        elif isinstance(kind, Route):
            auth = _auth(route)
            yield template(route.path, route.param_convertors), _methods(route, guarded=auth is not None), auth


def _frontends(inner: Any) -> Iterator[tuple[str, Sequence[str], str | None]]:
    """Static pages of ``FastAPI.frontend()``, which answer where no route does. They are not among the routes."""
    router = getattr(inner, "router", inner)
    for candidate in getattr(router, "_iter_low_priority_routes", tuple)():
        group = getattr(candidate, "original_route", candidate)
        prefix = getattr(candidate, "frontend_prefix", "")
        for route in getattr(group, "routes", ()):
            path = (prefix + route.path).rstrip("/")
            yield path + "/{*rest}", ("GET",), _auth_of_dependant(getattr(group, "dependant", None))


def _methods(route: Any, *, guarded: bool) -> Sequence[str]:
    """Upper case; without HEAD where GET opens it, without OPTIONS where anything else is there, unless that is guarded too."""
    methods = route.methods
    if methods is None:
        endpoint = route.endpoint
        if not (isinstance(endpoint, type) and issubclass(endpoint, HTTPEndpoint)):
            return ALL_METHODS
        methods = {name.upper() for name in ("get", "head", "post", "put", "patch", "delete", "options") if hasattr(endpoint, name)}
    order = (*ALL_METHODS, *sorted(set(methods).difference(ALL_METHODS)))
    kept = [method for method in order if method in methods and not (method == "HEAD" and "GET" in methods)]
    return [method for method in kept if method != "OPTIONS" or guarded] or kept


def template(path: str, convertors: dict[str, Any]) -> str:
    """Starlette's path as it is announced: ``{name}`` for what ends at a slash, ``{*name}`` for what does not.

    Behind a second remainder nothing is said: the first then stands for everything, which admits more, never less.
    """
    remainders = [name for name, convertor in convertors.items() if re.fullmatch(convertor.regex, "a/b")]
    if len(remainders) > 1:
        path = path[: next(found.end() for found in PARAMETER.finditer(path) if found[1] in remainders)]
    return PARAMETER.sub(lambda found: f"{{{'*' if found[1] in remainders else ''}{found[1]}}}", path)


def _auth(route: Any) -> str | None:
    endpoint = getattr(route, "endpoint", None)
    mark = getattr(endpoint, AUTH_MARK, None)
    if isinstance(mark, str):
        return mark
    return _auth_of_dependant(getattr(route, "dependant", None))


def _auth_of_dependant(dependant: Any) -> str | None:
    """What guards a route: the first of its dependencies, theirs included, that demands credentials."""
    if dependant is None:
        return None
    call = dependant.call
    mark = getattr(call, AUTH_MARK, None)
    if isinstance(mark, str):
        return mark
    classes = [cls.__name__ for cls in type(call).__mro__]
    if "SecurityBase" in classes and getattr(call, "auto_error", True):
        if any(name in TOKEN_SCHEMES for name in classes):
            return "jwt"
        return {"HTTPBasic": "basic", "HTTPDigest": "digest"}.get(classes[0], "api_key")
    for dependency in dependant.dependencies:
        if found := _auth_of_dependant(dependency):
            return found
    return None
