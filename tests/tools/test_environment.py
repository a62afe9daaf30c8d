"""Setting up on machines that lack something: each refusal is a sentence with the way out."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tools.environment import ROOT, SetUpError, distributions, find_uv, install, make_environment

if TYPE_CHECKING:
    from pathlib import Path


def python_named(folder: Path, name: str, version: str, *, old: bool) -> Path:
    """A program that says it is a Python of that version."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\necho {version}\nexit {int(old)}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def find_python(path: Path, **more: str) -> subprocess.CompletedProcess[str]:
    shell = shutil.which("sh")
    assert shell is not None
    return subprocess.run(
        [shell, str(ROOT / "tools" / "find-python")], env={"PATH": str(path), **more}, capture_output=True, text=True, check=False
    )


def test_an_old_python_is_refused_with_a_sentence_that_names_it(tmp_path: Path) -> None:
    old = python_named(tmp_path / "bin", "python3", "3.10.13", old=True)
    done = find_python(old.parent)
    assert done.returncode == 1
    assert f"PyWatt needs Python 3.11 or newer (found: {old} is 3.10.13)." in done.stderr
    assert "make PYTHON=/path/to/python3.11" in done.stderr


def test_a_machine_without_python_is_told_so(tmp_path: Path) -> None:
    done = find_python(tmp_path)
    assert done.returncode == 1
    assert "there is no python3 on PATH" in done.stderr


def test_a_newer_python_beside_an_old_python3_is_taken(tmp_path: Path) -> None:
    python_named(tmp_path / "bin", "python3", "3.9.2", old=True)
    newer = python_named(tmp_path / "bin", "python3.12", "3.12.1", old=False)
    assert find_python(newer.parent).stdout.strip() == str(newer)


def test_a_named_python_is_the_only_one_tried(tmp_path: Path) -> None:
    python_named(tmp_path / "bin", "python3", "3.11.7", old=False)
    old = python_named(tmp_path / "bin", "mine", "3.8.0", old=True)
    done = find_python(old.parent, PYTHON=str(old))
    assert done.returncode == 1
    assert f"{old} is 3.8.0" in done.stderr


def test_a_python_without_ensurepip_is_told_the_command_that_mends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crippled = tmp_path / "python3"
    crippled.write_text(f'#!/bin/sh\ncase "$*" in *ensurepip*) exit 1;; esac\nexec "{sys.executable}" "$@"\n', encoding="utf-8")
    crippled.chmod(0o755)
    monkeypatch.setenv("UV", "")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    with pytest.raises(SetUpError, match=rf"ensurepip is missing: run 'apt-get install python{version}-venv' as root"):
        make_environment(tmp_path / "venv", str(crippled))
    assert not (tmp_path / "venv").exists()


def test_an_empty_uv_variable_means_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uv = tmp_path / "uv"
    uv.write_text("#!/bin/sh\n", encoding="utf-8")
    uv.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("UV", raising=False)
    assert find_uv() == str(uv)
    monkeypatch.setenv("UV", "")
    assert find_uv() is None


@pytest.mark.parametrize("uv", [True, False])
def test_the_installer_that_is_there_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uv: bool) -> None:
    """Both installers are asked the same: what they are asked is what they print here."""
    environment = tmp_path / "venv"
    (environment / "bin").mkdir(parents=True)
    log = tmp_path / "log"
    for path in (tmp_path / "uv", environment / "bin" / "python"):
        path.write_text(f'#!/bin/sh\necho "$(basename "$0") $*" > "{log}"\n', encoding="utf-8")
        path.chmod(0o755)
    monkeypatch.setenv("UV", str(tmp_path / "uv") if uv else "")
    install(environment, "--require-hashes", "-r", "constraints.txt")
    words = log.read_text(encoding="utf-8").split()
    assert words[:3] == (["uv", "pip", "install"] if uv else ["python", "-m", "pip"])
    assert words[-3:] == ["--require-hashes", "-r", "constraints.txt"]


def test_an_environment_without_pip_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    python.chmod(0o755)
    monkeypatch.setenv("UV", "")
    with pytest.raises(SetUpError, match="has no pip, because uv made it, and there is no uv now: remove it"):
        install(tmp_path, "nothing")


def test_an_installer_that_fails_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uv = tmp_path / "uv"
    uv.write_text("#!/bin/sh\nexit 3\n", encoding="utf-8")
    uv.chmod(0o755)
    monkeypatch.setenv("UV", str(uv))
    with pytest.raises(SetUpError, match=r"this failed, with exit status 3: .*uv pip install"):
        install(tmp_path, "nothing")


def test_the_core_is_installed_before_its_plugins() -> None:
    folders = distributions()
    assert folders[0] == ROOT
    assert [folder.parent for folder in folders[1:]] == [ROOT / "plugins"] * (len(folders) - 1)
