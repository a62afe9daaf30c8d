"""Exchanges: requests and responses through a real gateway to a server that plays the module."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest


async def test_a_request_arrives_without_its_mount_and_its_answer_comes_back(stage: Any) -> None:
    async with stage.front() as (front, module):
        response = await front.get("/users/a/b?c=d", "X-Own: 1", "Cookie: s=1")
        assert response.status == 200
        seen = response.json()
        assert (seen["method"], seen["target"]) == ("GET", "/a/b?c=d")
        request = module.requests[0]
        assert request["x-own"] == "1" and request["cookie"] == "s=1" and request["host"] == "front.test"


async def test_the_module_is_told_who_asked_and_not_what_the_client_claims(stage: Any) -> None:
    async with stage.front() as (front, module):
        await front.get(
            "/users/x", "X-Forwarded-For: 6.6.6.6", "X_Forwarded_Host: evil", "Forwarded: for=6.6.6.6", "X-Forwarded-Prefix: /evil"
        )
        request = module.requests[0]
        assert request["x-forwarded-for"] == "127.0.0.1"
        assert request["x-forwarded-proto"] == "http"
        assert request["x-forwarded-host"] == "front.test"
        assert request["x-forwarded-prefix"] == "/users"
        assert not request.all("forwarded") and not request.all("x_forwarded_host")


async def test_ids_are_made_where_there_are_none(stage: Any) -> None:
    async with stage.front() as (front, module):
        first, second = await front.get("/users/x"), await front.get("/users/x")
        for response, request in zip((first, second), module.requests, strict=True):
            assert re.fullmatch("[0-9a-f]{32}", response["x-request-id"])
            assert request["x-request-id"] == response["x-request-id"]
            assert re.fullmatch(f"00-{response['x-request-id']}-[0-9a-f]{{16}}-01", request["traceparent"])
        assert first["x-request-id"] != second["x-request-id"]


async def test_ids_that_a_request_brings_are_passed_on(stage: Any) -> None:
    trace = f"00-{'a' * 32}-{'b' * 16}-00"
    async with stage.front() as (front, module):
        both = await front.get("/users/x", "X-Request-ID: mine", f"traceparent: {trace}", "tracestate: v=1", "tracestate: w=2")
        assert both["x-request-id"] == module.requests[0]["x-request-id"] == "mine"
        assert (module.requests[0]["traceparent"], module.requests[0]["tracestate"]) == (trace, "v=1,w=2")
        only_trace = await front.get("/users/x", f"traceparent: {trace}")
        assert only_trace["x-request-id"] == "a" * 32
        broken = await front.get("/users/x", "X-Request-ID: <script>", "traceparent: 00-0-0-0", "tracestate: v=1")
        assert broken["x-request-id"] == module.requests[2]["x-request-id"] != "<script>"
        assert module.requests[2]["traceparent"][3:35] == broken["x-request-id"] and not module.requests[2].all("tracestate")


async def test_one_connection_on_either_side_serves_many_requests(stage: Any) -> None:
    async with stage.front() as (front, module):
        client = await front.client()
        for number in range(20):
            assert (await client.get(f"/users/{number}")).json()["target"] == f"/{number}"
        assert module.connections == 1


async def test_a_body_with_a_length_arrives_as_it_was(stage: Any) -> None:
    async with stage.front() as (front, module):
        client = await front.client()
        await client.send(b"POST /users/x HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\nhello")
        await stage.until(lambda: module.connections == 1)
        await client.send(b" world")
        assert (await client.receive()).json()["body"] == "hello world"
        assert module.requests[0]["content-length"] == "11"


async def test_a_chunked_body_arrives_chunked_and_without_extensions_and_trailers(stage: Any) -> None:
    async with stage.front() as (front, module):
        client = await front.client()
        await client.send(b"POST /users/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n")
        await client.send(b"6\r\n world\r\n0\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n")
        assert (await client.receive()).json()["body"] == "hello world"
        assert module.requests[0]["transfer-encoding"] == "chunked" and not module.requests[0].all("content-length")
        assert (await client.get("/users/next")).status == 200


async def test_pipelined_requests_are_answered_in_order(stage: Any) -> None:
    async def slow_first(request: Any, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.05 if request.target == "/0" else 0)
        await stage.echo(request, writer)

    async with stage.front(slow_first) as (front, _):
        client = await front.client()
        wire = b"".join(b"GET /users/%d HTTP/1.1\r\nHost: x\r\n\r\n" % n for n in range(3))
        wire += b"POST /users/3 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        wire += b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\nHEAD /users/5 HTTP/1.1\r\nHost: x\r\n\r\n"
        await client.send(wire)
        assert [(await client.receive()).json()["target"] for _ in range(4)] == ["/0", "/1", "/2", "/3"]
        assert (await client.receive()).status == 404
        assert (await client.receive(head_only=True)).status == 200


async def test_thousands_of_pipelined_requests_are_answered(stage: Any) -> None:
    async with stage.front() as (front, _):
        client = await front.client()
        client.writer.write(b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n" * 5000)
        for _ in range(5000):
            assert (await client.receive()).status == 404


RESPONSES = {
    "length": (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "content-length"),
    "chunked": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nhel\r\n2\r\nlo\r\n0\r\nA: b\r\n\r\n", "transfer-encoding"),
    "endless": (b"HTTP/1.1 200 OK\r\n\r\nhello", "transfer-encoding"),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\n\r\nhello", "transfer-encoding"),
    "HTTP/1.0 with a length": (b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", "content-length"),
    "after interim responses": (
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        "content-length",
    ),
}


@pytest.mark.parametrize("kind", RESPONSES)
@pytest.mark.parametrize("size", [1, 7, 10_000])
async def test_a_response_arrives_whole_however_it_is_framed_and_cut(stage: Any, kind: str, size: int) -> None:
    data, framing = RESPONSES[kind]

    async def respond(request: Any, writer: asyncio.StreamWriter) -> None:
        for start in range(0, len(data), size):
            writer.write(data[start : start + size])
            await writer.drain()
            await asyncio.sleep(0)
        if kind in ("endless", "HTTP/1.0"):
            writer.close()

    async with stage.front(respond) as (front, _):
        client = await front.client()
        for _ in range(2):
            response = await client.get("/users/x")
            assert (response.status, response.body) == (200, b"hello")
            assert framing in response and response.reason == "OK" and response["server"] == "pywatt"


@pytest.mark.parametrize("kind", RESPONSES)
async def test_an_http_1_0_client_gets_what_it_understands(stage: Any, kind: str) -> None:
    data, _framing = RESPONSES[kind]

    async def respond(request: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        if kind in ("endless", "HTTP/1.0"):
            writer.close()

    async with stage.front(respond) as (front, module):
        client = await front.client()
        response = await client.ask(b"GET /users/x HTTP/1.0\r\n\r\n")
        assert (response.status, response.body) == (200, b"hello")
        assert "transfer-encoding" not in response and response["connection"] == "close"
        assert await client.ended()
        assert module.requests[0]["host"] == module.requests[0]["x-forwarded-host"] == str(front.gateway.address)


async def test_an_http_1_0_client_may_keep_its_connection(stage: Any) -> None:
    async with stage.front() as (front, _):
        client = await front.client()
        for _ in range(2):
            assert (await client.ask(b"GET /users/x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"))["connection"] == "keep-alive"


@pytest.mark.parametrize(
    ("method", "data", "length"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", ["5"]),
        ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", []),
        ("GET", b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", []),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: x\r\n\r\n", ["5"]),
        ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ["0"]),
    ],
)
async def test_a_response_without_a_body_ends_with_its_head(stage: Any, method: str, data: bytes, length: list[str]) -> None:
    async def respond(request: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(data)

    async with stage.front(respond) as (front, module):
        client = await front.client()
        for _ in range(2):
            response = await client.get("/users/x", method=method)
            assert response.all("content-length") == length
        assert module.connections == 1, "both sides kept their connection"


async def test_a_stream_of_events_arrives_one_by_one(stage: Any) -> None:
    turns: asyncio.Queue[bytes] = asyncio.Queue()

    async def events(request: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        while event := await turns.get():
            writer.write(b"%x\r\n%b\r\n" % (len(event), event))
            await writer.drain()

    async with stage.front(events, stream_timeout=0.05) as (front, _):
        client = await front.client()
        await client.send(b"GET /users/events HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(stage.PATIENCE):
            assert b"text/event-stream" in await client.reader.readuntil(b"\r\n\r\n")
            for number in range(3):
                turns.put_nowait(b"data: %d\n\n" % number)
                assert await client.reader.readexactly(14) == b"9\r\ndata: %d\n\n\r\n" % number
                await asyncio.sleep(0.1)  # longer than an ordinary response may be silent


async def test_a_client_that_expects_100_is_asked_for_its_body(stage: Any) -> None:
    async with stage.front() as (front, module):
        client = await front.client()
        await client.send(b"POST /users/x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        assert (await client.receive()).status == 100
        assert (await client.ask(b"hello")).json()["body"] == "hello"
        assert not module.requests[0].all("expect")


async def test_a_client_that_expects_100_is_refused_without_sending_its_body(stage: Any) -> None:
    async with stage.front() as (front, _):
        client = await front.client()
        response = await client.ask(b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        assert response.status == 404 and response["connection"] == "close"


async def test_a_client_that_does_not_wait_for_100_gets_none(stage: Any) -> None:
    async with stage.front() as (front, _):
        client = await front.client()
        assert (await client.get("/users/before")).status == 200
        response = await client.ask(b"POST /users/x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello")
        assert response.status == 200


# ── streams and back-pressure ───────────────────────────────────────────────────────────────────────────────────────

SIZE = 50 * 2**20
PIECE = bytes(range(256)) * 256


async def test_fifty_megabytes_pass_in_bounded_memory_to_the_module(stage: Any) -> None:
    import tracemalloc

    async def count(request: Any, writer: asyncio.StreamWriter) -> None:
        left = SIZE
        while left:
            data = await module.reader.read(2**16)
            left -= len(data)
            if left % 16 == 0:
                await asyncio.sleep(0)
        writer.write(stage.reply(b"all of it"))

    async with (
        stage.module(count, reads_bodies=False) as module,
        stage.gateway(stage.routes("users", instances=[module.instance()])) as front,
    ):
        client = await front.client()
        tracemalloc.start()
        await client.send(b"PUT /users/x HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % SIZE)
        for _ in range(SIZE // len(PIECE)):
            await client.send(PIECE)
        assert (await client.receive()).body == b"all of it"
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 8 * 2**20, peak


async def test_fifty_megabytes_pass_in_bounded_memory_to_a_slow_client(stage: Any) -> None:
    import hashlib
    import tracemalloc

    async def pour(request: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE)
        for _ in range(SIZE // len(PIECE)):
            writer.write(PIECE)
            await writer.drain()

    async with stage.front(pour) as (front, _):
        assert front.gateway.address is not None
        reader, writer = await asyncio.open_connection(*front.gateway.address)
        tracemalloc.start()
        writer.write(b"GET /users/x HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(stage.PATIENCE):
            await reader.readuntil(b"\r\n\r\n")
            digest = hashlib.sha256()
            left = SIZE
            while left:
                data = await reader.read(2**15)
                digest.update(data)
                left -= len(data)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        writer.close()
        assert digest.digest() == hashlib.sha256(PIECE * (SIZE // len(PIECE))).digest()
        assert peak < 8 * 2**20, peak


async def test_a_client_that_reads_nothing_stops_the_module(stage: Any) -> None:
    written = 0

    async def pour(request: Any, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(PIECE)
            await writer.drain()
            written += len(PIECE)

    async with stage.front(pour, send_timeout=0.5) as (front, module):
        client = await front.client()
        client.reader._limit = 1024
        await client.send(b"GET /users/x HTTP/1.1\r\nHost: x\r\n\r\n")
        await stage.until(lambda: module.lost == 1)
        assert written < 64 * 2**20, "what the sockets hold, not what the module could pour"


@pytest.mark.parametrize("path", ["/users/x", "/nowhere"])
async def test_requests_wait_until_their_client_has_taken_its_answers(stage: Any, path: str) -> None:
    async def much(request: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(stage.reply(PIECE * 4))

    async with stage.front(much) as (front, module):
        client = await front.client()
        client.writer.transport.pause_reading()
        wire = f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode() * 20_000
        client.writer.write(wire)
        (connection,) = front.gateway._clients
        await stage.until(lambda: connection.reading_paused and connection.writing_paused)
        assert connection.transport.get_write_buffer_size() < 2**20
        assert len(module.requests) < 1000
        client.writer.transport.resume_reading()
        for _ in range(100):
            assert (await client.receive()).status in (200, 404)


async def test_a_client_is_read_again_after_its_body_had_to_wait(stage: Any) -> None:
    body = b"a" * (3 * 2**20 + 1)
    async with stage.front() as (front, _module):
        client = await front.client()
        for _ in range(3):
            client.writer.write(b"POST /users/x HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            assert len((await client.receive()).json()["body"]) == len(body)


# ── what goes wrong ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("half", [True, False])
async def test_a_client_that_goes_away_cancels_the_request(stage: Any, half: bool) -> None:
    never = asyncio.Event()

    async def hang(request: Any, writer: asyncio.StreamWriter) -> None:
        await never.wait()

    async with stage.module(hang) as module, stage.gateway(stage.routes("users", instances=[instance := module.instance()])) as front:
        client = await front.client()
        await client.send(b"GET /users/x HTTP/1.1\r\nHost: x\r\n\r\n")
        await stage.until(lambda: len(module.requests) == 1)
        assert instance.in_flight == 1
        reader = module.reader
        if half:
            client.writer.write_eof()
        else:
            client.writer.transport.abort()
        await stage.until(reader.at_eof)
        assert instance.in_flight == 0


@pytest.mark.parametrize("framing", ["Content-Length: 100", "Transfer-Encoding: chunked", "X-None: x"])
@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
async def test_a_module_that_dies_in_mid_response_is_never_taken_for_a_complete_answer(stage: Any, framing: str, version: str) -> None:
    async def die(request: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 200 OK\r\n{framing}\r\n\r\n5\r\nhello\r\n".encode())
        await writer.drain()
        await started.wait()
        import socket
        import struct

        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    started = asyncio.Event()
    async with stage.front(die) as (front, _):
        client = await front.client()
        await client.send(f"GET /users/x {version}\r\nHost: x\r\n\r\n".encode())
        async with asyncio.timeout(stage.PATIENCE):
            await client.reader.readuntil(b"hello")
            started.set()
            with pytest.raises(ConnectionError):
                while True:
                    rest = await client.reader.read(100)
                    assert b"0\r\n\r\n" not in rest
                    assert rest, "the connection ended as if the response were complete"


async def test_an_idempotent_request_is_sent_once_more_to_the_next_instance(stage: Any) -> None:
    async def die(request: Any, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async with stage.module(die, name="bad") as bad, stage.module(name="good") as good:
        instances = [bad.instance(), good.instance()]
        async with stage.gateway(stage.routes("users", instances=instances)) as front:
            client = await front.client()
            for method in ("GET", "PUT", "DELETE", "OPTIONS", "HEAD") * 2:
                body = "Content-Length: 3\r\n\r\nabc" if method == "PUT" else "\r\n"
                response = await client.ask(f"{method} /users/x HTTP/1.1\r\nHost: x\r\n{body}".encode())
                assert response.status == 200
            assert bad.requests and len(good.requests) == 10
            assert all(request.body == (b"abc" if request.method == "PUT" else b"") for request in good.requests)
            assert [instance.in_flight for instance in instances] == [0, 0]


async def test_a_request_that_is_not_idempotent_is_not_sent_twice(stage: Any) -> None:
    async def die(request: Any, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async with stage.front(die) as (front, module):
        client = await front.client()
        response = await client.ask(b"POST /users/x HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc")
        assert response.status == 502 and response["retry-after"] == "1"
        assert response.json()["detail"] == "module users closed the connection before it answered"
        assert response.json()["module"] == "users" and response.json()["request_id"] == response["x-request-id"]
        assert len(module.requests) == 1


async def test_a_body_that_is_too_long_to_keep_is_not_sent_twice(stage: Any) -> None:
    async def die(request: Any, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async with stage.front(die) as (front, module):
        for size, times in ((60_000, 2), (70_000, 1)):
            module.requests.clear()
            client = await front.client()
            client.writer.write(b"PUT /users/x HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size + b"a" * size)
            assert (await client.receive()).status == 502
            assert len(module.requests) == times


async def test_a_request_is_not_sent_a_third_time(stage: Any) -> None:
    async def die(request: Any, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async with stage.front(die) as (front, module):
        assert (await front.get("/users/x")).status == 502
        assert len(module.requests) == 2


async def test_a_request_whose_answer_has_begun_is_not_sent_again(stage: Any) -> None:
    async def die(request: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 O")
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.transport.abort()

    async with stage.front(die) as (front, module):
        assert (await front.get("/users/x")).status == 502
        assert len(module.requests) == 1


BAD = {
    "both framings": b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + b"HTTP/1.1 200 OK\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\nabcde",
    "bad chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
    "no HTTP": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "protocol changed unasked": b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    "long head": b"HTTP/1.1 200 OK\r\nA: " + b"b" * 70_000,
    "bare LF": b"HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("kind", BAD)
async def test_a_response_that_cannot_be_trusted_is_replaced_and_its_connection_dropped(stage: Any, kind: str, caplog: Any) -> None:
    async def respond(request: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(BAD[kind] if request.target == "/bad" else stage.reply(b"fine"))

    async with stage.front(respond) as (front, module):
        client = await front.client()
        response = await client.get("/users/bad")
        assert response.status == 502
        assert response.json()["detail"] == "module users sent a response that cannot be forwarded"
        assert "module users sent a response that cannot be forwarded: " in caplog.text
        assert (await client.get("/users/good")).body == b"fine"
        assert module.connections == 2


async def test_what_a_module_sends_behind_its_answer_reaches_nobody(stage: Any) -> None:
    async def respond(request: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(stage.reply(b"mine") + (stage.reply(b"poison") if request.target == "/first" else b""))

    async with stage.front(respond) as (front, module):
        client = await front.client()
        assert (await client.get("/users/first")).body == b"mine"
        for _ in range(3):
            assert (await client.get("/users/next")).body == b"mine"
        assert module.connections == 2


async def test_what_a_module_says_unasked_ends_its_connection(stage: Any) -> None:
    async with stage.front() as (front, module):
        assert (await front.get("/users/x")).status == 200
        (writer,) = module.writers
        writer.write(stage.reply(b"poison"))
        await stage.until(lambda: not module.writers)
        assert (await front.get("/users/x")).json()["target"] == "/x"


async def test_an_early_answer_ends_the_connection_that_still_sends(stage: Any) -> None:
    async def refuse(request: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(stage.reply(b"no", status="413 Content Too Large"))

    async with (
        stage.module(refuse, reads_bodies=False) as module,
        stage.gateway(stage.routes("users", instances=[module.instance()])) as front,
    ):
        client = await front.client()
        response = await client.ask(b"POST /users/x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc")
        assert (response.status, response.body, response["connection"]) == (413, b"no", "close")
        await client.send(b"a" * 997)
        assert await client.ended()


async def test_a_module_that_does_not_answer_is_given_up(stage: Any) -> None:
    never = asyncio.Event()

    async def hang(request: Any, writer: asyncio.StreamWriter) -> None:
        await never.wait()

    async with stage.front(hang, response_timeout=0.1) as (front, module):
        response = await front.get("/users/x")
        assert response.status == 504 and response["retry-after"] == "1"
        assert response.json()["detail"] == "module users did not answer within 0.1 s"
        reader = module.reader
        await stage.until(reader.at_eof)


async def test_a_response_that_stops_is_cut_off(stage: Any) -> None:
    never = asyncio.Event()

    async def stall(request: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
        await writer.drain()
        await never.wait()

    async with stage.front(stall, stream_timeout=0.1) as (front, _):
        client = await front.client()
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await client.get("/users/x")
