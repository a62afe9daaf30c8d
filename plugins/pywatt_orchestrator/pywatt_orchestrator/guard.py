"""The orchestrator's side of its guardian: keeps `guardian.py` running and told about every process group."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

from pywatt_core.policies import Intensity

PROGRAM = Path(__file__).with_name("guardian.py")

_log = logging.getLogger(__name__)


class Guardian:
    """A small process that kills what is left of the modules, and removes the runtime folder, when we are gone."""

    def __init__(self, folder: Path, lock: int) -> None:
        self._folder, self._lock = folder, lock
        self._groups: set[int] = set()
        self._popen: subprocess.Popen[bytes] | None = None
        self._pipe = -1
        self._pidfd = -1
        self._starts = Intensity(limit=5, window=10.0)

    @property
    def pid(self) -> int | None:
        return self._popen.pid if self._popen is not None else None

    def start(self) -> None:
        """Start it, or start it again with all that it has to know."""
        reading, self._pipe = os.pipe()
        os.set_blocking(self._pipe, False)
        try:
            self._popen = subprocess.Popen(
                [sys.executable, "-I", "-S", str(PROGRAM), str(self._lock)],
                stdin=reading,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(self._lock,),
                cwd="/",
                start_new_session=True,
            )
        finally:
            os.close(reading)
        self._watch()
        self._tell(b"d " + os.fsencode(self._folder) + b"\n" + b"".join(b"+%d\n" % group for group in sorted(self._groups)))

    def add(self, group: int) -> None:
        """A process group that has to go with us."""
        self._groups.add(group)
        self._tell(b"+%d\n" % group)

    def discard(self, group: int) -> None:
        """A process group that is gone."""
        self._groups.discard(group)
        self._tell(b"-%d\n" % group)

    def close(self) -> None:
        """Let it end, after everything it would have swept is gone; may be called twice."""
        popen, self._popen = self._popen, None
        self._unwatch()
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1
        if popen is None:
            return
        try:
            popen.wait(timeout=5)
        except subprocess.TimeoutExpired:
            popen.kill()
            popen.wait()

    def _tell(self, text: bytes) -> None:
        if self._pipe < 0:
            return
        try:
            os.write(self._pipe, text)
        except BlockingIOError:
            if self._popen is not None:
                self._popen.kill()  # It was stopped from outside and reads no more; its end is noticed and a new one started.
        except BrokenPipeError:
            pass  # It was killed from outside; the watch starts a new one.

    def _watch(self) -> None:
        with contextlib.suppress(AttributeError, OSError, RuntimeError):
            assert self._popen is not None
            loop = asyncio.get_running_loop()
            self._pidfd = os.pidfd_open(self._popen.pid)
            loop.add_reader(self._pidfd, self._died)

    def _unwatch(self) -> None:
        if self._pidfd >= 0:
            with contextlib.suppress(RuntimeError):
                asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1

    def _died(self) -> None:
        self._unwatch()
        if self._popen is None:
            return
        self._popen.wait()
        os.close(self._pipe)
        self._pipe = -1
        now = time.monotonic()
        if self._starts.room(now) > 0:
            _log.error("the guardian keeps ending: from now on a killed orchestrator may leave processes behind")
            return
        self._starts.add(now)
        ended = self._popen.pid
        self.start()
        _log.warning("the guardian (pid %d) was ended from outside; a new one has taken its place", ended)
