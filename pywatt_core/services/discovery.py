"""Offering services to other modules, and finding theirs (protocol 10.6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .messaging import Messaging


class Discovery:
    """Offering services to other modules, and finding theirs."""

    def __init__(self, messaging: Messaging) -> None:
        self._messaging = messaging
