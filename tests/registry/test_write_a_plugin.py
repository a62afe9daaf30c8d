"""The how-to page makes a plugin: its code blocks are built into a wheel, installed in a folder, found, checked, used and tested."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tools.docs import blocks

PAGE = Path("docs/howto/write-a-plugin.md")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that a reader of the page has made, outside the repository."""
    folder = tmp_path_factory.mktemp("pywatt-mounted")
    for block in blocks(PAGE):
        first = block.text.partition("\n")[0]
        if first.startswith("# ") and "." in first and " " not in first[2:]:
            file = folder / first[2:]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text)
    return folder


@pytest.fixture(scope="module")
def site(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of installed distributions with the wheel built from the project, as pip would unpack it."""
    dist, site = tmp_path_factory.mktemp("dist"), tmp_path_factory.mktemp("site")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(dist)], cwd=project, check=True, timeout=60)
    (wheel,) = dist.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    return site


def run(site: Path, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYWATT")} | {"PYTHONPATH": str(site)}
    return subprocess.run([sys.executable, *arguments], cwd=cwd, env=environ, capture_output=True, text=True, timeout=60, check=False)


def pywatt(site: Path, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run(site, cwd, "-m", "pywatt_core.cli.main", *arguments)


def test_the_page_holds_the_four_files(project: Path) -> None:
    assert sorted(path.relative_to(project).as_posix() for path in project.rglob("*.*") if path.is_file()) == [
        "pyproject.toml",
        "pywatt.toml",
        "pywatt_mounted/__init__.py",
        "tests/test_mounted.py",
    ]


def test_the_plugin_is_discovered_and_sound(site: Path, project: Path) -> None:
    rows: list[dict[str, Any]] = json.loads(pywatt(site, project, "plugins", "--json").stdout)
    (row,) = [row for row in rows if row["name"] == "mounted"]
    assert (row["distribution"], row["version"], row["location"]) == ("pywatt-mounted", "0.1.0", str(site))
    assert (row["status"], row["reason"]) == ("active", "used by [secrets.mounted]")
    assert row["provides"] == {"secrets": ["mounted"]}
    done = pywatt(site, project, "plugins", "check")
    assert done.returncode == 0, done.stderr


def test_its_options_are_documented_by_what_is_written_below_them(site: Path, project: Path) -> None:
    done = pywatt(site, project, "plugins", "show", "mounted")
    assert '[secrets.NAME] use = "mounted"' in done.stdout
    assert "Holds one file for each secret, named after it." in done.stdout


def test_a_project_takes_its_secrets_from_it(site: Path, tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (tmp_path / "pywatt.toml").write_text(
        '[secrets.mounted]\nfolder = "secrets"\n[secrets.env]\n[databases.main]\nuse = "sqlite"\npath = "secret:DATABASE_PATH"\n'
    )
    done = pywatt(site, tmp_path, "check")
    assert done.returncode == 1
    assert "databases.main.path (pywatt.toml:6): no secret source knows 'DATABASE_PATH' (asked: mounted, env)" in done.stderr
    (secrets / "DATABASE_PATH").write_text("main.db")
    done = pywatt(site, tmp_path, "check")
    assert (done.returncode, done.stderr) == (0, "")
    secrets.rename(tmp_path / "gone")
    assert f"secrets.mounted: there is no folder {secrets}" in pywatt(site, tmp_path, "check").stderr


def test_it_passes_the_contract_of_its_kind(site: Path, project: Path) -> None:
    done = run(site, project, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib", "tests")
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
