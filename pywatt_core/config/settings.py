"""What a loaded configuration is: frozen, typed where the core owns the section, raw where a plugin does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct, field

from ..errors import ConfigError
from .merging import Merged, split
from .selection import PluginSelection

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .problems import Problem

LogLevel = Literal["trace", "debug", "info", "warning", "error"]


@dataclass(frozen=True, kw_only=True)
class ModuleOptions:
    """``[module]``: one module's own settings. Times are in seconds."""

    name: str | None = None
    """The module's name when it runs stand-alone; under an orchestrator the init line names it."""
    log_level: LogLevel = "info"
    log_format: Literal["json", "text"] | None = None
    """None: text where standard error is a terminal, JSON elsewhere."""
    listen: str | None = None
    """Where a module that runs stand-alone listens: ``host:port``, or a Unix socket's path. Under an orchestrator that decides."""
    drain: float = 10.0
    """How long running requests may take to finish at shutdown."""
    handshake_timeout: float = 30.0
    """How long to wait for the init line. Only the environment can set it: the line comes before every other source."""
    secret_timeout: float = 5.0
    """How long the orchestrator may take to answer one ``get_secret``."""
    secret_cache_ttl: float | None = None
    """How long a delivered secret is used before it is asked for anew; None: until it is rotated."""
    secret_cache_stale: float | None = None
    """How long one whose time is over is used on while its source cannot be reached; None: as long as that lasts."""
    secret_cache_size: int = 1000
    """Secrets that are remembered beside those that the module declares or its sections refer to."""
    rotation_drain: float = 60.0
    """How long what is under way on a database, cache or authenticator may go on after that was replaced, because a secret was rotated."""
    open_timeout: float = 30.0
    """How long one database, cache or secret source may take to open."""
    threads: int = 8
    """Worker threads of a WSGI application."""
    frames: Literal["msgpack", "cbor"] = "msgpack"
    """What is spoken on channels to PyWatt processes that read it; all others get JSON. ``cbor`` needs ``[serializers.cbor]``."""

    messages_at_once: int = 1000
    """Requests and messages of other modules that are worked on at once; more wait their turn."""
    messages_waiting: int = 1000
    """How many may wait; what comes on top is refused with the code ``overloaded``."""
    messages_bytes: int = 64 * 2**20
    """Bytes of those that run and those that wait; what comes on top is refused likewise, unless nothing else is there."""
    requests_bytes: int = 64 * 2**20
    """Bytes of HTTP requests over channels that run or wait; what comes on top is refused with 503, unless nothing else is there."""

    def __post_init__(self) -> None:
        for name in ("drain", "handshake_timeout", "secret_timeout", "open_timeout", "rotation_drain"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} is a number of seconds, not below 0")
        for name in ("secret_cache_ttl", "secret_cache_stale"):
            if getattr(self, name) is not None and not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} is a number of seconds above 0; without it there is no limit")
        if self.secret_cache_size < 0:
            raise ValueError("secret_cache_size is not below 0")
        if not 1 <= self.threads <= 1024:
            raise ValueError("threads is between 1 and 1024")
        if self.messages_at_once < 1 or self.messages_waiting < 0:
            raise ValueError("messages_at_once is at least 1, messages_waiting at least 0")
        if self.messages_bytes < 1 or self.requests_bytes < 1:
            raise ValueError("messages_bytes and requests_bytes are at least 1")


class Section(Struct, frozen=True):
    """One named section, such as ``[databases.main]``: a provider's name and the options for it, not yet checked."""

    use: str
    """The provider's name; empty where the section lacks it, which is one of the problems reported."""
    options: Mapping[str, Any] = {}
    """Every other key, ``secret:NAME`` references still in place until `resolve` has been awaited."""
    path: str = ""
    """Where the section stands, for example ``databases.main``."""
    offered: bool = False
    """True for a default that nobody asked for: it is opened at first use, never at start."""
    merged: Merged | None = None
    serializer: str = ""
    """Of a cache: the name of the serializer for typed values; empty means JSON."""

    def __repr__(self) -> str:
        return f"Section(use={self.use!r}, path={self.path!r}, offered={self.offered})"

    @property
    def name(self) -> str:
        """The last part of `path`: ``main``."""
        return self.path.rpartition(".")[2]

    def origin(self, key: str = "") -> str:
        """Where the section, or the value of one dotted key below it, comes from."""
        return self.origin_of(f"{self.path}.{key}" if key else self.path)

    def origin_of(self, path: str) -> str:
        """The same for a dotted path from the top, as `check_section` wants it."""
        return "default" if self.merged is None else self.merged.origin(split(path))


