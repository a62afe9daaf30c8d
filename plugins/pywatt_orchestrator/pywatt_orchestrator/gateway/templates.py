"""Announced paths, compiled: which methods does a path admit?

A template is what a module announced (settled 29): ``{name}`` stands for one segment that is not empty, ``{*rest}`` for
the remainder, also an empty one. Understood as well are ``{name:converter}`` (``{rest:path}`` is a remainder) and the
colon style of Rust modules, ``/:name`` and ``/*rest``. Everything else is literal, and is compared with the
percent-decoded path, because that is what the frameworks do.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

PARAMETER = re.compile(r"\{(?P<star>\*?)(?P<name>\w+)(?::(?P<converter>\w+)(?:\([^{}]*\))?)?\}")
COLON_SEGMENT = re.compile(r"(?<=/):(\w+)(?=/|$)")
STAR_SEGMENT = re.compile(r"(?<=/)\*(\w+)$")

Methods = frozenset[bytes]


class AnyMethod(frozenset[bytes]):
    """Holds every method: what ``mount_all`` opens."""

    __slots__ = ()

    def __contains__(self, method: object) -> bool:
        return True

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)


ANY_METHOD = AnyMethod((b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"))
WILDCARDS = frozenset({"*", "ANY"})


def admitted(methods: Iterable[str]) -> Methods:
    """What a path with these announced methods admits: GET opens HEAD, and every announced path admits OPTIONS."""
    names = {method.upper() for method in methods}
    if names & WILDCARDS:
        return ANY_METHOD
    return frozenset(name.encode() for name in names | {"OPTIONS"} | ({"HEAD"} if "GET" in names else set()))


@lru_cache(maxsize=1024)
def union(found: tuple[Methods, ...]) -> Methods:
    """The methods of all templates that match one path: which of them wins is the module's affair."""
    return ANY_METHOD if any(methods is ANY_METHOD for methods in found) else frozenset().union(*found)


class _Node:
    """One segment deep in the tree of templates."""

    __slots__ = ("ends", "literals", "parameter", "remainders")

    def __init__(self) -> None:
        self.literals: dict[bytes, _Node] = {}
        self.parameter: _Node | None = None
        self.ends: list[Methods] = []
        self.remainders: list[Methods] = []

    def collect(self, segments: list[bytes], position: int, found: list[Methods]) -> None:
        """Add the methods of every template below that matches the segments from `position` on."""
        node = self
        for at in range(position, len(segments)):
            if node.remainders:
                found += node.remainders
            segment = segments[at]
            literal = node.literals.get(segment)
            parameter = node.parameter if segment else None
            if literal is not None and parameter is not None:
                parameter.collect(segments, at + 1, found)
            following = literal or parameter
            if following is None:
                return
            node = following
        found += node.ends


class PathTree:
    """The announced paths of one module. Looking one up costs a few dictionary look-ups a segment, however many there are."""

    def __init__(self) -> None:
        self.literals: list[bytes] = []
        """The paths without parameters, percent-decoded."""
        self._root = _Node()
        self._patterns: list[tuple[re.Pattern[bytes], Methods]] = []

    def add(self, template: str, methods: Iterable[str]) -> None:
        """Open `template` for `methods`. Raises `ValueError`, which says why, for a template that cannot be understood."""
        if not template.startswith("/"):
            raise ValueError("it does not begin with /")
        template = STAR_SEGMENT.sub(r"{*\1}", COLON_SEGMENT.sub(r"{\1}", template))
        parameters = list(PARAMETER.finditer(template))
        remainders = [found for found in parameters if _is_remainder(found)]
        if len(remainders) > 1:
            raise ValueError("it has more than one remainder")
        if not parameters:
            self.literals.append(template.encode())
        inside_segment = any(
            template[found.start() - 1] != "/" or template[found.end() : found.end() + 1] not in ("", "/") for found in parameters
        )
        if inside_segment or (remainders and remainders[0].end() != len(template)):
            self._patterns.append((_pattern(template, parameters), admitted(methods)))
        else:
            self._insert(template, admitted(methods))

    def _insert(self, template: str, methods: Methods) -> None:
        node = self._root
        for segment in template[1:].split("/"):
            parameter = PARAMETER.fullmatch(segment)
            if parameter is None:
                node = node.literals.setdefault(segment.encode(), _Node())
            elif _is_remainder(parameter):
                node.remainders.append(methods)
                return
            else:
                node.parameter = node = node.parameter or _Node()
        node.ends.append(methods)

    def find(self, path: bytes) -> Methods | None:
        """What the percent-decoded `path` admits, or None where nothing announced matches it."""
        found: list[Methods] = []
        self._root.collect(path[1:].split(b"/"), 0, found)
        for pattern, methods in self._patterns:
            if pattern.fullmatch(path):
                found.append(methods)
        if len(found) < 2:
            return found[0] if found else None
        return union(tuple(found))


def _is_remainder(parameter: re.Match[str]) -> bool:
    return bool(parameter["star"]) or parameter["converter"] == "path"


def _pattern(template: str, parameters: list[re.Match[str]]) -> re.Pattern[bytes]:
    """For the rare template that a tree of segments cannot hold, such as ``/{name}.json`` or ``/{*path}/meta``."""
    parts, position = [], 0
    for parameter in parameters:
        parts += [re.escape(template[position : parameter.start()]), ".*" if _is_remainder(parameter) else "[^/]+"]
        position = parameter.end()
    parts.append(re.escape(template[position:]))
    return re.compile("".join(parts).encode(), re.DOTALL)
