"""Servers for tests: found where they are, fetched where they are not, and a clear word where neither works."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

from tools import test_servers
from tools.test_servers import Missing, Server

if TYPE_CHECKING:
    from collections.abc import Callable

pytest_plugins = ["pytester"]


@pytest.fixture
def empty_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine on which no server is found: an empty PATH, an empty cache; the folder for the cache."""
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.setattr(test_servers, "SYSTEM_FOLDERS", ())
    cache = tmp_path / "cache"
    monkeypatch.setenv("PYWATT_TEST_CACHE", str(cache))
    monkeypatch.delenv("PYWATT_NGINX", raising=False)
    return cache


def program(path: Path, text: str = "exit 0") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def test_the_variable_wins_over_path(empty_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named, on_path = program(tmp_path / "named" / "my-nginx"), program(tmp_path / "bin" / "nginx")
    monkeypatch.setenv("PATH", str(on_path.parent))
    assert test_servers.find("nginx") == on_path
    monkeypatch.setenv("PYWATT_NGINX", str(named))
    assert test_servers.find("nginx") == named


def test_a_name_with_a_hyphen_has_a_variable_that_a_shell_can_set() -> None:
    assert test_servers.variable("nats-server") == "PYWATT_NATS_SERVER"


def test_a_variable_that_names_no_program_is_not_passed_over(empty_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYWATT_NGINX", str(tmp_path / "gone"))
    with pytest.raises(Missing, match=r"PYWATT_NGINX names .*gone, which is not a program"):
        test_servers.obtain("nginx")


def test_a_machine_without_apt_says_which_variable_to_set(empty_path: Path) -> None:
    with pytest.raises(Missing, match=r"no apt-get and dpkg.*set PYWATT_NGINX to its binary"):
        test_servers.obtain("nginx")


@pytest.mark.parametrize("mode", [0o777, 0o775])
def test_a_cache_that_others_may_write_to_is_refused(empty_path: Path, mode: int) -> None:
    empty_path.mkdir()
    empty_path.chmod(mode)
    with pytest.raises(Missing, match="not a folder that only this user may write to"):
        test_servers.obtain("nginx")


def test_a_cache_that_is_a_link_is_refused(empty_path: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    empty_path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Missing, match="not a folder that only this user may write to"):
        test_servers.obtain("nginx")


def test_the_usual_cache_is_outside_any_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYWATT_TEST_CACHE", raising=False)
    assert not test_servers.cache_folder().is_relative_to(Path.home())
    assert str(os.getuid()) in test_servers.cache_folder().parent.name


def test_a_binary_that_does_not_load_is_not_put_in_place(empty_path: Path, tmp_path: Path) -> None:
    unpacked = tmp_path / "unpacked"
    program(unpacked / "usr" / "sbin" / "nginx", "echo 'error while loading shared libraries' >&2; exit 127")
    with test_servers.locked_cache() as cache, pytest.raises(Missing, match="does not start: error while loading"):
        test_servers.put_in_place("nginx", unpacked, cache)
    assert test_servers.find("nginx") is None


def test_a_wrapper_runs_the_binary_with_the_libraries_that_came_with_it(empty_path: Path, tmp_path: Path) -> None:
    unpacked = tmp_path / "unpacked"
    program(unpacked / "usr" / "sbin" / "nginx", 'echo "$LD_LIBRARY_PATH" "$@"')
    library = unpacked / "usr" / "lib" / "x86_64-linux-gnu" / "libz.so.1"
    library.parent.mkdir(parents=True)
    library.touch()
    with test_servers.locked_cache() as cache:
        wrapper = test_servers.put_in_place("nginx", unpacked, cache)
    assert test_servers.find("nginx") == wrapper
    printed = subprocess.run([wrapper, "-t"], capture_output=True, text=True, check=True).stdout
    assert printed == f"{cache}/nginx/usr/lib/x86_64-linux-gnu -t\n"


@pytest.mark.index
def test_a_fetched_server_runs_and_every_user_may_run_it(
    tmp_path_factory: pytest.TempPathFactory, lacking: Callable[[str], NoReturn]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYWATT_TEST_CACHE", str(tmp_path_factory.mktemp("cache")))
        try:
            with test_servers.locked_cache() as cache:
                binary = test_servers.fetch("wrk", cache)
        except Missing as error:
            lacking(str(error))
        printed = subprocess.run([binary, "-v"], capture_output=True, text=True, check=False)
        assert "wrk" in printed.stdout + printed.stderr
        folders = [folder for folder in binary.parents if folder.is_relative_to(cache.parent)]
        assert folders
        assert all(folder.stat().st_mode & 0o005 == 0o005 for folder in folders)
        assert test_servers.find("wrk") is not None


@pytest.mark.index
def test_a_machine_without_lists_of_packages_gets_private_ones(
    empty_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacking: Callable[[str], NoReturn]
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setattr(test_servers, "SYSTEM_LISTS", tmp_path / "none")
    with test_servers.locked_cache() as cache:
        try:
            files = test_servers.download("wrk", tmp_path, cache)
        except Missing as error:
            lacking(str(error))
    assert any(path.name.startswith("wrk_") for path in files)


@pytest.mark.index
def test_a_package_that_no_archive_has_says_so(empty_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setitem(test_servers.SERVERS, "nginx", Server(packages=("no-such-package-here",), pattern="usr/sbin/no-such-server"))
    with pytest.raises(Missing, match=r"nginx is not on PATH and could not be fetched \(no-such-package-here: .*set PYWATT_NGINX"):
        test_servers.obtain("nginx")


@pytest.mark.parametrize(("required", "outcome"), [("0", {"skipped": 1}), ("1", {"failed": 1})])
def test_what_is_missing_skips_a_test_or_fails_it_where_it_is_required(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, required: str, outcome: dict[str, int]
) -> None:
    root = Path(test_servers.__file__).parent.parent
    pytester.makeconftest((root / "conftest.py").read_text(encoding="utf-8"))
    pytester.makepyfile("def test_it(server_binary): server_binary('nginx')")
    monkeypatch.setenv("PYWATT_TEST_REQUIRE", required)
    monkeypatch.setenv("PYWATT_NGINX", "/no/such/nginx")
    monkeypatch.setenv("PYTHONPATH", str(root))
    result = pytester.runpytest_subprocess("-rs", "-p", "no:cacheprovider")
    result.assert_outcomes(**outcome)
    result.stdout.fnmatch_lines(["*PYWATT_NGINX names /no/such/nginx*"])


def test_the_command_line_names_what_it_knows(capsys: pytest.CaptureFixture[str]) -> None:
    assert test_servers.main(["fetch", "apache"]) == 2
    assert f"the names are {', '.join(test_servers.SERVERS)}" in capsys.readouterr().err
