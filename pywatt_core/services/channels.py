"""Every way from a module to its orchestrator, and which of them a message takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import ChannelClosed
from ..interfaces import ChannelState

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ..interfaces import Channel
    from ..protocol.messages import Message, Metadata
    from ..transports.link import Link

STDIO = "stdio"

NO_ORCHESTRATOR = "this module runs without an orchestrator, which is who carries messages: start it with `pywatt run` or `pywatt up`"


class Channels:
    """Standard input and output, and the channels of the init line. A channel that is not connected is passed over."""

    def __init__(self, stdio: Link | None = None) -> None:
        self.stdio = stdio
        self._channels: dict[str, Channel] = {}

    def add(self, channel: Channel) -> None:
        """One more way."""
        self._channels[channel.name] = channel

    def remove(self, name: str) -> None:
        """One way less; nothing happens where there is none of this name."""
        self._channels.pop(name, None)

    @property
    def names(self) -> tuple[str, ...]:
        """All ways, standard input and output included."""
        return (*self._channels, *((STDIO,) if self.stdio is not None else ()))

    def states(self) -> Mapping[str, ChannelState]:
        """The state of each channel."""
        return {name: channel.state for name, channel in self._channels.items()}

    async def send(self, message: Message, *, metadata: Metadata | None = None) -> None:
        """Send by the first way that is open. Raises `ChannelClosed` (executed ``"no"``) where none is."""
        await self._pick().send(message, metadata=metadata)

    async def request(self, message: Message, *, timeout: float, metadata: Metadata | None = None) -> Message:
        """Ask by the first way that is open. Raises what `Channel.request` raises."""
        return await self._pick().request(message, timeout=timeout, metadata=metadata)

    def _pick(self) -> Channel | Link:
        for way in self._ways():
            return way
        raise ChannelClosed(NO_ORCHESTRATOR if self.stdio is None else "no way to the orchestrator is open", executed="no")

    def _ways(self) -> Iterator[Channel | Link]:
        for channel in self._channels.values():
            if channel.state is ChannelState.CONNECTED:
                yield channel
        if self.stdio is not None:
            yield self.stdio
