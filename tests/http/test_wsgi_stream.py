"""WSGI applications whose bodies travel in pieces; what every framework has to do stands in `ServerContract`."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from pywatt_core.http.streams import Stream
from pywatt_core.http.wsgi_stream import stream_wsgi
from pywatt_core.protocol.messages import (
    HttpRequestPiece,
    HttpResponseAbort,
    HttpResponsePiece,
    HttpResponseStart,
    HttpStreamRequest,
)


class Wire:
    def __init__(self):
        self.sent = []

    def post(self, message):
        self.sent.append(message)

    async def send(self, message):
        self.sent.append(message)


def stream(method="GET", headers=(), body=b"", *, more=False, credit=1000):
    wire = Wire()
    return Stream(HttpStreamRequest("r", method, "/a%20b?c=d", list(headers), credit, body, more), wire), wire


@pytest.fixture
def threads():
    with ThreadPoolExecutor(2) as executor:
        yield executor


async def test_a_body_with_its_length_is_one_message(threads):
    def app(environ, start_response):
        start_response("200 OK", [("Content-Length", "4")])
        return [b"", b"fine"]

    one, wire = stream()
    await stream_wsgi(app, one, threads)
    assert wire.sent == [HttpResponseStart("r", 200, [("content-length", "4")], b"fine")]


async def test_pieces_leave_as_they_are_made(threads):
    def app(environ, start_response):
        start_response("200 OK", [])
        yield b"one"
        yield b"two"

    one, wire = stream()
    await stream_wsgi(app, one, threads)
    assert wire.sent == [HttpResponseStart("r", 200, [], b"one", True), HttpResponsePiece("r", b"two", True), HttpResponsePiece("r")]


@pytest.mark.parametrize("how", ["read", "readline", "iterate", "some"])
async def test_the_body_is_a_file_that_is_read_as_it_comes(threads, how):
    def app(environ, start_response):
        start_response("200 OK", [])
        file = environ["wsgi.input"]
        assert "CONTENT_LENGTH" not in environ
        assert environ["wsgi.input_terminated"]
        if how == "read":
            return [file.read()]
        if how == "some":
            return [file.read(3), file.read(1000), file.read(5)]
        return [file.readline(), file.readline(), file.readline()] if how == "readline" else list(file)

    one, wire = stream("POST", body=b"ab\nc", more=True)
    call = asyncio.create_task(stream_wsgi(app, one, threads))
    async with asyncio.timeout(20):
        while not wire.sent:  # the credit for the rest
            await asyncio.sleep(0.001)
    one.piece_received(HttpRequestPiece("r", b"d\n", more=True))
    one.piece_received(HttpRequestPiece("r", b"e"))
    await call
    assert b"".join(message.body for message in wire.sent if hasattr(message, "body")) == b"ab\ncd\ne"


async def test_the_environ_is_that_of_the_request(threads):
    seen = {}

    def app(environ, start_response):
        seen.update(environ)
        start_response("200 OK", [])
        return []

    one, _ = stream("POST", [("X-A", "1"), ("X-A", "2"), ("Content-Type", "text/plain")], b"abc")
    await stream_wsgi(app, one, threads)
    assert (seen["PATH_INFO"], seen["QUERY_STRING"], seen["CONTENT_LENGTH"]) == ("/a b", "c=d", "3")
    assert (seen["HTTP_X_A"], seen["CONTENT_TYPE"]) == ("1, 2", "text/plain")


@pytest.mark.parametrize("failure", [RuntimeError("a detail"), SystemExit(3)])
async def test_an_exception_is_500_or_aborts_what_has_begun(threads, failure):
    def before(environ, start_response):
        start_response("200 OK", [])
        raise failure

    def within(environ, start_response):
        start_response("200 OK", [])
        yield b"half"
        raise failure

    one, wire = stream()
    await stream_wsgi(before, one, threads)
    assert [(message.status_code, message.body) for message in wire.sent] == [(500, b"Internal Server Error")]
    one, wire = stream()
    await stream_wsgi(within, one, threads)
    assert wire.sent[-1] == HttpResponseAbort("r")


async def test_an_application_that_never_starts_a_response_is_500(threads):
    one, wire = stream()
    await stream_wsgi(lambda environ, start_response: [], one, threads)
    assert wire.sent[0].status_code == 500


async def test_a_response_may_be_started_anew_while_nothing_of_it_has_left(threads):
    def app(environ, start_response):
        start_response("200 OK", [])
        try:
            raise RuntimeError("on purpose")
        except RuntimeError as error:
            start_response("503 Later", [], (type(error), error, error.__traceback__))
        return [b"later"]

    one, wire = stream()
    await stream_wsgi(app, one, threads)
    assert wire.sent[0].status_code == 503


async def test_a_client_that_is_gone_ends_the_application_at_its_next_piece_and_closes_it(threads):
    closed = []

    def app(environ, start_response):
        start_response("200 OK", [])
        try:
            while True:
                yield bytes(100)
        finally:
            closed.append(True)

    one, wire = stream(credit=150)
    call = asyncio.create_task(stream_wsgi(app, one, threads))
    async with asyncio.timeout(20):
        while sum(len(message.body) for message in wire.sent) < 150:
            await asyncio.sleep(0.001)
    one.lose()
    await call
    assert closed == [True]


async def test_cancelling_the_call_ends_the_thread(threads):
    begun = []

    def app(environ, start_response):
        start_response("200 OK", [])
        begun.append(True)
        while True:
            yield bytes(100)

    one, _ = stream(credit=50)
    call = asyncio.create_task(stream_wsgi(app, one, threads))
    async with asyncio.timeout(20):
        while not begun:
            await asyncio.sleep(0.001)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await asyncio.get_running_loop().run_in_executor(threads, lambda: None)
    await asyncio.to_thread(threads.shutdown)
