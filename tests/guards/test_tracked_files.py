"""What must not be in the repository: registry hosts, one machine's paths, lock files, unfinished work, overgrown files."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

import pytest

from tools.environment import ROOT
from tools.sources import tracked

if TYPE_CHECKING:
    from pathlib import Path

# The patterns are written in pieces, so that this file does not trip over itself.
HOSTS = re.compile(
    "|".join(
        re.escape("".join(parts))
        for parts in (
            ("py", "pi.org"),
            ("python", "hosted.org"),
            ("deb.deb", "ian.org"),
            ("registry.npm", "js.org"),
            ("crates", ".io"),
            ("proxy.go", "lang.org"),
        )
    )
)
MACHINE_PATHS = re.compile(r"(?<![\w.<])/(?:" + "|".join(("wo" + "rk", "ro" + "ot", "ho" + r"me/\w+", "Us" + r"ers/\w+")) + r")/[\w./-]+")
LOOP = r"(?!(?:, \w+)* in )"
UNFINISHED = re.compile(
    "|".join(
        (r"\bTO" + r"DO\b", r"\bFIX" + r"ME\b", r"\bXX" + r"X\b", r"\bHA" + r"CK\b", r"\bfor" + r" now\b" + LOOP, "simplified" + " version")
    )
)
NOT_IMPLEMENTED = "NotImplemented" + "Error"
RAISES_NOT_IMPLEMENTED = {
    "pywatt_core/builtin/serializers.py": "msgspec's hooks say so that they do not know a type",
    "pywatt_core/config/sections.py": "msgspec's hooks say so that they do not know a type",
    "pywatt_core/protocol/typed.py": "msgspec's hooks say so that they do not know a type",
    "pywatt_core/redaction/secret.py": "msgspec's hooks say so that they do not know a type",
    "pywatt_core/testing/contracts/server_probe.py": "pytest does not collect abstract classes",
}
"""Files that may raise it, with the reason; what a subclass has to define is an abstract method instead."""
LOCK_FILES = {"uv.lock", "poetry.lock", "pdm.lock", "Pipfile.lock", "package-lock.json", "yarn.lock", "pnpm-lock.yaml", "Cargo.lock"}
BINARY = {".png", ".ico", ".woff2", ".gz", ".whl"}

LONGEST = {"source": 400, "test": 600, "function": 60}

LONGER: dict[str, str] = {}
"""Files (``path``) and functions (``path:name``) that are over the limit, each with its reason."""


def texts() -> list[tuple[str, str]]:
    return [(str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")) for path in tracked() if path.suffix not in BINARY]


def matching(pattern: re.Pattern[str], files: list[tuple[str, str]]) -> list[str]:
    return [
        f"{name}:{number}: {line.strip()[:120]}"
        for name, text in files
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]


def check_no_match(pattern: re.Pattern[str], files: list[tuple[str, str]]) -> None:
    found = matching(pattern, files)
    assert not found, "\n".join(found)


def test_no_file_names_a_package_registry() -> None:
    check_no_match(HOSTS, texts())


def test_no_file_names_a_path_of_one_machine() -> None:
    check_no_match(MACHINE_PATHS, texts())


def test_no_source_says_that_it_is_unfinished() -> None:
    sources = [(name, text) for name, text in texts() if name.endswith((".py", ".sh", ".toml", ".html", ".css", ".js", "Makefile"))]
    check_no_match(UNFINISHED, sources)
    check_no_match(re.compile("raise " + NOT_IMPLEMENTED), [(name, text) for name, text in sources if name not in RAISES_NOT_IMPLEMENTED])


def test_no_lock_file_is_tracked() -> None:
    assert [path.name for path in tracked() if path.name in LOCK_FILES] == []


def is_test(path: Path) -> bool:
    return path.name.startswith("test_") or "tests" in path.parts


def python_files() -> list[Path]:
    return [path for path in tracked() if path.suffix == ".py"]


def too_long(path: Path) -> list[str]:
    """What of `path` is over the limits and carries no reason."""
    name = str(path.relative_to(ROOT))
    text = path.read_text(encoding="utf-8")
    problems = []
    lines = text.count("\n")
    limit = LONGEST["test" if is_test(path) else "source"]
    if lines > limit and name not in LONGER:
        problems.append(f"{name}: {lines} lines, {limit} are enough")
    if is_test(path):
        return problems
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            size = (node.end_lineno or node.lineno) - node.lineno + 1
            if size > LONGEST["function"] and f"{name}:{node.name}" not in LONGER:
                problems.append(f"{name}:{node.lineno}: {node.name} has {size} lines, {LONGEST['function']} are enough")
    return problems


def test_files_and_functions_stay_small() -> None:
    problems = [problem for path in python_files() for problem in too_long(path)]
    assert not problems, "\n".join(problems)


def test_every_exception_from_the_sizes_is_still_needed() -> None:
    over = []
    for name in LONGER:
        path, _, function = name.partition(":")
        text = (ROOT / path).read_text(encoding="utf-8")
        if not function:
            over.append(text.count("\n") > LONGEST["test" if is_test(ROOT / path) else "source"])
            continue
        sizes = [
            (node.end_lineno or 0) - node.lineno + 1
            for node in ast.walk(ast.parse(text))
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name == function
        ]
        over.append(max(sizes, default=0) > LONGEST["function"])
    assert all(over), f"no longer over the limit: {[name for name, still in zip(LONGER, over, strict=True) if not still]}"


@pytest.mark.parametrize(
    ("pattern", "line"),
    [
        (HOSTS, "index-url = https://" + "py" + "pi.org/simple"),
        (MACHINE_PATHS, "see /" + "work/main/notes.md"),
        (UNFINISHED, "# TO" + "DO: later"),
        (UNFINISHED, "good enough for" + " now"),
    ],
)
def test_a_forbidden_line_is_seen(pattern: re.Pattern[str], line: str) -> None:
    assert matching(pattern, [("file.py", line)]) == [f"file.py:1: {line}"]


SLEEPS = {
    "plugins/pywatt_orchestrator/tests/gateway/test_real_servers.py": "somebody else's server says in no other way that it accepts",
}
"""Files of tests that may sleep between two looks, with the reason."""


def test_tests_do_not_wait_by_sleeping() -> None:
    """Tests wait for events: a sleep in a test is either too short on a busy machine or too long on a quiet one."""
    found = []
    for path in python_files():
        if path.relative_to(ROOT).as_posix() in SLEEPS or not (path.name.startswith("test_") or path.name == "conftest.py"):
            continue  # a program that a test starts may well sleep
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "time.sleep":
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert found == []
