"""Report the modules that have no tests of their own: ``python -m tools.mirror``. Advice, not a gate.

A module's own tests are a file that bears its name in the mirrored folder, or any file of tests that imports the module.
What is left is run by the tests of its room at best: the place to look at first when something broke unseen.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import TYPE_CHECKING

from tools.environment import ROOT
from tools.sources import core_sources, imports, plugin_sources, tracked

if TYPE_CHECKING:
    from pathlib import Path


def module_name(path: Path) -> str:
    """The dotted name of a source of the core or of a plugin."""
    top = ROOT / "plugins" / path.relative_to(ROOT).parts[1] if path.is_relative_to(ROOT / "plugins") else ROOT
    parts = path.relative_to(top).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def files_of_tests() -> dict[str, frozenset[str]]:
    """The path of every file of tests, and of what stands beside them, and the dotted names that it imports."""
    found = {}
    for path in tracked():
        relative = path.relative_to(ROOT)
        if path.suffix == ".py" and "tests" in relative.parts and "guards" not in relative.parts:
            imported = list(imports(path.read_text(encoding="utf-8"), ""))
            found[relative.as_posix()] = frozenset(".".join(one.parts[:end]) for one in imported for end in range(2, len(one.parts) + 1))
    return found


def folder_of_tests(path: Path) -> str:
    """Where the tests of a source stand."""
    relative = path.relative_to(ROOT)
    if relative.parts[0] == "plugins":
        return "/".join(["plugins", relative.parts[1], "tests", *relative.parts[3:-1]])
    return "/".join(["tests", *relative.parts[1:-1]])


def own_tests(path: Path) -> list[str]:
    """The files of tests that belong to a source."""
    mirrored, name = f"{folder_of_tests(path)}/test_{path.name}", module_name(path)
    return [test for test, imported in files_of_tests().items() if test == mirrored or name in imported]


def main() -> int:
    sources = [path for path in (*core_sources(), *plugin_sources()) if path.name != "__init__.py"]
    without = [path for path in sources if not own_tests(path)]
    for path in without:
        print(path.relative_to(ROOT))
    print(f"{len(without)} of {len(sources)} modules have no tests of their own", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
