"""The built wheels work where the source tree is not: a fresh environment, third-party packages from the index."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

from tools.docs import blocks
from tools.environment import CONSTRAINTS, ROOT, SetUpError, install, make_environment
from tools.sources import tracked
from tools.wheels import build

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.index, pytest.mark.timeout(600), pytest.mark.xdist_group("wheels")]

DEADLINE = 30.0
INSTALLED = ("pywatt_core", "pywatt_fastapi")


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Package name to wheel, built from a copy of the tracked files that is gone when the tests run."""
    copy = tmp_path_factory.mktemp("copy")
    for path in tracked():
        target = copy / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target)
    built = build(tmp_path_factory.mktemp("dist"), copy)
    shutil.rmtree(copy)
    return {path.name.partition("-")[0]: path for path in built if path.suffix == ".whl"}


@pytest.fixture(scope="module")
def fresh(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory, lacking: Callable[[str], NoReturn]) -> Path:
    """The ``bin`` folder of an environment that holds the wheels of the core and of FastAPI, and what they ask for."""
    folder = tmp_path_factory.mktemp("fresh")
    versions = folder / "versions.txt"
    versions.write_text(re.sub(r" \\\n( +--hash=\S+(?: \\)?\n?)+", "\n", CONSTRAINTS.read_text(encoding="utf-8")), encoding="utf-8")
    try:
        make_environment(folder / "venv")
        install(folder / "venv", "-c", str(versions), *(str(wheels[name]) for name in INSTALLED))
    except SetUpError as error:
        lacking(f"the package index cannot be reached: {error}")
    return folder / "venv" / "bin"


def environment(**more: str) -> dict[str, str]:
    """An environment without a trace of this repository."""
    return {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", **more}


def readme_block(heading: str, language: str) -> str:
    """The first block of that language below a heading of the README."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    line = text[: text.index(f"## {heading}\n")].count("\n") + 1
    return next(block.text for block in blocks(Path("README.md")) if block.line > line and block.language == language)


@pytest.fixture
def users(tmp_path: Path) -> Path:
    """The README's module in a folder of its own."""
    path = tmp_path / "users.py"
    path.write_text(readme_block("A module", "python"), encoding="utf-8")
    return path


def plugins(bin_folder: Path, folder: Path) -> list[dict[str, object]]:
    done = subprocess.run(
        [bin_folder / "pywatt", "plugins", "--json"], cwd=folder, env=environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    listed: list[dict[str, object]] = json.loads(done.stdout)
    return listed


def test_pywatt_plugins_lists_exactly_what_is_installed(fresh: Path, tmp_path: Path) -> None:
    assert {plugin["distribution"] for plugin in plugins(fresh, tmp_path)} == {"pywatt-core", "pywatt-fastapi"}


def test_nothing_is_imported_from_the_source_tree(fresh: Path, tmp_path: Path) -> None:
    program = "import pywatt_core, pywatt_fastapi; print(pywatt_core.__file__); print(pywatt_fastapi.__file__)"
    done = subprocess.run([fresh / "python", "-c", program], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True)
    assert all(Path(line).is_relative_to(fresh.parent) for line in done.stdout.splitlines())


async def test_the_module_of_the_readme_runs_under_an_orchestrator(fresh: Path, users: Path) -> None:
    from pywatt_core.testing import ModuleRunner

    command = [str(fresh / "python"), "-m", "pywatt_core.launch", str(users)]
    async with ModuleRunner(users, command=command, secrets={"API_KEY": "canary"}, env={"PYTHONPATH": ""}, cwd=users.parent) as module:
        response = await module.http("GET", "/users/ada")
        assert response.status == 200
        assert json.loads(response.body) == {"name": "ada", "module": "test_module", "has_key": True}
        await module.assert_clean_exit()


def test_the_module_of_the_readme_runs_alone(fresh: Path, users: Path) -> None:
    env = environment(PYWATT_STANDALONE="1", API_KEY="canary", PYWATT__MODULE__LISTEN="127.0.0.1:0")
    process = subprocess.Popen(
        [fresh / "python", users],
        cwd=users.parent,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        address = serving_address(process)
        with urllib.request.urlopen(f"http://{address}/users/ada", timeout=DEADLINE) as response:
            assert json.load(response) == {"name": "ada", "module": "users", "has_key": True}
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=DEADLINE)
        assert process.returncode == 0, output
        assert "canary" not in output
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def serving_address(process: subprocess.Popen[str]) -> str:
    """The address that a module running alone says it serves on."""
    seen = []
    assert process.stdout is not None
    for line in process.stdout:
        seen.append(line)
        found = re.search(r"127\.0\.0\.1:[1-9]\d*", line)
        if found:
            return found[0]
    pytest.fail(f"the module ended before it served:\n{''.join(seen)}")


def test_a_plugin_by_the_recipe_of_the_readme_is_discovered(fresh: Path, wheels: dict[str, Path], tmp_path: Path) -> None:
    plugin = tmp_path / "pywatt-credentials"
    (plugin / "pywatt_credentials").mkdir(parents=True)
    (plugin / "pyproject.toml").write_text(readme_block("Writing a plugin", "toml"), encoding="utf-8")
    (plugin / "pywatt_credentials" / "__init__.py").write_text(readme_block("Writing a plugin", "python"), encoding="utf-8")
    with_plugin = tmp_path / "venv"
    make_environment(with_plugin)
    install(with_plugin, str(wheels["pywatt_core"]))
    install(with_plugin, "-e", str(plugin))
    found = {plugin["name"]: plugin for plugin in plugins(with_plugin / "bin", tmp_path)}
    assert found["credentials"]["distribution"] == "pywatt-credentials"
