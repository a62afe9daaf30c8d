"""Changes of protocol: WebSocket through a real server, and any other as bytes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

WEBSOCKET = b"GET /users/ws HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n"


async def switch(request: Any, writer: asyncio.StreamWriter) -> None:
    """Agrees to any protocol, and says everything twice."""
    writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Kept: 1\r\n\r\nhello")
    reader = request.reader
    while data := await reader.read(2**16):
        writer.write(data * 2)
        await writer.drain()
    raise ConnectionError


def giving_reader(module: list[Any]) -> Any:
    async def handler(request: Any, writer: asyncio.StreamWriter) -> None:
        request.reader = module[0].reader
        await switch(request, writer)

    return handler


async def test_after_a_change_of_protocol_bytes_pass_both_ways(stage: Any) -> None:
    box: list[Any] = []
    async with stage.front(giving_reader(box)) as (front, module):
        box.append(module)
        client = await front.client()
        await client.send(WEBSOCKET + b"early")
        async with asyncio.timeout(stage.PATIENCE):
            head = await client.reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n") and b"\r\nX-Kept: 1\r\n" in head
            assert b"\r\nUpgrade: websocket\r\n" in head and b"\r\nConnection: upgrade\r\n" in head
            assert head.lower().count(b"connection:") == 1
            assert await client.reader.readexactly(15) == b"helloearlyearly"
            await client.send(b"GET / HTTP/1.1\r\n\r\n")
            assert await client.reader.readexactly(36) == b"GET / HTTP/1.1\r\n\r\n" * 2
        request = module.requests[0]
        assert request["upgrade"] == "websocket" and request["connection"] == "upgrade"


async def test_either_end_closes_the_other(stage: Any) -> None:
    box: list[Any] = []
    async with stage.front(giving_reader(box)) as (front, module):
        box.append(module)
        client = await front.client()
        await client.send(WEBSOCKET)
        await client.reader.readuntil(b"hello")
        client.writer.close()
        await stage.until(lambda: not module.writers)
        client = await front.client()
        await client.send(WEBSOCKET)
        await client.reader.readuntil(b"hello")
        module.kill()
        assert await client.ended()


async def test_a_module_that_does_not_change_protocol_answers_as_usual_and_the_connection_ends(stage: Any) -> None:
    async with stage.front() as (front, _):
        client = await front.client()
        response = await client.ask(WEBSOCKET + b"GET /users/smuggled HTTP/1.1\r\nHost: x\r\n\r\n")
        assert response.status == 200 and response["connection"] == "close"
        assert await client.ended()


@pytest.mark.parametrize("line", ["Upgrade: h2c", "Upgrade: websocket, h2c", "Upgrade: TLS/1.2"])
async def test_a_protocol_that_hides_requests_is_not_offered_to_the_module(stage: Any, line: str) -> None:
    async with stage.front() as (front, module):
        response = await front.get("/users/x", "Connection: Upgrade", line)
        assert response.status == 200
        assert not module.requests[0].all("upgrade") and not module.requests[0].all("connection")


async def test_a_silent_tunnel_is_closed(stage: Any) -> None:
    box: list[Any] = []
    async with stage.front(giving_reader(box), tunnel_timeout=0.2) as (front, module):
        box.append(module)
        client = await front.client()
        await client.send(WEBSOCKET)
        await client.reader.readuntil(b"hello")
        assert await client.ended()
        await stage.until(lambda: not module.writers)


async def test_a_tunnel_holds_back_a_client_that_sends_too_fast(stage: Any) -> None:
    never = asyncio.Event()

    async def swallow(request: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        await never.wait()

    async with stage.front(swallow) as (front, _module):
        client = await front.client()
        await client.send(WEBSOCKET)
        await client.reader.readuntil(b"\r\n\r\n")
        client.writer.transport.set_write_buffer_limits(high=2**16)
        client.writer.write(b"a" * 2**26)
        (connection,) = front.gateway._clients
        await stage.until(lambda: connection.reading_paused)
        never.set()
