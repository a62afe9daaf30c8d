"""What counts as ready, and what is said about a module that is not."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pywatt_core.protocol.messages import TcpAddress, UnixAddress
from pywatt_orchestrator.probe import NotWell, ask


@asynccontextmanager
async def answering(text: bytes) -> AsyncIterator[TcpAddress]:
    """A server that answers everything with `text` and closes."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(text)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield TcpAddress(*server.sockets[0].getsockname())
    finally:
        server.close()


@pytest.mark.parametrize("line", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.0 204 \r\n\r\n", b"HTTP/1.1 299\r\n\r\n"])
async def test_an_answer_from_200_to_299_is_well(line: bytes) -> None:
    async with answering(line) as address:
        await ask(address, "/health")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"HTTP/1.1 503 Busy\r\n\r\n", "/health answers 503"),
        (b"HTTP/1.1 302 Elsewhere\r\n\r\n", "/health answers 302"),
        (b"", "the connection was closed without an answer"),
        (b"SSH-2.0-x\r\n", "the answer is not HTTP"),
        (b"HTTP/1.1 abc\r\n", "the answer is not HTTP"),
        (b"x" * 100_000, "was not answered"),
    ],
)
async def test_everything_else_is_not_and_the_reason_is_said(text: bytes, words: str) -> None:
    async with answering(text) as address:
        with pytest.raises(NotWell, match=words):
            await ask(address, "/health")


async def test_without_a_health_path_accepting_is_enough(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        await ask(TcpAddress(*listener.getsockname()), None)
    with pytest.raises(NotWell, match="does not accept connections"):
        await ask(TcpAddress(*listener.getsockname()) if listener.fileno() >= 0 else UnixAddress(str(tmp_path / "gone")), None)
