"""What Git would do with a key: asked of the real Git, and guessed without it."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from pywatt_vault import git
from pywatt_vault.rotating import kept_beside

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    (tmp_path / "secrets.key").write_text("x")
    return tmp_path


@pytest.fixture(params=["with git", "without git", "somebody else's"])
def anywhere(request: pytest.FixtureRequest, repository: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    if request.param == "without git":
        monkeypatch.setenv("PATH", str(repository / "empty"))
    if request.param == "somebody else's":  # Git does not look into a repository of another user
        monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    return repository


def test_a_key_is_ignored_from_then_on(anywhere: Path) -> None:
    key = anywhere / "secrets.key"
    assert not git.is_ignored(key)
    assert git.ignore(key)
    assert (anywhere / ".gitignore").read_text() == "/secrets.key*\n"
    assert git.is_ignored(key)
    assert not git.ignore(key), "once is enough"
    assert (anywhere / ".gitignore").read_text() == "/secrets.key*\n"


@pytest.mark.parametrize(
    ("before", "after"), [("a\nb\n", "a\nb\n/secrets.key*\n"), ("a\nb", "a\nb\n/secrets.key*\n"), ("", "/secrets.key*\n")]
)
def test_what_is_ignored_already_stays_so(anywhere: Path, before: str, after: str) -> None:
    (anywhere / ".gitignore").write_text(before)
    assert git.ignore(anywhere / "secrets.key")
    assert (anywhere / ".gitignore").read_text() == after


def test_a_rule_of_another_file_counts(repository: Path) -> None:
    (repository / "below").mkdir()
    (repository / ".gitignore").write_text("*.key\n")
    assert git.is_ignored(repository / "below" / "other.key")
    assert not git.ignore(repository / "below" / "other.key")


def test_what_stands_beside_the_key_while_it_is_written_is_ignored_too(repository: Path) -> None:
    git.ignore(repository / "secrets.key")
    assert git.is_ignored(repository / "secrets.key.pywatt-tmp")
    assert git.is_ignored(kept_beside(repository / "secrets.key"))
    assert not git.is_ignored(repository / "secrets.vault")


def test_outside_of_a_repository_nothing_is_written(tmp_path: Path) -> None:
    assert not git.in_repository(tmp_path / "secrets.key")
    assert not git.ignore(tmp_path / "secrets.key")
    assert list(tmp_path.iterdir()) == []


def test_a_key_that_was_added_is_tracked(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = repository / "secrets.key"
    assert git.is_tracked(key) is False
    subprocess.run(["git", "-C", str(repository), "add", "secrets.key"], check=True)
    assert git.is_tracked(key) is True
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    assert git.is_tracked(key) is None, "Git does not say"
    monkeypatch.setenv("PATH", "")
    assert git.is_tracked(key) is None, "without Git nobody can tell"
