"""Secrets in an encrypted file that can be committed: this file describes, `source.py` acts.

`document.py` is the file's text, `sealing.py` the cryptography, `keys.py` where a key comes from, `vault.py` a file that is open,
`store.py` a file on disk, `commands.py` what a person types.
"""

from __future__ import annotations

import math
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pywatt_core.hookspecs import hookimpl
from pywatt_core.interfaces import Command, Context, Provider, SecretSource
from pywatt_core.lazy import lazily

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from .source import VaultSource
    from .vault import Vault

__all__ = ["Options", "Vault", "VaultSource", "open_vault"]

KEY_ENV = "PYWATT_VAULT_KEY"
"""The environment variable that holds the key where `key_env` names no other."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """The keys of a ``[secrets.NAME]`` section with ``use = "vault"``."""

    path: str = "secrets.vault"
    """The encrypted file, relative to the folder of the configuration file. ``pywatt secrets init`` makes one."""
    key_file: str = ""
    """The file that holds the key or the passphrase; nobody else may be able to read it (``chmod 600``). Empty: the path of the
    vault with the ending ``.key``, where there is such a file."""
    key_env: str = KEY_ENV
    """The environment variable that holds the key or the passphrase, looked at before the file. Empty: none is."""
    any_mode: bool = False
    """True accepts a key file that others can read, for file systems without permissions and mounted volumes."""
    poll: float = 1.0
    """Seconds between two looks at the file, for whoever waits for changes."""

    def __post_init__(self) -> None:
        if not self.path:
            raise ValueError("path is empty: name the encrypted file")
        if self.key_env and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", self.key_env):
            raise ValueError("key_env is the name of an environment variable, never the key itself")
        if not 0 < self.poll < math.inf:
            raise ValueError(f"poll is {self.poll}: more than 0 seconds are needed")


@asynccontextmanager
async def open_vault(options: Options, context: Context) -> AsyncIterator[VaultSource]:
    """Read the file, find its key and check that nothing in it was changed. Raises `SecretError` that names the file."""
    from .source import VaultSource  # imports cryptography, which only an opened vault needs

    yield await VaultSource.open(options, context.folder)


@hookimpl
def pywatt_register_secret_sources() -> Iterable[Provider[SecretSource]]:
    return [Provider("vault", Options, open_vault)]


__getattr__ = lazily(__name__, {"source": "VaultSource", "vault": "Vault"})
