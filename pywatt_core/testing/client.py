"""A small HTTP client for tests: one request a connection, over TCP or a Unix socket, and nothing that hides what was sent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..protocol.messages import HttpResponse, UnixAddress, listen_address

DEADLINE = 20.0
"""Seconds that one request may take."""


@dataclass(frozen=True)
class Response:
    """An HTTP response: header names are lower case, the last of several values wins; `all_headers` keeps each."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    all_headers: tuple[tuple[str, str], ...] = ()

    @property
    def text(self) -> str:
        """The body as UTF-8."""
        return self.body.decode()

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


def of_message(response: HttpResponse) -> Response:
    """The response that came over a link."""
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Response(response.status_code, headers, response.body or b"", tuple(headers.items()))


async def connect(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a stream to ``host:port`` or a Unix socket's path."""
    place = listen_address(address)
    if isinstance(place, UnixAddress):
        return await asyncio.open_unix_connection(place.path)
    return await asyncio.open_connection(place.host, place.port)


async def fetch(
    address: str,
    method: str,
    path: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    json_body: object = None,
    deadline: float = DEADLINE,
) -> Response:
    """One request on a connection of its own. Raises `OSError`, `TimeoutError`, or `EOFError` where the answer is cut short."""
    sent = {"host": "localhost", "connection": "close", **{name.lower(): value for name, value in (headers or {}).items()}}
    if json_body is not None:
        body = json.dumps(json_body).encode()
        sent.setdefault("content-type", "application/json")
    if body is not None:
        sent.setdefault("content-length", str(len(body)))
    head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in sent.items()) + "\r\n"
    async with asyncio.timeout(deadline):
        reader, writer = await connect(address)
        try:
            writer.write(head.encode("latin-1") + (body or b""))
            await writer.drain()
            return await read_response(reader, method)
        finally:
            writer.close()


async def read_response(reader: asyncio.StreamReader, method: str = "GET") -> Response:
    """Read one response off a stream. Raises `EOFError` (`IncompleteReadError`) where it ends early."""
    while True:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        status = int(lines[0].split(" ", 2)[1])
        if status >= 200 or status == 101:
            break
    pairs = tuple((name.strip().lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines[1:] if line))
    headers = dict(pairs)
    if method == "HEAD" or status in (101, 204, 304):
        body = b""
    elif "chunked" in headers.get("transfer-encoding", ""):
        body = await _chunks(reader)
    elif "content-length" in headers:
        body = await reader.readexactly(int(headers["content-length"]))
    else:
        body = await reader.read()
    return Response(status, headers, body, pairs)


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    parts: list[bytes] = []
    while True:
        size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
        if size == 0:
            while (await reader.readuntil(b"\r\n")) != b"\r\n":
                pass
            return b"".join(parts)
        parts.append(await reader.readexactly(size))
        await reader.readexactly(2)
