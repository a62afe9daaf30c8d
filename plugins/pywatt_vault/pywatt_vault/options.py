"""A vault as a source of secrets: where the file and its key are."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Options:
    """The keys of a ``[secrets.NAME]`` section with ``use = "vault"``."""

    path: str = "secrets.vault"
    """The encrypted file, relative to the folder of the configuration file. ``pywatt secrets init`` makes one."""
    key_file: str = ""
    """The file with the key or the passphrase, such as ``~/keys/shop.key``; nobody else may be able to read it (``chmod 600``).
    Empty: the path of the vault with the ending ``.key``, where there is such a file."""
    key_env: str = "PYWATT_VAULT_KEY"
    """The environment variable with the key or the passphrase, looked at before the file. Empty: none is."""
    any_mode: bool = False
    """True accepts a key file that others can read, for file systems without permissions and mounted volumes."""
    poll: float = 1.0
    """Seconds between two looks at the file."""

    def __post_init__(self) -> None:
        if not self.path:
            raise ValueError("path is empty: name the encrypted file")
        if self.key_env and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", self.key_env):
            raise ValueError("key_env is the name of an environment variable, never the key itself")
        if not 0 < self.poll < math.inf:
            raise ValueError(f"poll is {self.poll}: more than 0 seconds are needed")
