"""The ``[gateway]`` section: where the front door stands and what it puts up with."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class GatewayOptions:
    """Every option of the gateway. Sizes are in bytes, times in seconds.

    Times are checked by one sweep over all connections, so that a limit may be exceeded by a quarter of itself, one
    second at most.
    """

    bind: str = "127.0.0.1"
    """The address or host name to listen on; ``0.0.0.0`` or ``::`` opens the door to the network."""
    port: int = 8000
    """The TCP port; 0 lets the system choose one, which `Gateway.address` then tells."""
    tls_cert: Path | None = None
    """A PEM file with the certificate chain; together with `tls_key` it turns the door into HTTPS."""
    tls_key: Path | None = None
    """A PEM file with the unencrypted private key of `tls_cert`."""
    access_log: bool = False
    """One structured record for each request on the logger ``pywatt.access``."""

    authenticate: str | None = None
    """The NAME of the ``[services.NAME.auth]`` that checks the tokens of requests to paths that are announced with ``auth``, before a
    module hears of them; none by default, and then the modules alone do."""

    metrics: Literal["owner", "local", "open", "off"] = "owner"
    """Who may see ``/_pywatt/metrics``: the user that the orchestrator runs as, and root, from this machine; anybody on this machine;
    whoever reaches the door; nobody, and then nothing is counted."""

    max_connections: int = 4096
    """Client connections open at once; one more is answered 503 and closed."""
    max_head_bytes: int = 65_536
    """Request line and headers together, and likewise for a module's response; more is 431 (502)."""
    max_target_bytes: int = 8192
    """The request target alone; more is 414."""
    max_headers: int = 128
    """Header lines of one request or response; more is 431 (502)."""
    max_body_bytes: int = 134_217_728
    """The body of one request; more is 413."""
    max_ipc_body_bytes: int = 8_388_608
    """The body of one request to a module without a port that does not take it in pieces; more is 413."""
    max_upstream_connections: int = 256
    """Connections open to one instance; further requests wait for one of them."""

    head_timeout: float = 10.0
    """From the first byte of a request, or from the opening of the connection, to the end of its head: 408."""
    idle_timeout: float = 75.0
    """A kept-alive connection without a request is closed after this."""
    body_timeout: float = 30.0
    """Between two parts of a request's body: 408."""
    send_timeout: float = 60.0
    """A client that takes so little of its response that the buffer stays full for this long is cut off."""
    connect_timeout: float = 5.0
    """One attempt to connect to an instance."""
    authenticate_timeout: float = 10.0
    """How long checking a token may take: 503."""
    response_timeout: float = 60.0
    """From the request's last byte to the head of the module's response: 504."""
    stream_timeout: float = 60.0
    """Between two parts of a module's response."""
    tunnel_timeout: float = 3600.0
    """Silence on an event stream, a WebSocket or another upgraded connection."""
    ready_timeout: float = 10.0
    """How long a request waits for an instance of its module to become ready, while it starts or restarts: 503."""
    upstream_idle_timeout: float = 4.0
    """A connection to a module that was not used for this long is closed; below the 5 seconds after which uvicorn closes it."""
    retry_after: int = 1
    """What ``Retry-After`` says on 502, 503 and 504, in whole seconds."""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65_535:
            raise ValueError(f"port is {self.port}; a TCP port is 0 to 65535")
        if (self.tls_cert is None) != (self.tls_key is None):
            missing = "tls_key" if self.tls_key is None else "tls_cert"
            raise ValueError(f"{missing} is missing: TLS needs both tls_cert and tls_key")
        if self.authenticate == "":
            raise ValueError("authenticate is empty: name a service, or remove it")
        for option in fields(self):
            value = getattr(self, option.name)
            if option.name.startswith("max_") and value < 1:
                raise ValueError(f"{option.name} is {value}; it must be at least 1")
            if option.name.endswith("_timeout") and not value > 0:
                raise ValueError(f"{option.name} is {value}; a time limit must be above 0")

    def shortest_timeout(self) -> float:
        """The smallest of the time limits, which says how often they have to be checked."""
        return min(float(getattr(self, option.name)) for option in fields(self) if option.name.endswith("_timeout"))
