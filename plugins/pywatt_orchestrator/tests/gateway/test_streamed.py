"""Modules without a port whose bodies travel in pieces: a real link, with the module's own inbox at its other end."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Any

import pytest

from pywatt_core.errors import ChannelClosed
from pywatt_core.http import stream_asgi
from pywatt_core.protocol.http_pieces import WINDOW
from pywatt_core.protocol.messages import (
    HttpRequestCancel,
    HttpResponsePiece,
    HttpResponseStart,
    HttpStreamRequest,
    Message,
)
from pywatt_core.protocol.session import Role, Session, Wire
from pywatt_core.serving import Inbox
from pywatt_core.transports.link import Link, new_id
from pywatt_orchestrator.carrying import KINDS, Carrying
from pywatt_orchestrator.gateway import Instance

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


class Application:
    """A module's server around an ASGI function, which notes what it is told."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.streams: list[Any] = []
        self.disconnected = asyncio.Event()
        self.go_on = asyncio.Event()
        self.sent = 0

    async def stream(self, stream: Any) -> None:
        self.streams.append(stream)

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await self.app(self, scope, receive, send)

        await stream_asgi(app, stream)


class Process:
    """One end of a link is the orchestrator's, the other the module's; `instance` is how the gateway sees it."""

    def __init__(self, module: Callable[[Message, Link], None]) -> None:
        self._module = module
        self.carrying = Carrying()
        self.instance = Instance("mail", None, http_request=self._whole, http_stream=self._open, ready=True, trusted=True)
        self.near: Link
        self.far: Link

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        orchestrator, module = Session(Role.ORCHESTRATOR, Wire.CHANNEL, new_id=new_id), Session(Role.MODULE, Wire.CHANNEL, new_id=new_id)
        for session in (orchestrator, module):
            session.use_format("msgpack")
        _, self.near = await loop.create_unix_connection(lambda: Link(orchestrator, on_message=self._take), sock=ours)
        _, self.far = await loop.create_unix_connection(lambda: Link(module, on_message=self._module), sock=theirs)

    def _take(self, message: Any, link: Link) -> None:
        assert isinstance(message, KINDS)
        self.carrying.take(message, link)

    def _open(self, asker: Any) -> Any:
        return self.carrying.open(self.near, asker)

    async def _whole(self, request: Any) -> Any:
        raise AssertionError("bodies travel in pieces here")

    async def close(self) -> None:
        await self.near.close()
        await self.far.close()


@contextlib.asynccontextmanager
async def behind(stage: Any, app: Any, **options: Any) -> AsyncIterator[tuple[Any, Application, Process]]:
    server = Application(app)
    inbox = Inbox(on_stop=lambda _reason, _drain: None)
    inbox.open({}, server)  # type: ignore[arg-type]
    process = Process(inbox.take)
    await process.open()
    try:
        async with stage.gateway(stage.routes("mail", instances=[process.instance]), **options) as front:
            yield front, server, process
            server.go_on.set()
    finally:
        await process.close()
        await inbox.drain(1.0)


@contextlib.asynccontextmanager
async def scripted(stage: Any, act: Callable[[Message, Link], None], **options: Any) -> AsyncIterator[tuple[Any, Process]]:
    """A module that acts on each message as the test says."""
    process = Process(act)
    await process.open()
    try:
        async with stage.gateway(stage.routes("mail", instances=[process.instance]), **options) as front:
            yield front, process
    finally:
        await process.close()


async def respond(send: Any, *pieces: bytes, status: int = 200, headers: Any = ()) -> None:
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
    for piece in pieces:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


# ── applications ────────────────────────────────────────────────────────────────────────────────────────────────────


