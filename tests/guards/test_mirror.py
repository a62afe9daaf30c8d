"""Tests mirror the sources, room for room; ``python -m tools.mirror`` reports what has no tests of its own, module for module."""

from __future__ import annotations

import pytest

from tools.environment import ROOT
from tools.mirror import files_of_tests, own_tests
from tools.sources import core_sources, plugin_packages

ROOMS = sorted({path.relative_to(ROOT / "pywatt_core").with_suffix("").parts[0] for path in core_sources()} - {"__init__"})

ELSEWHERE = {"examples", "tools", "benchmarks", "guards", "hostile", "interop"}
"""Folders of tests for what is not the core."""


@pytest.mark.parametrize("room", ROOMS)
def test_each_room_of_the_core_has_tests(room: str) -> None:
    sources = [path for path in core_sources() if path.relative_to(ROOT / "pywatt_core").with_suffix("").parts[0] == room]
    assert any(own_tests(path) for path in sources), f"no test belongs to the room {room}"


@pytest.mark.parametrize("name", plugin_packages())
def test_each_plugin_has_tests_beside_it(name: str) -> None:
    assert any(test.startswith(f"plugins/{name}/tests/") and "/test_" in test for test in files_of_tests())


def test_each_folder_of_tests_belongs_to_a_room() -> None:
    folders = {test.split("/")[1] for test in files_of_tests() if test.startswith("tests/") and test.count("/") > 1 and "/test_" in test}
    assert folders - ELSEWHERE <= set(ROOMS)
