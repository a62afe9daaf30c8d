"""Files on disk: whole or not at all, private where they have to be, one writer at a time."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pywatt_core.errors import SecretError
from pywatt_vault import files
from pywatt_vault.files import locked, read_private, read_regular, write_whole

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = os.geteuid() == 0


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def private(path: Path, data: bytes) -> Path:
    path.touch(0o600)
    path.write_bytes(data)
    return path


# ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_not_there_is_none(tmp_path: Path) -> None:
    assert read_regular(tmp_path / "x", 10, what="vault") is None
    assert read_private(tmp_path / "x", 10, what="key file") is None


def test_a_file_is_read_up_to_its_bound(tmp_path: Path) -> None:
    file = private(tmp_path / "x", b"a" * 2048)
    found = read_regular(file, 2048, what="vault")
    assert found is not None
    assert found[0] == b"a" * 2048
    with pytest.raises(SecretError, match=r"/x: the vault is larger than 1 KiB"):
        read_regular(file, 2047, what="vault")


def test_a_pipe_that_nobody_writes_to_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x", 0o600)
    with pytest.raises(SecretError, match=r"/x: the key file is not a file"):
        read_private(tmp_path / "x", 10, what="key file")


@pytest.mark.parametrize("make", [lambda path: path.mkdir(), lambda path: path.symlink_to("/dev/zero")], ids=["folder", "device"])
def test_what_is_no_file_is_refused(tmp_path: Path, make: object) -> None:
    make(tmp_path / "x")  # type: ignore[operator]
    with pytest.raises(SecretError, match=r"/x: the vault is not a file"):
        read_regular(tmp_path / "x", 10, what="vault")


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "x").symlink_to("x")
    with pytest.raises(SecretError, match=r"/x: the vault cannot be read \(Too many levels of symbolic links\)"):
        read_regular(tmp_path / "x", 10, what="vault")


def test_a_mark_of_windows_editors_is_left_out_and_other_bytes_are_refused(tmp_path: Path) -> None:
    assert read_private(private(tmp_path / "x", b"\xef\xbb\xbfkey"), 10, what="key file") == "key"
    with pytest.raises(SecretError, match="/y: the key file is not UTF-8"):
        read_private(private(tmp_path / "y", b"\xff"), 10, what="key file")


# ── writing ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_new_file_has_its_mode_less_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_whole(tmp_path / "vault", "text", mode=0o644)
        write_whole(tmp_path / "key", "text", mode=0o600)
    finally:
        os.umask(before)
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("vault", "key")] == [0o640, 0o600]


def test_a_file_keeps_its_mode_and_a_link_stays_one(tmp_path: Path) -> None:
    private(tmp_path / "target", b"old").chmod(0o640)
    (tmp_path / "link").symlink_to("target")
    write_whole(tmp_path / "link", "new", mode=0o600)
    assert (tmp_path / "target").read_text() == "new"
    assert (tmp_path / "target").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "link").is_symlink()
    assert names(tmp_path) == ["link", "target"]


@pytest.mark.skipif(not ROOT, reason="only root can give a file away")
def test_a_file_keeps_its_owner_also_when_root_writes_it(tmp_path: Path) -> None:
    os.chown(private(tmp_path / "x", b"old"), 12345, 54321)
    write_whole(tmp_path / "x", "new", mode=0o600)
    status = (tmp_path / "x").stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (12345, 54321, 0o600)


def test_where_there_must_be_none_a_file_is_left_alone(tmp_path: Path) -> None:
    write_whole(tmp_path / "x", "first", mode=0o600, exclusive=True)
    with pytest.raises(SecretError, match="/x: there is a file already"):
        write_whole(tmp_path / "x", "second", mode=0o600, exclusive=True)
    assert (tmp_path / "x").read_text() == "first"
    assert names(tmp_path) == ["x"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_what_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    private(tmp_path / "x", b"old")

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os if step == "fsync" else Path, step, full)
    with pytest.raises(SecretError, match=r"/x: cannot be written \(No space left on device\)"):
        write_whole(tmp_path / "x", "new", mode=0o600)
    monkeypatch.undo()
    assert (tmp_path / "x").read_text() == "old"
    assert names(tmp_path) == ["x"]


def test_what_a_writer_that_was_killed_left_behind_is_gone_after_the_next(tmp_path: Path) -> None:
    program = """
