"""What a shell can take away from a command: its streams, the room to write, the folder that it stands in."""

from __future__ import annotations

import errno
import os
import sys

CANNOT_WRITE = (errno.EBADF, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOSPC)


def fill_streams() -> None:
    """Put something in the place of closed standard streams, which files opened later would otherwise take.

    Writing to a closed standard output still fails, as it would to a full disk; what goes to a closed standard error is lost.
    """
    for fd, mode in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, mode)  # takes the lowest free descriptor, which is this one
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


def at_fault(error: OSError) -> str:
    """What of the surroundings `error` comes from, as a sentence; empty where it is about something else."""
    if error.filename is None and error.errno in CANNOT_WRITE:
        try:
            sys.stdout.flush()
            os.write(1, b"\n")  # without a buffer nothing is left to flush
        except OSError as lost:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Python flushes once more when it ends
            return f"standard output cannot be written to: {'it is closed' if lost.errno == errno.EBADF else lost.strerror}"
    try:
        os.getcwd()  # noqa: PTH109
    except OSError as lost:
        return f"the current folder cannot be used: {lost.strerror}. It may have been deleted: change to another one"
    return ""
