"""The runtime folder: private, held by one, found by others, never stale."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pywatt_core.errors import ConfigError, ServerError
from pywatt_orchestrator.runtime import MAX_SOCKET_PATH, claim, read_holder, running, runtime_path, user_folder


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    folder = tmp_path / "run"
    folder.mkdir(mode=0o700)
    return {"XDG_RUNTIME_DIR": str(folder)}


def test_the_folder_is_private_and_named_by_the_projects_path(environ: dict[str, str], tmp_path: Path) -> None:
    folder = claim(tmp_path, tmp_path, "up", environ=environ)
    assert folder.path == Path(environ["XDG_RUNTIME_DIR"], "pywatt", folder.path.name)
    assert len(folder.path.name) == 8
    assert folder.path.stat().st_mode & 0o777 == 0o700
    assert folder.path.parent.stat().st_mode & 0o777 == 0o700
    assert folder.path != runtime_path(tmp_path / "other", environ=environ)
    folder.release()
    assert not folder.path.exists()
    assert not folder.path.parent.exists()


def test_without_a_runtime_directory_of_this_user_it_is_in_tmp(tmp_path: Path) -> None:
    assert user_folder({}, 1234) == Path("/tmp/pywatt-1234")
    assert user_folder({"XDG_RUNTIME_DIR": str(tmp_path)}, os.getuid() + 1) == Path(f"/tmp/pywatt-{os.getuid() + 1}")
    assert user_folder({"XDG_RUNTIME_DIR": "relative"}, 1) == Path("/tmp/pywatt-1")


def test_a_second_one_is_refused_and_told_the_pid_of_the_first(environ: dict[str, str], tmp_path: Path) -> None:
    folder = claim(tmp_path, tmp_path, "up", environ=environ)
    with pytest.raises(ConfigError, match=rf"already runs for {tmp_path} \(pid {os.getpid()}\).*pywatt stop"):
        claim(tmp_path, tmp_path, "up", environ=environ)
    assert [holder.pid for _, holder in running(environ=environ)] == [os.getpid()]
    folder.release()
    assert list(running(environ=environ)) == []
    claim(tmp_path, tmp_path, "up", environ=environ).release()


def test_what_a_killed_one_left_behind_is_cleared_away(environ: dict[str, str], tmp_path: Path) -> None:
    program = (
        "import os, pathlib, sys; from pywatt_orchestrator.runtime import claim\n"
        f"folder = claim(pathlib.Path({str(tmp_path)!r}), pathlib.Path({str(tmp_path)!r}), 'up')\n"
        "(folder.path / 'users.sock').touch(); print(folder.path, flush=True); os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run([sys.executable, "-c", program], env={**os.environ, **environ}, stdout=subprocess.PIPE, text=True, timeout=30)
    left = Path(killed.stdout.strip())
    assert (left / "users.sock").exists()
    assert read_holder(left) is not None
    assert list(running(environ=environ)) == []
    folder = claim(tmp_path, tmp_path, "up", environ=environ)
    assert folder.path == left
    assert [path.name for path in folder.path.iterdir()] == ["lock"]
    folder.release()


def test_a_folder_that_somebody_else_put_there_is_refused(environ: dict[str, str], tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    target.mkdir()
    Path(environ["XDG_RUNTIME_DIR"], "pywatt").symlink_to(target)
    with pytest.raises(ServerError, match="is not a folder of this user's"):
        claim(tmp_path, tmp_path, "up", environ=environ)
    assert list(target.iterdir()) == []


def test_a_socket_path_that_the_kernel_would_refuse_is_refused_before_anything_starts(environ: dict[str, str], tmp_path: Path) -> None:
    folder = claim(tmp_path, tmp_path, "up", environ=environ)
    room = MAX_SOCKET_PATH - len(folder.socket_path(""))
    folder.check_sockets(["u" * room])
    with pytest.raises(ConfigError, match=r"108 bytes.*may have 107.*XDG_RUNTIME_DIR"):
        folder.check_sockets(["short", "u" * (room + 1)])
    folder.release()


def test_the_paths_of_channels_have_to_fit_as_well(environ: dict[str, str], tmp_path: Path) -> None:
    folder = claim(tmp_path, tmp_path, "up", environ=environ)
    room = MAX_SOCKET_PATH - len(folder.channel_path(""))
    folder.check_sockets([], ["u" * room])
    with pytest.raises(ConfigError, match=r'channels = \["tcp"\]'):
        folder.check_sockets([], ["u" * (room + 1)])
    folder.release()
