"""What is written to ``sys.stdout`` and ``sys.stderr`` without a logger: secrets are hidden there too, however the text is cut.

It is the streams' own buffers that are guarded, not the names in `sys`: whoever kept a reference, such as a handler that was
made while modules were imported, writes through the guard. What goes to the file descriptors themselves does not: `os.write`,
the C library, child processes. Under an orchestrator of ours all of that is hidden there.

What was flushed is meant to be seen: a prompt, the step of a progress bar. So the few last characters of it do not wait, though a
secret may begin so, and nothing waits longer than `PATIENCE`.
"""

from __future__ import annotations

import _thread
import atexit
import contextlib
import io
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from ..redaction import RedactedStream, hide_broken, redact, redactor

PATIENCE = 0.25
"""Seconds that flushed text waits for more of what may be a secret."""


class _Guard:
    """One stream's ``write``, ``flush`` and ``close``, replaced until the last who wanted that has given them back."""

    def __init__(self, holder: Any, *, binary: bool, flush: Callable[[], object]) -> None:
        self.wanted = 0
        self._holder, self._binary, self._flush = holder, binary, flush
        self._at_once = isinstance(holder, io.RawIOBase)
        """Whether all that is written is meant to be seen now, as after ``python -u``."""
        self._own: dict[str, Callable[..., Any]] = {"write": holder.write, "flush": holder.flush, "close": holder.close}
        self._ending = False
        """From then on no lock is taken: it may belong to a thread that the interpreter has stopped for ever."""
        self.fresh()
        for name in self._own:
            setattr(holder, name, getattr(self, name))

    def fresh(self) -> None:
        """Nothing waits; for a child process too: what waits is the parent's, and so is whoever holds the lock."""
        self._stream, self._lock = RedactedStream(redactor), threading.RLock()
        self._busy = self._watched = False
        self._since = 0.0

    def write(self, data: Any) -> Any:
        """Pass on what is no secret; what may be the beginning of one waits for more. Raises what the stream raises."""
        if redactor.idle:
            return self._own["write"](data)
        try:
            text = str(memoryview(data), "latin-1") if self._binary else data + ""
        except TypeError:  # the stream itself says what it takes
            return self._own["write"](data)
        size = len(text)
        text = hide_broken(text)
        if self._ending:
            self._send(redact(text))
            return size
        with self._lock:
            if self._busy:  # a signal's handler that interrupted a write
                self._send(redact(text))
                return size
            self._busy = True
            try:
                self._send(self._stream.feed(text))
                if self._at_once:
                    self._settle()
            finally:
                self._busy = False
        return size

    def flush(self) -> None:
        """Whoever flushes wants it seen."""
        if self._ending:
            self._own["flush"]()
            return
        with self._lock:
            if self._stream.waiting and not self._busy:
                self._settle()
            self._own["flush"]()

    def _settle(self) -> None:
        self._send(self._stream.settle(soon=True))
        if self._stream.waiting:
            self._since = time.monotonic()
            if not self._watched:
                self._watched = True
                _thread.start_new_thread(self._watch, ())

    def _watch(self) -> None:
        """In a thread of its own, which ends when nothing waits: what has waited long enough is passed on."""
        while (left := self._since + PATIENCE - time.monotonic()) > 0:
            time.sleep(left)
        with self._lock:
            self._watched = False
            if not self._ending:
                with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
                    self._send(self._stream.settle())
                    self._own["flush"]()

    def _send(self, text: str) -> None:
        data: Any = text.encode("latin-1") if self._binary else text
        while data:
            count = self._own["write"](data)
            if not isinstance(count, int) or count <= 0:
                return
            data = data[count:]

    def release(self, *, ending: bool = False) -> None:
        """Pass on what waits. When the process is `ending`, nothing waits from then on."""
        with contextlib.suppress(OSError, ValueError):  # nobody reads it any more, here and below
            self._flush()
        with contextlib.suppress(OSError, ValueError), self._lock:
            self._ending = self._ending or ending
            self._send(self._stream.rest())
            self._own["flush"]()

    def close(self) -> None:
        """Pass on what waits, and close the stream. Raises what the stream raises."""
        try:
            if not self._ending:
                with self._lock:
                    self._send(self._stream.rest())
        finally:
            self._own["close"]()

    def give_back(self) -> None:
        """The stream's own methods again."""
        self.release()
        for name in self._own:
            if vars(self._holder).get(name) == getattr(self, name):
                delattr(self._holder, name)


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
                guard.give_back()
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
        except AttributeError:  # its methods cannot be replaced
            continue
        _guards[id(holder)] = guard
        return guard
    return None


def _forked() -> None:
    for guard in _guards.values():
        guard.fresh()


def release_streams() -> None:
    """The process is about to end: pass on what waits, and let nothing wait any more."""
    for guard in list(_guards.values()):
        guard.release(ending=True)
