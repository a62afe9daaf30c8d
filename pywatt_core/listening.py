"""Which socket a module serves on, bound before anything is announced (protocol 8.5, settled with the parent-owned sockets)."""

from __future__ import annotations

import logging
import os
import re
import socket
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .definition import Definition
from .errors import ConfigError, ServerError
from .protocol.messages import Init, UnixAddress, listen_address
from .transports.tcp import bind_tcp
from .transports.unix import bind_unix

if TYPE_CHECKING:
    from .config import Settings

log = logging.getLogger(__name__)

SYSTEMD_FIRST_FD = 3
DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 8000
HOST_AND_PORT = r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[^\[\]:\s]+))(?::(?P<port>[0-9]{1,5}))?"


class Listening(NamedTuple):
    """A bound socket, the address to announce, and whether the orchestrator handed the socket over."""

    socket: socket.socket | None
    address: str
    inherited: bool

    def close(self) -> None:
        """Close our copy; a socket file that we made goes too."""
        if self.socket is None:
            return
        ours = not self.inherited and self.socket.family == socket.AF_UNIX
        self.socket.close()
        if ours and self.address.startswith("/"):
            Path(self.address).unlink(missing_ok=True)


def listen(definition: Definition, init: Init | None, environ: Mapping[str, str], settings: Settings) -> Listening:
    """The socket to serve on: handed over by the orchestrator or systemd, else bound here.

    Raises `ServerError` where it cannot be bound, `ConfigError` where what was asked for makes no sense.
    """
    if init is not None:
        if definition.specific_port is not None or definition.listen_addr is not None:
            log.warning("the orchestrator's address wins over specific_port= and listen_addr=", extra={"listen": init.listen})
        handed = environ.get("PYWATT_LISTEN_FD")
        return _inherited(handed, "PYWATT_LISTEN_FD", init.listen) if handed else _bind(init.listen)
    if environ.get("LISTEN_PID") == str(os.getpid()) and environ.get("LISTEN_FDS", "0") != "0":
        return _from_systemd(environ)
    return _bind_alone(definition, settings)


def _bind_alone(definition: Definition, settings: Settings) -> Listening:
    """Without an orchestrator: ``module.listen``, ``listen_addr=``, ``specific_port=``, else 127.0.0.1:8000."""
    port = DEFAULT_PORT if definition.specific_port is None else definition.specific_port
    wanted = settings.module.listen or definition.listen_addr or DEFAULT_HOST
    if "/" in wanted or wanted.startswith("@") or wanted.endswith(".sock"):
        return _bind(wanted)
    match = re.fullmatch(HOST_AND_PORT, wanted)
    if match is None:
        raise ConfigError(f"listen={wanted!r} is no address: write HOST, HOST:PORT, [IPv6]:PORT or the path of a Unix socket")
    if match["port"]:
        port = int(match["port"])
        if port > 65535:
            raise ConfigError(f"listen={wanted!r}: a port is from 0 to 65535")
    listener = bind_tcp(match["v6"] or match["host"], port)
    return Listening(listener, _text(listener.getsockname()), False)


def _bind(listen: str) -> Listening:
    try:
        place = listen_address(listen)
    except ValueError as error:
        raise ConfigError(f"listen={listen!r}: {error}") from error
    if isinstance(place, UnixAddress):
        return Listening(bind_unix(place.path), place.path, False)
    listener = bind_tcp(place.host, place.port)
    return Listening(listener, _text(listener.getsockname()), False)


def _inherited(text: str, variable: str, expected: str) -> Listening:
    try:
        listener = socket.socket(fileno=int(text))
    except (ValueError, OSError) as error:
        raise ServerError(f"{variable}={text!r} is not a listening socket's descriptor: only an orchestrator sets it") from error
    listener.set_inheritable(False)
    listener.setblocking(False)
    bound = listener.getsockname()
    address = bound if isinstance(bound, str) else _text(bound)
    if address != expected:
        raise ServerError(f"{variable} is bound to {address!r}, but the init line says {expected!r}")
    return Listening(listener, address, True)


def _from_systemd(environ: Mapping[str, str]) -> Listening:
    """The first socket of systemd's activation protocol (sd_listen_fds(3))."""
    count = environ["LISTEN_FDS"]
    if not count.isdigit() or int(count) != 1:
        raise ConfigError(f"LISTEN_FDS={count!r}: a module serves exactly one socket; give the unit one ListenStream=")
    if not stat.S_ISSOCK(os.fstat(SYSTEMD_FIRST_FD).st_mode):
        raise ConfigError("LISTEN_FDS names a descriptor that is not a socket: the unit needs ListenStream=")
    listener = socket.socket(fileno=SYSTEMD_FIRST_FD)
    listener.set_inheritable(False)
    listener.setblocking(False)
    bound = listener.getsockname()
    return Listening(listener, bound if isinstance(bound, str) else _text(bound), False)


def _text(bound: tuple[Any, ...]) -> str:
    host, port = bound[0], bound[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
