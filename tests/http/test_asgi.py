"""One request over a link into an ASGI application, and an application's lifespan."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from pywatt_core.errors import ServerError
from pywatt_core.http import Lifespan, call_asgi
from pywatt_core.protocol.messages import HttpRequest

GET = HttpRequest(request_id="r", method="GET", uri="/a%20b?q=1", headers={"X-A": "é"}, body=None)


def answering(*events: dict[str, Any]) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        for event in events:
            await send(event)

    return app


START: dict[str, Any] = {"type": "http.response.start", "status": 200, "headers": []}
END: dict[str, Any] = {"type": "http.response.body", "body": b"done"}


async def test_the_scope_is_the_request() -> None:
    seen: dict[str, Any] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.update(scope, event=await receive())
        await answering(START, END)(scope, receive, send)

    body = bytes(range(256))
    request = HttpRequest(request_id="r", method="POST", uri="/a%20b?q=1", headers={"X-A": "é"}, body=body)
    assert (await call_asgi(app, request)).status_code == 200
    assert seen["type"] == "http"
    assert seen["method"] == "POST"
    assert (seen["path"], seen["raw_path"], seen["query_string"], seen["root_path"]) == ("/a b", b"/a%20b", b"q=1", "")
    assert seen["headers"] == [(b"x-a", "é".encode("latin-1")), (b"content-length", b"256")]
    assert seen["event"] == {"type": "http.request", "body": body, "more_body": False}


async def test_pieces_become_one_body() -> None:
    app = answering({**START, "headers": [(b"X-A", b"\xe9")]}, {"type": "http.response.body", "body": b"a", "more_body": True}, END)
    response = await call_asgi(app, GET)
    assert (response.status_code, response.headers, response.body) == (200, {"x-a": "é"}, b"adone")


async def test_a_bad_request_never_reaches_the_application() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError

    response = await call_asgi(app, HttpRequest(request_id="r", method="GET", uri="nowhere"))
    assert (response.status_code, response.body) == (400, b"Bad Request: invalid uri")


@pytest.mark.parametrize("failure", [RuntimeError("secret"), SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError()])
@pytest.mark.parametrize("begun", [True, False])
async def test_whatever_the_application_raises_is_500(failure: BaseException, begun: bool, caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if begun:
            await send(START)
            await send({**END, "more_body": True})
        raise failure

    response = await call_asgi(app, GET)
    assert (response.status_code, response.body) == (500, b"Internal Server Error")
    assert "request r:" in caplog.text


async def test_an_exception_after_the_response_changes_nothing_but_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answering(START, END)(scope, receive, send)
        raise RuntimeError("afterwards")

    assert (await call_asgi(app, GET)).body == b"done"
    assert "afterwards" in caplog.text


@pytest.mark.parametrize(
    "events",
    [
        [],
        [START],
        [END],
        [START, START],
        [{**START, "status": 42}],
        [{**START, "status": "200"}],
        [{"type": "http.response.debug"}],
    ],
    ids=["nothing", "only a start", "only an end", "two starts", "no status", "text as status", "another event"],
)
async def test_an_incomplete_or_impossible_response_is_500(events: list[dict[str, Any]]) -> None:
    assert (await call_asgi(answering(*events), GET)).status_code == 500


async def test_a_response_that_is_too_large_is_500_and_ends_the_application(caplog: pytest.LogCaptureFixture) -> None:
    ended = asyncio.Event()

    async def endless(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        try:
            while True:
                await send({"type": "http.response.body", "body": b"x" * 100, "more_body": True})
                await asyncio.sleep(0)
        finally:
            ended.set()

    response = await call_asgi(endless, GET, max_body=1000)
    assert (response.status_code, response.body) == (500, b"Response too large")
    assert ended.is_set()
    assert "the response is larger than 1000 bytes" in caplog.text


async def test_an_application_that_takes_too_long_is_cancelled_and_504() -> None:
    cancelled = asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    assert (await call_asgi(slow, GET, deadline=0.01)).status_code == 504
    assert cancelled.is_set()


async def test_cancelling_the_call_cancels_the_application() -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    call = asyncio.create_task(call_asgi(slow, GET))
    await begun.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert cancelled.is_set()


async def test_the_client_is_there_until_the_response_is_complete() -> None:
    events: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        waiting = asyncio.create_task(receive())
        await asyncio.sleep(0)
        assert not waiting.done()
        await answering(START, END)(scope, receive, send)
        events.append((await waiting)["type"])

    await call_asgi(app, GET)
    assert events == ["http.disconnect"]


async def test_work_after_the_response_goes_on_in_the_background() -> None:
    release, done = asyncio.Event(), asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answering(START, END)(scope, receive, send)
        await release.wait()
        done.set()

    background: set[asyncio.Task[None]] = set()
    assert (await call_asgi(app, GET, background=background)).body == b"done"
    assert len(background) == 1
    release.set()
    await asyncio.gather(*background)
    assert done.is_set()
    await asyncio.sleep(0)
    assert not background


# ── lifespan ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_lifespan_is_entered_and_left_in_one_task() -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((await receive())["type"])
        scope["state"]["pool"] = asyncio.current_task()
        await send({"type": "lifespan.startup.complete"})
        seen.append((await receive())["type"])
        assert scope["state"]["pool"] is asyncio.current_task()
        await send({"type": "lifespan.shutdown.complete"})
        seen.append("ended")

    lifespan = Lifespan(app)
    await lifespan.enter()
    assert seen == ["lifespan.startup"]
    assert "pool" in lifespan.state
    await lifespan.leave()
    await lifespan.leave()
    assert seen == ["lifespan.startup", "lifespan.shutdown", "ended"]


async def test_an_application_that_knows_no_lifespan_is_taken_as_started() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        return

    lifespan = Lifespan(app)
    await lifespan.enter()
    await lifespan.leave()


async def test_a_lifespan_that_raises_is_a_server_error_with_its_cause() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise LookupError("no table")

    with pytest.raises(ServerError, match="the application's lifespan failed at start-up: LookupError: no table") as caught:
        await Lifespan(app).enter()
    assert isinstance(caught.value.__cause__, LookupError)


async def test_a_lifespan_that_exits_is_a_server_error() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise SystemExit(3)

    with pytest.raises(ServerError, match=r"the application called exit\(3\)"):
        await Lifespan(app).enter()


async def test_a_lifespan_that_is_interrupted_is_a_server_error() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(ServerError, match="the application raised KeyboardInterrupt"):
        await Lifespan(app).enter()


@pytest.mark.parametrize("says_so", [True, False])
async def test_a_lifespan_that_failed_to_start_is_not_left(says_so: bool, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((await receive())["type"])
        if says_so:
            await send({"type": "lifespan.startup.failed", "message": "no table"})
        raise LookupError("no table")

    lifespan = Lifespan(app)
    with pytest.raises(ServerError, match="failed at start-up"):
        await lifespan.enter()
    await lifespan.leave()
    assert seen == ["lifespan.startup"]
    assert caplog.text == ""


async def test_a_lifespan_that_goes_on_after_it_failed_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pywatt_core.http.asgi.PATIENCE", 0.01)
    cancelled = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "lifespan.startup.failed", "message": "no table"})
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    with pytest.raises(ServerError, match="failed at start-up: no table"):
        await Lifespan(app).enter()
    assert cancelled.is_set()


async def test_a_lifespan_that_says_that_it_failed_is_a_server_error_with_its_message() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "Traceback\nLookupError: no table"})

    with pytest.raises(ServerError, match="failed at start-up: LookupError: no table$"):
        await Lifespan(app).enter()


async def test_a_lifespan_that_does_not_end_is_cancelled(caplog: pytest.LogCaptureFixture) -> None:
    cancelled = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "lifespan.startup.complete"})
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    lifespan = Lifespan(app)
    await lifespan.enter()
    await lifespan.leave(0.01)
    assert cancelled.is_set()
    assert "did not end within 0.01 s" in caplog.text


async def test_a_lifespan_that_fails_at_the_end_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await receive()
        raise LookupError("late")

    lifespan = Lifespan(app)
    await lifespan.enter()
    with caplog.at_level(logging.ERROR):
        await lifespan.leave()
    assert "failed at shut-down" in caplog.text
    assert "late" in caplog.text


async def test_cancelling_the_start_cancels_the_lifespan() -> None:
    cancelled = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    entering = asyncio.create_task(Lifespan(app).enter())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    entering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await entering
    assert cancelled.is_set()
