"""Who wants to hear of which topics (protocol 13.7)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .hub import Hub, Peer


class Topics:
    """All subscriptions."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def leaving(self, peer: Peer) -> None:
        """It hears nothing any more."""
