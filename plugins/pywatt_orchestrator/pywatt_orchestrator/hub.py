"""What modules reach each other through: one hub for all processes of one orchestrator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from .broker import Broker
from .directory import Directory
from .ports import Ports
from .services import Services
from .topics import Topics

if TYPE_CHECKING:
    from collections.abc import Callable

    from pywatt_core.protocol.messages import Message
    from pywatt_core.transports.link import Link

    from .logs import Journal


class Peer(Protocol):
    """One process, as the hub sees it: `Run` is one. Another process of the same instance is another peer."""

    @property
    def module(self) -> str:
        """The module's name, ``users`` also for ``users.2``."""
        ...

    @property
    def module_id(self) -> str: ...
    @property
    def rust(self) -> bool:
        """Built on the Rust SDK: it understands the inherited protocol alone."""
        ...

    @property
    def hangs(self) -> bool: ...
    def reads(self, format: str) -> bool:
        """Whether its announce offered a payload or frame format (``"msgpack"``)."""
        ...

    def way(self) -> Link:
        """The best of its links now. Raises `ChannelClosed` where it is gone."""
        ...

    async def deliver(self, message: Message) -> None:
        """Send over the best of its links and wait while it does not keep up. Raises `ChannelClosed` where it is gone."""
        ...

    def note(self, text: str, *, level: str = "info") -> None:
        """One line in its log."""
        ...


class Hub:
    """Who is there, and the services behind it. A peer is `ready`, then `leaving`, then `gone`; each at most once."""

    def __init__(self, journal: Journal, services: Services | None = None) -> None:
        self.journal = journal
        self.services = services or Services()
        """Databases and caches that modules may use through us."""
        self.expects: Callable[[str], bool] = lambda _name: False
        """Whether a module or instance of this name exists and is, or will be, there without a person's word. The supervisor sets it."""
        self.knows: Callable[[str], bool] = lambda _name: False
        """Whether there is a module or instance of this name at all, running or not. The supervisor sets it."""
        self.peers: dict[Peer, None] = {}
        """Those that may be sent new messages, the longest there first."""
        self.broker = Broker(self)
        self.directory = Directory(self)
        self.topics = Topics(self)
        self.ports = Ports()
        self.directory.begin()
        self.topics.begin()

    def ready(self, peer: Peer) -> None:
        """It is announced and answers."""
        self.peers[peer] = None
        self.broker.ready(peer)
        self.directory.changed(peer)

    def health_changed(self, peer: Peer) -> None:
        """It hangs, or hangs no more."""
        self.directory.changed(peer)

    def leaving(self, peer: Peer) -> None:
        """It was told to end, or has to be replaced: no new messages, its replies still count."""
        self.peers.pop(peer, None)
        self.broker.leaving(peer)
        self.topics.leaving(peer)  # It may have subscribed before it was ready.
        self.directory.leaving(peer)  # It may have offered something before, too.

    def gone(self, peer: Peer) -> None:
        """Its process has ended."""
        self.leaving(peer)
        self.broker.gone(peer)
        self.ports.gone(peer)

    def changed(self) -> None:
        """A module may have become ready, or given up: whoever waits for it may want to know."""
        self.broker.look_again()

    def close(self) -> None:
        """The orchestrator ends."""
        self.broker.close()
        self.directory.close()
