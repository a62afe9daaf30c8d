"""What a decorated function asks for, checked at once: the input of a module's life."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from .services.receivers import Receivers

if TYPE_CHECKING:
    from .protocol.messages import AnnouncedEndpoint


PATH = r"/[^\s?#{}\x00-\x1f\x7f]*"
"""A path that a route can have and a request can ask for: no blanks, no query, no parameters."""

SEGMENT = r"(?!\.{1,2}/?$)/?[A-Za-z0-9._~-]+/?"
"""One segment of a path, slashes around it left out or not; ``.`` and ``..`` mean something else to clients."""


class Definition(Struct, frozen=True, kw_only=True):
    """One module: how its application is built, and what it needs. Raises `TypeError` that names the argument."""

    build: Callable[[Any], Any]
    """``AppState -> application``, a function or a coroutine function."""
    name: str = "module"
    secrets: Sequence[str] = ()
    """Names of the secrets that must be there before the application is built."""
    rotate: bool = False
    """The declared secrets stay current: what `state_builder` was given is always the value in use, and a module that runs alone follows
    its own sources. Everything else follows a rotation in any case."""
    endpoints: Sequence[AnnouncedEndpoint] | None = None
    """What is announced; None announces what the application's own router contains."""
    health: str | None = "/health"
    metrics: bool | str = False
    """True serves Prometheus text at ``/metrics``, a text at that path."""
    version: str | None = None
    """``"v1"`` puts the application's routes below ``/v1``."""
    state_builder: Callable[[Any, list[Any]], Any] | None = None
    """``(init, secrets) -> user_state``, secrets in the order of `secrets`; a function or a coroutine function."""
    config: Mapping[str, Any] | None = None
    """Configuration of the lowest precedence but the options' own defaults; keys as in pywatt.toml."""
    framework: str | None = None
    """The server plugin to use; never required where a plugin recognises the application."""
    bind_http: bool = True
    """False serves no port at all: requests come over the links alone."""
    specific_port: int | None = None
    listen_addr: str | None = None
    """``host``, ``host:port`` or a Unix socket's path, stand-alone; an orchestrator's word wins."""
    receivers: Receivers = field(default_factory=Receivers)
    """The functions that receive other modules' messages, topics and streams; filled by decorators, no argument of its own."""

    def __post_init__(self) -> None:
        if not callable(self.build):
            raise TypeError("a module is made from a function that takes the AppState and returns the application")
        for name, (expected, fits) in TAKES.items():
            value = getattr(self, name)
            if not fits(value):
                raise TypeError(f"{name}= is {expected}, not {_shown(value)}")
        if self.metrics_path is not None and self.metrics_path == self.health:
            raise TypeError(f"health= and metrics= are two paths, not {self.health!r} both")
        if not self.bind_http and (self.specific_port is not None or self.listen_addr is not None):
            raise TypeError("bind_http=False serves no port: specific_port= and listen_addr= make no sense beside it")

    @property
    def prefix(self) -> str:
        """The path below which the application's routes live, or the empty string."""
        return f"/{self.version.strip('/')}" if self.version else ""

    @property
    def metrics_path(self) -> str | None:
        """Where metrics are served, or None."""
        return self.metrics if isinstance(self.metrics, str) else "/metrics" if self.metrics else None


# ── what each argument takes ────────────────────────────────────────────────────────────────────────────────────────


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _is_text(value: object) -> bool:
    return value is None or (isinstance(value, str) and bool(value.strip()))


def _is_path(value: object) -> bool:
    return value is None or (isinstance(value, str) and re.fullmatch(PATH, value) is not None)


def _is_segment(value: object) -> bool:
    return value is None or (isinstance(value, str) and re.fullmatch(SEGMENT, value) is not None)


def _is_port(value: object) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 65535)


def _is_function(value: object) -> bool:
    return value is None or callable(value)


def _are_names(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes) and all(isinstance(name, str) and name for name in value)


def _are_endpoints(value: object) -> bool:
    if value is None or not isinstance(value, Sequence):
        return value is None
    from .protocol.messages import AnnouncedEndpoint

    return all(isinstance(endpoint, AnnouncedEndpoint) for endpoint in value)


TAKES: Mapping[str, tuple[str, Callable[[object], bool]]] = {
    "secrets": ("a list of names, for example secrets=['API_KEY']", _are_names),
    "rotate": ("True or False", _is_flag),
    "endpoints": ("a list of AnnouncedEndpoint(path=…, methods=[…]), or None for the application's own routes", _are_endpoints),
    "health": ("a path that begins with '/', without blanks or parameters, or None for none", _is_path),
    "metrics": (
        "True, False or a path that begins with '/', without blanks or parameters",
        lambda value: value is not None and (_is_flag(value) or _is_path(value)),
    ),
    "version": ("one path segment such as 'v1', or None", _is_segment),
    "state_builder": ("a function that takes (init, secrets), or None", _is_function),
    "config": ("a mapping with the tables of pywatt.toml, or None", lambda value: value is None or isinstance(value, Mapping)),
    "framework": ("the name of a server plugin such as 'fastapi', or None", _is_text),
    "bind_http": ("True or False", _is_flag),
    "specific_port": ("a port from 0 to 65535, or None", _is_port),
    "listen_addr": ("HOST, HOST:PORT, [IPv6]:PORT or the path of a Unix socket, or None", _is_text),
}
"""The decorator's arguments: what each takes, in words and as a test."""


def _shown(value: object) -> str:
    """A value that does not fit; of what may hold more than a name or a number the type alone: it may be a secret."""
    if value is None or isinstance(value, str | int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        more = ", …" if len(value) > 5 else ""
        return f"[{', '.join(map(_shown, value[:5]))}{more}]"
    return f"an instance of {type(value).__name__}"


def refuse_unknown(arguments: Mapping[str, object]) -> None:
    """Raise `TypeError` for the first argument that the decorator does not know, naming the nearest that it does."""
    for name in arguments:
        if name not in TAKES:
            import difflib

            near = difflib.get_close_matches(name, TAKES, 1)
            hint = f"; did you mean {near[0]}=?" if near else f"; it takes {', '.join(TAKES)}"
            raise TypeError(f"pywatt_module() has no argument {name!r}{hint}")


async def outcome(value: Any) -> Any:
    """The value, awaited where it has to be: users' functions may be plain or coroutine functions."""
    return await value if inspect.isawaitable(value) else value
