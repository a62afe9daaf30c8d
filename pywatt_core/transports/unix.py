"""Unix-socket streams: connecting, listening with a private socket file, and binding one for a server."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

from ..errors import ConfigError, ServerError
from .link import Link

MAX_PATH = 107
"""Bytes that a socket's path may have on Linux (unix(7)); the kernel's structure ends there."""


async def open_unix(path: str, make_link: Callable[[], Link]) -> Link:
    """Connect; raises `OSError` where nobody listens."""
    _transport, link = await asyncio.get_running_loop().create_unix_connection(make_link, path)
    return link


def bind_unix(path: str, *, mode: int = 0o600, backlog: int = 2048) -> socket.socket:
    """Bind and listen on a socket file that only its owner can open.

    A stale file, whose listener is gone, is replaced. Raises `ServerError` where somebody listens there or where the
    file is no socket, `ConfigError` where the path is too long.
    """
    if len(os.fsencode(path)) > MAX_PATH:
        raise ConfigError(f"the socket path {path!r} has {len(os.fsencode(path))} bytes, {MAX_PATH} is the most: choose a shorter folder")
    _remove_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o777 & ~mode)
    try:
        listener.bind(path)
    except OSError as error:
        listener.close()
        raise ServerError(f"cannot bind the socket {path!r}: {error.strerror}") from error
    finally:
        os.umask(before)
    listener.listen(backlog)
    listener.setblocking(False)
    return listener


def _remove_stale(path: str) -> None:
    try:
        kind = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(kind):
        raise ServerError(f"{path!r} exists and is not a socket: remove it or listen elsewhere")
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            Path(path).unlink(missing_ok=True)
        except OSError as error:
            if error.errno != errno.EPROTOTYPE:
                raise ServerError(f"cannot tell whether somebody listens on {path!r}: {error.strerror}") from error
            raise ServerError(f"{path!r} is a socket of another kind: remove it or listen elsewhere") from error
        else:
            raise ServerError(f"another process listens on {path!r}: stop it or listen elsewhere")
