"""The TCP channel of a Rust module: a listener of its own on the loopback, closed once that module has connected."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pywatt_core.transports.tcp import bind_tcp, tune

if TYPE_CHECKING:
    from collections.abc import Callable

    from pywatt_core.transports.link import Link

LOOPBACK = "127.0.0.1"
ESTABLISHED = "01"


class ChannelDoor:
    """Waits for one connection of a process that runs as `uid`; everybody else is turned away.

    `make_link` makes the link that gets it, `turned_away` learns who was refused and why.
    """

    def __init__(self, make_link: Callable[[], Link], *, uid: int, turned_away: Callable[[str], None]) -> None:
        self._make_link, self._uid, self._turned_away = make_link, uid, turned_away
        self._listener = bind_tcp(LOOPBACK, 0, backlog=4)
        self.address = f"{LOOPBACK}:{self._listener.getsockname()[1]}"
        self.link: Link | None = None
        self._waiting = asyncio.create_task(self._wait(), name=f"channel {self.address}")

    async def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self.link is None:
                connection, peer = await loop.sock_accept(self._listener)
                uid = owner_of_peer(connection)
                if uid is not None and uid != self._uid:
                    whose = f"it belongs to user {uid}" if uid >= 0 else "nobody holds its other end"
                    self._turned_away(f"a connection from {peer[0]}:{peer[1]} to its channel was refused: {whose}")
                    connection.close()
                    continue
                tune(connection)
                _, self.link = await loop.connect_accepted_socket(self._make_link, connection)
        finally:
            self._listener.close()

    async def close(self) -> None:
        """Close the door, and the link where somebody came in."""
        self._waiting.cancel()
        await asyncio.wait({self._waiting})
        if self.link is not None:
            await self.link.close()


def owner_of_peer(connection: socket.socket, table: Path = Path("/proc/net/tcp")) -> int | None:
    """The user whose process holds the other end of a loopback connection over IPv4.

    The kernel lists both ends of such a connection with the user that made each socket; while the connection is open no
    other socket can have the same pair of addresses, so the row cannot be anybody else's. -1 where there is no such row
    (the other end has closed), None on systems without the table, where nobody can tell.
    """
    if not sys.platform.startswith("linux"):
        return None
    ours, theirs = _as_listed(connection.getsockname()), _as_listed(connection.getpeername())
    with contextlib.suppress(OSError), table.open() as rows:
        next(rows)
        for row in rows:
            columns = row.split()
            if columns[1] == theirs and columns[2] == ours and columns[3] == ESTABLISHED:
                return int(columns[7])
    return -1


def _as_listed(address: tuple[str, int]) -> str:
    """An address as /proc/net/tcp writes it: the number in this machine's byte order, the port, both hexadecimal."""
    (number,) = struct.unpack("=I", socket.inet_aton(address[0]))
    return f"{number:08X}:{address[1]:04X}"


def own_uid() -> int:
    """The user whose processes may come in: ours, which is that of every process that we start."""
    return os.getuid()
