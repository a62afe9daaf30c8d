"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import rich_click as click

Decorator = Callable[[Any], Any]

config_option: Decorator = click.option(
    "--config", "file", metavar="FILE", type=click.Path(), help="The configuration file, instead of the nearest pywatt.toml."
)
json_option: Decorator = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
set_option: Decorator = click.option(
    "--set", "overrides", metavar="KEY=VALUE", multiple=True, help="Override one option, such as databases.main.path=test.db."
)
