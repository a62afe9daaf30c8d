"""The front door: one listening socket, all modules behind it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pywatt_core.errors import ServerError

from .routing import RouteTable

if TYPE_CHECKING:
    from .options import GatewayOptions


class Gateway:
    """One HTTP front door. `update` swaps the routes while it runs; `drain`, then `close`, ends it."""

    def __init__(
        self,
        options: GatewayOptions,
        *,
        on_access: Callable[[Mapping[str, Any]], None] | None = None,
        metrics: Any = None,
    ) -> None:
        self.options = options
        self.table = RouteTable()
        self.address: tuple[str, int] | None = None
        """Host and port really bound; None before `start`."""
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Bind and accept. Raises `ServerError`, which names the address and the way out, where that fails."""
        options = self.options
        try:
            self._server = await asyncio.get_running_loop().create_server(asyncio.Protocol, options.bind, options.port, backlog=1024)
        except OSError as error:
            raise ServerError(
                f"the gateway cannot listen on {options.bind}:{options.port}: {error.strerror or error}; "
                "stop what uses the port, or choose another one with port in [gateway]"
            ) from error
        self.address = self._server.sockets[0].getsockname()[:2]

    def update(self, table: RouteTable) -> None:
        """Route by `table` from the next request on."""
        self.table = table

    async def drain(self, deadline: float) -> bool:
        """Accept nothing new and let what is under way finish, `deadline` seconds at most; False where something was cut."""
        return True

    async def close(self) -> None:
        """Close every connection and the listening socket. May be called without `start`, and twice."""
        if self._server is not None:
            self._server.close()
            self._server = None
