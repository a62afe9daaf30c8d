"""The page that says what is protected from whom names tests, and they are there."""

from __future__ import annotations

import ast
import re

from tools.environment import ROOT

PAGE = ROOT / "docs" / "explanation" / "security.md"
NAMED = re.compile(r"`([\w/]+\.py)::(\w+)`")


def names_in(file: str) -> set[str]:
    """The tests that a file holds, in classes too."""
    path = ROOT / file
    if not path.is_file():
        return set()
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return {node.name for node in nodes if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test_")}


def test_each_test_that_the_page_names_exists() -> None:
    named = NAMED.findall(PAGE.read_text(encoding="utf-8"))
    assert len(named) > 20
    assert [f"{file}::{test}" for file, test in named if test not in names_in(file)] == []


def test_each_row_of_the_tables_names_one() -> None:
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ") and line.count("|") == 4]
    told = [row for row in rows if not row.startswith("| from whom")]
    assert [row for row in told if not NAMED.search(row)] == []
