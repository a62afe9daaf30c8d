"""What the repository holds, for the guards: tracked files, packages, and what each source imports."""

from __future__ import annotations

import ast
import subprocess
import tomllib
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from tools.environment import ROOT, distributions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@cache
def tracked() -> tuple[Path, ...]:
    """Every file that git tracks or would add, or, outside a repository, every file that is not hidden in ``.venv`` and the like."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode == 0 and listed.stdout:
        return tuple(sorted({ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).is_file()}))
    ignored = {".git", ".venv", "__pycache__", "dist", "site", "build"}
    return tuple(sorted(path for path in ROOT.rglob("*") if path.is_file() and not ignored & set(path.relative_to(ROOT).parts)))


def core_sources() -> list[Path]:
    """The modules of the core."""
    return sorted((ROOT / "pywatt_core").rglob("*.py"))


def plugin_packages() -> dict[str, Path]:
    """Package name to folder, for every plugin in the repository."""
    found = {}
    for folder in distributions()[1:]:
        package = folder / folder.name
        if package.is_dir():
            found[folder.name] = package
    return found


def plugin_sources() -> list[Path]:
    """The modules of all plugins."""
    return sorted(path for package in plugin_packages().values() for path in package.rglob("*.py"))


def project_table(folder: Path) -> dict[str, Any]:
    """The ``[project]`` table of the distribution in `folder`."""
    table: dict[str, Any] = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return table


@dataclass(frozen=True)
class Import:
    """One imported name. `lazy` where the import stands inside a function."""

    name: str
    line: int
    lazy: bool

    @property
    def top(self) -> str:
        return self.name.partition(".")[0]

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(self.name.split("."))


def imports(source: str, package: str) -> Iterator[Import]:
    """What `source`, a module of `package`, imports at run time: ``if TYPE_CHECKING:`` is left out, names are absolute.

    ``from a.b import c`` gives ``a.b.c``: whether c is a module does not matter to the layers.
    """
    yield from _imports(ast.parse(source).body, package, lazy=False)


def _imports(nodes: list[ast.stmt], package: str, *, lazy: bool) -> Iterator[Import]:
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno, lazy)
        elif isinstance(node, ast.ImportFrom):
            origin = _origin(node, package)
            for alias in node.names:
                yield Import(f"{origin}.{alias.name}", node.lineno, lazy)
        elif isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}:
            yield from _imports(node.orelse, package, lazy=lazy)
        else:
            inside = lazy or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
            for block in _blocks(node):
                yield from _imports(block, package, lazy=inside)


def _origin(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    parts = package.split(".")
    above = parts[: len(parts) - node.level + 1]
    return ".".join([*above, node.module] if node.module else above)


def _blocks(node: ast.stmt) -> Iterator[list[ast.stmt]]:
    for field in ("body", "orelse", "finalbody"):
        block = getattr(node, field, None)
        if isinstance(block, list):
            yield block
    for case in (*getattr(node, "handlers", ()), *getattr(node, "cases", ())):
        yield case.body


def package_of(path: Path, top: Path) -> str:
    """The dotted name of the package that the module `path` belongs to; `top` is the folder that holds the package."""
    return ".".join(path.relative_to(top).parent.parts)
