"""TCP streams: connecting, and binding a listener for a server. Nagle's delay is off and keep-alive on, always."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..errors import ServerError
from .link import Link

if TYPE_CHECKING:
    import ssl


HANDSHAKE_TIMEOUT = 10.0
"""Seconds for a TLS handshake."""


async def open_tcp(
    host: str, port: int, make_link: Callable[[], Link], *, tls: ssl.SSLContext | None = None, server_name: str | None = None
) -> Link:
    """Connect; `host` may be a name, and is the one that the certificate has to be for unless `server_name` is.

    Raises `OSError` where nobody listens; with `tls` also `ssl.SSLError`, and nothing is sent in the clear.
    """
    loop = asyncio.get_running_loop()
    if tls is None:
        transport, link = await loop.create_connection(make_link, host, port)
    else:
        name = server_name or host.partition("%")[0]
        try:
            transport, link = await loop.create_connection(
                make_link, host, port, ssl=tls, server_hostname=name, ssl_handshake_timeout=HANDSHAKE_TIMEOUT
            )
        except (ConnectionAbortedError, ConnectionResetError, BrokenPipeError) as error:
            late = "taking longer" in str(error)
            text = (
                f"was not finished within {HANDSHAKE_TIMEOUT:g} s: the other end does not seem to speak TLS"
                if late
                else "was cut off by the other end: perhaps it does not speak TLS 1.2 or newer, or wants another client certificate"
            )
            raise ConnectionAbortedError(f"the TLS handshake {text}") from error
    tune(transport.get_extra_info("socket"))
    return link


def tune(connection: socket.socket) -> None:
    """Send small frames at once, and notice a peer that vanished without a word."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


def bind_tcp(host: str, port: int, *, backlog: int = 2048) -> socket.socket:
    """Bind and listen; port 0 takes a free one. Raises `ServerError` that names the address and the way out."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(backlog)
    except OSError as error:
        listener.close()
        where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        if error.errno == errno.EADDRINUSE:
            raise ServerError(f"{where} is in use: stop the process that listens there, or choose another port") from error
        if error.errno == errno.EACCES:
            raise ServerError(f"{where} needs privileges that this process does not have: choose a port above 1023") from error
        raise ServerError(f"cannot listen on {where}: {error.strerror}") from error
    listener.setblocking(False)
    return listener