import os, signal, sys
from pathlib import Path
from pywatt_vault.files import write_whole
os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)
write_whole(Path(sys.argv[1]), "of the one that was killed", mode=0o600)
"""
    private(tmp_path / "x", b"old")
    for _ in range(2):
        assert subprocess.run([sys.executable, "-c", program, str(tmp_path / "x")], check=False).returncode == -9
        assert len(names(tmp_path)) == 2
    assert (tmp_path / "x").read_text() == "old"
    write_whole(tmp_path / "x", "new", mode=0o600)
    assert names(tmp_path) == ["x"]
    assert (tmp_path / "x").read_text() == "new"


def test_a_folder_that_is_not_there_and_a_circle_of_links_are_told(tmp_path: Path) -> None:
    with pytest.raises(SecretError, match=r"/no/x: cannot be written \(No such file or directory\)"):
        write_whole(tmp_path / "no" / "x", "text", mode=0o600)
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(SecretError, match=r"/a: cannot be written"):
        write_whole(tmp_path / "a", "text", mode=0o600)


def test_a_reader_sees_the_old_text_or_the_new_and_never_a_part(tmp_path: Path) -> None:
    texts = {b"a" * 300_000, b"b" * 300_000}
    write_whole(tmp_path / "x", "a" * 300_000, mode=0o600)
    stop, seen = threading.Event(), set[bytes]()

    def read() -> None:
        while not stop.is_set():
            seen.add((tmp_path / "x").read_bytes())

    reading = threading.Thread(target=read)
    reading.start()
    try:
        for number in range(40):
            write_whole(tmp_path / "x", "ab"[number % 2] * 300_000, mode=0o600)
    finally:
        stop.set()
        reading.join(30)
    assert seen <= texts


# ── one writer ──────────────────────────────────────────────────────────────────────────────────────────────────────

COUNTING = """
import sys
from pathlib import Path
from pywatt_vault.files import locked
file = Path(sys.argv[1])
for _ in range(50):
    with locked(file, 60):
        file.write_text(str(int(file.read_text()) + 1))
"""


def test_writers_in_several_processes_lose_nothing(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_text("0")
    running = [subprocess.Popen([sys.executable, "-c", COUNTING, str(file)]) for _ in range(4)]
    assert [process.wait(100) for process in running] == [0, 0, 0, 0]
    assert file.read_text() == "200"
    assert names(tmp_path) == ["x"]


HOLDING = """
import sys
from pathlib import Path
from pywatt_vault.files import locked
with locked(Path(sys.argv[1]), 60):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_who_holds_the_lock_is_named_and_a_holder_that_is_killed_holds_it_no_longer(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDING, str(tmp_path / "x")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        said = rf"/x: the process {holder.pid} has been writing it for 0\.1 s; try again when that is done"
        with pytest.raises(SecretError, match=said), locked(tmp_path / "x", 0.1):
            pass
        holder.kill()
        holder.wait(30)
        with locked(tmp_path / "x", 30):
            pass
    assert names(tmp_path) == []


def test_links_to_one_file_share_a_lock(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "x").touch()
    (tmp_path / "folder" / "y").symlink_to("../x")
    with locked(tmp_path / "x", 1), pytest.raises(SecretError, match="has been writing it"), locked(tmp_path / "folder" / "y", 0.05):
        pass


def test_a_lock_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    with (
        pytest.raises(SecretError, match=r"/no/x: cannot be written: the lock file \.x\.lock beside it cannot be made"),
        locked(tmp_path / "no" / "x", 1),
    ):
        pass
    (tmp_path / ".x.lock").symlink_to("elsewhere")
    with (
        pytest.raises(SecretError, match=r"the lock file \.x\.lock beside it cannot be made \(Too many levels of symbolic links\)"),
        locked(tmp_path / "x", 1),
    ):
        pass
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.skipif(not ROOT, reason="only root can be two users")
def test_a_lock_that_another_user_left_behind_is_told_with_a_way_out(shared_folder: Path) -> None:
    (shared_folder / ".x.lock").touch(0o600)
    os.seteuid(12345)
    try:
        said = r"/x: cannot be written: the lock file \.x\.lock beside it is another user's, who writes, or was stopped .*: remove it then"
        with pytest.raises(SecretError, match=said), locked(shared_folder / "x", 1):
            pass
        (shared_folder / ".x.lock").unlink()
        with locked(shared_folder / "x", 1):
            pass
    finally:
        os.seteuid(0)


@pytest.fixture
def shared_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)


def test_a_full_disk_does_not_keep_a_lock_from_being_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with locked(tmp_path / "x", 1), pytest.raises(SecretError, match="another process has been writing it"), locked(tmp_path / "x", 0.05):
        pass
    assert names(tmp_path) == []


def test_a_lock_of_a_holder_without_a_number_is_another_process(tmp_path: Path) -> None:
    with locked(tmp_path / "x", 1):
        (tmp_path / ".x.lock").write_text("\x1b[31mnot a number")
        with pytest.raises(SecretError, match="/x: another process has been writing it"), locked(tmp_path / "x", 0.05):
            pass
    assert files._holder(tmp_path / "none") == "another process"