class Settings(Struct, frozen=True, kw_only=True):
    """The whole configuration of one process. Values of options may be secret: print `redacted`, never this."""

    module: ModuleOptions = field(default_factory=ModuleOptions)
    plugins: PluginSelection = field(default_factory=PluginSelection)
    databases: Mapping[str, Section] = {}
    caches: Mapping[str, Section] = {}
    channels: Mapping[str, Section] = {}
    serializers: Mapping[str, Section] = {}
    auth: Mapping[str, Section] = {}
    secrets: Mapping[str, Section] = {}
    """The chain of secret sources, in the order in which they are asked."""
    extra: Mapping[str, Any] = {}
    """Top-level tables that the core does not know: those of installed plugins, and misspelt ones until the registry checks."""
    folder: Path = field(default_factory=Path.cwd)
    """Absolute; relative paths in options resolve against it."""
    file: Path | None = None
    warnings: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    """What is wrong with the core's own sections; only where `load` was told to defer them."""
    merged: Merged = field(default_factory=lambda: Merged({}, {}))

    def __repr__(self) -> str:
        return f"Settings(file={self.file!r}, folder={self.folder!r}, problems={len(self.problems)})"

    def origin(self, path: str) -> str:
        """Where the value at a dotted path comes from: ``pywatt.toml:12``, an environment variable, … or ``default``."""
        return self.merged.origin(split(path))

    def sections(self, kind: str) -> Mapping[str, Section]:
        """All sections of one kind: ``databases``, ``caches``, ``channels``, ``serializers``, ``auth`` or ``secrets``."""
        found: Mapping[str, Section] = getattr(self, kind)
        return found

    def pick(self, kind: str, name: str | None = None) -> Section:
        """The section behind ``state.database`` (no name: ``main``, or the only one) or ``state.databases["users"]``.

        Raises `ConfigError` with the lines to add where the configuration does not name it.
        """
        known = self.sections(kind)
        if name is not None and name in known:
            return known[name]
        if name is None and ("main" in known or len(known) == 1):
            return known["main"] if "main" in known else next(iter(known.values()))
        raise ConfigError(_missing_section(kind, name, sorted(known)))

    def redacted(self, hidden: Mapping[str, bool] | None = None) -> dict[str, Any]:
        """The effective values as nested dicts whose leaves are ``{"value": …, "source": …}``, with every secret hidden.

        `hidden` tells for dotted paths whether they are secret (`Registry.secret_paths` knows the types of all options);
        where it says nothing, names such as ``password`` or ``token`` and passwords inside URLs are hidden.
        """
        from .display import redacted

        return redacted(self, hidden or {})


EXAMPLES = {
    "databases": ("sqlite", 'path = "main.db"'),
    "caches": ("memory", "max_items = 10000"),
    "auth": ("jwt", 'secret_key = "secret:JWT_KEY"'),
}
SINGULAR = {
    "databases": "database",
    "caches": "cache",
    "channels": "channel",
    "serializers": "serializer",
    "auth": "authenticator",
    "secrets": "secret source",
}


def _missing_section(kind: str, name: str | None, known: list[str]) -> str:
    plural = "authenticators" if kind == "auth" else kind
    asked = f"state.{SINGULAR[kind]}" if name is None else f"state.{plural}[{name!r}]"
    if name is None and known:
        return (
            f"{asked} is [{kind}.main] or the only one configured, and there are {len(known)}: {', '.join(known)}. "
            f'Call one of them main, or use state.{plural}["{known[0]}"]'
        )
    use, option = EXAMPLES.get(kind, ("…", ""))
    has = f"the configuration names only {', '.join(known)}" if known else f"the configuration names no {SINGULAR[kind]}"
    return f'{asked}: {has}. Add to pywatt.toml:\n\n[{kind}.{name or "main"}]\nuse = "{use}"\n{option}'
