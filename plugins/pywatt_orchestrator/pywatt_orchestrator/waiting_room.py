"""Messages for modules that are not ready yet: so many, so large, and none longer than its sender waits for it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from pywatt_core.errors import PyWattError
from pywatt_core.protocol.payloads import read_payload

if TYPE_CHECKING:
    from collections.abc import Callable

    from pywatt_core.protocol.messages import RouteToModule
    from pywatt_core.transports.link import Link

    from .sides import Side

MOST: Final = 10_000
"""Messages that wait at once."""
MOST_BYTES: Final = 64 * 2**20
"""Bytes of their payloads, all together."""
LONGEST: Final = 30.0
"""Seconds that one waits whose sender does not say how long."""
EARLY: Final = 0.2
"""Seconds, and a tenth of the time at most, by which the answer is ahead of the sender's own deadline, so that it says more."""


class Guest:
    """One message that waits."""

    __slots__ = ("link", "message", "seconds", "side", "timer", "wants_reply")

    def __init__(self, side: Side, message: RouteToModule, link: Link, wants_reply: bool, seconds: float) -> None:
        self.side, self.message, self.link, self.wants_reply, self.seconds = side, message, link, wants_reply, seconds
        self.timer: asyncio.TimerHandle | None = None


class WaitingRoom:
    """`on_late` is told of each message whose time is over; it has left the room then."""

    def __init__(self, on_late: Callable[[Guest], None]) -> None:
        self._on_late = on_late
        self._guests: dict[str, dict[Guest, None]] = {}
        self._bytes = 0
        self.count = 0
        """How many wait."""

    def enter(self, side: Side, message: RouteToModule, link: Link, wants_reply: bool) -> Guest | None:
        """Wait for the module that the message names; None where there is no room."""
        size = len(message.payload.data)
        if self.count >= MOST or self._bytes + size > MOST_BYTES:
            return None
        seconds = _patience(message)
        guest = Guest(side, message, link, wants_reply, seconds)
        guest.timer = asyncio.get_running_loop().call_later(seconds - min(EARLY, seconds / 10), self._late, guest)
        self._guests.setdefault(message.target_module_id, {})[guest] = None
        self.count += 1
        self._bytes += size
        return guest

    def names(self) -> list[str]:
        """The modules that somebody waits for."""
        return list(self._guests)

    def leave(self, name: str) -> list[Guest]:
        """All that wait for this module, the first first; they do not wait any more."""
        guests = list(self._guests.get(name, ()))
        for guest in guests:
            self.remove(guest)
        return guests

    def remove(self, guest: Guest) -> None:
        """It does not wait any more. Nothing happens where it did not."""
        name = guest.message.target_module_id
        there = self._guests.get(name, {})
        if guest not in there:
            return
        del there[guest]
        if not there:
            del self._guests[name]
        self.count -= 1
        self._bytes -= len(guest.message.payload.data)
        if guest.timer is not None:
            guest.timer.cancel()

    def close(self) -> None:
        """Nobody waits any more, and nobody is told."""
        for name in self.names():
            self.leave(name)

    def _late(self, guest: Guest) -> None:
        self.remove(guest)
        self._on_late(guest)


def _patience(message: RouteToModule) -> float:
    """Seconds that the sender waits for an answer."""
    try:
        properties = read_payload(message.payload).metadata.properties or {}
    except PyWattError:
        properties = {}
    left = properties.get("timeout")
    return left / 1000 if isinstance(left, int) and not isinstance(left, bool) and 0 <= left < 10**9 else LONGEST
