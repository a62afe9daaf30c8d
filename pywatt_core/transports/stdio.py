"""The wire over standard streams: a module's own fd 0 and fd 1, and the orchestrator's end of a child's pipes.

User code must never reach the wire: `take_wire` moves it to private close-on-exec descriptors, gives fd 0 to /dev/null
and points fd 1 at stderr, so that a stray ``print``, a C ``printf`` or a child process becomes a log line (protocol 1.1).
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import stat
import sys
from typing import TYPE_CHECKING, NamedTuple

from ..errors import BootstrapError
from .link import Link, OnClose, OnMessage

if TYPE_CHECKING:
    from ..protocol.session import Session

FIRST_PRIVATE_FD = 10
"""Private descriptors start here: above the standard ones and those that systemd passes."""


class Wire(NamedTuple):
    """The two private descriptors of the wire: what the orchestrator writes, and what it reads."""

    incoming: int
    outgoing: int

    def is_whole(self) -> bool:
        """True where both are open, and pipes or sockets."""
        return is_stream(self.incoming) and is_stream(self.outgoing)


_taken: Wire | None = None


def take_wire() -> Wire:
    """Take fd 0 and fd 1 away from user code; calling it again returns the same descriptors.

    Raises `BootstrapError` where fd 0 or fd 1 is not open.
    """
    global _taken
    if _taken is not None:
        return _taken
    try:
        incoming = fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, FIRST_PRIVATE_FD)
        outgoing = fcntl.fcntl(1, fcntl.F_DUPFD_CLOEXEC, FIRST_PRIVATE_FD)
    except OSError as error:
        raise BootstrapError(
            "standard input or output is closed: an orchestrator talks through them; set PYWATT_STANDALONE=1 to run without one"
        ) from error
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    try:
        os.dup2(2, 1)
    except OSError:
        os.dup2(null, 1)
    os.close(null)
    if sys.stdout is not None:
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    _taken = Wire(incoming, outgoing)
    return _taken


def is_stream(fd: int) -> bool:
    """True where `fd` is open and a pipe or a socket, as an orchestrator makes it."""
    try:
        mode = os.fstat(fd).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


async def open_pipes(session: Session, incoming: int, outgoing: int, *, on_message: OnMessage, on_close: OnClose | None = None) -> Link:
    """A link over two descriptors that this process owns; the link closes them.

    Raises `BootstrapError` where a descriptor is neither a pipe nor a socket.
    """
    if not Wire(incoming, outgoing).is_whole():  # uvloop would abort the process
        raise BootstrapError("standard input and output must be pipes or sockets; set PYWATT_STANDALONE=1 to run without an orchestrator")
    loop = asyncio.get_running_loop()
    link = Link(session, on_message=on_message, on_close=on_close)
    transport, _ = await loop.connect_write_pipe(lambda: WritePipe(link), os.fdopen(outgoing, "wb", buffering=0))
    link.attach_writer(transport)
    await loop.connect_read_pipe(lambda: link, os.fdopen(incoming, "rb", buffering=0))
    return link


class WritePipe(asyncio.Protocol):
    """The protocol of a link's outgoing pipe: passes flow control and loss on to the link."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def pause_writing(self) -> None:
        self._link.pause_writing()

    def resume_writing(self) -> None:
        self._link.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        self._link.writer_lost(error)
