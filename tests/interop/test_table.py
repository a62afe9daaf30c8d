"""The table of defects is complete, and says of no test what that does not say of itself."""

from __future__ import annotations

import ast
import re

import pytest

from tools.environment import ROOT

from .table import FILES, HIGHEST, NOT_SHOWN, SHOWN

ROWS = [f"{letter}{number}" for letter, highest in HIGHEST.items() for number in range(1, highest + 1)]


def rows_of(docstring: str) -> set[str]:
    """The rows that a docstring names: ``D5``, ``P1``, and ``appendix B 1 to 3 and 6``."""
    found = set(re.findall(r"\b[DP][0-9]+\b", docstring))
    for text in re.findall(r"appendix B ([0-9to, and]+)", docstring):
        for first, last in re.findall(r"(\d+)(?: to (\d+))?", text):
            found |= {f"B{number}" for number in range(int(first), int(last or first) + 1)}
    return found


def all_tests() -> dict[str, set[str]]:
    """Every test of these files, and the rows that it names."""
    found = {}
    for short, path in FILES.items():
        for node in ast.parse((ROOT / path).read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                found[f"{short}::{node.name}"] = rows_of(ast.get_docstring(node) or "")
    return found


TESTS = all_tests()


def test_every_row_is_shown_or_says_why_not() -> None:
    assert sorted([*SHOWN, *NOT_SHOWN], key=ROWS.index) == ROWS
    assert all(SHOWN.values()) and all(NOT_SHOWN.values())


@pytest.mark.parametrize("row", SHOWN)
def test_what_a_row_names_is_there_and_names_the_row(row: str) -> None:
    for name in SHOWN[row]:
        assert name in TESTS, f"{row} names {name}, which is not there"
        assert row in TESTS[name], f"the docstring of {name} does not name {row}"


@pytest.mark.parametrize("name", TESTS)
def test_what_a_docstring_names_is_in_the_table(name: str) -> None:
    for row in TESTS[name]:
        assert name in SHOWN.get(row, ()), f"{name} names {row}, and the table does not name it there"
    assert TESTS[name] or "protocol" in (_docstring(name) or ""), f"{name} does not say what it shows"


def _docstring(name: str) -> str | None:
    short, _, function = name.partition("::")
    body = ast.parse((ROOT / FILES[short]).read_text()).body
    return next(
        ast.get_docstring(node) for node in body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == function
    )
