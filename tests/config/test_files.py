"""Which file is found, and what is said where it cannot be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pywatt_core.config import find_file, load, read_file
from pywatt_core.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


def test_the_nearest_file_above_is_found(tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    (tmp_path / "pywatt.toml").write_text("")
    assert find_file(deep) == tmp_path / "pywatt.toml"
    (tmp_path / "a" / "pywatt.toml").write_text("")
    assert find_file(deep) == tmp_path / "a" / "pywatt.toml"


def test_a_pyproject_counts_only_with_our_table(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    (tmp_path / "pywatt.toml").write_text("")
    project = inner / "pyproject.toml"
    project.write_text("[project]\nname = 'uses-pywatt'\n")
    assert find_file(inner) == tmp_path / "pywatt.toml"
    project.write_text("[tool.pywatt.module]\nname = 'users'\n")
    assert find_file(inner) == project
    (inner / "pywatt.toml").write_text("")
    assert find_file(inner) == inner / "pywatt.toml"


def test_a_pyproject_that_others_broke_is_not_ours(tmp_path: Path) -> None:
    (tmp_path / "pywatt.toml").write_text("")
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "pyproject.toml").write_text("pywatt = \n")
    assert find_file(inner) == tmp_path / "pywatt.toml"


def test_our_table_in_a_pyproject_is_the_configuration_and_names_its_lines(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n\n[tool.pywatt.databases.main]\nuse = 'sqlite'\n")
    settings = load(start=tmp_path, environ={})
    assert settings.databases["main"].use == "sqlite"
    assert settings.origin("databases.main.use") == "pyproject.toml:5"


def test_the_file_that_is_named_wins_over_the_one_that_would_be_found(tmp_path: Path) -> None:
    (tmp_path / "pywatt.toml").write_text("[module]\nname = 'found'\n")
    other = tmp_path / "deploy" / "other.toml"
    other.parent.mkdir()
    other.write_text("[module]\nname = 'named'\n")
    settings = load(file=other, start=tmp_path, environ={})
    assert (settings.module.name, settings.file, settings.folder) == ("named", other, other.parent)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"[module\nname = 'x'\n", r"pywatt.toml: not valid TOML: .*line 1"),
        (b"[module]\nname = \xff\n", r"pywatt.toml: not UTF-8 at byte 16"),
        (b"a = " + b"[" * 100_000, r"pywatt.toml: not valid TOML"),
    ],
)
def test_a_file_that_cannot_be_parsed_is_named(tmp_path: Path, content: bytes, complaint: str) -> None:
    (tmp_path / "pywatt.toml").write_bytes(content)
    with pytest.raises(ConfigError, match=complaint):
        load(start=tmp_path, environ={})


def test_a_file_that_is_not_there_says_how_it_was_asked_for(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone.toml: cannot be read \(No such file or directory\). Check the path given with --config"):
        load(file=tmp_path / "gone.toml", environ={})


def test_a_byte_order_mark_is_not_part_of_the_first_key(tmp_path: Path) -> None:
    (tmp_path / "pywatt.toml").write_bytes(b"\xef\xbb\xbf[module]\nname = 'users'\n")
    assert read_file(tmp_path / "pywatt.toml") == {"module": {"name": "users"}}
