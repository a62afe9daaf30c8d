"""Outlives its orchestrator for a moment and sweeps up: a program of its own that imports next to nothing.

Our argument is the descriptor of the folder's lock, which we hold until we end. The orchestrator holds the only write end
of our standard input and keeps us informed: ``+PGID`` for a process group
that lives, ``-PGID`` for one that is gone, ``d FOLDER`` for the folder to remove. When that pipe ends, the orchestrator
is gone, by whatever way. Modules see the end of their own standard input at the same moment and get `GRACE` to answer
what runs; then the groups that remain are killed and the folder is removed.
"""

# pathlib would triple what this process weighs.

# ruff: noqa: PTH106, PTH108, PTH116, PTH118, PTH120, PTH208
# pathlib would triple what this process weighs.

import os
import signal
import sys
import time

GRACE = 0.6
"""Seconds; a module whose standard input ended without a word drains for half a second at most."""


def lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def remove(folder: str, lock: int) -> None:
    """Not where the orchestrator has removed it itself and another one has made it anew."""
    if not os.path.samestat(os.fstat(lock), os.stat(os.path.join(folder, "lock"))):
        return
    for name in os.listdir(folder):
        os.unlink(os.path.join(folder, name))
    os.rmdir(folder)
    os.rmdir(os.path.dirname(folder))


def watch(pipe: int) -> tuple[set[int], str | None]:
    groups: set[int] = set()
    folder, rest = None, b""
    while data := os.read(pipe, 65536):
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            if line[:1] == b"+":
                groups.add(int(line[1:]))
            elif line[:1] == b"-":
                groups.discard(int(line[1:]))
            elif line[:2] == b"d ":
                folder = os.fsdecode(line[2:])
    return groups, folder


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    groups, folder = watch(0)
    deadline = time.monotonic() + GRACE
    while any(lives(group) for group in groups) and time.monotonic() < deadline:
        time.sleep(0.02)
    for group in groups:
        try:
            os.killpg(group, signal.SIGKILL)
        except OSError:
            continue
    try:
        if folder is not None:
            remove(folder, int(sys.argv[1]))
    except OSError:
        pass  # Already gone, or the folder above is in use by another project.


if __name__ == "__main__":
    main()
