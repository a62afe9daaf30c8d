"""The module's end of one connection of a channel."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING

from ..protocol.formats import agreed
from ..protocol.messages import Metadata
from ..protocol.session import Role, Session, Taken, Wire
from .link import new_id

if TYPE_CHECKING:
    from ..protocol.messages import Message
    from ..protocol.session import Facts, Problem


class ChannelSession(Session):
    """The module's end of one connection: a session that knows when it last heard something."""

    def __init__(
        self,
        *,
        facts: Facts | None = None,
        module_id: str = "",
        limit: int | None = None,
        on_problem: Callable[[Problem], None] | None = None,
        clock: Callable[[], float],
    ) -> None:
        super().__init__(Role.MODULE, Wire.CHANNEL, facts=facts, module_id=module_id, limit=limit, on_problem=on_problem, new_id=new_id)
        self._clock = clock
        self.heard_at = clock()
        self.on_first: Callable[[], None] | None = None
        """Called when the first message has come."""
        self.use_format(agreed(self.facts.offered[Role.ORCHESTRATOR]))

    def take(self, data: bytes) -> list[Taken]:
        received = super().take(data)
        self.heard_at = self._clock()
        if self.on_first is not None and received:
            on_first, self.on_first = self.on_first, None
            on_first()
        return received


class TokenSession(ChannelSession):
    """One whose first message carries the token in its envelope's properties (protocol 5.4)."""

    token = ""

    def send(self, message: Message, *, metadata: Metadata | None = None, wait: bool = True) -> tuple[bytes, Hashable | None]:
        if not self.token:
            return super().send(message, metadata=metadata, wait=wait)
        given = metadata or Metadata()
        properties = {**(given.properties or {}), "auth_token": self.token}
        sent = super().send(message, metadata=Metadata(given.id, given.timestamp, given.source, given.destination, properties), wait=wait)
        if sent[0]:
            self.token = ""
        return sent
