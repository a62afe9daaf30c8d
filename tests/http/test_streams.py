"""The module's end of HTTP in pieces, with a real link and a server that does what each test says."""

import asyncio
import contextlib

import pytest

from pywatt_core.http.streams import CANCELLED, Disconnected, Stream, Streams
from pywatt_core.protocol.http_pieces import MAX_PIECE, WINDOW
from pywatt_core.protocol.messages import (
    HttpRequestCancel,
    HttpRequestPiece,
    HttpResponseAbort,
    HttpResponseCredit,
    HttpResponsePiece,
    HttpResponseStart,
    HttpStreamRequest,
)
from pywatt_core.serving import CONCURRENT_REQUESTS
from pywatt_core.testing.contracts.server_probe import until
from pywatt_core.testing.contracts.server_streams import caller_of


class Server:
    """`act` answers each stream."""

    def __init__(self, act):
        self.act = act
        self.streams = []

    async def stream(self, stream):
        self.streams.append(stream)
        await self.act(stream)


async def whole(stream):
    """The request's body, read to its end."""
    body, more = b"", True
    while more:
        piece, more = await stream.receive()
        body += piece
    return body


@contextlib.asynccontextmanager
async def serving(act):
    server = Server(act)
    async with caller_of(server) as caller:
        yield server, caller


async def test_a_body_that_nobody_reads_is_not_asked_for():
    gate = asyncio.Event()

    async def act(stream):
        await gate.wait()
        assert await whole(stream) == b"abcd"
        stream.answer(200, "fine")

    async with serving(act) as (server, caller):
        id, asking = await caller.begin("POST", "/", b"ab")
        await until(lambda: server.streams, "the request never arrived")
        assert caller.credit == {}
        gate.set()
        await caller.send(id, b"cd", more=False)
        assert await (await asking).whole() == b"fine"


