"""The documentation is true as far as a machine can tell: links lead somewhere, code blocks run, commands exist.

A fenced block says what it is by its first word. ``python`` is executed: the blocks of one page run one after the other in
one namespace, in an empty folder. ``python notest: REASON`` is only compiled (``await`` may stand outside a function there).
``toml`` and ``json`` are parsed; in ``sh`` and ``console`` the commands named must exist. Anything else is text.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import shlex
import subprocess
import sys
import tomllib
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from pywatt_core.interfaces import Context
from tools.docs import Block, blocks, prepare, sources
from tools.environment import ROOT

TEXT = {"", "text", "ini", "dockerfile", "http", "sql", "diff", "html", "yaml", "rust", "systemd", "makefile"}
SHELL = {"sh", "console", "bash", "shell"}

EVERYDAY = {
    "apt-get", "brew", "cat", "cd", "chmod", "cp", "curl", "docker", "echo", "export", "git", "journalctl", "kill", "ls", "mkdir", "mv",
    "pip", "pipx", "printf", "rm", "systemctl", "touch", "uv", ".",
}  # fmt: skip
"""Commands of the system that the documentation may use."""

RUN = """
import json, sys
namespace = {"__name__": "documentation"}
for where, code in json.load(sys.stdin):
    exec(compile(code, where, "exec"), namespace)
"""


PAGES = sources()
ALL = [block for page in PAGES for block in blocks(page)]


def test_every_link_leads_somewhere() -> None:
    _, problems = prepare()
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("page", [page for page in PAGES if any(block.language == "python" for block in blocks(page))], ids=str)
def test_python_blocks_run(page: Path, tmp_path: Path) -> None:
    wanted = [(block.where, block.text) for block in blocks(page) if block.language == "python" and not block.note]
    if not wanted:
        return
    done = subprocess.run(
        [sys.executable, "-c", RUN], input=json.dumps(wanted), cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("block", [block for block in ALL if block.language == "python" and block.note], ids=lambda block: block.where)
def test_python_blocks_that_do_not_run_say_why_and_compile(block: Block) -> None:
    assert re.fullmatch(r"notest: \S.{9,}", block.note), f"{block.where}: the note is `notest: REASON`"
    compile(block.text, block.where, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)


@pytest.mark.parametrize("block", [block for block in ALL if block.language in {"toml", "json"}], ids=lambda block: block.where)
def test_data_blocks_parse(block: Block) -> None:
    parsed = tomllib.loads(block.text) if block.language == "toml" else json.loads(block.text)
    assert parsed is not None


@cache
def pywatt_help() -> str:
    program = "import sys; sys.argv = ['pywatt', '--help']; from pywatt_core.cli.main import main; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def commands(block: Block) -> list[list[str]]:
    """The commands of a shell block as words. In ``console`` they are the lines that begin with ``$``."""
    lines = block.text.replace("\\\n", " ").splitlines()
    if block.language == "console":
        lines = [line[2:] for line in lines if line.startswith("$ ")]
    found = []
    for line in lines:
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        for separator, words in groupby(lexer, key=lambda token: set(token) <= set(";|&")):
            command = list(words)
            while command and (re.fullmatch(r"\w+=.*", command[0]) or command[0] in {"sudo", "exec", "time"}):
                command = command[1:]
            if command and not separator:
                found.append(command)
    return found


def command_problem(words: list[str]) -> str:
    """What is wrong with a command; "" where nothing is."""
    name, rest = words[0].removeprefix(".venv/bin/"), words[1:]
    if name == "make":
        targets = [word for word in rest if "=" not in word and not word.startswith("-")]
        known = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        return " ".join(f"make has no target {target}" for target in targets if target not in known)
    if name == "pywatt":
        verb = next((word for word in rest if not word.startswith("-")), "")
        return "" if re.search(rf"\b{re.escape(verb)}\b", pywatt_help()) else f"pywatt has no command {verb}"
    if re.fullmatch(r"python3?(\.\d+)?", name):
        return python_problem(rest)
    if name in EVERYDAY or (name.startswith((".", "/")) and (ROOT / name).exists()):
        return ""
    return "" if importlib.util.find_spec(name.replace("-", "_")) else f"there is no command {name}"


def python_problem(arguments: list[str]) -> str:
    if arguments[:1] == ["-m"]:
        module = arguments[1]
        return "" if importlib.util.find_spec(module) else f"there is no module {module}"
    script = next((word for word in arguments if not word.startswith("-")), "")
    known = not script.endswith(".py") or (ROOT / script).exists() or any(script in block.text or script in block.note for block in ALL)
    return "" if known else f"there is no file {script}"


@pytest.mark.parametrize("block", [block for block in ALL if block.language in SHELL], ids=lambda block: block.where)
def test_the_commands_of_shell_blocks_exist(block: Block) -> None:
    problems = [problem for words in commands(block) if (problem := command_problem(words))]
    assert not problems, f"{block.where}: {'; '.join(problems)}"


async def test_the_recipe_of_the_readme_does_what_it_says(tmp_path: Path) -> None:
    namespace: dict[str, Any] = {"__name__": "pywatt_credentials"}
    recipe = next(block for block in blocks(Path("README.md")) if "@hookimpl" in block.text)
    exec(compile(recipe.text, recipe.where, "exec", dont_inherit=True), namespace)
    folder = tmp_path / "credentials"
    (folder / "inner").mkdir(parents=True)
    for file in (folder / "API_KEY", folder / "inner" / "KEY", tmp_path / "outside"):
        file.write_text("canary", encoding="utf-8")
    (provider,) = namespace["pywatt_register_secret_sources"]()
    async with provider.open(provider.options(folder=str(folder)), Context(module_id="test", section="secrets.main")) as source:
        assert await source.get("API_KEY") == "canary"
        for name in ("OTHER", "", ".", "..", "inner", "inner/KEY", "../outside", str(tmp_path / "outside"), "\0"):
            assert await source.get(name) is None, name


def test_every_block_says_what_it_is() -> None:
    known = TEXT | SHELL | {"python", "toml", "json"}
    assert [f"{block.where}: {block.language}" for block in ALL if block.language not in known] == []


def test_decisions_are_numbered_and_listed() -> None:
    records = sorted(path.name for path in (ROOT / "docs" / "decisions").glob("[0-9]*.md"))
    assert [name[:4] for name in records] == [f"{number:04}" for number in range(1, len(records) + 1)]
    index = (ROOT / "docs" / "decisions" / "README.md").read_text(encoding="utf-8")
    assert [name for name in records if f"({name})" not in index] == []


def test_every_page_of_the_documentation_is_linked_from_its_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    pages = [page.relative_to("docs").as_posix() for page in PAGES if page.parts[0] == "docs" and page.name != "README.md"]
    missing = [page for page in pages if f"({page})" not in index and not page.startswith("decisions/")]
    assert missing == []


@pytest.mark.parametrize(
    ("command", "complaint"),
    [("make supper", "no target"), ("pywatt frobnicate", "no command"), ("python -m nosuchmodule", "no module"), ("blorb", "no command")],
)
def test_a_command_that_does_not_exist_is_seen(command: str, complaint: str) -> None:
    assert complaint in command_problem(command.split())
