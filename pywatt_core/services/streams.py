"""Streams of bytes between modules (protocol 13.6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .messaging import Messaging


class Streams:
    """Streams of bytes between modules (protocol 13.6)."""

    def __init__(self, messaging: Messaging) -> None:
        self._messaging = messaging

    async def begin(self) -> None:
        """The module serves from now on."""