async def test_a_body_longer_than_the_window_passes_and_never_waits_in_memory():
    most = 0

    async def act(stream):
        nonlocal most
        size, more = 0, True
        while more:
            piece, more = await stream.receive()
            size += len(piece)
            most = max(most, sum(map(len, stream._pieces)))
        stream.answer(200, str(size))

    async with serving(act) as (_server, caller):
        id, asking = await caller.begin("POST", "/")
        for _ in range(5 * WINDOW // MAX_PIECE):
            await caller.send(id, bytes(MAX_PIECE), more=True)
        await caller.send(id, b"", more=False)
        assert await (await asking).whole() == str(5 * WINDOW).encode()
    assert most <= WINDOW


async def test_a_long_response_is_cut_into_pieces():
    async def act(stream):
        stream.start(200, [])
        await stream.send(bytes(3 * MAX_PIECE), more=False)

    async with serving(act) as (_server, caller):
        asked = await caller.ask("GET", "/")
        assert len(asked.start.body) == MAX_PIECE
        assert await asked.whole() == bytes(3 * MAX_PIECE)


async def test_the_head_leaves_before_there_is_a_body():
    gate = asyncio.Event()

    async def act(stream):
        stream.start(200, [("X-A", "1"), ("Connection", "close"), ("X-B", "\u20ac")])
        await gate.wait()
        await stream.send(b"", more=False)

    async with serving(act) as (_server, caller):
        asked = await caller.ask("GET", "/")
        assert (asked.start.headers, asked.complete) == ([("x-a", "1")], False)
        gate.set()
        assert await asked.whole() == b""


async def test_a_response_is_started_once_and_before_its_body():
    async def act(stream):
        with pytest.raises(RuntimeError, match="a body was sent before"):
            await stream.send(b"x", more=True)
        with pytest.raises(RuntimeError, match="invalid status 101"):
            stream.start(101, [])
        stream.start(204, [])
        with pytest.raises(RuntimeError, match="already started"):
            stream.start(200, [])
        await stream.send(b"no body goes with 204", more=False)
        await stream.send(b"nor after the end", more=True)

    async with serving(act) as (_server, caller):
        asked = await caller.ask("GET", "/")
        assert (asked.start.status_code, await asked.whole()) == (204, b"")


async def test_a_server_that_fails_is_500_and_one_that_says_nothing_is_answered_too():
    async def fails(stream):
        raise RuntimeError("on purpose")

    async def silent(stream):
        pass

    for act, status in ((fails, 500), (silent, CANCELLED)):
        async with serving(act) as (_server, caller):
            assert (await caller.ask("GET", "/")).start.status_code == status


async def test_a_response_that_was_left_unfinished_is_aborted():
    async def act(stream):
        stream.start(200, [])
        await stream.send(b"half", more=True)

    async with serving(act) as (_server, caller):
        asked = await caller.ask("GET", "/")
        await until(lambda: asked.aborted, "nobody said that nothing follows")
        assert asked.body == b"half"


async def test_a_cancelled_request_wakes_whoever_waits_for_it():
    ended = []

    async def reads(stream):
        try:
            await whole(stream)
        except Disconnected:
            ended.append("reading")
            raise

    async def writes(stream):
        stream.start(200, [])
        with pytest.raises(Disconnected):
            while True:
                await stream.send(bytes(1000), more=True)
        ended.append("writing")

    async def waits(stream):
        await stream.gone
        ended.append("waiting")

    for number, act in enumerate((reads, writes, waits), 1):
        async with serving(act) as (server, caller):
            id, asking = await caller.begin("POST", "/", credit=1)
            await until(lambda: server.streams, "the request never arrived")
            caller.link.post(HttpRequestCancel(id))
            await until(lambda: len(ended) == number, "the server was never told")  # noqa: B023
            await asking
    assert ended == ["reading", "writing", "waiting"]


async def test_a_request_that_is_cancelled_before_its_turn_is_never_begun():
    gate = asyncio.Event()

    async def act(stream):
        await gate.wait()
        stream.answer(200, "fine")

    async with serving(act) as (server, caller):
        begun = [await caller.begin("GET", "/", more=False) for _ in range(CONCURRENT_REQUESTS)]
        late, asking = await caller.begin("GET", "/late", more=False)
        caller.link.post(HttpRequestCancel(late))
        await until(lambda: len(server.streams) == CONCURRENT_REQUESTS, "not all began")
        gate.set()
        assert (await asking).start.status_code == CANCELLED
        assert {(await one).start.status_code for _, one in begun} == {200}
        assert all(stream.request.uri == "/" for stream in server.streams)


async def test_streams_under_way_leave_room_for_requests_until_there_are_too_many(monkeypatch):
    monkeypatch.setattr("pywatt_core.serving.OPEN_STREAMS", CONCURRENT_REQUESTS + 10)

    async def act(stream):
        stream.start(200, [])
        await stream.gone

    async with serving(act) as (server, caller):
        asked = [await caller.ask("GET", "/events") for _ in range(CONCURRENT_REQUESTS + 10)]
        refused = await caller.ask("GET", "/events")
        assert (refused.start.status_code, refused.body) == (503, b"busy")
        asked[0].cancel()
        await until(lambda: server.streams[0].finished.done(), "the stream never ended")
        assert (await caller.ask("GET", "/events")).start.status_code == 200


async def test_who_sends_more_than_was_granted_is_cut_off_and_nobody_else():
    async def act(stream):
        if stream.request.method == "GET":
            stream.answer(200, "fine")
            return
        await stream.receive()
        stream.start(200, [])
        await stream.gone

    async with serving(act) as (server, caller):
        id, asking = await caller.begin("POST", "/", b"first")
        await until(lambda: caller.credit.get(id), "no credit came")
        caller.link.post(HttpRequestPiece(id, bytes(WINDOW), more=True))
        caller.link.post(HttpRequestPiece(id, b"x", more=True))
        asked = await asking
        await until(lambda: server.streams[0].finished.done(), "the stream goes on")
        assert not asked.complete
        assert (await caller.ask("GET", "/")).body == b"fine"


async def test_pieces_after_the_last_one_are_an_error():
    async def act(stream):
        await stream.gone

    async with serving(act) as (server, caller):
        id, asking = await caller.begin("POST", "/", more=False)
        await until(lambda: server.streams, "the request never arrived")
        caller.link.post(HttpRequestPiece(id, b"x"))
        assert (await asking).start.status_code == CANCELLED


async def test_a_link_that_closes_ends_its_streams():
    async def act(stream):
        stream.start(200, [])
        await stream.gone

    async with serving(act) as (server, caller):
        await caller.ask("GET", "/")
        await caller.link.close()
        await until(lambda: server.streams[0].finished.done(), "the stream goes on")


async def test_what_belongs_to_no_request_is_ignored():
    async def act(stream):
        stream.answer(200, "fine")

    async with serving(act) as (_server, caller):
        await caller.ask("GET", "/")
        for message in (HttpRequestPiece("?", b"x"), HttpResponseCredit("?", 1), HttpRequestCancel("?")):
            caller.link.post(message)
        assert (await caller.ask("GET", "/")).body == b"fine"


class Wire:
    """Keeps what is sent."""

    def __init__(self):
        self.sent = []

    def post(self, message):
        self.sent.append(message)

    async def send(self, message):
        self.sent.append(message)


async def test_an_id_that_is_taken_is_refused():
    wire, streams = Wire(), Streams()
    first = streams.open(HttpStreamRequest("r", "GET", "/", [], 1), wire)
    assert streams.open(HttpStreamRequest("r", "GET", "/", [], 1), wire) is None
    assert [(message.request_id, message.status_code) for message in wire.sent] == [("r", 400)]
    streams.close(first)
    assert len(streams) == 0


async def test_who_neither_reads_nor_sends_is_given_up(monkeypatch):
    monkeypatch.setattr("pywatt_core.http.streams.STALL", 0.01)
    wire = Wire()
    reading = Stream(HttpStreamRequest("r", "POST", "/", [], 1, more=True), wire)
    with pytest.raises(Disconnected):
        await reading.receive()
    writing = Stream(HttpStreamRequest("w", "GET", "/", [], 1), wire)
    writing.start(200, [])
    with pytest.raises(Disconnected):
        await writing.send(b"ab", more=False)
    assert [type(message) for message in wire.sent[1:]] == [HttpResponseStart]
    assert wire.sent[1].body == b"a"


async def test_an_answer_within_a_response_aborts_it_and_after_it_does_nothing():
    wire = Wire()
    stream = Stream(HttpStreamRequest("r", "GET", "/", [], 10), wire)
    stream.start(200, [])
    await stream.send(b"a", more=True)
    stream.answer(500, "")
    assert [type(message) for message in wire.sent] == [HttpResponseStart, HttpResponseAbort]
    done = Stream(HttpStreamRequest("d", "GET", "/", [], 10), wire)
    done.start(200, [])
    await done.send(b"a", more=True)
    await done.send(b"b", more=False)
    done.answer(500, "")
    assert type(wire.sent[-1]) is HttpResponsePiece


async def test_a_drain_refuses_what_waits_for_its_turn_and_what_is_new_and_lets_the_rest_end():
    gate = asyncio.Event()

    async def act(stream):
        await gate.wait()
        stream.answer(200, "fine")

    async with serving(act) as (server, caller):
        begun = [await caller.begin("GET", "/", more=False) for _ in range(CONCURRENT_REQUESTS + 3)]
        await until(lambda: len(server.streams) == CONCURRENT_REQUESTS, "not all began")
        draining = asyncio.create_task(caller.inbox.drain(20))
        refused = [await asking for _, asking in begun[-3:]]
        assert [(asked.start.status_code, asked.body) for asked in refused] == [(503, b"stopping")] * 3
        assert (await caller.ask("GET", "/late")).start.status_code == 503
        gate.set()
        assert await draining is True
        assert {(await asking).start.status_code for _, asking in begun[:-3]} == {200}


async def test_a_drain_that_is_cut_short_aborts_what_has_begun():
    async def act(stream):
        stream.start(200, [])
        await stream.send(b"half", more=True)
        await asyncio.Event().wait()

    async with serving(act) as (_server, caller):
        asked = await caller.ask("GET", "/")
        assert await caller.inbox.drain(0.01) is False
        await until(lambda: asked.aborted, "nobody said that nothing follows")


async def test_a_server_without_streams_was_never_offered_and_refuses():
    class Whole:
        async def handle(self, request):
            raise AssertionError("not asked")

    async with caller_of(Whole()) as caller:
        assert (await caller.ask("GET", "/")).start.status_code == 503
