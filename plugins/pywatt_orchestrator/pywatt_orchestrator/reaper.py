"""As PID 1 of a container, orphans become our children: reap those that are nobody's, by pid."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator


def zombie_children(parent: int, proc: Path = Path("/proc")) -> Iterator[int]:
    """Pids of ended children of `parent` that nobody has reaped yet."""
    for entry in proc.iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError, ValueError, IndexError):
            # "pid (name, which may hold anything) state ppid …"
            state, ppid = (entry / "stat").read_bytes().rpartition(b")")[2].split()[:2]
            if state == b"Z" and int(ppid) == parent:
                yield int(entry.name)


def reap_orphans(ours: Collection[int]) -> list[int]:
    """Reap every ended child that is not one of `ours`; returns their pids."""
    reaped = []
    for pid in zombie_children(os.getpid()):
        if pid not in ours:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
                reaped.append(pid)
    return reaped
