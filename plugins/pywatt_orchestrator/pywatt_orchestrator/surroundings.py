"""What all processes of one orchestrator share."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .desk import SecretDesk
    from .guard import Guardian
    from .hub import Hub
    from .logs import Journal
    from .settings import ChannelListener


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What every process shares with all others."""

    journal: Journal
    guardian: Guardian
    desk: SecretDesk
    hub: Hub
    channel_path: Callable[[str], str]
    """Where the Unix socket of a process's channel is, by its module id."""
    listener: ChannelListener
    api: str
    """``init.orchestrator_api``."""
    environ: Mapping[str, str]
    python: str = sys.executable
