"""Imports point downwards. This file is the architecture's drawing, executed."""

from __future__ import annotations

import re
import sys
from functools import cache
from importlib.metadata import packages_distributions
from typing import TYPE_CHECKING

import pytest

from tools.environment import ROOT
from tools.sources import core_sources, imports, package_of, plugin_packages, plugin_sources, project_table

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

LAYERS = {
    "cli": 9, "testing": 9,
    "module": 8, "launch": 8, "bootstrap": 8, "storage": 8,
    "lifecycle": 7, "state": 7, "definition": 7, "held": 7, "listening": 7, "serving": 7, "running": 7, "connecting": 7,
    "opened": 7, "resources": 7, "replaceable": 7,
    "registry": 6, "services": 6, "http": 6, "telemetry": 6, "builtin": 6, "build_info": 6, "sql": 6,
    "transports": 5, "config": 5,
    "hookspecs": 4,
    "interfaces": 3, "access": 3,
    "protocol": 2, "policies": 2, "redaction": 2, "statements": 2,
    "errors": 1,
    "lazy": 1,
}  # fmt: skip

PURE = {"errors", "protocol", "policies", "redaction", "statements"}
IMPURE_STDLIB = {
    "asyncio", "concurrent", "fcntl", "multiprocessing", "os", "pathlib", "random", "secrets", "select", "selectors", "shutil", "signal",
    "socket", "ssl", "subprocess", "tempfile", "threading", "time", "_thread",
}  # fmt: skip

LIBRARIES = {
    "pluggy": {"hookspecs", "registry"},
    "msgspec": set(LAYERS),
    "pydantic": {"config"},
    "pydantic_core": {"config"},
    "pydantic_settings": {"config"},
    "click": {"cli"},
    "rich": {"cli"},
    "rich_click": {"cli"},
    "ahocorasick": {"redaction"},
    "pytest": {"testing"},
    "uvloop": {"running"},
}
"""Which rooms of the core may import which library; a library that is not here is none of the core's."""

HEAVY = {"ahocorasick", "pydantic", "pydantic_core", "pydantic_settings", "rich", "rich_click", "click", "uvloop"}
"""Imported inside functions only, so that what does not need them does not pay for them."""

COMMANDS = {"click", "rich", "rich_click"}
"""Files of ``cli`` but its entrance may import these at their top: they are imported when a command needs them (test_discovery.py)."""

CLOSED_TO_THE_ORCHESTRATOR = {"lifecycle", "module", "state", "cli"}


def room_of(name: str) -> str:
    """The core's room that a dotted name leads to; "" for the package itself."""
    parts = name.split(".")
    return parts[1] if parts[0] == "pywatt_core" and len(parts) > 1 else ""


def home_of(name: str) -> str:
    """The room that a dotted name leads to, also where the package itself offers the name."""
    import pywatt_core

    room = room_of(name)
    return room if room in LAYERS else room_of(getattr(getattr(pywatt_core, room, None), "__module__", ""))


def core_problems(room: str, source: str, package: str) -> list[str]:
    """What is wrong with the imports of one module of the core."""
    problems = []
    for found in imports(source, package):
        if found.top == "pywatt_core":
            there = room_of(found.name)
            if there not in LAYERS:
                problems.append(f"line {found.line}: {found.name} is a room that the layers do not name; import from the room itself")
            elif there != room and LAYERS[there] > LAYERS[room]:
                problems.append(f"line {found.line}: {room} ({LAYERS[room]}) imports {there} ({LAYERS[there]}), which stands above it")
        elif found.top in sys.stdlib_module_names:
            if room in PURE and found.top in IMPURE_STDLIB:
                problems.append(f"line {found.line}: {room} is pure and imports {found.top}")
        elif room not in LIBRARIES.get(found.top, set()):
            problems.append(f"line {found.line}: {room} imports {found.top}")
    return problems


def heavy_problems(source: str, package: str, allowed: Collection[str] = ()) -> list[str]:
    """The heavy libraries, but for those `allowed`, that one module imports whenever it is imported."""
    found_here = [found for found in imports(source, package) if found.top in HEAVY and not found.lazy]
    return [f"line {found.line}: {found.top} outside a function" for found in found_here if found.top not in allowed]


def plugin_problems(name: str, source: str, package: str, libraries: set[str]) -> list[str]:
    """What is wrong with the imports of one module of the plugin `name`, which declares `libraries` (names to import)."""
    problems = []
    for found in imports(source, package):
        if found.top == "pywatt_core":
            hidden = [part for part in found.parts if part.startswith("_")]
            if hidden:
                problems.append(f"line {found.line}: {found.name} is private to the core")
            if name == "pywatt_orchestrator" and home_of(found.name) in CLOSED_TO_THE_ORCHESTRATOR:
                problems.append(f"line {found.line}: the orchestrator imports {found.name}")
        elif found.top in {name, "__future__"} or found.top in sys.stdlib_module_names:
            continue
        elif found.top.startswith("pywatt"):
            problems.append(f"line {found.line}: {name} imports another plugin, {found.top}")
        elif found.top not in libraries:
            problems.append(f"line {found.line}: {name} imports {found.top}, which its pyproject.toml does not name")
    return problems


