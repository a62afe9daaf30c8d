"""Secrets in an encrypted file that can be committed.

`document.py` is the text of a vault, `sealing.py` the cryptography, `keys.py` where a key comes from, `vault.py` a vault that is open,
`files.py` and `store.py` a vault on disk, `source.py` what modules and orchestrators ask, `commands.py` what a person types.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from pywatt_core.hookspecs import hookimpl
from pywatt_core.interfaces import Command, Context, Provider, SecretSource
from pywatt_core.lazy import lazily

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from .options import Options as Options
    from .source import VaultSource
    from .vault import Vault

__all__ = ["Options", "Vault", "VaultSource", "open_vault"]


@asynccontextmanager
async def open_vault(options: Options, context: Context) -> AsyncIterator[VaultSource]:
    """Read the file, find its key and check that nothing was changed. Raises `SecretError` that names the file."""
    from .source import VaultSource  # imports cryptography, which only an opened vault needs

    yield await VaultSource.open(options, context.folder)


@hookimpl
def pywatt_register_secret_sources() -> Iterable[Provider[SecretSource]]:
    return [Provider("vault", "pywatt_vault.options:Options", open_vault)]


@hookimpl
def pywatt_register_commands() -> Iterable[Command]:
    return [Command("secrets", "Secrets in an encrypted file: set, get, edit, rotate its key.", "pywatt_vault.commands:secrets")]


__getattr__ = lazily(__name__, {"options": "Options", "source": "VaultSource", "vault": "Vault"})
