"""What is not documented, tested and used does not exist: each hook, with its exact arguments."""

from __future__ import annotations

import ast
import inspect
import re
from functools import cache
from typing import TYPE_CHECKING

import pytest

from pywatt_core import hookspecs
from tools.environment import ROOT
from tools.sources import core_sources, plugin_sources, tracked

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HOOKS: dict[str, Callable[..., object]] = {name: value for name, value in vars(hookspecs).items() if name.startswith("pywatt_")}

REFERENCE = ROOT / "docs" / "reference" / "plugins.md"

NOT_YET_USED = {
    "pywatt_lifespan": "for what wraps serving, such as tracing; nothing that we ship does",
}
"""Hooks that no shipped plugin and no built-in implements, each with the reason why it exists all the same."""


def signature(name: str) -> str:
    """The hook as the reference spells it, for example ``pywatt_make_server(app, options)``."""
    return f"{name}({', '.join(inspect.signature(HOOKS[name]).parameters)})"


@cache
def implementations(path: Path) -> set[str]:
    """The hooks that the module `path` implements."""
    return {
        node.name
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
        and node.name in HOOKS
        and any(ast.unparse(mark).partition("(")[0].endswith("hookimpl") for mark in node.decorator_list)
    }


def test_there_are_hooks() -> None:
    assert "pywatt_make_server" in HOOKS


@pytest.mark.parametrize("name", HOOKS)
def test_each_hook_is_documented_with_its_exact_arguments(name: str) -> None:
    assert f"`{signature(name)}`" in REFERENCE.read_text(encoding="utf-8")


def test_the_reference_documents_no_hook_that_does_not_exist() -> None:
    documented = set(re.findall(r"\bpywatt_\w+(?=\()", REFERENCE.read_text(encoding="utf-8")))
    assert {name for name in documented if name.startswith(("pywatt_register", "pywatt_make", "pywatt_lifespan"))} <= set(HOOKS)


@pytest.mark.parametrize("name", HOOKS)
def test_each_hook_is_tested(name: str) -> None:
    tests = [path for path in tracked() if path.suffix == ".py" and "tests" in path.parts and "guards" not in path.parts]
    assert any(name in path.read_text(encoding="utf-8") for path in tests), f"no test mentions {name}"


@pytest.mark.parametrize("name", HOOKS)
def test_each_hook_is_used_by_what_we_ship(name: str) -> None:
    used = any(name in implementations(path) for path in (*core_sources(), *plugin_sources()))
    assert used != (name in NOT_YET_USED), f"{name}: implement it in a shipped plugin, or say in NOT_YET_USED why nothing does"


@pytest.mark.parametrize("path", plugin_sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_plugin_implements_only_hooks_that_exist(path: Path) -> None:
    marked = {
        node.name
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and any(ast.unparse(mark).endswith("hookimpl") for mark in node.decorator_list)
    }
    assert marked <= set(HOOKS)


def test_hooks_are_plain_functions_without_defaults() -> None:
    """pluggy neither awaits nor keeps defaults, so a hook that had them would promise what is not kept."""
    for name, hook in HOOKS.items():
        assert not inspect.iscoroutinefunction(hook), name
        assert all(argument.default is inspect.Parameter.empty for argument in inspect.signature(hook).parameters.values()), name
