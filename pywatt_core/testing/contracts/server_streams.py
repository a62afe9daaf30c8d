"""The part of `ServerContract` about bodies that travel over a link in pieces, and the other end of such a link."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from ...interfaces import Server
from ...protocol.http_pieces import WINDOW
from ...protocol.messages import (
    HttpRequestCancel,
    HttpRequestCredit,
    HttpRequestPiece,
    HttpResponseAbort,
    HttpResponseCredit,
    HttpResponsePiece,
    HttpResponseStart,
    HttpStreamRequest,
)
from ...protocol.session import Role, Session, Wire
from ...serving import Inbox
from ...transports.link import Link, new_id
from .server_probe import DEADLINE, Probe, ServerSubject, until


class Asked:
    """One request in pieces, as the orchestrator sees it."""

    def __init__(self, caller: Caller, start: HttpResponseStart) -> None:
        self.start = start
        self.body = start.body
        self.complete = not start.more
        self.aborted = False
        self._caller = caller

    def grant(self, amount: int) -> None:
        """The response may go on for `amount` bytes."""
        self._caller.link.post(HttpResponseCredit(self.start.request_id, amount))

    def cancel(self) -> None:
        """Nobody waits any more."""
        self._caller.link.post(HttpRequestCancel(self.start.request_id))

    async def until(self, mark: bytes) -> None:
        """Return once the body ends with `mark`."""
        await until(lambda: self.body.endswith(mark), f"{mark!r} never came")

    async def whole(self) -> bytes:
        """The whole body; credit is granted as it comes."""
        granted = 0
        while not self.complete and not self.aborted:
            seen = len(self.body)
            if seen > granted:
                self.grant(seen - granted)
                granted = seen
            await until(lambda: len(self.body) > seen or self.complete or self.aborted, "the response does not go on")  # noqa: B023
        assert not self.aborted, "the response was aborted"
        return self.body


class Caller:
    """The orchestrator's end of a link to a server."""

    def __init__(self) -> None:
        self.link: Link
        self.inbox: Inbox
        """The module's end."""
        self.credit: dict[str, int] = {}
        """Bytes of request bodies that were granted and not sent, by request."""
        self._asked: dict[str, Asked] = {}
        self._early: dict[str, list[Any]] = {}

    def take(self, message: Any, _link: Link) -> None:
        if isinstance(message, HttpRequestCredit):
            self.credit[message.request_id] = self.credit.get(message.request_id, 0) + message.amount
        elif message.request_id not in self._asked:
            self._early.setdefault(message.request_id, []).append(message)
        else:
            self._add(message)

    def _add(self, message: Any) -> None:
        asked = self._asked[message.request_id]
        if isinstance(message, HttpResponsePiece):
            asked.body += message.body
            asked.complete = not message.more
        elif isinstance(message, HttpResponseAbort):
            asked.aborted = True

    async def ask(self, method: str, uri: str, body: bytes = b"", *, credit: int = WINDOW, **more: Any) -> Asked:
        """Send a request whose body is `body` alone; return once the response has begun."""
        _, asking = await self.begin(method, uri, body, credit=credit, more=False, **more)
        return await asking

    async def begin(
        self, method: str, uri: str, body: bytes = b"", *, credit: int = WINDOW, more: bool = True, headers: Any = ()
    ) -> tuple[str, asyncio.Task[Asked]]:
        """Send a request whose body goes on where `more` says so; its id, and the response when it has begun."""
        request = HttpStreamRequest(new_id(), method, uri, list(headers), credit, body, more)
        asking = asyncio.create_task(self._start_of(request))
        await asyncio.sleep(0)  # the task begins with sending
        return request.request_id, asking

    async def _start_of(self, request: HttpStreamRequest) -> Asked:
        start = await self.link.request(request, timeout=DEADLINE)
        assert isinstance(start, HttpResponseStart)
        asked = self._asked[request.request_id] = Asked(self, start)
        for message in self._early.pop(request.request_id, ()):
            self._add(message)
        return asked

    async def send(self, request_id: str, body: bytes, *, more: bool) -> None:
        """Send a piece of a request's body, once there is credit for it."""
        await until(lambda: self.credit.get(request_id, 0) >= len(body), "no credit was granted for the request's body")
        self.credit[request_id] = self.credit.get(request_id, 0) - len(body)
        self.link.post(HttpRequestPiece(request_id, body, more))


@asynccontextmanager
async def caller_of(server: Server) -> AsyncIterator[Caller]:
    """A link to a server that has started, with the module's own inbox at its other end."""
    loop = asyncio.get_running_loop()
    inbox, caller = Inbox(on_stop=lambda _reason, _drain: None), Caller()
    inbox.open({}, server)
    caller.inbox = inbox
    ours, theirs = socket.socketpair()
    sessions = Session(Role.MODULE, Wire.CHANNEL, module_id="m", new_id=new_id), Session(Role.ORCHESTRATOR, Wire.CHANNEL, new_id=new_id)
    _, module = await loop.create_unix_connection(lambda: Link(sessions[0], on_message=inbox.take), sock=ours)
    _, caller.link = await loop.create_unix_connection(lambda: Link(sessions[1], on_message=caller.take), sock=theirs)
    for session in sessions:
        session.use_format("msgpack")
    try:
        yield caller
    finally:
        await caller.link.close()
        await module.close()
        await inbox.drain(0.0)


