"""One child process: how it is spawned, watched by its pid, signalled as a group and reaped. Nothing of the protocol."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import subprocess
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pywatt_core.errors import BootstrapError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

INHERITED = frozenset({"PATH", "HOME", "USER", "LANG", "TZ", "TMPDIR", "VIRTUAL_ENV"})
INHERITED_PREFIXES = ("LC_", "SSL_CERT_", "PYTHON")
"""The parts of our own environment that every module sees; all else needs `inherit_env`."""


def environment(parent: Mapping[str, str], *, inherit: Sequence[str] = (), extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """A child's environment: what every program needs, the names in `inherit`, and `extra` on top."""
    wanted = INHERITED.union(inherit)
    chosen = {name: value for name, value in parent.items() if name in wanted or name.startswith(INHERITED_PREFIXES)}
    chosen.update(extra or {})
    return chosen


@dataclass(frozen=True, kw_only=True)
class Spawn:
    """What to start."""

    argv: Sequence[str]
    cwd: str
    env: Mapping[str, str]
    pass_fds: Sequence[int] = ()


@dataclass(eq=False)
class Child:
    """A running process, the leader of its own session and process group.

    `stdin`, `stdout` and `stderr` are our ends of its pipes, owned by whoever takes them. `exited` resolves to the exit
    code (negative: the signal that ended it) once the process is gone, whoever still holds its pipes.
    """

    pid: int
    stdin: int
    stdout: int
    stderr: int
    exited: asyncio.Future[int]
    _popen: subprocess.Popen[bytes] = field(repr=False)
    _on_gone: Callable[[int], None] = field(repr=False)
    _pidfd: int = field(default=-1, repr=False)

    def signal(self, number: int) -> None:
        """Send a signal to the process and everything it started, except what left its group."""
        if not self.exited.done():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    def signal_leader(self, number: int) -> None:
        """Send a signal to the process alone."""
        if not self.exited.done():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(self.pid, number)

    def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            self._pidfd = os.pidfd_open(self.pid)
        except (AttributeError, OSError):
            threading.Thread(target=self._wait_in_thread, args=(loop,), name=f"wait-{self.pid}", daemon=True).start()
        else:
            loop.add_reader(self._pidfd, self._gone)

    def _wait_in_thread(self, loop: asyncio.AbstractEventLoop) -> None:
        if hasattr(os, "waitid"):
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        else:
            self._popen.wait()
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(self._gone)

    def _gone(self) -> None:
        """The leader has ended and is not reaped yet, so its group's number cannot belong to anybody else."""
        if self._pidfd >= 0:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._on_gone(self.pid)
        code = self._popen.wait()
        if not self.exited.done():
            self.exited.set_result(code)


class NoProgram(BootstrapError):
    """There is nothing that can be started, until a person mends it."""


def spawn(what: Spawn, *, on_started: Callable[[int], None], on_gone: Callable[[int], None]) -> Child:
    """Start a process with three pipes in a session of its own.

    `on_started` and `on_gone` learn its pid at once, the latter after its group was killed and before it is reaped.
    Raises `BootstrapError` that says what could not be started and why; `NoProgram` where another attempt would fail likewise.
    """
    pipes = [os.pipe(), os.pipe(), os.pipe()]
    (child_in, our_in), (our_out, child_out), (our_err, child_err) = pipes
    try:
        popen = subprocess.Popen(
            list(what.argv),
            cwd=what.cwd,
            env=dict(what.env),
            stdin=child_in,
            stdout=child_out,
            stderr=child_err,
            pass_fds=tuple(what.pass_fds),
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        for fd in (our_in, our_out, our_err):
            os.close(fd)
        raise (NoProgram if _lasts(error) else BootstrapError)(_cannot_start(what, error)) from error
    finally:
        for fd in (child_in, child_out, child_err):
            os.close(fd)
    on_started(popen.pid)
    child = Child(popen.pid, our_in, our_out, our_err, asyncio.get_running_loop().create_future(), popen, on_gone)
    child._watch()
    return child


def _lasts(error: OSError | ValueError) -> bool:
    """Whether it is the program's fault, and not a lack of memory, processes or descriptors that may pass."""
    lasting = (FileNotFoundError, PermissionError, NotADirectoryError, IsADirectoryError, ValueError)
    return isinstance(error, lasting) or error.errno in (errno.ENOEXEC, errno.ELOOP, errno.ENAMETOOLONG, errno.E2BIG)


def _cannot_start(what: Spawn, error: OSError | ValueError) -> str:
    program = what.argv[0]
    if isinstance(error, FileNotFoundError) and not Path(what.cwd).is_dir():
        return f"its working folder {what.cwd} does not exist: make it, or correct `cwd`"
    if isinstance(error, FileNotFoundError):
        return f"the program {program!r} was not found: correct `command` or `python`, or put its folder on PATH"
    if isinstance(error, PermissionError):
        return f"{program!r} may not be executed: chmod +x it, or correct `command`"
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return f"{program!r} could not be started: {reason}"


def describe_exit(code: int) -> str:
    """An exit code for a person: ``"exit code 3"`` or ``"signal SIGKILL"``."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"


EXIT_MEANINGS = {
    2: "its configuration is wrong",
    3: "it got no init line, or a bad one",
    4: "a plugin is missing or broken, or its server could not be bound",
    5: "its state could not be opened: a secret, database, cache or required channel",
    6: "its drain was cut short",
}
"""What the exit codes of a PyWatt module mean beyond 0 and 1."""

NO_RESTART = frozenset({2, 4})
"""Exit codes after which starting again would only fail again."""


def without_core_file(pid: int) -> bool:
    """Forbid a process to leave a core file when it aborts; False where that cannot be done."""
    try:
        import resource

        resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))
    except (AttributeError, OSError, ImportError, ValueError):
        return False
    return True
