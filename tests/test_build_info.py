"""A build knows its commit and its time; a source tree in somebody else's repository does not take theirs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from pywatt_core import BuildInfo, __version__, get_build_info

ROOT = Path(__file__).parent.parent
PARTS = ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE", "CHANGELOG.md", "pywatt_core")
SHOW = "import json, pywatt_core.build_info as b; print(json.dumps([b.__file__, b.get_build_info().as_dict()]))"
HOSTILE = {"GIT_DIR": "/nonexistent", "GIT_WORK_TREE": "/nonexistent"}


def environment(**more: str) -> dict[str, str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("PYWATT_", "GIT_", "SOURCE_DATE_EPOCH"))}
    return {**clean, "PYTHONDONTWRITEBYTECODE": "1", **more}


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), "-c", "user.name=T", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false", *arguments]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60, check=True).stdout.strip()


def repository(folder: Path) -> str:
    """Make `folder` a repository with one commit of whatever it holds; its hash."""
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "a commit", "--allow-empty")
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A copy of the core's source tree, in no repository."""
    folder = tmp_path / "source"
    folder.mkdir()
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(ROOT / part, folder / part)
    return folder


def build(source: Path, target: str, into: Path, **more: str) -> Path:
    """Build a ``wheel`` or ``sdist`` and return the file."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(into)]
    done = subprocess.run(command, cwd=source, env=environment(**more), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = into.iterdir()
    return built


def told_by(wheel: Path, folder: Path, cwd: Path, **more: str) -> dict[str, str]:
    """What the core inside a wheel says of itself, run in `cwd`."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    command = [sys.executable, "-c", SHOW]
    done = subprocess.run(
        command, cwd=cwd, env=environment(PYTHONPATH=str(folder), **more), capture_output=True, text=True, timeout=60, check=True
    )
    file, told = json.loads(done.stdout)
    assert Path(file).is_relative_to(folder)
    return dict(told)


def test_a_wheel_built_in_a_repository_knows_its_commit_and_nobody_elses(source: Path, tmp_path: Path) -> None:
    commit = repository(source)
    wheel = build(source, "wheel", tmp_path / "dist", **HOSTILE)
    assert not (source / "pywatt_core" / "_build.py").exists()
    other = tmp_path / "other"
    other.mkdir()
    foreign = repository(other)
    told = told_by(wheel, tmp_path / "site", other)
    assert commit.startswith(told["git_hash"]) and len(told["git_hash"]) == 12 and not foreign.startswith(told["git_hash"])
    assert told["build_time_utc"].endswith("+00:00")
    assert list(told) == ["git_hash", "build_time_utc", "rustc_version", "python_version", "sdk_version"]
    assert (told["rustc_version"], told["sdk_version"]) == ("n/a", __version__)


def test_a_tree_inside_somebody_elses_repository_does_not_take_its_commit(source: Path, tmp_path: Path) -> None:
    repository(tmp_path)
    told = told_by(build(source, "wheel", tmp_path / "dist"), tmp_path / "site", tmp_path)
    assert told["git_hash"] == "unknown"


def test_an_sdist_carries_the_commit_to_the_wheel_that_is_built_from_it(source: Path, tmp_path: Path) -> None:
    commit = repository(source)
    sdist = build(source, "sdist", tmp_path / "sdist", PYWATT_BUILD_TIME_UTC="2026-11-20T05:55:37+00:00")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "unpacked")  # our own archive; filter= came with 3.11.4
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    told = told_by(build(unpacked, "wheel", tmp_path / "dist"), tmp_path / "site", tmp_path)
    assert commit.startswith(told["git_hash"]) and told["build_time_utc"] == "2026-11-20T05:55:37+00:00"
    other = build(unpacked, "wheel", tmp_path / "dist2", PYWATT_GIT_HASH="feedface")
    with zipfile.ZipFile(other) as archive:
        assert archive.namelist().count("pywatt_core/_build.py") == 1
    assert told_by(other, tmp_path / "site2", tmp_path)["git_hash"] == "feedface"


def test_two_builds_with_one_source_date_are_the_same_bytes(source: Path, tmp_path: Path) -> None:
    repository(source)
    one, two = (build(source, "wheel", tmp_path / name, SOURCE_DATE_EPOCH="1795154137") for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
    assert told_by(one, tmp_path / "site", tmp_path)["build_time_utc"] == "2026-11-20T05:55:37+00:00"


def test_the_environment_of_the_build_and_then_of_the_run_come_first(source: Path, tmp_path: Path) -> None:
    repository(source)
    wheel = build(source, "wheel", tmp_path / "dist", PYWATT_GIT_HASH="abc1234", PYWATT_BUILD_TIME_UTC="2026-01-01T00:00:00+00:00")
    told = told_by(wheel, tmp_path / "site", tmp_path)
    assert (told["git_hash"], told["build_time_utc"]) == ("abc1234", "2026-01-01T00:00:00+00:00")
    told = told_by(wheel, tmp_path / "site", tmp_path, PYWATT_GIT_HASH="run", PYWATT_BUILD_TIME_UTC="now", PYWATT_PYTHON_VERSION="3.x")
    assert (told["git_hash"], told["build_time_utc"], told["python_version"]) == ("run", "now", "3.x")


def test_a_source_tree_says_unknown_and_never_asks_git(source: Path, tmp_path: Path) -> None:
    repository(source)
    trap = tmp_path / "bin"
    trap.mkdir()
    (trap / "git").write_text(f"#!/bin/sh\ntouch {tmp_path}/asked\necho 0123456789ab\n")
    (trap / "git").chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", SHOW],
        cwd=source,
        env=environment(PATH=f"{trap}:{os.environ['PATH']}"),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    file, told = json.loads(done.stdout)
    assert Path(file).is_relative_to(source) and told["git_hash"] == "unknown" and not (tmp_path / "asked").exists()


def test_an_installation_straight_from_a_repository_knows_its_commit(source: Path, tmp_path: Path) -> None:
    metadata = tmp_path / "pywatt_core-9.9.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: pywatt-core\nVersion: 9.9\n")
    (metadata / "direct_url.json").write_text(
        json.dumps({"url": "https://x.example/r", "vcs_info": {"vcs": "git", "commit_id": "ab" * 20}})
    )
    done = subprocess.run(
        [sys.executable, "-c", SHOW],
        cwd=source,
        env=environment(PYTHONPATH=str(tmp_path)),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert json.loads(done.stdout)[1]["git_hash"] == "ab" * 6


def test_build_info_reads_well() -> None:
    info = BuildInfo(git_hash="abc1234", build_time_utc="2026-01-01T00:00:00+00:00", python_version="3.11.7", sdk_version="0.1.0")
    assert str(info) == "0.1.0 (git abc1234, built 2026-01-01T00:00:00+00:00, Python 3.11.7)"
    assert get_build_info().sdk_version == __version__
