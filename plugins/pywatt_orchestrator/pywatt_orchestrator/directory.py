"""Who offers which service: providers of modules, found by type (protocol 10.6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pywatt_core.protocol.messages import (
    DiscoverServiceProviders,
    DiscoverServiceProvidersResponse,
    RegisterServiceProvider,
    RegisterServiceProviderResponse,
)

if TYPE_CHECKING:
    from .hub import Hub, Peer


class Directory:
    """All providers."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def register(self, peer: Peer, message: RegisterServiceProvider) -> RegisterServiceProviderResponse:
        """Take an offer."""
        return RegisterServiceProviderResponse(success=False, error="not taken")

    def discover(self, peer: Peer, message: DiscoverServiceProviders) -> DiscoverServiceProvidersResponse:
        """Who offers it."""
        return DiscoverServiceProvidersResponse(success=True)

    def leaving(self, peer: Peer) -> None:
        """Its offers are void."""
