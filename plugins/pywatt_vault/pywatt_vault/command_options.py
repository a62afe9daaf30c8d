"""Options that several commands of `pywatt secrets` share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import rich_click as click

Decorator = Callable[[Any], Any]

vault_option: Decorator = click.option(
    "--vault", "wanted", metavar="NAME", help="Which vault: NAME of [secrets.NAME], or a path. [default: the only one configured]"
)
config_option: Decorator = click.option(
    "--config", "file", metavar="FILE", type=click.Path(), help="The configuration file, instead of the nearest pywatt.toml."
)
json_option: Decorator = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
key_file_option: Decorator = click.option("--key-file", metavar="FILE", type=click.Path(), help="A new file, for the new key.")
passphrase_option: Decorator = click.option(
    "--passphrase",
    is_flag=True,
    help="A passphrase opens the vault, instead of a key: asked for twice, or the first line of standard input.",
)
