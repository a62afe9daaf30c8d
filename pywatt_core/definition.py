"""What a decorated function asks for, checked at once: the input of a module's life."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct

if TYPE_CHECKING:
    from .protocol.messages import AnnouncedEndpoint


class Definition(Struct, frozen=True, kw_only=True):
    """One module: how its application is built, and what it needs. Raises `TypeError` that names the argument."""

    build: Callable[[Any], Any]
    """``AppState -> application``, a function or a coroutine function."""
    name: str = "module"
    secrets: Sequence[str] = ()
    """Names of the secrets that must be there before the application is built."""
    rotate: bool = False
    """Keep the declared secrets fresh: a rotated one is fetched again before the rotation is acknowledged."""
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

    def __post_init__(self) -> None:
        if not callable(self.build):
            raise TypeError("a module is made from a function that takes the AppState and returns the application")
        if isinstance(self.secrets, str) or not all(isinstance(name, str) and name for name in self.secrets):
            raise TypeError("secrets= is a list of names, for example secrets=['API_KEY']")
        for name in ("health", "metrics"):
            path = getattr(self, name)
            if isinstance(path, str) and not path.startswith("/"):
                raise TypeError(f"{name}= is a path that begins with '/', not {path!r}")
        if self.version is not None and (not self.version.strip("/") or "/" in self.version.strip("/")):
            raise TypeError(f"version= is one path segment such as 'v1', not {self.version!r}")
        if self.specific_port is not None and not 0 <= self.specific_port <= 65535:
            raise TypeError(f"specific_port= is a port from 0 to 65535, not {self.specific_port!r}")
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


ARGUMENTS = tuple(name for name in Definition.__struct_fields__ if name not in {"build", "name"})
"""The decorator's arguments."""


def refuse_unknown(arguments: Mapping[str, object]) -> None:
    """Raise `TypeError` for the first argument that the decorator does not know, naming the nearest that it does."""
    for name in arguments:
        if name not in ARGUMENTS:
            import difflib

            near = difflib.get_close_matches(name, ARGUMENTS, 1)
            hint = f"; did you mean {near[0]}=?" if near else f"; it takes {', '.join(ARGUMENTS)}"
            raise TypeError(f"pywatt_module() has no argument {name!r}{hint}")


async def outcome(value: Any) -> Any:
    """The value, awaited where it has to be: users' functions may be plain or coroutine functions."""
    return await value if inspect.isawaitable(value) else value
