"""Options of the channels ``tcp`` and ``unix``. Times are in seconds, sizes in bytes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from ..policies.reconnecting import ReconnectPolicy

SMALLEST_LIMIT = 1024
LARGEST_LIMIT = 1 << 31


@dataclass(frozen=True, kw_only=True)
class UnixOptions:
    """A Unix socket to the orchestrator. The init line says whether there is one, and where."""

    reconnect: Literal["none", "fixed", "exponential"] = "exponential"
    """What follows a failed attempt or a lost connection: nothing, a wait of `delay`, or one that grows. Waits are spread by ±20 %."""
    delay: float = 1.0
    """The wait between attempts with ``reconnect = "fixed"``."""
    max_attempts: int | None = None
    """Failed attempts in a row after which the channel is given up for good; by default it never is."""
    initial_delay: float = 0.1
    """The first wait with ``reconnect = "exponential"``."""
    max_delay: float = 30.0
    """The longest wait with ``reconnect = "exponential"``."""
    multiplier: float = 2.0
    """By how much each wait is longer than the one before with ``reconnect = "exponential"``."""
    connect_timeout: float = 30.0
    """How long one attempt may take, a TLS handshake included."""
    idle_timeout: float | None = None
    """A connection on which nothing came for this long is made anew. A PyWatt orchestrator sends something every 5 seconds."""
    frame_limit: int | None = None
    """The largest message, either way; 64 MiB over TCP and 128 MiB over a Unix socket by default. A larger one ends the connection."""
    identify: Literal["off", "module_id", "identify"] = "off"
    """Send ``{"op":"identify"}`` with the module's id in a member of this name first. No orchestrator built on the Rust SDK can read it."""

    def __post_init__(self) -> None:
        for reconnect in ("fixed", "exponential"):  # also what the one that is chosen has no use for
            self._policy(reconnect)
        for name in ("connect_timeout", "idle_timeout"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise ValueError(f"{name} is {value}; it is a number of seconds above 0")
        if self.frame_limit is not None and not SMALLEST_LIMIT <= self.frame_limit <= LARGEST_LIMIT:
            raise ValueError(f"frame_limit is {self.frame_limit}; it is between {SMALLEST_LIMIT} and {LARGEST_LIMIT} bytes")

    def policy(self) -> ReconnectPolicy:
        """What `reconnect` says."""
        return self._policy(self.reconnect)

    def _policy(self, reconnect: str) -> ReconnectPolicy:
        """Raises `ValueError` whose text begins with the name of the option that makes no sense."""
        from ..policies.reconnecting import ExponentialBackoff, FixedInterval, NoReconnect

        if reconnect == "none":
            return NoReconnect()
        if reconnect == "fixed":
            return FixedInterval(delay=self.delay, max_attempts=self.max_attempts)
        return ExponentialBackoff(
            initial_delay=self.initial_delay, max_delay=self.max_delay, multiplier=self.multiplier, max_attempts=self.max_attempts
        )


@dataclass(frozen=True, kw_only=True)
class TcpOptions(UnixOptions):
    """A TCP connection to the orchestrator. The init line says whether there is one, where, and whether it speaks TLS."""

    tls: Literal["auto", "require", "ignore"] = "auto"
    """``auto`` does as the init line says; ``require`` speaks TLS whatever it says; ``ignore`` never does, as some orchestrators set the
    flag and speak in the clear. With the security level ``Mtls``, ``ignore`` is refused."""
    ca_cert: Path | None = None
    """PEM file with the authorities that may have signed the orchestrator's certificate; those of the system by default."""
    client_cert: Path | None = None
    """PEM file with this module's certificate, for an orchestrator that wants one."""
    client_key: Path | None = None
    """PEM file with its private key, not encrypted; where there is none, `client_cert` holds the key too."""
    verify_server: bool = True
    """False takes any certificate: whoever stands between can then read and change everything."""
    server_name: str | None = None
    """The name that the orchestrator's certificate is for, where that is not its address."""
    send_auth_token: Literal["auto", "no", "metadata"] = "auto"
    """Put the init line's token into the first envelope of each connection: ``auto`` does it for orchestrators that say they want it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.client_key is not None and self.client_cert is None:
            raise ValueError("client_key is there without client_cert")
        if self.server_name is not None and not self.server_name:
            raise ValueError("server_name is empty")
