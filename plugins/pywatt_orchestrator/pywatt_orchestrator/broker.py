"""Carries messages from one module to another, and the replies back (protocol 12.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pywatt_core.protocol.messages import RouteToModule
    from pywatt_core.transports.link import Link

    from .hub import Hub, Peer


class Broker:
    """Routes `route_to_module`. Nothing here waits while a link is being read."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def route(self, sender: Peer, message: RouteToModule, link: Link) -> None:
        """Carry one message, or a reply; what goes wrong is answered to the sender on `link`."""

    def ready(self, peer: Peer) -> None:
        """What waited for this module goes to it now."""

    def gone(self, peer: Peer) -> None:
        """Whoever waits for it is told so; what it asked for itself is cancelled."""

    def close(self) -> None:
        """The orchestrator ends."""
