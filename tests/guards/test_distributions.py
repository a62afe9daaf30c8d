"""Each distribution says who it is and holds only what belongs in it. The wheels and sdists looked at are really built."""

from __future__ import annotations

import re
import tarfile
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from tools.environment import CONSTRAINTS, ROOT, distributions
from tools.lock import requirements
from tools.sources import project_table
from tools.wheels import build

if TYPE_CHECKING:
    from pathlib import Path

FOLDERS = distributions()
PLUGINS = FOLDERS[1:]
SOURCE_OR_DATA = re.compile(r"\.(py|typed|html|css|js|svg|json|toml|tmpl|j2)$")


def package_name(folder: Path) -> str:
    return str(project_table(folder)["name"]).replace("-", "_")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Package name and ``.whl`` or ``.gz`` to the file built."""
    return {path.name.partition("-")[0] + path.suffix: path for path in build(tmp_path_factory.mktemp("dist"))}


@pytest.mark.parametrize("folder", FOLDERS, ids=package_name)
def test_a_distribution_says_who_it_is(folder: Path) -> None:
    table = project_table(folder)
    name = package_name(folder)
    assert re.fullmatch(r"pywatt-[a-z0-9]+", table["name"])
    assert folder == ROOT or folder.name == name
    assert table["requires-python"] == ">=3.11"
    assert table["license"] == "Apache-2.0"
    assert table["readme"] == "README.md"
    assert len(table["description"]) > 20
    assert (folder / "LICENSE").read_text(encoding="utf-8") == (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert len((folder / "README.md").read_text(encoding="utf-8").splitlines()) > 5
    assert (folder / name / "py.typed").exists()


@pytest.mark.parametrize("folder", PLUGINS, ids=package_name)
def test_a_plugin_is_found_by_its_entry_point_and_asks_for_the_core(folder: Path) -> None:
    table = project_table(folder)
    name = package_name(folder)
    assert table["entry-points"]["pywatt"] == {name.removeprefix("pywatt_"): name}
    assert "pywatt-core>=0.1,<1" in table["dependencies"]


@pytest.mark.parametrize("folder", FOLDERS, ids=package_name)
def test_every_dependency_has_a_lower_and_an_upper_bound(folder: Path) -> None:
    table = project_table(folder)
    lines = [*table["dependencies"], *(line for extra in table.get("optional-dependencies", {}).values() for line in extra)]
    unbounded = [line for line in lines if not (">=" in line and "<" in line)]
    assert unbounded == []


def outside(names: list[str], allowed: set[str], package: str) -> list[str]:
    """The names that are neither allowed nor a source or data file of the package."""
    return [
        name
        for name in names
        if name not in allowed and not (name.startswith(f"{package}/") and SOURCE_OR_DATA.search(name) and "/tests/" not in name)
    ]


@pytest.mark.parametrize("folder", FOLDERS, ids=package_name)
def test_a_wheel_holds_its_package_and_nothing_else(folder: Path, built: dict[str, Path]) -> None:
    package = package_name(folder)
    with zipfile.ZipFile(built[f"{package}.whl"]) as wheel:
        names = wheel.namelist()
    information = [name for name in names if ".dist-info/" in name]
    assert outside([name for name in names if name not in information], set(), package) == []
    assert {f"{package}/py.typed", f"{package}/__init__.py"} <= set(names)
    for ending in ("METADATA", "RECORD", "WHEEL", "licenses/LICENSE", "entry_points.txt"):
        assert any(name.endswith(ending) for name in information), ending


@pytest.mark.parametrize("folder", FOLDERS, ids=package_name)
def test_an_sdist_holds_what_its_wheel_is_built_from_and_nothing_else(folder: Path, built: dict[str, Path]) -> None:
    package = package_name(folder)
    with tarfile.open(built[f"{package}.gz"]) as sdist:
        names = [name.partition("/")[2] for name in sdist.getnames()]
    allowed = {"PKG-INFO", "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", ".gitignore", "hatch_build.py"}
    assert outside(names, allowed, package) == []
    with zipfile.ZipFile(built[f"{package}.whl"]) as wheel:
        sources = {name for name in wheel.namelist() if name.endswith(".py")}
    generated = {name for name in sources if not (folder / name).exists()}
    assert sources - generated <= set(names)


def listed() -> dict[str, dict[str, Any]]:
    """Package name to its version and hashes, as constraints.txt has them."""
    found: dict[str, dict[str, Any]] = {}
    for entry in re.split(r"\n(?=[a-z0-9])", CONSTRAINTS.read_text(encoding="utf-8")):
        match = re.match(r"([a-z0-9-]+)==(\S+)", entry)
        if match:
            found[match[1]] = {"version": match[2], "hashes": re.findall(r"--hash=sha256:[0-9a-f]{64}", entry)}
    return found


def test_constraints_list_everything_with_hashes() -> None:
    packages = listed()
    assert all(entry["hashes"] for entry in packages.values())
    wanted = {re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", line, maxsplit=1)[0]).lower() for line in requirements()}
    assert wanted <= set(packages), "run `make constraints`"
    assert {"hatchling", "editables"} <= set(packages)


def test_constraints_name_no_address_and_nothing_of_ours() -> None:
    text = CONSTRAINTS.read_text(encoding="utf-8")
    assert "://" not in text
    assert not re.search(r"^(-|pywatt)", text, re.MULTILINE)
