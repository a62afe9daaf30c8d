"""The doors through which a process reaches us beside its pipes: one listener a process and channel, and who may come in.

A door is made before the process is, told to the process alone, and closed with it. Whoever else knocks is turned away with
a line in the module's log: on a Unix socket the kernel names the process at the other end, on the loopback its user.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import os
import socket
import struct
import sys
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pywatt_core.errors import ChannelClosed, RemoteProtocolError
from pywatt_core.policies import Intensity
from pywatt_core.protocol.messages import Heartbeat, Identify, Message, Metadata
from pywatt_core.protocol.session import Facts, Problem, Role, Session, Taken, Wire
from pywatt_core.transports.link import CLOSE_PATIENCE, Link, OnMessage, new_id
from pywatt_core.transports.tcp import bind_tcp, tune
from pywatt_core.transports.unix import bind_unix

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

LOOPBACK = "127.0.0.1"
ESTABLISHED = "01"
KNOCKING = 4
"""Connections that may be on their way in at once; for one more, the one is turned away that has been silent for longest."""
QUEUE = 128
"""Connections that the kernel keeps until they are looked at. With fewer, a crowd of strangers keeps the process itself out."""
ENTRY_TIME = 10.0
"""Seconds for a TLS handshake, and again for the token."""
TOLD = 10
"""Visitors turned away of whom the log tells, within a minute."""
NO_TOKEN = "its first message did not carry the token of this channel"
PAUSE = 1.0
"""Seconds without accepting after the system refused to: it has no descriptor left, say."""


class DoorSession(Session):
    """Our end of one connection. It holds the peer to one name (protocol 3.6) and, with `token`, to proving itself first (5.4).

    `claimed` is the module id that the peer may call itself, None to take the first that it does.
    """

    def __init__(
        self,
        *,
        facts: Facts,
        module_id: str,
        claimed: str | None,
        limit: int,
        token: str = "",
        on_problem: Callable[[Problem], None],
        on_proved: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(
            Role.ORCHESTRATOR, Wire.CHANNEL, facts=facts, module_id=module_id, limit=limit, on_problem=on_problem, new_id=new_id
        )
        self._claimed, self._token, self._on_proved = claimed, token, on_proved
        self._early: list[Callable[[], None]] = []
        """Problems with what came before the token was seen."""

    def take(self, data: bytes) -> list[Taken]:
        received = self._take(data)
        early, self._early = self._early, []
        if early and self._token:  # a stranger's mistakes are not the module's, and are not answered
            self.failure, self.closed = RemoteProtocolError(NO_TOKEN), True
            raise self.failure
        for report in early:
            report()
        return received

    def _problem(self, kind: str, detail: str, **more: Any) -> None:
        if self._token:
            self._early.append(lambda: super(DoorSession, self)._problem(kind, detail, **more))
        else:
            super()._problem(kind, detail, **more)

    def _take(self, data: bytes) -> list[Taken]:
        received = super().take(data)
        for index, (message, _answers, metadata) in enumerate(received):
            if metadata is None and not self._token and type(message) is not Identify:
                continue
            if reason := self._objection_to(message, metadata):
                self.failure, self.closed = RemoteProtocolError(reason), True
                if index == 0:
                    raise self.failure
                return received[:index]
        return received

    def _objection_to(self, message: Message, metadata: Metadata | None) -> str:
        """What is wrong with who a message says that it comes from; empty where nothing is."""
        if self._token:
            given = (metadata.properties or {}).get("auth_token") if metadata is not None else None
            if not isinstance(given, str) or not hmac.compare_digest(given.encode("utf-8", "replace"), self._token.encode()):
                return NO_TOKEN
            self._token = ""
            self._on_proved()
        claim = message.claimed if isinstance(message, Identify) else metadata.source if metadata is not None else None
        if claim is not None and claim != self._claimed:
            if self._claimed is not None:
                return f"it calls itself {claim!r}, and it is {self._claimed!r}"
            self._claimed = claim
        return ""


class Owner(NamedTuple):
    """Whose door it is, and what it wants to be told."""

    session: Callable[[Callable[[], None]], DoorSession]
    """Makes the session of one connection; it calls the function that it is given once the peer has proved itself."""
    on_message: OnMessage
    lost: Callable[[Exception | None], None]
    """A connection that counted has ended by itself."""
    turned_away: Callable[[str], None]
    """Somebody was not let in; the text says who and why."""


class Door(ABC):
    """A listener for one process. `link` is the live connection; a newer one replaces it. A `single` door closes behind the first.

    With `proof` a connection counts once its session has said that the peer proved itself.
    """

    address = ""

    def __init__(
        self, listener: socket.socket, owner: Owner, *, tls: ssl.SSLContext | None = None, proof: bool = False, single: bool = False
    ) -> None:
        self._listener, self._owner = listener, owner
        self._tls, self._proof, self._single = tls, proof, single
        self.link: Link | None = None
        self._used = False
        self._told = Intensity(limit=TOLD, window=60.0)
        self._loop = asyncio.get_running_loop()
        self._entering: dict[asyncio.Task[None], None] = {}
        self._accepting = self._loop.create_task(self._accept(), name=f"door {self.address}")

    @abstractmethod
    def objection(self, connection: socket.socket) -> str:
        """Why whoever is at the other end may not come in; empty where it may."""

    def use_format(self, name: str) -> None:
        """Send in this frame format from now on, which the process has just offered."""
        if self.link is not None:
            self.link.session.use_format(name)

    async def close(self) -> None:
        """Close the door and the connection. May be called twice."""
        self._accepting.cancel()
        for task in self._entering:
            task.cancel()
        await asyncio.wait({self._accepting, *self._entering})
        link, self.link = self.link, None
        if link is not None:
            await end(link)

    # ── coming in ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def _accept(self) -> None:
        try:
            while not (self._single and self._used):
                try:
                    connection, peer = await self._loop.sock_accept(self._listener)
                except OSError as error:
                    self._refuse(f"a connection to its channel was not accepted: {error.strerror or error}")
                    await asyncio.sleep(PAUSE)
                    continue
                if reason := self.objection(connection):
                    self._refuse(f"a connection{_from(peer)} to its channel was refused: {reason}")
                    connection.close()
                    continue
                self._make_room()
                entering = self._loop.create_task(self._let_in(connection))
                self._entering[entering] = None
                entering.add_done_callback(lambda done: self._entering.pop(done, None))
                if self._single:
                    await asyncio.wait({entering})
        finally:
            self._listener.close()

    def _make_room(self) -> None:
        """Who comes in and says nothing must not keep the door from those who do."""
        if len(self._entering) >= KNOCKING:
            silent = next(iter(self._entering))
            del self._entering[silent]
            silent.cancel()
            self._refuse("a connection to its channel was refused: it said nothing, and too many others are on their way in")

    async def _let_in(self, connection: socket.socket) -> None:
        """TLS, then the token, then the connection counts."""
        proved: asyncio.Future[None] = self._loop.create_future()
        link: Link | None = None

        def make() -> Link:
            nonlocal link  # what uvloop returns for a TLS connection is a protocol of its own
            session = self._owner.session(lambda: proved.set_result(None))
            link = Link(session, on_message=self._owner.on_message, on_close=self._gone)
            return link

        try:
            if connection.family != socket.AF_UNIX:
                tune(connection)
            await self._loop.connect_accepted_socket(
                make, connection, ssl=self._tls, ssl_handshake_timeout=ENTRY_TIME if self._tls is not None else None
            )
            assert link is not None
            if self._tls is not None or self._proof:
                link.post(Heartbeat())  # Somebody who sends nothing by itself learns that TLS is done, and answers with its token.
            if self._proof:
                await self._prove(link, proved)
        except Exception as error:
            self._refuse(f"a connection to its channel was refused: {self._why(error)}")
            if link is not None:
                link.abort(error)
            connection.close()
            return
        except asyncio.CancelledError:
            if link is not None:
                link.abort(ChannelClosed("the door is closed", executed="no"))
            connection.close()
            raise
        await self._welcome(link)

    async def _prove(self, link: Link, proved: asyncio.Future[None]) -> None:
        """The first message of the peer has to carry the token."""
        await asyncio.wait({proved, link.closed}, timeout=ENTRY_TIME, return_when=asyncio.FIRST_COMPLETED)
        if not proved.done():
            raise link.error or TimeoutError(f"it did not show the token of this channel within {ENTRY_TIME:g} s")

    async def _welcome(self, link: Link) -> None:
        before, self._used = self.link, True
        if link.closed.done():
            self._owner.lost(link.error)
            return
        self.link = link
        if before is not None:
            self._owner.lost(ConnectionError("a newer connection of the process took its place"))
            await end(before)

    def _gone(self, link: Link, error: Exception | None) -> None:
        if link is self.link:
            self.link = None
            self._owner.lost(error)

    def _refuse(self, text: str) -> None:
        now = self._loop.time()
        if self._told.room(now) == 0:
            self._told.add(now)
            self._owner.turned_away(text if self._told.room(now) == 0 else f"{text}; the log tells of no more for a minute")

    def _why(self, error: Exception) -> str:
        if self._tls is None:
            return str(error) or type(error).__name__
        from pywatt_core.transports.tls import explain

        return explain(error, "the peer", "client_ca")


class UnixDoor(Door):
    """A socket file in the runtime folder. Only the process `pid` of our user may come in; nobody, until that is set."""

    def __init__(self, path: str, owner: Owner) -> None:
        """Raises `ServerError` or `ConfigError` where the socket cannot be bound; a stale file is replaced."""
        self.address, self.pid = path, 0
        listener = bind_unix(path, backlog=QUEUE)
        self._inode = os.lstat(path).st_ino
        super().__init__(listener, owner)

    def objection(self, connection: socket.socket) -> str:
        credentials = peer_of(connection)
        if credentials is None:
            return ""
        pid, uid = credentials
        if uid != os.getuid():
            return f"it belongs to user {uid}"
        return "" if pid == self.pid else f"it comes from process {pid}, and the channel is for process {self.pid}"

    async def close(self) -> None:
        await super().close()
        self._remove_file()

    def _remove_file(self) -> None:
        """Unless somebody has replaced it."""
        file = Path(self.address)
        with contextlib.suppress(OSError):
            if file.lstat().st_ino == self._inode:
                file.unlink()


class TcpDoor(Door):
    """A port on the loopback, for processes of our user."""

    def __init__(
        self, owner: Owner, *, tls: ssl.SSLContext | None = None, proof: bool = False, single: bool = False, uid: int | None = None
    ) -> None:
        """`uid` is the user whose processes may come in; ours by default, which is that of every process that we start."""
        listener = bind_tcp(LOOPBACK, 0, backlog=QUEUE)
        self.address = f"{LOOPBACK}:{listener.getsockname()[1]}"
        self._uid = os.getuid() if uid is None else uid
        super().__init__(listener, owner, tls=tls, proof=proof, single=single)

    def objection(self, connection: socket.socket) -> str:
        uid = owner_of_peer(connection)
        if uid is None or uid == self._uid:
            return ""
        return f"it belongs to user {uid}" if uid >= 0 else "nobody holds its other end"


async def end(link: Link) -> None:
    """Close a connection; one whose peer does not read is cut off after a while."""
    try:
        async with asyncio.timeout(CLOSE_PATIENCE):
            await link.close()
    except TimeoutError:
        link.abort(TimeoutError("the peer does not read"))


def _from(peer: object) -> str:
    return f" from {peer[0]}:{peer[1]}" if isinstance(peer, tuple) and len(peer) >= 2 else ""


def peer_of(connection: socket.socket) -> tuple[int, int] | None:
    """Process and user at the other end of a Unix socket, as they were when it connected; None where the system does not tell."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return None
    pid, uid, _gid = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, option, struct.calcsize("3i")))
    return pid, uid


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
