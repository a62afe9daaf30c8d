"""What is written to ``sys.stdout`` and ``sys.stderr`` without a logger: secrets are hidden there too, however the text is cut.

It is the streams' own buffers that are guarded, not the names in `sys`: whoever kept a reference, such as a handler that was
made while modules were imported, writes through the guard. What goes to the file descriptors themselves does not: `os.write`,
the C library, child processes. Under an orchestrator of ours all of that is hidden there.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

from ..redaction import RedactedStream, hide_broken, redact, redactor


class _Guard:
    """One stream's ``write``, replaced until the last who wanted that has closed it."""

    def __init__(self, holder: Any, *, binary: bool, flush: Callable[[], object]) -> None:
        self.wanted = 0
        self._holder, self._binary, self._flush = holder, binary, flush
        self._write: Callable[[Any], Any] = holder.write
        self._stream = RedactedStream(redactor)
        self._lock = threading.RLock()
        self._busy = False
        self._ending = False
        holder.write = self.write

    def write(self, data: Any) -> int:
        """Pass on what is no secret; what may be the beginning of one waits for more. Raises what the stream raises."""
        text = str(memoryview(data), "latin-1") if self._binary else data
        size = len(text)
        if not redactor.idle:
            text = hide_broken(text)
        with self._lock:
            if self._busy or self._ending:  # a signal's handler that interrupted a write; the end of the process
                self._send(redact(text))
                return size
            self._busy = True
            try:
                self._send(self._stream.feed(text))
            finally:
                self._busy = False
        return size

    def _send(self, text: str) -> None:
        data: Any = text.encode("latin-1") if self._binary else text
        while data:
            count = self._write(data)
            if not isinstance(count, int) or count <= 0:
                return
            data = data[count:]

    def release(self, *, ending: bool = False) -> None:
        """Pass on what waits. When the process is `ending`, nothing waits from then on."""
        try:
            self._flush()
            with self._lock:
                self._ending = self._ending or ending
                self._send(self._stream.rest())
            self._flush()
        except (OSError, ValueError):
            pass  # nobody reads it any more

    def close(self) -> None:
        """The stream's own ``write`` again."""
        self.release()
        if vars(self._holder).get("write") == self.write:
            del self._holder.write

    def forked(self) -> None:
        """In a child process: what waits is the parent's, and so is whoever holds the lock."""
        self._stream, self._lock, self._busy = RedactedStream(redactor), threading.RLock(), False


_guards: dict[int, _Guard] = {}
_at_end = False


def guard_streams() -> Callable[[], None]:
    """Hide secrets in what Python code writes to the standard streams, from now on until the function that is returned is called."""
    global _at_end
    if not _at_end:
        _at_end = True
        atexit.register(release_streams)
        os.register_at_fork(after_in_child=_forked)
    mine = []
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        guard = _guard_of(stream)
        if guard is not None and guard not in mine:
            guard.wanted += 1
            mine.append(guard)

    def give_back() -> None:
        while mine:
            guard = mine.pop()
            guard.wanted -= 1
            if not guard.wanted:
                guard.close()
                for key in [key for key, other in _guards.items() if other is guard]:
                    del _guards[key]

    return give_back


def _guard_of(stream: Any) -> _Guard | None:
    """The guard of a stream's buffer, made where there is none; None for a stream that cannot have one."""
    if stream is None or getattr(stream, "closed", True):
        return None
    for holder, binary in ((getattr(stream, "buffer", None), True), (stream, False)):
        if holder is None:
            continue
        if id(holder) in _guards:
            return _guards[id(holder)]
        try:
            guard = _Guard(holder, binary=binary, flush=stream.flush)
        except AttributeError:  # its `write` cannot be replaced
            continue
        _guards[id(holder)] = guard
        return guard
    return None


def _forked() -> None:
    for guard in _guards.values():
        guard.forked()


def release_streams() -> None:
    """The process is about to end: pass on what waits, and let nothing wait any more."""
    for guard in list(_guards.values()):
        guard.release(ending=True)
