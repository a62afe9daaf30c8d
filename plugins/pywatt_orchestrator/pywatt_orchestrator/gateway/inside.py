"""What the gateway shows of itself: the page of metrics, to those who may see it."""

from __future__ import annotations

import ipaddress
import logging
import os
import re
from typing import TYPE_CHECKING

from .lines import header_lines

if TYPE_CHECKING:
    from pywatt_core.telemetry import Metrics

    from .client import ClientConnection
    from .request import RequestHead

logger = logging.getLogger("pywatt.gateway")

METRICS_PATH = b"/_pywatt/metrics"

HERE = re.compile(rb"(?i:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d{0,5})?")
"""Names of this machine that no page of somebody else can give itself, in a ``Host`` header."""

_told: set[str] = set()
"""Reasons for which somebody was turned away, each logged once."""


def may_see(client: ClientConnection, request: RequestHead) -> bool:
    """Whether the client may see the page of metrics; whoever may not is told what everybody else is told of paths that are not there."""
    allowed = client.options.metrics
    if allowed == "open":
        return True
    if not _from_here(client.peer) or request.lines.passed_on or HERE.fullmatch(request.lines.host or b"") is None:
        return _refuse(f'it was asked for from outside, or through a proxy ([gateway] metrics = "{allowed}")')
    if allowed == "local":
        return True
    owner = _owner(client)
    if owner is None or owner in (os.getuid(), 0):
        return True
    return _refuse(
        f'user {owner} asked for it, and only user {os.getuid()} may ([gateway] metrics = "owner"): "local" shows it to all of this machine'
        if owner >= 0
        else 'the system does not tell who asks ([gateway] metrics = "owner"): "local" shows it to all of this machine'
    )


def show_metrics(client: ClientConnection, request: RequestHead, metrics: Metrics) -> None:
    """Answer with the page."""
    from pywatt_core.telemetry import CONTENT_TYPE

    if request.method in (b"GET", b"HEAD"):
        client.answer(200, header_lines([("Content-Type", CONTENT_TYPE), ("Cache-Control", "no-store")]), metrics.render().encode())
    else:
        client.problem(405, "the path does not admit this method", lines=[("Allow", "GET, HEAD")])


def _from_here(peer: str) -> bool:
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def _owner(client: ClientConnection) -> int | None:
    """The user at the other end; -1 where the system does not tell, None where it never does."""
    from ..doors import owner_of_peer

    connection = client.transport.get_extra_info("socket")
    try:
        return owner_of_peer(connection)
    except (OSError, TypeError, AttributeError):  # no IPv4 addresses
        return -1


def _refuse(reason: str) -> bool:
    if reason not in _told and len(_told) < 100:
        _told.add(reason)
        logger.info("the page of metrics was refused: %s", reason)
    return False
