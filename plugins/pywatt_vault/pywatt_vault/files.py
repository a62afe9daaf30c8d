"""Files of secrets on disk: read with a bound, written whole, written by one at a time."""

from __future__ import annotations

import os
import stat
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from pywatt_core.errors import SecretError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOCK_TIMEOUT = 5.0
"""Seconds that a writer waits for another one."""


def read_regular(path: Path, limit: int, *, what: str) -> tuple[bytes, os.stat_result] | None:
    """What a file has, and what it is; None where it is not there. `what` is what errors call it. Raises `SecretError`."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe is not waited for
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SecretError(f"{path}: the {what} cannot be read ({error.strerror})") from None
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise SecretError(f"{path}: the {what} is not a file")
        with os.fdopen(handle, "rb", closefd=False) as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise SecretError(f"{path}: the {what} cannot be read ({error.strerror})") from None
    finally:
        os.close(handle)
    if len(data) > limit:
        raise SecretError(f"{path}: the {what} is larger than {limit // 2**10} KiB")
    return data, status


def read_private(path: Path, limit: int, *, what: str, any_mode: bool = False) -> str | None:
    """The text of a file that only we and root can read; None where it is not there. Raises `SecretError`.

    What systemd hands to a service that is not root looks as if root's group could read it: the mode shows the access list.
    """
    found = read_regular(path, limit, what=what)
    if found is None:
        return None
    data, status = found
    mode = stat.S_IMODE(status.st_mode)
    if not any_mode:
        if mode & 0o077 and (mode, status.st_uid, status.st_gid) != (0o440, 0, 0):
            raise SecretError(f"{path}: others may read the {what} (mode {mode:o}): chmod 600 {path}, or set any_mode = true")
        if status.st_uid not in (os.geteuid(), 0):
            raise SecretError(f"{path}: the {what} belongs to another user: chown it to the one who reads it, or set any_mode = true")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise SecretError(f"{path}: the {what} is not UTF-8") from None


def write_whole(path: Path, text: str, *, mode: int, exclusive: bool = False) -> None:
    """Write a file so that at any time, also after a power cut, it is the old one or the new one. Raises `SecretError`.

    A file that exists keeps its mode and its owner, a link stays one; a new file gets `mode`, less what the umask takes.
    `exclusive`: there must be none yet. Who calls this holds the lock of the file: what a writer that died has left beside
    it has always the same name, and is removed by the next one.
    """
    try:
        target = path.resolve()
        if exclusive and os.path.lexists(target):
            raise FileExistsError
        fresh = target.with_name(f"{target.name}.pywatt-tmp")
        fresh.unlink(missing_ok=True)
        try:
            _write_new(fresh, text.encode(), mode, like=target)
            fresh.replace(target)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise
        _sync_folder(target.parent)
    except FileExistsError:
        raise SecretError(f"{path}: there is a file already") from None
    except (OSError, RuntimeError) as error:  # a RuntimeError is a circle of links
        raise SecretError(f"{path}: cannot be written ({getattr(error, 'strerror', '') or error})") from None


def _write_new(path: Path, data: bytes, mode: int, *, like: Path) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    with os.fdopen(handle, "wb") as file:
        with suppress(FileNotFoundError):
            there = like.stat()
            if (there.st_uid, there.st_gid) != (os.geteuid(), os.getegid()):
                with suppress(PermissionError):
                    os.fchown(handle, there.st_uid, there.st_gid)
            os.fchmod(handle, stat.S_IMODE(there.st_mode))
        file.write(data)
        file.flush()
        os.fsync(handle)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def locked(path: Path, timeout: float) -> Iterator[None]:
    """Be the only writer of the file at `path`: others wait for `timeout` seconds at most, then a `SecretError` names who writes.

    The lock is a file beside it, removed afterwards. It counts only while a process holds it: one that was left behind by a
    process that died keeps nobody out, except other users, who are told to remove it.
    """
    target = path.resolve()  # the same lock, whichever link to the file somebody uses
    lock = target.with_name(f".{target.name}.lock")
    deadline = time.monotonic() + timeout
    while (handle := _try(lock, path)) is None:
        if time.monotonic() > deadline:
            raise SecretError(f"{path}: {_holder(lock)} has been writing it for {timeout:g} s; try again when that is done")
        time.sleep(0.02)
    try:
        with suppress(OSError):  # who holds it is told where there is room to say so
            os.ftruncate(handle, 0)
            os.pwrite(handle, str(os.getpid()).encode(), 0)
        yield
    finally:
        with suppress(OSError):
            lock.unlink()
        os.close(handle)


def _try(lock: Path, path: Path) -> int | None:
    """The lock file, held; None where somebody else holds it, or has just removed it."""
    import fcntl

    try:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    except OSError as error:
        what = f"the lock file {lock.name} beside it cannot be made ({error.strerror})"
        if isinstance(error, PermissionError) and os.path.lexists(lock):
            what = f"the lock file {lock.name} beside it is another user's, who writes, or was stopped while writing: remove it then"
        raise SecretError(f"{path}: cannot be written: {what}") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        ours, there = os.fstat(handle), lock.lstat()
        if (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino):
            return handle
    except (BlockingIOError, FileNotFoundError):
        pass
    except OSError as error:
        os.close(handle)
        raise SecretError(f"{path}: cannot be written: the lock file {lock.name} beside it cannot be locked ({error.strerror})") from None
    os.close(handle)
    return None


def _holder(lock: Path) -> str:
    try:
        text = lock.read_bytes()[:16].decode("ascii", "replace")
    except OSError:
        text = ""
    return f"the process {text}" if text.isdigit() else "another process"
