"""Instances of modules, and the connections that the gateway keeps open to them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pywatt_core.protocol.messages import HttpRequest, HttpResponse, TcpAddress, UnixAddress


class Instance:
    """One running process of a module.

    The supervisor makes it and sets `ready`; the gateway counts `in_flight` and prefers the instance with the least.
    `http_request` is for a module that serves no port (`address` is None): its requests travel over the link.
    """

    def __init__(
        self,
        id: str,
        address: TcpAddress | UnixAddress | None,
        *,
        trusted: bool = False,
        http_request: Callable[[HttpRequest], Awaitable[HttpResponse]] | None = None,
        ready: bool = False,
    ) -> None:
        self.id = id
        self.address = address
        self.trusted = trusted
        """A PyWatt module behind the orchestrator's own socket: it is told its mount in ``X-Forwarded-Prefix``."""
        self.http_request = http_request
        self.in_flight = 0
        """Requests that it has not answered to the end."""
        self.on_ready: Callable[[], None] | None = None
        self._ready = ready

    @property
    def ready(self) -> bool:
        """Whether requests may be sent to it."""
        return self._ready

    @ready.setter
    def ready(self, ready: bool) -> None:
        self._ready = ready
        if ready and self.on_ready is not None:
            self.on_ready()
