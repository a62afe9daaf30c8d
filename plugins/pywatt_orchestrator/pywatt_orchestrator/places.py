"""Where an instance serves: a Unix socket that we own, or a TCP port on the loopback that we keep free for it."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import Protocol

from pywatt_core.protocol.messages import TcpAddress, UnixAddress, listen_address
from pywatt_core.transports.unix import bind_unix

LOOPBACK = "127.0.0.1"


class Place(Protocol):
    """One instance's address, the same for every process that serves there."""

    @property
    def listen(self) -> str:
        """What init says."""
        ...

    @property
    def address(self) -> TcpAddress | UnixAddress: ...
    @property
    def fd(self) -> int | None:
        """The listening descriptor that the process inherits, None where it binds for itself."""
        ...

    @property
    def trusted(self) -> bool:
        """True where only a process that we started can be at the other end."""
        ...

    def open(self) -> None:
        """Make sure that it is there; called before every start."""
        ...

    def close(self) -> None:
        """Give it up; whoever waits in its backlog is refused. May be called twice."""
        ...


class UnixPlace:
    """A socket file in the runtime folder. Its listener outlives the processes, so that requests wait instead of being refused."""

    trusted = True

    def __init__(self, path: str) -> None:
        self.listen = path
        self.address = UnixAddress(path)
        self._listener: socket.socket | None = None
        self._inode = 0

    @property
    def fd(self) -> int | None:
        return self._listener.fileno() if self._listener is not None else None

    def open(self) -> None:
        if self._listener is not None and self._is_ours():
            return
        self.close()
        self._listener = bind_unix(self.listen)
        self._inode = Path(self.listen).lstat().st_ino

    def close(self) -> None:
        if self._listener is None:
            return
        self._listener.close()
        self._listener = None
        if self._is_ours():
            Path(self.listen).unlink(missing_ok=True)

    def _is_ours(self) -> bool:
        """False where somebody, such as a server library that tidies up, has removed or replaced the file."""
        try:
            return Path(self.listen).lstat().st_ino == self._inode
        except OSError:
            return False


class TcpPlace:
    """A port on the loopback, reserved by a socket that is bound and does not listen.

    The kernel then gives the port to nobody who asks for any free one, while a module that sets SO_REUSEADDR, as servers
    do, can bind it.
    """

    fd = None
    trusted = False

    def __init__(self) -> None:
        self._reserved: socket.socket | None = None
        self._port = 0

    @property
    def listen(self) -> str:
        return f"{LOOPBACK}:{self._port}"

    @property
    def address(self) -> TcpAddress:
        return TcpAddress(LOOPBACK, self._port)

    def open(self) -> None:
        if self._reserved is None:
            self._reserved, self._port = reserve_port()

    def close(self) -> None:
        if self._reserved is not None:
            self._reserved.close()
            self._reserved = None


def reserve_port(port: int = 0) -> tuple[socket.socket, int]:
    """A bound socket that keeps a loopback port free, and the port. Raises `OSError` where `port` is taken."""
    reserved = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind((LOOPBACK, port))
    except OSError:
        reserved.close()
        raise
    taken: int = reserved.getsockname()[1]
    if not sys.platform.startswith("linux"):  # Elsewhere a bound socket keeps out the module as well.
        reserved.close()
    return reserved, taken


def announced_address(announced: str, place: Place) -> TcpAddress | UnixAddress:
    """The address to reach a module at. Raises `ValueError` where it announced one that is not its own to choose.

    A port other than the assigned one is taken, as long as it is on this machine; a Unix socket has to be the assigned one.
    """
    address = listen_address(announced)
    if isinstance(address, UnixAddress):
        if announced != place.listen:
            raise ValueError(f"it announced {announced!r} instead of {place.listen!r}, where it was told to serve")
        return address
    if address.host in (LOOPBACK, "::1"):
        return address
    if address.host in ("0.0.0.0", "::"):
        return TcpAddress(LOOPBACK if address.host == "0.0.0.0" else "::1", address.port)
    raise ValueError(f"it announced {announced!r}, which is not on this machine, instead of {place.listen!r}, where it was told to serve")
