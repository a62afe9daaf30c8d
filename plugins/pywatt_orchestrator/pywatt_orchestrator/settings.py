"""``[modules.NAME]``: what the orchestrator is told about one module; ``[channel_listener]``: about TCP channels. Times are in seconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

LogLevel = Literal["trace", "debug", "info", "warning", "error"]


@dataclass(frozen=True, kw_only=True)
class ModuleSettings:
    """One module. Tables beside these options (``[modules.NAME.databases.main]``) are laid over the top-level ones for it alone."""

    run: str | None = None
    """``FILE.py`` or ``FILE.py:NAME``, a PyWatt module; relative to `cwd`. Either this or `command`."""
    command: tuple[str, ...] = ()
    """Any program that speaks the module protocol, such as a module built on the Rust SDK, with its arguments."""
    python: str | None = None
    """The interpreter for `run`; the orchestrator's own by default."""
    cwd: Path | None = None
    """The working folder; the folder of the configuration file by default, which a relative path is relative to."""
    args: tuple[str, ...] = ()
    """Further arguments."""
    log_level: LogLevel | None = None
    """Shorthand for ``[modules.NAME.module] log_level``."""

    mount: str | None = None
    """Where the front door serves it; ``/NAME`` by default."""
    mount_all: bool = False
    """Open every path and method instead of the announced ones only."""
    expose: tuple[str, ...] = ()
    """``"health"``, ``"metrics"`` or their paths: what is reachable through the front door although it is meant for inside."""
    health: str | None = "/health"
    """The path asked before the module counts as ready, where the module announces it."""
    metrics: str | None = "/metrics"
    """The module's metrics path, closed at the front door like `health`."""

    env: dict[str, str] = field(default_factory=dict)
    """Variables for the module's environment, also sent as ``init.env``. Never secrets."""
    inherit_env: tuple[str, ...] = ()
    """Names of the orchestrator's own variables that the module sees beside the usual ones."""
    secrets: tuple[str, ...] | None = None
    """The names it may ask for, beside those that its configuration refers to; without this key, those it asks for while it starts."""

    instances: int = 1
    """Processes of it; more than one are called NAME.1, NAME.2, … and share its mount."""
    depends_on: tuple[str, ...] = ()
    """Modules that have to be ready before it is started; it is stopped before them."""
    restart: Literal["always", "on-failure", "never"] = "always"
    """``on-failure`` takes exit code 0 for the end of its work. Never after exit code 2 or 4: those need a person."""
    listen: Literal["unix", "tcp"] | None = None
    """A socket that the orchestrator owns, or a free port on 127.0.0.1; ``unix`` for `run`, ``tcp`` for `command`."""
    rust: bool | None = None
    """Built on the Rust SDK: it gets a TCP channel and heartbeats on it; true for `command`, false for `run`."""
    channels: tuple[Literal["unix", "tcp"], ...] | None = None
    """The channels that its processes are offered beside standard input and output; ``["unix"]`` for `run`, ``["tcp"]`` for `command`."""
    channels_required: bool = False
    """A process that cannot connect them, or loses one for good, ends. Always so for a module built on the Rust SDK."""
    module_id_env: bool = False
    """Set PYWATT_MODULE_ID for a `command`; a PyWatt module always has it, a Rust module changes its behaviour with it."""

    start_timeout: float = 60.0
    """From the start to ready; whoever needs longer is ended and started again."""
    stop_timeout: float = 12.0
    """From ``shutdown`` to SIGTERM: above the module's own drain limit of 10 seconds."""
    kill_timeout: float = 3.0
    """From SIGTERM to SIGKILL."""
    hang_timeout: float = 10.0
    """How long a module that offered heartbeats may leave them unanswered before it is replaced."""


@dataclass(frozen=True, kw_only=True)
class ChannelListener:
    """``[channel_listener]``: how modules' TCP channels are protected. Each process has a port of its own on 127.0.0.1, for our user alone.

    Modules built on the Rust SDK know neither TLS nor tokens: their channels stay as they are.
    """

    tls_cert: Path | None = None
    """A PEM file with the certificate chain; with it, TCP channels speak TLS. Modules set ``ca_cert`` in ``[channels.tcp]``, and
    ``server_name`` unless the certificate is for 127.0.0.1."""
    tls_key: Path | None = None
    """A PEM file with its private key, not encrypted; where there is none, `tls_cert` holds the key too."""
    client_ca: Path | None = None
    """A PEM file with the authorities that may have signed modules' certificates: without one, no module comes in. Needs `tls_cert`."""
    token: bool = False
    """Whether a process has to show a token, which is drawn for each instance and sent with its init line."""

    def __post_init__(self) -> None:
        for name in ("tls_key", "client_ca"):
            if getattr(self, name) is not None and self.tls_cert is None:
                raise ValueError(f"{name} is there without tls_cert: TLS begins with a certificate")
