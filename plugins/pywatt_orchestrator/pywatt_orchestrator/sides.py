"""What the broker keeps of one process: the requests it made, those it works on, those that wait for somebody to be ready."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pywatt_core.transports.link import Link

    from .hub import Peer
    from .waiting_room import Guest

COMPLAINTS: Final = 100
"""Different reasons for dropped messages that one process's log names; what comes on top is noted for debugging alone."""


class Pending:
    """A request that its target has, and whose reply has not come. `enveloped`: the requester reads replies in envelopes."""

    __slots__ = ("enveloped", "id", "link", "requester", "target")

    def __init__(self, id: str, requester: Side, target: Side, link: Link, enveloped: bool) -> None:
        self.id, self.requester, self.target, self.link, self.enveloped = id, requester, target, link, enveloped


class Side:
    """What the broker keeps of one process: the requests it made, those it works on, those that wait for somebody to be ready."""

    __slots__ = ("asked", "complaints", "peer", "rust", "serving", "stalled", "waiting")

    def __init__(self, peer: Peer) -> None:
        self.peer, self.rust = peer, peer.rust
        self.stalled: set[Link] = set()
        """Its links that it has stopped to read."""
        self.asked: dict[str, Pending] = {}
        self.serving: dict[str, Pending] = {}
        self.waiting: dict[str, Guest] = {}
        self.complaints: set[str] = set()

    def complain(self, text: str) -> None:
        """A line in its log, once a reason: who sends a thousand messages to nobody need not fill it with them."""
        known = text in self.complaints or len(self.complaints) >= COMPLAINTS
        self.complaints.update(() if known else (text,))
        self.peer.note(text, level="debug" if known else "warning")
