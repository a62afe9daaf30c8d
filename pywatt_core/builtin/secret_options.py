"""Options of the built-in secret sources, for ``[secrets.NAME]``. Times are in seconds."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from ..redaction import Secret

SHORTEST_POLL = 0.01
LONGEST_POLL = 86400.0


def _check_poll(poll: float) -> None:
    if not SHORTEST_POLL <= poll <= LONGEST_POLL:
        raise ValueError(f"poll is {poll}: between {SHORTEST_POLL:g} and {LONGEST_POLL:g} seconds are possible")


@dataclass(frozen=True, kw_only=True)
class EnvOptions:
    """``use = "env"``: the environment of the process."""

    prefix: str = ""
    """Put before a secret's name: with ``APP_``, the secret ``KEY`` is the variable ``APP_KEY``."""


@dataclass(frozen=True, kw_only=True)
class DotenvOptions:
    """``use = "dotenv"``: a file of ``NAME=value`` lines; nothing of it gets into the environment."""

    path: str = ".env"
    """Relative to the folder of the configuration file."""
    required: bool = True
    """False: a file that is not there is empty."""
    poll: float = 1.0
    """How often to look whether it changed."""

    def __post_init__(self) -> None:
        _check_poll(self.poll)


@dataclass(frozen=True, kw_only=True)
class FileOptions:
    """``use = "file"``: a flat TOML table of texts."""

    path: str
    """Relative to the folder of the configuration file. Nobody else may be able to read it (``chmod 600``)."""
    any_mode: bool = False
    """True accepts a file that others can read, for file systems without permissions."""
    required: bool = True
    """False: a file that is not there is empty."""
    poll: float = 1.0
    """How often to look whether it changed."""

    def __post_init__(self) -> None:
        _check_poll(self.poll)


@dataclass(frozen=True, kw_only=True)
class FolderOptions:
    """``use = "folder"``: one file per secret, named after it, as Kubernetes and Docker mount them."""

    path: str = "/run/secrets"
    """Relative to the folder of the configuration file."""
    required: bool = True
    """False: a folder that is not there is empty."""
    poll: float = 1.0
    """How often to look whether anything changed."""

    def __post_init__(self) -> None:
        _check_poll(self.poll)


@dataclass(frozen=True, kw_only=True)
class MemorySecretsOptions:
    """``use = "memory"``: values that only this process holds and that can be set, for tests."""

    values: dict[str, Secret] = field(default_factory=dict, repr=False)
    """What is there from the start."""


@dataclass(frozen=True, kw_only=True)
class OrchestratorSecretOptions:
    """``use = "orchestrator"``: what the module's orchestrator hands out."""

    timeout: float = 5.0
    """How long one answer may take."""

    def __post_init__(self) -> None:
        if not 0 < self.timeout < math.inf:
            raise ValueError(f"timeout is {self.timeout}: more than 0 seconds are needed, and an end")
