"""Write the tables of options that the documentation shows, from the options themselves: ``python -m tools.options``.

A page marks the place with ``<!-- options: KIND NAME -->`` and ``<!-- end of options -->``, for example ``caches memory``; what
stands between them is written anew. ``--check`` writes nothing and ends with 1 where a table is not what it would be.
"""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING, Any

from pywatt_core.config.schema import option_table
from pywatt_core.registry import Registry
from tools.docs import sources
from tools.environment import ROOT

if TYPE_CHECKING:
    from pathlib import Path

MARKED = re.compile(r"(<!-- options: (?P<kind>[a-z]+) (?P<name>[a-z0-9_-]+) -->\n)(?P<table>.*?)(<!-- end of options -->)", re.DOTALL)


def table(registry: Registry, kind: str, name: str) -> str:
    """The options of one provider. Raises `PluginError` where it is not installed."""
    lines = ["| option | default | |", "|---|---|---|"]
    for row in option_table(registry.claim(kind, name).options):
        meaning = re.sub(r"``(.+?)``", r"`\1`", row["description"].replace("\n", " ")).replace("|", "\\|")
        lines.append(f"| `{row['name']}` | {shown(row)} | {meaning} |")
    return "\n".join(["", *lines, "", ""])


def shown(row: dict[str, Any]) -> str:
    """A default as a configuration file would have it."""
    if row["required"]:
        return "needed"
    default = row["default"]
    if default is None or default in ("", [], ()):
        return "none"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, list | tuple):
        return f"`{json.dumps(list(default))}`"
    return f'`"{default}"`' if isinstance(default, str) else f"`{default}`"


def renewed(page: Path, registry: Registry) -> str:
    """The page's text with every table as it has to be."""
    return MARKED.sub(lambda found: found[1] + table(registry, found["kind"], found["name"]) + found[5], page.read_text(encoding="utf-8"))


def marked() -> list[Path]:
    """The pages that show options."""
    return [page for page in sources() if MARKED.search((ROOT / page).read_text(encoding="utf-8"))]


def main() -> int:
    registry = Registry()
    outdated = [page for page in marked() if renewed(ROOT / page, registry) != (ROOT / page).read_text(encoding="utf-8")]
    for page in outdated:
        print(page)
        if "--check" not in sys.argv[1:]:
            (ROOT / page).write_text(renewed(ROOT / page, registry), encoding="utf-8")
    return int("--check" in sys.argv[1:] and bool(outdated))


if __name__ == "__main__":
    sys.exit(main())
