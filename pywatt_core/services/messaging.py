"""Messages between modules: requests, notifications, and the functions that answer them (protocol 12)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..protocol.messages import RoutedModuleMessage, RouteToModule
    from .channels import Channels
    from .receivers import Receivers


class Messaging:
    """One module's messages."""

    def __init__(self, channels: Channels, module_id: str, receivers: Receivers, state: Any = None) -> None:
        self.channels, self.module_id, self.receivers = channels, module_id, receivers
        self._state = state

    async def take(self, message: RoutedModuleMessage) -> RouteToModule | None:
        """Act on what another module sent; the reply, where one is expected, goes back on the same link."""
        return None
