"""ASGI applications whose bodies travel in pieces; what every framework has to do stands in `ServerContract`."""

import asyncio

import pytest

from pywatt_core.http.asgi_stream import stream_asgi
from pywatt_core.http.streams import Stream
from pywatt_core.protocol.messages import HttpResponseAbort, HttpResponseStart, HttpStreamRequest


class Wire:
    def __init__(self):
        self.sent = []

    def post(self, message):
        self.sent.append(message)

    async def send(self, message):
        self.sent.append(message)


def stream(method="GET", uri="/", headers=(), body=b"", *, more=False):
    wire = Wire()
    return Stream(HttpStreamRequest("r", method, uri, list(headers), 1000, body, more), wire), wire


async def test_the_scope_is_that_of_the_request():
    seen = {}

    async def app(scope, receive, send):
        seen.update(scope, event=await receive())
        await send({"type": "http.response.start", "status": 200, "headers": [(b"X-A", b"1")]})
        await send({"type": "http.response.body", "body": b"fine"})

    one, wire = stream("POST", "/a%20b?c=d", [("X-Y", "1"), ("X-Y", "2"), ("Content-Length", "3"), ("Connection", "close")], b"abc")
    await stream_asgi(app, one)
    assert (seen["method"], seen["path"], seen["raw_path"], seen["query_string"]) == ("POST", "/a b", b"/a%20b", b"c=d")
    assert seen["headers"] == [(b"x-y", b"1"), (b"x-y", b"2"), (b"content-length", b"3")]
    assert seen["event"] == {"type": "http.request", "body": b"abc", "more_body": False}
    assert seen["pywatt.request_id"] == "r"
    assert wire.sent == [HttpResponseStart("r", 200, [("x-a", "1")], b"fine")]


async def test_the_length_of_a_body_that_is_still_coming_is_what_its_sender_says():
    seen = []

    async def app(scope, receive, send):
        seen.append(dict(scope["headers"]).get(b"content-length"))

    for said in ("7", "x", "-1"):
        one, _ = stream("POST", "/", [("content-length", said)], more=True)
        await stream_asgi(app, one)
    assert seen == [b"7", None, None]


async def test_background_work_is_left_to_the_caller():
    gate = asyncio.Event()

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body"})
        await gate.wait()

    background = set()
    one, wire = stream()
    await stream_asgi(app, one, background=background)
    assert len(wire.sent) == 1
    assert len(background) == 1
    gate.set()
    await asyncio.wait(background)


@pytest.mark.parametrize("failure", [RuntimeError("a detail"), SystemExit(3), KeyboardInterrupt()])
async def test_an_exception_is_500_or_aborts_what_has_begun(failure):
    async def before(scope, receive, send):
        raise failure

    async def within(scope, receive, send):
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise failure

    one, wire = stream()
    await stream_asgi(before, one)
    assert [(message.status_code, message.body) for message in wire.sent] == [(500, b"Internal Server Error")]
    one, wire = stream()
    await stream_asgi(within, one)
    assert wire.sent[-1] == HttpResponseAbort("r")


async def test_an_application_that_forgets_to_answer_is_500():
    async def app(scope, receive, send):
        pass

    one, wire = stream()
    await stream_asgi(app, one)
    assert wire.sent[0].status_code == 500


@pytest.mark.parametrize("event", [{"type": "websocket.send"}, {"type": "http.response.start", "status": "200"}])
async def test_events_out_of_order_are_errors_of_the_application(event):
    async def app(scope, receive, send):
        await send(event)

    one, wire = stream()
    await stream_asgi(app, one)
    assert wire.sent[0].status_code == 500


async def test_an_application_that_does_not_listen_is_cancelled_when_its_client_is_gone(monkeypatch):
    monkeypatch.setattr("pywatt_core.http.asgi_stream.GRACE", 0.01)
    ended = []

    async def app(scope, receive, send):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append(True)
            raise

    one, _ = stream()
    call = asyncio.create_task(stream_asgi(app, one))
    await asyncio.sleep(0)
    one.lose()
    await call
    assert ended == [True]


async def test_cancelling_the_call_cancels_the_application():
    ended, begun = [], asyncio.Event()

    async def app(scope, receive, send):
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append(True)
            raise

    one, _ = stream()
    call = asyncio.create_task(stream_asgi(app, one))
    await begun.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert ended == [True]
