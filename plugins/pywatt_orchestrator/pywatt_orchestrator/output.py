"""Where the stream of log lines goes. A reader that does not keep up costs lines, never the event loop's time."""

from __future__ import annotations

import os
import select
import threading
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_QUEUED = 8 * 1024 * 1024
"""Bytes that may wait for a slow reader; beyond them whole lines are dropped and counted."""


class Output:
    """Lines in, from any thread and without waiting; one thread of its own writes them to a descriptor in big pieces."""

    def __init__(self, fd: int, *, notice: Callable[[int], str]) -> None:
        self._fd = fd
        self._notice = notice
        """The line that says how many were dropped."""
        self._queue: deque[bytes] = deque()
        self._queued = 0
        self._dropped = 0
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="log output", daemon=True)
        self._thread.start()

    def write(self, line: str) -> None:
        """Queue one line, or count it as dropped where the reader is too far behind."""
        data = line.encode("utf-8", "backslashreplace") + b"\n"
        with self._changed:
            if self._queued + len(data) > MAX_QUEUED or self._closing:
                self._dropped += 1
                return
            self._queue.append(data)
            self._queued += len(data)
            self._changed.notify()

    def close(self, timeout: float = 2.0) -> None:
        """Write what is queued, `timeout` seconds at most: a reader that reads nothing must not keep us from ending."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._queue and not self._closing:
                    self._changed.wait()
                if not self._queue:
                    return
                data, dropped = b"".join(self._queue), self._dropped
                self._queue.clear()
                self._queued = self._dropped = 0
            if dropped:
                data += self._notice(dropped).encode() + b"\n"
            if not self._write(data):
                with self._changed:
                    self._closing = True
                return

    def _write(self, data: bytes) -> bool:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._fd, view) :]
            except BlockingIOError:
                self._wait_until_writable()
            except OSError:
                return False  # Nobody reads any more: the modules go on, only their lines are not seen.
        return True

    def _wait_until_writable(self) -> None:
        """The descriptor is non-blocking, as a terminal shared with another program may be."""
        writable = select.poll()
        writable.register(self._fd, select.POLLOUT)
        writable.poll()
