"""Which module answers a path, and which methods are open there: mounts, announced paths, an immutable table."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from pywatt_core.errors import ConfigError

from .paths import PLAIN, BadPath, canonical
from .templates import ANY_METHOD, Methods, PathTree

if TYPE_CHECKING:
    from collections.abc import Callable

    from pywatt_core.protocol.messages import AnnouncedEndpoint

    from .request import RequestHead
    from .upstream import Instance

logger = logging.getLogger("pywatt.gateway")

OTHER_SCHEMES = frozenset({"basic", "digest", "api_key"})
"""What is announced as `auth` where no bearer token is meant: only the module knows what to ask for."""
REMEMBERED_PATH = 256
"""Characters of the longest path of which it is remembered whether it needs a token."""
MOUNT = re.compile(r"/|(?:/[A-Za-z0-9\-_~][A-Za-z0-9\-._~]*)+")
RESERVED = "/_pywatt"
"""The orchestrator's own corner of the name space; nothing is mounted there and nothing behind it is reachable."""


@dataclass(frozen=True, kw_only=True)
class ModuleRoutes:
    """One module as the gateway sees it. A change is a new table: `Gateway.update(RouteTable([...]))`."""

    name: str
    mount: str
    """``/`` or a path such as ``/users``, without a slash at its end; removed from the request line of every request."""
    endpoints: Sequence[AnnouncedEndpoint] | None
    """What the module announced; None until it did, and requests wait for it meanwhile."""
    instances: Sequence[Instance] = ()
    mount_all: bool = False
    """Every path and method is open, announced or not; `health` and `metrics` are not."""
    expose: Sequence[str] = ()
    """``"health"``, ``"metrics"``, or their paths: those that are reachable from outside after all."""
    health: str | None = "/health"
    """The module's health path, for the orchestrator alone unless exposed."""
    metrics: str | None = "/metrics"
    """The module's metrics path, likewise."""

    def inside(self) -> frozenset[bytes]:
        """The paths that stay inside."""
        exposed = set(self.expose)
        paths = {"health": self.health, "metrics": self.metrics}
        return frozenset(path.encode() for name, path in paths.items() if path and not exposed & {name, path})


@dataclass(slots=True)
class Match:
    """What the table knows about one path."""

    module: ModuleRoutes
    inner: bytes
    """The path that the module sees: without the mount, percent-encoded; empty for the mount itself without its slash."""
    methods: Methods | None
    """What is open there; None where nothing is."""
    prefix: bytes
    """The header line that tells a trusted module its mount, after its CRLF, or nothing."""
    linked: bool
    """Whether the module serves no port, and gets its requests over the link."""
    streamed: bool
    """Whether their bodies then travel in pieces."""
    needs_token: Callable[[RequestHead, bytes], bool] | None = None
    """Whether a request to a path inside the mount needs a token; None where nothing of the module does."""

    def guards(self, request: RequestHead) -> bool:
        """Whether a request that leads here needs a token."""
        return self.needs_token is not None and self.needs_token(request, self.inner)


class _Mount:
    """One module with its paths compiled."""

    __slots__ = ("below", "inside", "linked", "module", "needs_token", "path", "prefix", "streamed", "tree")

    def __init__(self, module: ModuleRoutes) -> None:
        self.module = module
        self.path = b"" if module.mount == "/" else module.mount.encode()
        self.below = self.path + b"/"
        """What every path inside the mount begins with."""
        trusted = bool(self.path) and any(instance.trusted for instance in module.instances)
        self.prefix = b"\r\nX-Forwarded-Prefix: " + self.path if trusted else b""
        self.linked = any(instance.http_request is not None for instance in module.instances)
        self.streamed = any(instance.http_stream is not None for instance in module.instances)
        self.inside = module.inside()
        self.tree = PathTree()
        for endpoint in module.endpoints or ():
            try:
                self.tree.add(endpoint.path, endpoint.methods)
            except ValueError as error:
                logger.warning("module %s announced the path %r, which stays closed: %s", module.name, endpoint.path, error)
        self.needs_token = _guard(module)

    def match(self, inner: bytes, decoded: bytes) -> Match:
        """What is open at a path inside the mount, which is given percent-encoded and percent-decoded."""
        methods = None if not inner or decoded in self.inside else ANY_METHOD if self.module.mount_all else self.tree.find(decoded)
        return Match(self.module, inner, methods, self.prefix, self.linked, self.streamed, self.needs_token)


