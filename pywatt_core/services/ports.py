"""Asking the orchestrator for a port (protocol 8). Serving never needs it: the init line says where to listen."""

from __future__ import annotations

import logging
import socket
from contextlib import closing
from dataclasses import dataclass

from ..errors import RemoteError, RequestTimeout, ServerError
from ..protocol.messages import PortRequest, PortResponse
from ..transports.link import Link, new_id

log = logging.getLogger(__name__)

ATTEMPT_TIMEOUTS = (3.0, 4.0, 5.0)
"""Seconds for each attempt (protocol 8.2)."""

FALLBACK_PORTS = range(10000, 11000)

_pre_allocated: int | None = None


@dataclass(frozen=True)
class NegotiatedPort:
    """The port, and whether it was taken without the orchestrator's word because that did not answer."""

    port: int
    fallback: bool = False


def set_pre_allocated_port(port: int | None) -> None:
    """Remember the port that `negotiate_port` returns without asking; None forgets it."""
    global _pre_allocated
    if port is not None and not 0 < port <= 65535:
        raise ValueError(f"a port is from 1 to 65535, not {port!r}")
    _pre_allocated = port


def get_pre_allocated_port() -> int | None:
    """The port remembered by `set_pre_allocated_port` or by an earlier negotiation, or None."""
    return _pre_allocated


async def negotiate_port(link: Link, specific: int | None = None) -> NegotiatedPort:
    """Ask for a port, `specific` or any; three attempts of 3, 4 and 5 s, each with the same wish.

    Where nobody answers, a free port from 10000 to 10999 is taken, proven free by binding it. A refusal raises
    `RemoteError` with the orchestrator's reason at once; `ServerError` where no fallback port is free.
    """
    if _pre_allocated is not None:
        return NegotiatedPort(_pre_allocated)
    for timeout in ATTEMPT_TIMEOUTS:
        try:
            answer = await link.request(PortRequest(request_id=new_id(), specific_port=specific), timeout=timeout)
        except RequestTimeout:
            log.warning("the orchestrator did not answer a port request", extra={"seconds": timeout})
            continue
        assert isinstance(answer, PortResponse)
        if not answer.success or answer.port == 0:
            raise RemoteError(f"the orchestrator refused the port: {answer.error_message or 'it named no reason'}", code="port_refused")
        set_pre_allocated_port(answer.port)
        return NegotiatedPort(answer.port)
    port = _free_port()
    set_pre_allocated_port(port)
    return NegotiatedPort(port, fallback=True)


def _free_port() -> int:
    for port in FALLBACK_PORTS:
        with closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise ServerError(f"no port from {FALLBACK_PORTS.start} to {FALLBACK_PORTS.stop - 1} is free, and the orchestrator did not answer")