@cache
def declared_libraries(folder: Path) -> set[str]:
    """The top-level names that the dependencies of the distribution in `folder` bring, its extras included."""
    table = project_table(folder)
    lines = [*table.get("dependencies", []), *(line for extra in table.get("optional-dependencies", {}).values() for line in extra)]
    wanted = {normal(re.split(r"[^\w.-]", line, maxsplit=1)[0]) for line in lines}
    if "rich-click" in wanted:  # it is made of these two and says so
        wanted |= {"rich", "click"}
    return {top for top, owners in packages_distributions().items() if wanted & {normal(owner) for owner in owners}}


def normal(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def core_room(path: Path) -> str:
    return path.relative_to(ROOT / "pywatt_core").with_suffix("").parts[0]


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


CORE = [path for path in core_sources() if path != ROOT / "pywatt_core" / "__init__.py"]


@pytest.mark.parametrize("path", CORE, ids=shown)
def test_the_core_imports_downwards(path: Path) -> None:
    room = core_room(path)
    assert room in LAYERS, f"{shown(path)} stands in no layer: put it into a room of ARCHITECTURE.md, or draw the room there and here"
    problems = core_problems(room, path.read_text(encoding="utf-8"), package_of(path, ROOT))
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("path", CORE, ids=shown)
def test_the_core_imports_heavy_libraries_only_where_they_are_used(path: Path) -> None:
    allowed = COMMANDS if core_room(path) == "cli" and path.stem not in {"__init__", "main"} else set()
    problems = heavy_problems(path.read_text(encoding="utf-8"), package_of(path, ROOT), allowed)
    assert not problems, "\n".join(problems)


def test_rooms_of_one_layer_have_no_circles() -> None:
    edges: dict[str, set[str]] = {room: set() for room in LAYERS}
    for path in CORE:
        room = core_room(path)
        for found in imports(path.read_text(encoding="utf-8"), package_of(path, ROOT)):
            there = room_of(found.name)
            if there in LAYERS and there != room and LAYERS[there] == LAYERS[room]:
                edges[room].add(there)
    assert circles(edges) == []


def circles(edges: dict[str, set[str]]) -> list[str]:
    """Rooms that can be reached from themselves."""

    def reachable(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = [start]
        while waiting:
            for following in edges.get(waiting.pop(), set()) - seen:
                seen.add(following)
                waiting.append(following)
        return seen

    return sorted(room for room in edges if room in reachable(room))


@pytest.mark.parametrize("path", plugin_sources(), ids=shown)
def test_plugins_import_public_core_names_and_the_libraries_that_they_declare(path: Path) -> None:
    folder = ROOT / "plugins" / path.relative_to(ROOT).parts[1]
    name = folder.name
    problems = plugin_problems(name, path.read_text(encoding="utf-8"), package_of(path, folder), declared_libraries(folder))
    assert not problems, "\n".join(problems)


def test_there_are_plugins_to_look_at() -> None:
    shipped = {
        "pywatt_cbor", "pywatt_fastapi", "pywatt_flask", "pywatt_jwt", "pywatt_memcached", "pywatt_msgpack", "pywatt_mysql",
        "pywatt_orchestrator", "pywatt_postgres", "pywatt_redis", "pywatt_sqlite", "pywatt_vault",
    }  # fmt: skip
    assert shipped <= set(plugin_packages())


@pytest.mark.parametrize(
    ("room", "source", "complaint"),
    [
        ("protocol", "import asyncio", "pure"),
        ("policies", "def f():\n    from time import monotonic", "pure"),
        ("protocol", "from ..transports import link", "above"),
        ("registry", "from pywatt_core.lifecycle import run", "above"),
        ("config", "import pywatt_core.state", "above"),
        ("transports", "try:\n    import numpy\nexcept ImportError:\n    pass", "imports numpy"),
        ("transports", "import pydantic", "imports pydantic"),
        ("http", "from pywatt_core import AppState", "do not name"),
    ],
)
def test_a_broken_layer_is_seen(room: str, source: str, complaint: str) -> None:
    assert complaint in " ".join(core_problems(room, source, f"pywatt_core.{room}"))


def test_an_import_for_type_checking_alone_is_no_import() -> None:
    source = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ..lifecycle import run\n"
    assert core_problems("protocol", source, "pywatt_core.protocol") == []


@pytest.mark.parametrize(
    ("name", "source", "complaint"),
    [
        ("pywatt_flask", "from pywatt_fastapi import state", "another plugin"),
        ("pywatt_flask", "from pywatt_core.http import _headers", "private"),
        ("pywatt_flask", "import requests", "does not name"),
        ("pywatt_orchestrator", "from pywatt_core.state import AppState", "the orchestrator imports"),
        ("pywatt_orchestrator", "from pywatt_core import AppState", "the orchestrator imports"),
    ],
)
def test_a_plugin_that_reaches_too_far_is_seen(name: str, source: str, complaint: str) -> None:
    assert complaint in " ".join(plugin_problems(name, source, name, {"flask"}))


def test_a_heavy_import_outside_a_function_is_seen() -> None:
    assert heavy_problems("import pydantic", "pywatt_core.config")
    assert not heavy_problems("def f():\n    import pydantic", "pywatt_core.config")


def test_a_circle_within_a_layer_is_seen() -> None:
    assert circles({"http": {"telemetry"}, "telemetry": {"services"}, "services": {"http"}, "registry": {"http"}}) == [
        "http",
        "services",
        "telemetry",
    ]