class RouteTable:
    """All modules and their open paths, compiled once; looking up a literal path is one dictionary look-up.

    Raises `ConfigError` for a mount that is malformed, reserved, or taken by another module.
    """

    def __init__(self, modules: Iterable[ModuleRoutes] = ()) -> None:
        self.modules = tuple(modules)
        self._by_name = {module.name: module for module in self.modules}
        self._mounts: dict[bytes, _Mount] = {}
        for module in self.modules:
            _check_mount(module.mount, module.name)
            mount = _Mount(module)
            other = self._mounts.setdefault(mount.path, mount)
            if other is not mount:
                raise ConfigError(
                    f"modules {other.module.name} and {module.name} are both mounted at {module.mount}; give one another mount"
                )
        self._root = tuple(mount for mount in self._mounts.values() if not mount.path)
        self._first: dict[bytes, tuple[_Mount, ...]] = {RESERVED.encode(): ()}
        """By the first segment of a path: the mounts that it could lie in, the longest first."""
        for mount in sorted(self._mounts.values(), key=lambda mount: len(mount.path)):
            if mount.path:
                first = b"/" + mount.path.split(b"/", 2)[1]
                self._first[first] = (mount, *self._first.get(first, self._root))
        self._literal = {
            path: match for mount in self._mounts.values() for path, match in _literal_matches(mount) if self._nearest(path) is mount
        }

    def resolve(self, path: bytes) -> Match | None:
        """The module mounted at `path` (as sent, without the query) and what is open there; None where no module is.

        Raises `BadPath` for a path that could be understood in two ways.
        """
        return self._literal.get(path) or self._search(path)

    def module(self, name: str) -> ModuleRoutes | None:
        """The module of this name."""
        return self._by_name.get(name)

    def open_paths(self, module: ModuleRoutes) -> Iterable[tuple[str, list[str]]]:
        """The announced paths of a module that are open, as seen from outside, with their methods."""
        inside, mount = module.inside(), module.mount.rstrip("/")
        for endpoint in module.endpoints or ():
            if endpoint.path.encode() not in inside:
                yield mount + endpoint.path, sorted(method.upper() for method in endpoint.methods)

    def _search(self, path: bytes) -> Match | None:
        encoded, decoded = canonical(path)
        mount = self._nearest(encoded)
        if mount is None:
            return None
        return mount.match(encoded[len(mount.path) :], decoded[len(mount.path) :])

    def _nearest(self, path: bytes) -> _Mount | None:
        """The longest mount that `path` lies in. (A mount is never percent-encoded: `_check_mount`.)"""
        end = path.find(b"/", 1)
        for mount in self._first.get(path if end < 0 else path[:end], self._root):
            if path.startswith(mount.below) or path == mount.path:
                return mount
        return None


def _check_mount(mount: str, name: str) -> None:
    if MOUNT.fullmatch(mount) is None:
        raise ConfigError(
            f"module {name}: the mount {mount!r} must be / or a path such as /{name}: letters, digits, - . _ ~, no slash at the end"
        )
    if mount == RESERVED or mount.startswith(f"{RESERVED}/"):
        raise ConfigError(f"module {name}: the mount {mount!r} is reserved for the orchestrator; choose another one, such as /{name}")


def _literal_matches(mount: _Mount) -> Iterable[tuple[bytes, Match]]:
    """The announced paths without parameters, by the path as it is sent, for the look-up that most requests need."""
    for literal in mount.tree.literals:
        try:
            plain = PLAIN.fullmatch(literal) is not None and canonical(literal)[0] == literal
        except BadPath as error:
            logger.warning("module %s announced the path %r, which no request can have: %s", mount.module.name, literal.decode(), error)
            continue
        if plain:
            yield mount.path + literal, mount.match(literal, literal)


def _guard(module: ModuleRoutes) -> Callable[[RequestHead, bytes], bool] | None:
    """Tells which requests need a token, by the same rules as the module itself; None where the module announces no path with ``auth``."""
    kinds = {endpoint.auth for endpoint in module.endpoints or () if endpoint.auth and endpoint.auth not in OTHER_SCHEMES}
    if not kinds:
        return None
    from pywatt_core.http.guarding import Guard, signs_of
    from pywatt_core.protocol.messages import AnnouncedEndpoint

    endpoints = [one if one.auth in kinds else AnnouncedEndpoint(one.path, one.methods) for one in module.endpoints or ()]

    anybody: Any = object()  # whoever it is: here it is always the one that [gateway] names
    guard = Guard(endpoints, dict.fromkeys(kinds, anybody))

    def needed(method: bytes, inner: bytes, signs: frozenset[str]) -> bool:
        path = unquote_to_bytes(inner).decode("utf-8", "replace")
        return bool(guard.needed(method.decode("ascii"), path, inner.decode("ascii"), signs))

    remembered = lru_cache(maxsize=1024)(needed)

    def needs_token(request: RequestHead, inner: bytes) -> bool:
        names = request.lines.names() if b"method" in request.lines.kept.lower() else ()  # as in all names that `signs_of` knows
        signs = signs_of(names, request.query.decode("latin-1"))
        return (remembered if len(inner) <= REMEMBERED_PATH else needed)(request.method, inner, signs)

    return needs_token
