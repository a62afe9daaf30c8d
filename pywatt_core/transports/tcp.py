"""TCP streams: connecting, and binding a listener for a server. Nagle's delay is off and keep-alive on, always."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable

from ..errors import ServerError
from .link import Link


async def open_tcp(host: str, port: int, make_link: Callable[[], Link]) -> Link:
    """Connect; `host` may be a name. Raises `OSError` where nobody listens."""
    transport, link = await asyncio.get_running_loop().create_connection(make_link, host, port)
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
