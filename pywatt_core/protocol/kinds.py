"""Who speaks, and what every message has: its tag and its sender."""

from __future__ import annotations

import enum
import re
from typing import Any, ClassVar

from .values import Discreet


class Role(enum.Enum):
    """Who speaks."""

    MODULE = "module"
    ORCHESTRATOR = "orchestrator"

    @property
    def other(self) -> Role:
        return Role.ORCHESTRATOR if self is Role.MODULE else Role.MODULE


def _tag(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


class Message(Discreet, frozen=True, tag_field="op", tag=_tag):
    """What travels. `op` is the wire tag, `sender` the role that may send it."""

    op: ClassVar[str] = ""
    sender: ClassVar[Role]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.op = _tag(cls.__name__)


class ModuleMessage(Message, frozen=True):
    """What a module sends."""

    sender = Role.MODULE


class OrchestratorMessage(Message, frozen=True):
    """What the orchestrator sends."""

    sender = Role.ORCHESTRATOR
