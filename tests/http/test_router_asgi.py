"""The router's ASGI face."""

import pytest

from pywatt_core.http import HttpIpcRouter, RouterApp


async def call(app, *events, **scope):
    """What the application sends."""
    incoming, sent = list(events), []

    async def receive():
        return incoming.pop(0) if incoming else {"type": "http.disconnect"}

    async def send(event):
        sent.append(event)

    base = {"type": "http", "method": "GET", "path": "/", "raw_path": b"/", "query_string": b"", "root_path": "", "headers": []}
    await app({**base, **scope}, receive, send)
    return sent


def body(data=b"", *, more=False):
    return {"type": "http.request", "body": data, "more_body": more}


@pytest.fixture
def app():
    router = HttpIpcRouter()

    @router.route(["GET", "POST"], "/a%20b")
    async def show(request):
        return [request.uri, request.headers, request.text()]

    return RouterApp(router)


async def test_paths_stay_as_they_came_below_the_prefix(app):
    start, sent = await call(
        app, body(b"ab", more=True), body(b"c"), method="POST", path="/shop/a b", raw_path=b"/shop/a%20b", root_path="/shop",
        query_string=b"q=1", headers=[(b"X-A", b"1"), (b"x-a", b"2"), (b"cookie", b"a"), (b"cookie", b"b")],
    )  # fmt: skip
    assert b'["/a%20b?q=1",{"x-a":"1, 2","cookie":"a; b"},"abc"]' in sent["body"]
    assert (b"content-length", str(len(sent["body"])).encode()) in start["headers"]


async def test_a_path_without_its_raw_form_is_taken_as_it_is(app):
    start, _ = await call(app, body(), path="/a%20b", raw_path=None)
    assert start["status"] == 200


async def test_a_client_that_goes_away_within_its_body_is_not_answered(app):
    assert await call(app, body(b"a", more=True)) == []


async def test_a_websocket_is_closed(app):
    assert await call(app, type="websocket") == [{"type": "websocket.close", "code": 1000}]


async def test_the_lifespan_is_answered(app):
    sent = await call(app, {"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}, type="lifespan")
    assert [event["type"] for event in sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
