"""The runtime folder of one running project: private, locked, found again by `pywatt ps`, and gone when nothing runs.

It is ``$XDG_RUNTIME_DIR/pywatt/HASH8/`` or ``/tmp/pywatt-UID/HASH8/`` with HASH8 of the project's path, and holds the
lock, the control socket and the modules' sockets. The lock is a `flock`: the kernel drops it with its last holder, so
a crash leaves no stale one. The guardian holds it too, until it has swept.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from pywatt_core.errors import ConfigError, ServerError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAX_SOCKET_PATH = 107
"""Bytes that the path of a Unix socket may have on Linux (unix(7))."""
LOCK, CONTROL = "lock", "control.sock"
SWEEP_WAIT = 5.0
"""Seconds that a new orchestrator waits for the guardian of a killed one to finish."""


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """Who runs in a runtime folder, as written in its lock file."""

    pid: int
    project: str
    """The project file, or the module's file for `pywatt run`."""
    root: str
    """The folder that the project's relative paths resolve against."""
    command: str
    """``"up"`` or ``"run"``."""


def user_folder(environ: Mapping[str, str], uid: int) -> Path:
    """The folder that holds one runtime folder a project, for one user."""
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    if runtime.startswith("/"):
        with contextlib.suppress(OSError):
            if Path(runtime).stat().st_uid == uid:
                return Path(runtime, "pywatt")
    return Path(f"/tmp/pywatt-{uid}")


def runtime_path(project: Path, *, environ: Mapping[str, str] | None = None, uid: int | None = None) -> Path:
    """Where the runtime folder of `project` is, whether or not it exists."""
    digest = hashlib.sha256(os.fsencode(project.resolve())).hexdigest()[:8]
    return user_folder(os.environ if environ is None else environ, os.getuid() if uid is None else uid) / digest


class RuntimeFolder:
    """The claimed runtime folder of this process."""

    def __init__(self, path: Path, lock: int, holder: Holder) -> None:
        self.path, self.lock, self.holder = path, lock, holder

    @property
    def control(self) -> Path:
        return self.path / CONTROL

    def socket_path(self, module_id: str) -> str:
        return str(self.path / f"{module_id}.sock")

    def channel_path(self, module_id: str) -> str:
        return str(self.path / f"{module_id}.channel")

    def check_sockets(self, module_ids: list[str], channels: list[str] | None = None) -> None:
        """Raise `ConfigError` where a socket's path would be too long for the kernel: the modules' own, and those of `channels`."""
        paths = [str(self.control), *(self.socket_path(module_id) for module_id in module_ids)]
        paths += [self.channel_path(module_id) for module_id in channels or ()]
        if too_long := [path for path in paths if len(os.fsencode(path)) > MAX_SOCKET_PATH]:
            longest = max(too_long, key=lambda path: len(os.fsencode(path)))
            raise ConfigError(
                f"the socket path {longest} has {len(os.fsencode(longest))} bytes, and a Unix socket's may have {MAX_SOCKET_PATH}: "
                "set XDG_RUNTIME_DIR to a shorter folder of yours, shorten the module's name, or give the module "
                'listen = "tcp" and channels = ["tcp"]'
            )

    def release(self) -> None:
        """Remove the folder and everything in it, then let go of the lock; may be called twice."""
        if self.lock < 0:
            return
        if _is_at(self.lock, self.path / LOCK):
            shutil.rmtree(self.path, ignore_errors=True)
            with contextlib.suppress(OSError):
                self.path.parent.rmdir()
        os.close(self.lock)
        self.lock = -1


def claim(project: Path, root: Path, command: str, *, environ: Mapping[str, str] | None = None) -> RuntimeFolder:
    """Take the runtime folder of `project` for this process, cleaning up after one that was killed.

    Raises `ConfigError` that names the pid where another orchestrator runs there, `ServerError` where the folder
    cannot be made private.
    """
    path = runtime_path(project, environ=environ)
    give_up = time.monotonic() + SWEEP_WAIT
    while True:
        _private_folder(path.parent)
        _private_folder(path)
        if (lock := _try_lock(path / LOCK)) is not None:
            break
        holder = read_holder(path)
        if time.monotonic() > give_up or (holder is not None and is_alive(holder.pid)):
            raise ConfigError(_already_running(holder, project))
        time.sleep(0.02)  # The orchestrator that held it was killed: its guardian is sweeping, or the folder is just going away.
    holder = Holder(pid=os.getpid(), project=str(project.resolve()), root=str(root.resolve()), command=command)
    os.ftruncate(lock, 0)
    os.pwrite(lock, msgspec.json.encode(holder), 0)
    for left_over in path.iterdir():
        if left_over.name != LOCK:
            left_over.unlink(missing_ok=True)
    return RuntimeFolder(path, lock, holder)


def _already_running(holder: Holder | None, project: Path) -> str:
    if holder is None:
        return f"another orchestrator is starting or stopping for {project}: try again in a moment"
    return f"an orchestrator already runs for {holder.project} (pid {holder.pid}): `pywatt ps` shows it, `pywatt stop` ends it"


def _private_folder(path: Path) -> None:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise ServerError(f"{path} is not a folder of this user's: remove it, or set XDG_RUNTIME_DIR to a private folder of yours")
        if stat.S_IMODE(found.st_mode) != 0o700:
            path.chmod(0o700)
    except FileNotFoundError:
        return  # Just removed by the one who is leaving; the caller's loop makes it again.
    except OSError as error:
        raise ServerError(f"cannot make the private folder {path}: {error.strerror}; set XDG_RUNTIME_DIR to a folder of yours") from error


def _try_lock(path: Path) -> int | None:
    """The locked descriptor of the file that is at `path` now, or None where somebody else holds it or it just went away."""
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    if _is_at(lock, path):
        return lock
    os.close(lock)  # The last holder removed the file before it let go.
    return None


def _is_at(lock: int, path: Path) -> bool:
    """Whether the locked file is still the one that stands at `path`."""
    try:
        return os.path.samestat(os.fstat(lock), path.lstat())
    except FileNotFoundError:
        return False


def read_holder(folder: Path) -> Holder | None:
    """Who wrote the lock file of `folder`, or None where it cannot be read."""
    try:
        return msgspec.json.decode((folder / LOCK).read_bytes(), type=Holder)
    except (OSError, msgspec.MsgspecError):
        return None


def is_alive(pid: int) -> bool:
    """True where a process `pid` exists, whoever owns it."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def running(*, environ: Mapping[str, str] | None = None) -> Iterator[tuple[Path, Holder]]:
    """Runtime folders of this user whose orchestrator lives."""
    base = user_folder(os.environ if environ is None else environ, os.getuid())
    with contextlib.suppress(OSError):
        for folder in sorted(base.iterdir()):
            holder = read_holder(folder)
            if holder is not None and is_alive(holder.pid):
                yield folder, holder
