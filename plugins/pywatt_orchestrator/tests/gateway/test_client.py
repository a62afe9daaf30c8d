"""Clients: hostile bytes, slow ones, too many of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import pytest

from pywatt_orchestrator.gateway.client import LINGER

SMUGGLING = {
    "TE and CL": b"POST /users/a HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
    "CL and TE": b"POST /users/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\nG",
    "two CL": b"POST /users/a HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 44\r\n\r\n",
    "CL list": b"POST /users/a HTTP/1.1\r\nHost: x\r\nContent-Length: 0, 44\r\n\r\n",
    "CL plus": b"POST /users/a HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\nabcde",
    "TE.xchunked": b"POST /users/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "TE space": b"POST /users/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "TE tab": b"POST /users/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    "TE folded": b"POST /users/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "TE list": b"POST /users/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n",
    "TE twice": b"POST /users/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n",
    "TE behind LF": b"POST /users/a HTTP/1.1\r\nHost: x\r\nA: b\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "TE behind CR": b"POST /users/a HTTP/1.1\r\nHost: x\r\nA: b\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "TE in HTTP/1.0": b"POST /users/a HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunk size 0x": b"POST /users/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n",
    "chunk with LF": b"POST /users/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\n\n",
    "chunk longer than said": b"POST /users/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n",
    "chunk size overflow": b"POST /users/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff1\r\na\r\n0\r\n\r\n",
    "chunk extension with LF": b"POST /users/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;\nxx\r\na\r\n0\r\n\r\n",
    "two hosts": b"GET /users/a HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    "no host": b"GET /users/a HTTP/1.1\r\n\r\n",
    "host differs": b"GET http://y/users/a HTTP/1.1\r\nHost: x\r\n\r\n",
    "bare LF throughout": b"GET /users/a HTTP/1.1\nHost: x\n\n",
    "dot segments": b"GET /users/../users/a HTTP/1.1\r\nHost: x\r\n\r\n",
    "encoded dot segments": b"GET /users/%2e%2e/admin HTTP/1.1\r\nHost: x\r\n\r\n",
    "encoded slash": b"GET /users%2fa HTTP/1.1\r\nHost: x\r\n\r\n",
    "backslash": b"GET /users\\a HTTP/1.1\r\nHost: x\r\n\r\n",
    "empty segment": b"GET //users/a HTTP/1.1\r\nHost: x\r\n\r\n",
    "header injected into the path": b"GET /users/a%0d%0aX:%20y HTTP/1.1\r\nHost: x\r\n\r\n",
}
VICTIM = b"GET /users/smuggled HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize("kind", SMUGGLING)
async def test_a_smuggled_request_is_refused_and_nothing_behind_it_is_read(stage: Any, kind: str) -> None:
    async with stage.front() as (front, module):
        client = await front.client()
        response = await client.ask(SMUGGLING[kind] + VICTIM)
        assert response.status == 400 and response["connection"] == "close"
        assert await client.ended()
        assert not [request for request in module.requests if request.target != "/a"]
        assert await (await front.client()).get("/users/alive")
        assert [request.target for request in module.requests if request.target != "/a"] == ["/alive"]


AGREED = {
    "body that looks like a request": (b"POST /users/a HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(VICTIM)) + VICTIM,
    "chunk that looks like a request": b"POST /users/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n"
    % (len(VICTIM), VICTIM),
    "trailer that looks like a length": (
        b"POST /users/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 50\r\n\r\n"
    ),
    "names with underscores": b"POST /users/a HTTP/1.1\r\nHost: x\r\nContent_Length: 50\r\nTransfer_Encoding: chunked\r\n\r\n",
    "length that Connection names": b"POST /users/a HTTP/1.1\r\nHost: x\r\nConnection: Content-Length\r\nContent-Length: 5\r\n\r\nabcde",
    "upgrade to h2c": (
        b"GET /users/a HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\n\r\n"
    ),
}


@pytest.mark.parametrize("kind", AGREED)
async def test_gateway_and_module_agree_on_the_number_of_requests(stage: Any, kind: str) -> None:
    async with stage.front() as (front, module):
        client = await front.client()
        await client.send(AGREED[kind] + b"GET /users/b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answers = [await client.receive()]
        if not await client.ended_after(answers):
            answers.append(await client.receive())
        assert [request.target for request in module.requests] == ["/a", "/b"][: len(answers)]
        assert [json.loads(answer.body)["target"] for answer in answers] == ["/a", "/b"][: len(answers)]


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"GET /" + b"a" * 70_000, 414),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"b" * 70_000, 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 129 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 1_000_000 + b"\r\n", 431),
        (b"POST /users/a HTTP/1.1\r\nHost: x\r\nContent-Length: 4294967295\r\n\r\n", 413),
        (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505),
        (b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"GET / HTTP/1.1\r\nHost: x\r\nExpect: teapot\r\n\r\n", 417),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"SSH-2.0-OpenSSH_9.2\n", 400),
    ],
)
async def test_a_bomb_is_refused_with_its_own_status(stage: Any, data: bytes, status: int) -> None:
    async with stage.front() as (front, module):
        client = await front.client()
        client.writer.write(data)
        response = await client.receive()
        assert response.status == status and response["connection"] == "close"
        assert not module.requests


async def test_a_chunked_body_that_grows_too_long_is_refused_and_the_module_told(stage: Any) -> None:
    told = asyncio.Event()

    async def read_to_end(request: Any, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await module.reader.read()
        told.set()

    async with (
        stage.module(read_to_end, reads_bodies=False) as module,
        stage.gateway(stage.routes("users", instances=[module.instance()]), max_body_bytes=10) as front,
    ):
        client = await front.client()
        await client.send(b"POST /users/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nabcdefgh\r\n")
        await stage.until(lambda: len(module.requests) == 1)
        response = await client.ask(b"8\r\nabcdefgh\r\n")
        assert response.status == 413 and response["connection"] == "close"
        await told.wait()


# ── time ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("begin", [b"", b"GET / HTTP/1.1\r\nHost: x\r\n"])
async def test_a_head_that_does_not_come_ends_the_connection(stage: Any, begin: bytes) -> None:
    async with stage.front(head_timeout=0.2) as (front, _):
        client = await front.client()
        await client.send(begin)
        if begin:
            assert (await client.receive()).status == 408
        assert await client.ended()


async def test_a_head_that_comes_byte_by_byte_ends_the_connection(stage: Any) -> None:
    async with stage.front(head_timeout=0.3) as (front, _):
        client = await front.client()

        async def drip() -> None:
            for byte in b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"b" * 1000:
                client.writer.write(bytes((byte,)))
                await asyncio.sleep(0.02)

        dripping = asyncio.create_task(drip())
        assert (await client.receive()).status == 408
        dripping.cancel()


async def test_an_idle_connection_is_closed(stage: Any) -> None:
    async with stage.front(idle_timeout=0.1) as (front, _):
        client = await front.client()
        assert (await client.get("/users/a")).status == 200
        assert await client.ended()


async def test_a_body_that_stops_is_given_up(stage: Any) -> None:
    async with stage.front(body_timeout=0.1) as (front, module):
        client = await front.client()
        response = await client.ask(b"POST /users/a HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
        assert response.status == 408 and response["connection"] == "close"
        await stage.until(lambda: not module.writers)


# ── how many, and how they end ──────────────────────────────────────────────────────────────────────────────────────


async def test_one_connection_more_than_allowed_is_turned_away(stage: Any) -> None:
    async with stage.front(max_connections=2) as (front, _):
        first, second = await front.client(), await front.client()
        assert (await first.get("/users/a")).status == (await second.get("/users/a")).status == 200
        third = await front.client()
        response = await third.receive()
        assert response.status == 503 and response["retry-after"] == "1" and response["connection"] == "close"
        assert await third.ended()
        first.writer.close()
        await stage.until(lambda: len(front.gateway._clients) < 3)
        assert (await second.get("/users/a")).status == 200


async def test_a_refused_client_has_time_to_read_why(stage: Any) -> None:
    """Closing with unread bytes would send a reset, which throws the reply away on its way."""
    assert LINGER > 0
    async with stage.front() as (front, _):
        client = await front.client()
        client.writer.write(b"POST /users/a HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999999\r\n\r\n" + b"a" * 1_000_000)
        await asyncio.sleep(0.05)
        assert (await client.receive()).status == 413


async def test_the_client_s_wish_to_close_is_respected(stage: Any) -> None:
    async with stage.front() as (front, _):
        client = await front.client()
        response = await client.get("/users/a", "Connection: close")
        assert response["connection"] == "close"
        assert await client.ended()


async def test_what_connection_names_does_not_reach_the_module(stage: Any) -> None:
    async with stage.front() as (front, module):
        await front.get("/users/a", "Connection: X-Secret", "X-Secret: 1", "Keep-Alive: timeout=9", "TE: trailers")
        names = {name.lower() for name, _ in module.requests[0].headers}
        assert not names & {"connection", "x-secret", "keep-alive", "te"}


async def test_a_response_s_own_connection_headers_stay_behind(stage: Any) -> None:
    async def respond(request: Any, writer: asyncio.StreamWriter) -> None:
        lines = (
            "Connection: X-Inner",
            "X-Inner: 1",
            "Keep-Alive: timeout=5",
            "Server: inner/1.0",
            "Set-Cookie: a=1",
            "Set-Cookie: b=2",
            "Location: /users/y",
        )
        writer.write(stage.reply(b"", *lines))

    async with stage.front(respond) as (front, _):
        response = await front.get("/users/a")
        assert not {"connection", "x-inner", "keep-alive"} & {name.lower() for name, _ in response.headers}
        assert response["server"] == "pywatt" and response["location"] == "/users/y"
        assert response.all("set-cookie") == ["a=1", "b=2"]
