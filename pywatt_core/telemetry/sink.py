"""Where lines go: a stream that somebody may have stopped reading. Writing waits a bounded time, then events are dropped and counted."""

from __future__ import annotations

import os
import select
import stat
import time
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 1.0
"""Seconds that one event may wait for its reader; after that events are dropped at once until the reader reads again."""

PIECE = 4096
"""Bytes that a pipe reported as writable takes without blocking (PIPE_BUF)."""


class Sink:
    """Writes whole lines to `stream`; never blocks for ever, never raises.

    `notice` makes the line that tells how many events were dropped; it is written before the first event that gets through.
    """

    def __init__(self, stream: TextIO, notice: Callable[[int], str], *, patience: float = PATIENCE) -> None:
        self.dropped = 0
        """Events that were not written, or not completely, since the beginning."""
        self._stream = stream
        self._notice = notice
        self._patience = patience
        self._missing = 0
        self._torn = False
        self._fd, self._waits = _descriptor(stream)

    def write(self, line: str) -> None:
        """Write one event; `line` comes without its line end and may hold more than one line."""
        if self._fd is None or self._stream.closed:  # a closed stream's descriptor may be somebody else's by now
            try:
                self._stream.write(line + "\n")
                self._stream.flush()
            except (OSError, ValueError):
                self.dropped += 1
            return
        text = line if not self._missing else f"{self._notice(self._missing)}\n{line}"
        data = (text + "\n").encode("utf-8", "backslashreplace")
        if self._torn:
            data = b"\n" + data
        written = self._send(data, 0.0 if self._missing else self._patience)
        if written == len(data):
            self._missing = 0
            self._torn = False
            return
        self.dropped += 1
        self._missing += 1
        self._torn = self._torn or written > 0

    def _send(self, data: bytes, patience: float) -> int:
        """How many bytes were written."""
        fd = self._fd
        assert fd is not None
        deadline = time.monotonic() + patience
        written = 0
        try:
            while written < len(data):
                if self._waits and not _writable(fd, max(0.0, deadline - time.monotonic())):
                    break
                try:
                    written += os.write(fd, data[written : written + PIECE] if self._waits else data[written:])
                except BlockingIOError:  # somebody made the shared description non-blocking, and filled it first
                    if time.monotonic() >= deadline:
                        break
        except OSError:
            pass
        return written


def _descriptor(stream: TextIO) -> tuple[int | None, bool]:
    """The stream's file descriptor, and whether its reader may keep us waiting."""
    try:
        fd = stream.fileno()
        stream.flush()
        mode = os.fstat(fd).st_mode
    except (OSError, ValueError, AttributeError):
        return None, False
    return fd, not stat.S_ISREG(mode)


def _writable(fd: int, timeout: float) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(timeout * 1000.0))
