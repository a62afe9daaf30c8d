"""Is it there, and is it well: connecting to a module's address, and one plain HTTP request to its health path."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from pywatt_core.protocol.messages import HttpRequest, HttpResponse, TcpAddress, UnixAddress
from pywatt_core.transports.link import new_id

if TYPE_CHECKING:
    from pywatt_core.transports.link import Link

FIRST_PAUSE, LONGEST_PAUSE = 0.02, 0.5
"""Seconds between two attempts, doubling from the one to the other."""
ATTEMPT = 10.0
"""Seconds that one attempt may take."""

REST = 1.0
"""Seconds for what follows the first line of an answer."""


class NotWell(Exception):
    """What was found instead of a module that is ready, for a person."""


async def connect(address: TcpAddress | UnixAddress) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Raises `OSError` where nobody accepts."""
    if isinstance(address, UnixAddress):
        return await asyncio.open_unix_connection(address.path)
    return await asyncio.open_connection(address.host, address.port)


async def ask(address: TcpAddress | UnixAddress, path: str | None) -> None:
    """Connect, and GET `path` where it is given. Raises `NotWell` unless it answers 2xx."""
    try:
        reader, writer = await connect(address)
    except OSError as error:
        raise NotWell(f"its address does not accept connections ({error.strerror or error})") from error
    try:
        if path is not None:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAccept: */*\r\n\r\n".encode("latin-1", "replace"))
            status = _status(await reader.readline())
            with contextlib.suppress(TimeoutError):  # Take the rest as well: nobody likes to be cut off in mid-sentence.
                async with asyncio.timeout(REST):
                    await reader.read(-1)
            _judge(path, status)
    except (OSError, ValueError) as error:
        raise NotWell(f"{path} was not answered ({error})") from error
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def ask_over_link(link: Link, path: str, *, timeout: float) -> None:
    """The same for a module without a port. Raises `NotWell`, or what `Link.request` raises."""
    answer = await link.request(HttpRequest(request_id=new_id(), method="GET", uri=path, headers={"host": "localhost"}), timeout=timeout)
    assert isinstance(answer, HttpResponse)
    _judge(path, answer.status_code)


def _status(line: bytes) -> int:
    """The status of ``HTTP/1.1 200 OK``."""
    version, _, rest = line.partition(b" ")
    if not version.startswith(b"HTTP/1.") or not rest[:3].isdigit():
        raise ValueError("the answer is not HTTP" if line else "the connection was closed without an answer")
    return int(rest[:3])


def _judge(path: str, status: int) -> None:
    if not 200 <= status < 300:
        raise NotWell(f"{path} answers {status}")
