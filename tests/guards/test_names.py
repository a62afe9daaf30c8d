"""Public names are what they say: ``__all__`` is true, lazy names resolve, and names keep to the rules."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tools.mirror import module_name
from tools.sources import core_sources, plugin_sources

if TYPE_CHECKING:
    from pathlib import Path

VAGUE = re.compile(r"(?:^|_)(?:manager|helper|helpers|util|utils|common|base|advanced|enhanced|phase)(?:_|$)", re.IGNORECASE)
"""Words that say nothing about a thing."""

PROMISED: set[str] = set()
"""Vague names that the public API promises all the same."""


MODULES = [path for path in (*core_sources(), *plugin_sources()) if path.name != "__main__.py"]


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_all_is_true(path: Path) -> None:
    if "__all__" not in path.read_text(encoding="utf-8"):
        return
    module = importlib.import_module(module_name(path))
    names = module.__all__
    assert len(names) == len(set(names)), "a name stands in __all__ twice"
    missing = [name for name in names if not hasattr(module, name)]
    assert not missing, f"{module.__name__}.__all__ names what is not there: {missing}"


def test_the_package_lists_every_lazy_name() -> None:
    import pywatt_core

    assert set(pywatt_core.__all__) <= set(dir(pywatt_core))
    assert {"pywatt_module", "AppState", "Module", "errors"} - set(dir(pywatt_core)) <= {"errors"}


@pytest.mark.parametrize("name", ["Alert", "ChannelType", "MessagePriority", "PoolMetrics", "Retry", "SlaStatus"])
def test_what_public_functions_take_and_return_comes_from_the_package_itself(name: str) -> None:
    import pywatt_core

    assert name in pywatt_core.__all__
    assert getattr(pywatt_core, name).__name__ == name


def test_all_that_the_states_functions_take_and_return_comes_from_the_package_itself() -> None:
    import pywatt_core

    elsewhere = {"Any", "Iterable", "Mapping", "None", "Path"}
    functions = [value for name, value in vars(pywatt_core.AppState).items() if inspect.isfunction(value) and not name.startswith("_")]
    said = {name for function in functions for text in function.__annotations__.values() for name in re.findall(r"\b[A-Z]\w*", text)}
    assert "RegisteredProvider" in said
    assert said - elsewhere <= set(pywatt_core.__all__)


def test_an_unknown_name_of_the_package_is_an_attribute_error() -> None:
    import pywatt_core

    with pytest.raises(AttributeError, match="no_such_name"):
        pywatt_core.no_such_name


def test_importing_the_package_imports_no_room_of_it_but_the_one_that_puts_it_off() -> None:
    program = "import sys, pywatt_core; print([name for name in sys.modules if name.startswith('pywatt_core.')])"
    assert (
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip() == "['pywatt_core.lazy']"
    )


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_names_say_what_a_thing_is(path: Path) -> None:
    names = [path.stem, path.parent.name]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ClassDef):
            names.append(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", node.name))
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            names.append(node.name)
    vague = [name for name in names if VAGUE.search(name) and name not in PROMISED]
    assert not vague, f"names that say nothing: {vague}"
