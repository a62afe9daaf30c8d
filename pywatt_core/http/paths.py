"""Routes of the routers: a method and a path lead to a handler. Exact paths first, then those with parameters, in their order."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Generic, NamedTuple, TypeVar
from urllib.parse import unquote

H = TypeVar("H")

METHOD = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
PARAMETER = re.compile(r"\{(\*?)([^{}]*)\}")


class Found(NamedTuple, Generic[H]):
    """A handler, and the values of the path's parameters, percent-decoded."""

    handler: H
    params: dict[str, str]


class Route(NamedTuple):
    """One route, as it was added."""

    method: str
    path: str


class PathTable(Generic[H]):
    """Paths are compared as they come, byte for byte: no decoding, no tolerance for a slash at the end (protocol 6.4).

    ``{name}`` stands for one segment that is not empty, ``{*rest}`` at the end for all that remains.
    """

    def __init__(self) -> None:
        self.routes: list[Route] = []
        """In the order in which they were added."""
        self._exact: dict[str, dict[str, H]] = {}
        self._patterns: dict[str, tuple[re.Pattern[str], dict[str, H]]] = {}

    def add(self, method: str, path: str, handler: H) -> list[str]:
        """The names of the parameters in `path`. The first handler of a method and path stands.

        Raises `ValueError` for a method that is no token, a path without its slash, or parameters that make no sense.
        """
        method = method.upper()
        if not METHOD.fullmatch(method):
            raise ValueError(f"{method!r} is no HTTP method")
        pattern, names = compiled(path)
        handlers = self._exact.setdefault(path, {}) if pattern is None else self._patterns.setdefault(pattern.pattern, (pattern, {}))[1]
        if method not in handlers:
            handlers[method] = handler
            self.routes.append(Route(method, path))
        return names

    def find(self, method: str, path: str) -> Found[H] | None:
        """Who answers `method` at `path`; a HEAD for which nobody was named goes to whoever answers GET."""
        method = method.upper()
        for wanted in (method, "GET") if method == "HEAD" else (method,):
            handlers = self._exact.get(path)
            if handlers is not None and wanted in handlers:
                return Found(handlers[wanted], {})
            for pattern, by_method in self._patterns.values():
                if wanted in by_method and (match := pattern.fullmatch(path)):
                    return Found(by_method[wanted], {name: unquote(value) for name, value in match.groupdict().items()})
        return None

    def allowed(self, path: str) -> list[str]:
        """The methods that are answered at `path`, HEAD where GET is; empty where nothing is there."""
        methods = set(self._exact.get(path, ()))
        for pattern, by_method in self._patterns.values():
            if pattern.fullmatch(path):
                methods.update(by_method)
        if "GET" in methods:
            methods.add("HEAD")
        return sorted(methods)

    def __contains__(self, path: str) -> bool:
        """Whether this literal path was added."""
        return path in self._exact


def compiled(path: str) -> tuple[re.Pattern[str] | None, list[str]]:
    """The pattern of a path with parameters, None for one without, and the parameters' names. Raises `ValueError`."""
    if not path.startswith("/"):
        raise ValueError(f"the path {path!r} does not begin with a slash")
    names: list[str] = []
    expression = ""
    segments = path[1:].split("/")
    for number, segment in enumerate(segments, 1):
        match = PARAMETER.fullmatch(segment)
        if match is None:
            if "{" in segment or "}" in segment:
                raise ValueError(f"{segment!r} in the path {path!r}: a parameter such as {{name}} stands for a whole segment")
            expression += "/" + re.escape(segment)
            continue
        rest, name = match.groups()
        if not name.isidentifier() or name in names:
            raise ValueError(f"the parameter {segment} of the path {path!r} needs a name of its own")
        if rest and number < len(segments):
            raise ValueError(f"the parameter {segment} stands for all that remains: nothing can follow it in {path!r}")
        names.append(name)
        expression += f"/(?P<{name}>.*)" if rest else f"/(?P<{name}>[^/]+)"
    return (re.compile(expression, re.DOTALL), names) if names else (None, names)


def by_path(routes: Iterable[Route]) -> dict[str, list[str]]:
    """The methods of each path, in the order of the routes."""
    found: dict[str, list[str]] = {}
    for route in routes:
        methods = found.setdefault(route.path, [])
        if route.method not in methods:
            methods.append(route.method)
    return found