async def hello(_server: Application, scope: Any, _receive: Any, send: Any) -> None:
    headers = [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"), (b"content-type", b"text/plain"), (b"server", b"mine")]
    await send({"type": "http.response.start", "status": 201, "headers": headers})
    await send({"type": "http.response.body", "body": b"%b %b" % (scope["raw_path"], scope["query_string"])})


async def echo(server: Application, _scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    more = True
    while more:
        event = await receive()
        more = event.get("more_body", False)
        server.sent += len(event["body"])
        await send({"type": "http.response.body", "body": event["body"], "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def events(server: Application, _scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
    server.sent = 1
    while (await receive())["type"] != "http.disconnect":
        pass
    server.disconnected.set()


async def endless(server: Application, _scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    try:
        while True:
            await send({"type": "http.response.body", "body": bytes(65_536), "more_body": True})
            server.sent += 65_536
    except OSError:
        server.disconnected.set()
        raise


async def reads_nothing(server: Application, _scope: Any, _receive: Any, send: Any) -> None:
    await server.go_on.wait()
    await respond(send, b"late")


# ── tests ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_request_reaches_the_application_and_several_cookies_stay_several(stage: Any) -> None:
    async with behind(stage, hello) as (front, _, process):
        client = await front.client()
        for _ in range(2):
            response = await client.get("/mail/a%20b?c=d")
            assert (response.status, response.reason, response.body) == (201, "Created", b"/a%20b c=d")
            assert response.all("set-cookie") == ["a=1", "b=2"]
            assert response["content-length"] == "10" and response["server"] == "pywatt" and "date" in response
        assert (process.instance.in_flight, len(process.carrying)) == (0, 0)


async def test_head_has_the_length_of_the_application_and_no_body(stage: Any) -> None:
    async def app(_server: Application, _scope: Any, _receive: Any, send: Any) -> None:
        await respond(send, b"hello", headers=[(b"content-length", b"5")])

    async with behind(stage, app) as (front, _, _process):
        client = await front.client()
        for _ in range(2):
            response = await client.get("/mail/x", method="HEAD")
            assert (response.status, response["content-length"]) == (200, "5")
        assert (await client.get("/mail/x")).body == b"hello"


async def test_events_reach_the_client_as_they_are_made_and_the_module_learns_that_it_is_gone(stage: Any) -> None:
    async with behind(stage, events) as (front, server, process):
        client = await front.client()
        await client.send(b"GET /mail/x HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(stage.PATIENCE):
            head = await client.reader.readuntil(b"\r\n\r\n")
            assert b"text/event-stream" in head and b"Transfer-Encoding: chunked" in head
            assert await client.reader.readuntil(b"1\n\n\r\n") == b"9\r\ndata: 1\n\n\r\n"
            client.writer.transport.abort()
            await server.disconnected.wait()
        await stage.until(lambda: process.instance.in_flight == 0 and not len(process.carrying))


async def test_bodies_of_any_size_pass_both_ways(stage: Any) -> None:
    body = bytes(range(256)) * 20_000
    async with behind(stage, echo) as (front, _, _process):
        for framing in (f"Content-Length: {len(body)}", "Transfer-Encoding: chunked"):
            client = await front.client()
            await client.send(f"POST /mail/x HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n".encode())
            answer = asyncio.create_task(client.receive())
            await client.send(body if "Length" in framing else b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
            assert (await answer).body == body


async def test_a_client_that_reads_nothing_stops_the_module(stage: Any) -> None:
    async with behind(stage, endless) as (front, server, _process):
        client = await front.client()
        client.reader._transport.pause_reading()
        await client.send(b"GET /mail/x HTTP/1.1\r\nHost: x\r\n\r\n")
        await stage.until(lambda: bool(server.streams) and server.streams[0]._allowance.left == 0 and front_waits(front))
        held = server.sent
        assert held < 64 * 2**20
        for _ in range(50):
            await asyncio.sleep(0)
        assert server.sent - held <= 65_536
        client.writer.transport.abort()
        async with asyncio.timeout(stage.PATIENCE):
            await server.disconnected.wait()


def front_waits(front: Any) -> bool:
    return all(client.writing_paused for client in front.gateway._clients)


async def test_a_module_that_reads_nothing_stops_the_client(stage: Any) -> None:
    async with behind(stage, reads_nothing) as (front, server, _process):
        client = await front.client()
        await client.send(b"POST /mail/x HTTP/1.1\r\nHost: x\r\nContent-Length: 50000000\r\n\r\n")
        sending = asyncio.create_task(client.send(bytes(50_000_000)))
        await stage.until(lambda: any(one.reading_paused for one in front.gateway._clients))
        (conversation,) = (one._conversation for one in front.gateway._clients)
        assert len(conversation._held) < 2 * WINDOW
        assert not sending.done()
        server.go_on.set()
        assert (await client.receive()).body == b"late"
        sending.cancel()
        await asyncio.wait({sending})


async def test_a_body_that_goes_on_after_the_response_does_not_reach_the_next_request(stage: Any) -> None:
    async def early(_server: Application, _scope: Any, _receive: Any, send: Any) -> None:
        await respond(send, b"no", status=413)

    async with behind(stage, early) as (front, _, _process):
        client = await front.client()
        await client.send(b"POST /mail/x HTTP/1.1\r\nHost: x\r\nContent-Length: 500000\r\n\r\nabc")
        response = await client.receive()
        assert (response.status, response["connection"]) == (413, "close")


async def test_a_response_that_breaks_off_is_never_taken_for_whole(stage: Any) -> None:
    async def breaks(_server: Application, _scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise RuntimeError("on purpose")

    async with behind(stage, breaks) as (front, _, _process):
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await front.get("/mail/x")


async def test_a_link_that_breaks_within_a_response_cuts_the_client_off(stage: Any) -> None:
    async with behind(stage, events) as (front, server, process):
        client = await front.client()
        await client.send(b"GET /mail/x HTTP/1.1\r\nHost: x\r\n\r\n")
        await stage.until(lambda: server.sent == 1)
        await process.far.close()
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await client.receive()
        assert process.instance.in_flight == 0


@pytest.mark.parametrize(("length", "pieces"), [(b"3", (b"abcd",)), (b"9", (b"ab", b"cd"))])
async def test_a_length_that_is_not_true_cuts_the_client_off(stage: Any, length: bytes, pieces: tuple[bytes, ...]) -> None:
    async def lies(_server: Application, _scope: Any, _receive: Any, send: Any) -> None:
        await respond(send, *pieces, headers=[(b"content-length", length)])

    async with behind(stage, lies) as (front, _, _process):
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await front.get("/mail/x")


async def test_a_download_keeps_its_length_and_its_connection(stage: Any) -> None:
    async def download(_server: Application, _scope: Any, _receive: Any, send: Any) -> None:
        await respond(send, *[bytes(100_000)] * 20, headers=[(b"content-length", b"2000000")])

    async with behind(stage, download) as (front, _, _process):
        client = await front.client()
        for _ in range(2):
            response = await client.get("/mail/x")
            assert (response["content-length"], len(response.body)) == ("2000000", 2_000_000)


async def test_a_client_of_http_1_0_gets_the_body_up_to_the_end_of_its_connection(stage: Any) -> None:
    async def unknown(_server: Application, _scope: Any, _receive: Any, send: Any) -> None:
        await respond(send, b"one;", b"two;")

    async with behind(stage, unknown) as (front, _, _process):
        response = await (await front.client()).ask(b"GET /mail/x HTTP/1.0\r\nHost: x\r\n\r\n")
        assert response.body == b"one;two;" and "transfer-encoding" not in response


@pytest.mark.parametrize("lines", [(b"0", b"1"), (b"-1",), (b"1, 1",)])
async def test_a_length_that_says_two_things_is_not_forwarded(stage: Any, lines: tuple[bytes, ...]) -> None:
    async def unclear(_server: Application, _scope: Any, _receive: Any, send: Any) -> None:
        await respond(send, b"a", headers=[(b"content-length", line) for line in lines])

    async with behind(stage, unclear) as (front, _, _process):
        assert (await front.get("/mail/x")).status == 502


async def test_a_module_that_does_not_answer_is_given_up_and_told(stage: Any) -> None:
    async def silent(server: Application, _scope: Any, receive: Any, _send: Any) -> None:
        await receive()
        assert (await receive())["type"] == "http.disconnect"
        server.disconnected.set()

    async with behind(stage, silent, response_timeout=0.1) as (front, server, _process):
        response = await front.get("/mail/x")
        assert response.status == 504 and response.json()["detail"] == "module mail did not answer within 0.1 s"
        async with asyncio.timeout(stage.PATIENCE):
            await server.disconnected.wait()


async def test_a_body_that_stops_is_given_up(stage: Any) -> None:
    async with behind(stage, reads_nothing, body_timeout=0.1) as (front, _, _process):
        client = await front.client()
        assert (await client.ask(b"POST /mail/x HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc")).status == 408


async def test_a_client_that_waits_to_be_asked_for_its_body_is_asked(stage: Any) -> None:
    async with behind(stage, echo) as (front, _, _process):
        client = await front.client()
        await client.send(b"POST /mail/x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        async with asyncio.timeout(stage.PATIENCE):
            assert (await client.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100")
        await client.send(b"hello")
        assert (await client.receive()).body == b"hello"


# ── what only a module out of order would do ────────────────────────────────────────────────────────────────────────


async def test_a_module_that_sends_more_than_it_was_granted_is_cut_off(stage: Any) -> None:
    told: list[Message] = []

    def act(message: Message, link: Link) -> None:
        if isinstance(message, HttpStreamRequest):
            link.post(HttpResponseStart(message.request_id, 200, [], more=True))
            link.post(HttpResponsePiece(message.request_id, bytes(WINDOW + 1), more=True))
        told.append(message)

    async with scripted(stage, act) as (front, process):
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await front.get("/mail/x")
        await stage.until(lambda: any(isinstance(message, HttpRequestCancel) for message in told))
        assert not len(process.carrying)


@pytest.mark.parametrize("status", [101, 199, 600])
async def test_a_status_that_cannot_be_forwarded_is_replaced(stage: Any, status: int) -> None:
    def act(message: Message, link: Link) -> None:
        if isinstance(message, HttpStreamRequest):
            link.session._answering[HttpResponseStart].settle = lambda message: None  # type: ignore[method-assign]  # a peer out of order
            link.session._may_send.clear()
            link.post(HttpResponseStart(message.request_id, status, []))

    async with scripted(stage, act) as (front, _process):
        assert (await front.get("/mail/x")).status == 502


async def test_a_request_that_nobody_got_is_sent_to_the_next_instance(stage: Any) -> None:
    asked = 0

    async with behind(stage, echo) as (front, _, process):
        carry = process.instance.http_stream
        assert carry is not None

        def sometimes(asker: Any) -> Any:
            nonlocal asked
            asked += 1
            if asked < 3:
                raise ChannelClosed("not running", executed="no")
            return carry(asker)

        process.instance.http_stream = sometimes
        client = await front.client()
        assert (await client.ask(b"POST /mail/x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello")).body == b"hello"
        assert asked == 3


@pytest.mark.parametrize(("method", "status"), [("PUT", 200), ("POST", 502)])
async def test_a_request_whose_fate_is_unknown_is_repeated_where_that_is_harmless(stage: Any, method: str, status: int) -> None:
    async with behind(stage, echo) as (front, _, process):
        carry = process.instance.http_stream
        assert carry is not None
        opened: list[Any] = []

        def first_one_fails(asker: Any) -> Any:
            carried = carry(asker)
            opened.append(carried)
            if len(opened) == 1:
                carried.ask = fails
            return carried

        async def fails(*_arguments: Any, **_more: Any) -> Any:
            raise ChannelClosed("gone", executed="unknown")

        process.instance.http_stream = first_one_fails
        client = await front.client()
        response = await client.ask(f"{method} /mail/x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello".encode())
        assert response.status == status
        assert len(opened) == (2 if status == 200 else 1)
        if status == 200:
            assert response.body == b"hello"