class StreamContract(ServerSubject):
    """Bodies in pieces, for a server that has `stream`."""

    in_pieces: bool = True
    """Whether the server has `stream`."""

    @asynccontextmanager
    async def called(self, probe: Probe | None = None, **options: Any) -> AsyncIterator[Caller]:
        if not self.in_pieces:
            pytest.skip("declared: bodies over a link travel whole")
        async with self.served(None, probe, **options) as server, caller_of(server) as caller:
            yield caller

    async def test_what_is_declared_of_pieces_is_so(self) -> None:
        assert hasattr(self.server(), "stream") is self.in_pieces, "in_pieces says whether the server has a method `stream`"

    async def test_a_small_response_is_one_message(self) -> None:
        async with self.called() as caller:
            asked = await caller.ask("GET", "/hello")
            assert (asked.start.status_code, asked.body, asked.complete) == (200, b"hello", True)
            assert dict(asked.start.headers)["content-length"] == "5"

    async def test_a_streaming_response_arrives_in_pieces_over_a_link(self) -> None:
        if not self.streaming:
            pytest.skip("declared: the framework cannot stream")
        probe = Probe()
        async with self.called(probe) as caller:
            asking = asyncio.create_task(caller.ask("GET", "/stream"))
            for number, piece in enumerate((b"one;", b"two;", b"three;"), 1):
                await probe.until_waiting(number)
                probe.let_on()
                await (await asking).until(piece)
            assert await (await asking).whole() == b"one;two;three;"

    async def test_several_cookies_stay_several(self) -> None:
        async with self.called() as caller:
            asked = await caller.ask("GET", "/repeated")
            assert [value.split(";")[0] for name, value in asked.start.headers if name == "set-cookie"] == ["a=1", "b=2"]

    @pytest.mark.parametrize("size", [0, 1, 3 * WINDOW + 1])
    async def test_bodies_pass_whole_in_pieces(self, size: int) -> None:
        body = (bytes(range(256)) * (size // 256 + 1))[:size]
        async with self.called() as caller:
            id, asking = await caller.begin("POST", "/echo", body[:10], headers=[("content-type", "application/octet-stream")])
            for start in range(10, size, 50_000):
                await caller.send(id, body[start : min(size, start + 50_000)], more=True)
            await caller.send(id, b"", more=False)
            asked = await asking
            assert asked.start.status_code == 200
            assert await asked.whole() == body

    async def test_a_response_waits_for_credit(self) -> None:
        body = bytes(100_000)
        async with self.called() as caller:
            id, asking = await caller.begin("POST", "/echo", credit=1000, headers=[("content-type", "application/octet-stream")])
            for start in range(0, len(body), 50_000):
                await caller.send(id, body[start : start + 50_000], more=True)
            await caller.send(id, b"", more=False)
            asked = await asking
            await until(lambda: len(asked.body) == 1000, "the first thousand bytes never came")
            assert not asked.complete
            assert (await caller.ask("GET", "/hello")).body == b"hello"
            assert len(asked.body) == 1000
            assert await asked.whole() == body

    async def test_head_has_the_length_and_no_body_in_pieces(self) -> None:
        async with self.called() as caller:
            asked = await caller.ask("HEAD", "/hello")
            assert (asked.body, asked.complete, dict(asked.start.headers)["content-length"]) == (b"", True, "5")

    async def test_what_http_does_not_allow_is_400_in_pieces(self) -> None:
        async with self.called() as caller:
            assert (await caller.ask("GET /", "/hello")).start.status_code == 400
            assert (await caller.ask("GET", "/hello", headers=[("bad name", "x")])).start.status_code == 400

    async def test_an_exception_in_pieces_is_500_without_detail(self) -> None:
        async with self.called() as caller:
            asked = await caller.ask("GET", "/boom")
            assert asked.start.status_code == 500
            assert b"detail" not in await asked.whole()

    async def test_a_request_in_pieces_that_is_cancelled_ends(self) -> None:
        probe = Probe()
        async with self.called(probe) as caller:
            id, asking = await caller.begin("GET", "/slow", more=False)
            await probe.until_waiting()
            asking.cancel()
            caller.link.post(HttpRequestCancel(id))
            if self.cancellation:
                await until(lambda: probe.cancelled == 1, "the application was never cancelled")
            probe.let_on()
            assert (await caller.ask("GET", "/hello")).body == b"hello"

    async def test_a_stream_that_is_cancelled_ends(self) -> None:
        if not self.streaming:
            pytest.skip("declared: the framework cannot stream")
        probe = Probe()
        async with self.called(probe) as caller:
            probe.let_on()
            asking = asyncio.create_task(caller.ask("GET", "/stream"))
            await probe.until_waiting(2)
            asked = await asking
            await asked.until(b"one;")
            asked.cancel()
            if self.cancellation:
                await until(lambda: probe.cancelled == 1, "the application was never cancelled")
            probe.let_on(2)
            assert (await caller.ask("GET", "/hello")).body == b"hello"
            assert asked.body in (b"one;", b"one;two;")  # where only the next piece finds out

    async def test_after_the_drain_a_request_in_pieces_is_503(self) -> None:
        if not self.in_pieces:
            pytest.skip("declared: bodies over a link travel whole")
        async with self.served(None) as server, caller_of(server) as caller:
            assert await server.drain(DEADLINE)
            asked = await caller.ask("GET", "/hello")
            assert (asked.start.status_code, dict(asked.start.headers)["retry-after"]) == (503, "1")

    async def test_a_drain_that_is_cut_short_aborts_what_is_under_way(self) -> None:
        if not self.streaming or not self.cancellation:
            pytest.skip("declared: the framework cannot be cut short within a stream")
        probe = Probe()
        probe.let_on()
        async with self.served(None, probe) as server, caller_of(server) as caller:
            asking = asyncio.create_task(caller.ask("GET", "/stream"))
            await probe.until_waiting(2)
            asked = await asking
            await asked.until(b"one;")
            assert await server.drain(0.0) is False
            await until(lambda: asked.aborted or asked.complete, "nobody was told that the stream is over")
            assert asked.aborted
