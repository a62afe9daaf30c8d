"""The channels that one process is offered: what its init line says of them, its doors, and which connections are live."""

from __future__ import annotations

import contextlib
import secrets
from typing import TYPE_CHECKING, NamedTuple

from pywatt_core.errors import PyWattError, RemoteProtocolError
from pywatt_core.protocol.formats import agreed, offered_formats
from pywatt_core.protocol.framing import TCP_LIMIT, UNIX_LIMIT
from pywatt_core.protocol.messages import Heartbeat, IpcChannel, Role, TcpChannel
from pywatt_core.redaction import register

from .doors import Door, DoorSession, Owner, TcpDoor, UnixDoor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Literal

    from pywatt_core.protocol.session import Facts, Problem
    from pywatt_core.transports.link import Link, OnMessage

    from .project import ModulePlan
    from .settings import ChannelListener

TOKEN_WANTED = "channel_token"
"""The feature of an init line whose token has to be shown on each channel."""
GREETING = "channel_greeting"
"""The feature of an init line whose TLS channel begins with a heartbeat from us."""
BEATS = 5
"""Heartbeats on standard input for each one on a channel: enough to tell both ends that it lives."""


class Offer(NamedTuple):
    """The members of the init line that concern channels."""

    tcp_channel: TcpChannel | None = None
    ipc_channel: IpcChannel | None = None
    auth_token: str | None = None
    security_level: Literal["None", "Token", "Mtls"] = "None"
    formats: tuple[str, ...] = ()
    features: tuple[str, ...] = ()


class ProcessChannels:
    """`open` before the process is spawned, `let_in` once its pid is known, `close` with its end."""

    def __init__(
        self,
        plan: ModulePlan,
        module_id: str,
        listener: ChannelListener,
        facts: Facts,
        *,
        on_message: OnMessage,
        on_problem: Callable[[Problem], None],
        on_lost: Callable[[str], None],
        note: Callable[[str], None],
    ) -> None:
        """`on_lost` is told why a live connection ended, `note` who was turned away."""
        self._plan, self._module_id, self._listener, self._facts = plan, module_id, listener, facts
        self._on_message, self._on_problem, self._on_lost, self._note = on_message, on_problem, on_lost, note
        self._unix: UnixDoor | None = None
        self._tcp: TcpDoor | None = None
        self._token = ""
        self._beats = 0

    def open(self, unix_path: str) -> None:
        """Open the doors; nobody comes in by the Unix one yet. Raises `PyWattError` where one cannot be opened."""
        protected = self._listener if not self._plan.rust else type(self._listener)()
        if "unix" in self._plan.channels:
            self._unix = UnixDoor(unix_path, self._owner("unix", UNIX_LIMIT))
        if "tcp" in self._plan.channels:
            tls = None
            if protected.tls_cert is not None:
                from pywatt_core.transports.tls import server_context

                tls = server_context(protected.tls_cert, protected.tls_key, protected.client_ca)
            if protected.token:
                self._token = secrets.token_urlsafe(32)
                register(self._token, name=f"the channel token of {self._module_id}")
            self._tcp = TcpDoor(self._owner("tcp", TCP_LIMIT, self._token), tls=tls, proof=bool(self._token), single=self._plan.rust)

    def let_in(self, pid: int) -> None:
        """The process that the doors are for has this pid."""
        if self._unix is not None:
            self._unix.pid = pid

    def offer(self) -> Offer:
        """What its init line says."""
        settings, rust = self._plan.settings, self._plan.rust
        tcp = ipc = None
        if self._tcp is not None:
            tls = self._listener.tls_cert is not None and not rust
            tcp = TcpChannel(address=self._tcp.address, tls_enabled=tls, required=settings.channels_required or rust)
        if self._unix is not None:
            ipc = IpcChannel(socket_path=self._unix.address, required=settings.channels_required)
        mutual = tcp is not None and tcp.tls_enabled and self._listener.client_ca is not None
        return Offer(
            tcp_channel=tcp,
            ipc_channel=ipc,
            auth_token=self._token or None,
            security_level="Mtls" if mutual else "Token" if self._token else "None",
            formats=() if rust else offered_formats(),
            features=(*((TOKEN_WANTED,) if self._token else ()), *((GREETING,) if tcp is not None and tcp.tls_enabled else ())),
        )

    @property
    def best(self) -> Link | None:
        """The first of `links`."""
        if self._unix is not None and self._unix.link is not None:
            return self._unix.link
        return self._tcp.link if self._tcp is not None else None

    @property
    def links(self) -> Iterator[Link]:
        """The live connections, the best first."""
        for door in self._doors:
            if door.link is not None:
                yield door.link

    def announced(self) -> None:
        """The process has said which frame formats it reads: connections that are live use them from now on."""
        for link in self.links:
            link.session.use_format(self._format)

    def beat(self) -> None:
        """Called with each heartbeat. On its channel it lets a Rust module's own frames through (protocol 5.2), so that has each one."""
        self._beats += 1
        if self._plan.rust or self._beats % BEATS == 0:
            for link in self.links:
                with contextlib.suppress(PyWattError):
                    link.post(Heartbeat())

    async def close(self) -> None:
        """Close doors and connections. May be called twice."""
        for door in self._doors:
            await door.close()

    @property
    def _doors(self) -> list[Door]:
        return [door for door in (self._unix, self._tcp) if door is not None]

    @property
    def _format(self) -> str:
        return agreed(self._facts.offered[Role.MODULE])

    def _owner(self, name: str, limit: int, token: str = "") -> Owner:
        def session(on_proved: Callable[[], None]) -> DoorSession:
            made = DoorSession(
                facts=self._facts,
                module_id=self._module_id,
                claimed=None if self._plan.rust else self._module_id,
                limit=limit,
                token=token,
                on_problem=self._on_problem,
                on_proved=on_proved,
            )
            made.use_format(self._format)
            return made

        def lost(error: Exception | None) -> None:
            text = f"its channel {name} closed{f': {error}' if error else ''}"
            if isinstance(error, RemoteProtocolError):
                self._note(text)  # it was us who closed it: a process that ends because of that does not know why
            else:
                self._on_lost(text)

        return Owner(session, self._on_message, lost, self._note)
