"""``pywatt plugins``: what is installed, what it provides, and why it is used or not. Imports no backend, no click, no msgspec."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..config.files import find, read_file
from ..config.selection import PluginSelection
from ..registry import Registry
from .output import on_terminal, print_json, print_table, shielded_stdout, warn

if TYPE_CHECKING:
    from ..registry.status import PluginStatus


def print_plugins(as_json: bool, file: str | None) -> int:
    """Print the table, or JSON. Broken plugins are part of the answer, not a failure of the question."""
    rows, warnings = survey(file)
    if as_json:
        print_json([row._asdict() for row in rows])
    else:
        print_table(("NAME", "DISTRIBUTION", "VERSION", "STATUS", "PROVIDES", "WHY"), [_cells(row) for row in rows])
        if on_terminal():
            broken = sum(row.status == "broken" for row in rows)
            print(f"\n{len(rows)} plugins, {broken} broken. `pywatt plugins show NAME` tells what one provides and its options.")
    for warning in warnings:
        warn(warning)
    return 0


def survey(file: str | None) -> tuple[list[PluginStatus], list[str]]:
    """Every plugin, and warnings about ``[plugins]``. Reads no more of the configuration than that and each ``use``."""
    raw, selection = raw_configuration(file)
    with shielded_stdout():
        registry = Registry(selection)
        return registry.status(raw), registry.warnings


def raw_configuration(file: str | None) -> tuple[Mapping[str, Any], PluginSelection]:
    """The tables as they are written and what ``[plugins]`` selects; with ``PYWATT__…`` variables, the merged tables."""
    import os

    found = file if file is not None else find()
    if any(name.upper().startswith("PYWATT__") for name in os.environ):
        return _merged(found)
    raw = read_file(found) if found is not None else {}
    plugins = raw.get("plugins", {})
    if not isinstance(plugins, dict) or not plugins.keys() <= {"allow", "disable"} or not all(map(_names, plugins.values())):
        return _merged(found)  # which says what is wrong with it
    return raw, PluginSelection(**{key: tuple(names) for key, names in plugins.items()})


def _merged(file: str | None) -> tuple[Mapping[str, Any], PluginSelection]:
    from ..config import load, raise_problems

    settings = load(file=file, defer=True)
    raise_problems([problem for problem in settings.problems if problem.path.partition(".")[0] == "plugins"])
    return settings.merged.data, settings.plugins


def _names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _cells(row: PluginStatus) -> tuple[str, ...]:
    return (row.name, row.distribution, row.version or "-", row.status, provided(row), row.reason)


def provided(row: PluginStatus) -> str:
    """``databases: sqlite; servers``."""
    return "; ".join(f"{kind}: {', '.join(names)}" if names else kind for kind, names in row.provides.items()) or "-"
