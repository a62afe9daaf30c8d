"""Ports that modules ask for (protocol 8): none is given to two modules while one of them has it."""

from __future__ import annotations

import contextlib
import errno
import socket
from typing import TYPE_CHECKING, Final

from pywatt_core.protocol.messages import PortResponse

from .places import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pywatt_core.protocol.messages import PortRequest

    from .hub import Peer

ANY: Final = range(20_000, 30_000)
"""Where a port is taken from for whoever wishes none: below those that the system gives to outgoing connections."""

MOST: Final = 100
"""Ports that one process may have."""

REMEMBERED: Final = 1000
"""Ports of which it is remembered who had them last."""


class Ports:
    """Who has which port. A port is proven free by binding it, and stays with its process until that ends."""

    def __init__(self, any: Sequence[int] = ANY) -> None:
        self._any = any
        self._next = 0
        self._held: dict[int, Peer] = {}
        self._last: dict[int, str] = {}
        """Port to the instance that had it: connections that its last process left behind do not keep the next one out."""

    def answer(self, peer: Peer, request: PortRequest) -> PortResponse:
        """A port, the wished one or any, or why there is none."""
        found = self._pick(peer, request.specific_port)
        if isinstance(found, str):
            peer.note(f"it was refused a port: {found}", level="warning")
            return PortResponse(request_id=request.request_id, success=False, port=0, error_message=found)
        self._held[found] = peer
        self._last.pop(found, None)
        return PortResponse(request_id=request.request_id, success=True, port=found)

    def gone(self, peer: Peer) -> None:
        """Its process has ended: its ports are free again."""
        for port in [port for port, holder in self._held.items() if holder is peer]:
            del self._held[port]
            self._last[port] = peer.module_id
        while len(self._last) > REMEMBERED:
            del self._last[next(iter(self._last))]

    def _pick(self, peer: Peer, wanted: int | None) -> int | str:
        """The port, or why there is none."""
        holder = self._held.get(wanted) if wanted is not None else None
        if holder is peer:
            assert wanted is not None
            return wanted  # It asks again, as after an answer that came too late.
        if holder is not None:
            return f"port {wanted} is {holder.module_id}'s: ask for another one, or for any"
        if sum(1 for one in self._held.values() if one is peer) >= MOST:
            return f"it has {MOST} ports already, which is as many as one process may have"
        if wanted is not None:
            reason = why_not_free(wanted, again=self._last.get(wanted) == peer.module_id)
            return wanted if not reason else f"port {wanted} {reason}"
        for _ in range(len(self._any)):
            port = self._any[self._next % len(self._any)]
            self._next += 1
            if port not in self._held and not why_not_free(port):
                return port
        return f"no port from {self._any[0]} to {self._any[-1]} is free"


def why_not_free(port: int, *, again: bool = False) -> str:
    """Why nobody can serve on a loopback port now; "" where it is free. `again`: connections that are ending do not count."""
    if port == 0:
        return "is no port: leave it out to get any"
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as probe:
        if again:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            if error.errno == errno.EACCES:
                return "needs privileges that the orchestrator does not have: ask for one above 1023"
            return "is in use: ask for another one, or for any"
    return ""
