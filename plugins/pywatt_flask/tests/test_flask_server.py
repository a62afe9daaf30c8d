"""What waitress and Flask add to the contract: limits, pipelines, threads, prefixes, the state."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop
from flask import Flask, Response, redirect, request, send_file, url_for

import pywatt_flask
from pywatt_core import telemetry
from pywatt_core.errors import ServerError
from pywatt_core.http import Stream
from pywatt_core.interfaces import Server, ServerOptions
from pywatt_core.protocol.messages import HttpStreamRequest
from pywatt_core.testing.client import fetch
from pywatt_core.testing.contracts import server_probe
from pywatt_core.testing.contracts.server_probe import DEADLINE, Place, Probe, bound, state, streaming, until
from pywatt_flask.listening import MAX_HEADERS


@asynccontextmanager
async def served(app: Any, place: Place | None, **options: Any) -> AsyncIterator[Server]:
    server = pywatt_flask.pywatt_make_server(app, ServerOptions(**{"state": state(), **options}))
    assert server is not None
    try:
        await server.start(place.listener if place else None)
        yield server
    finally:
        await server.close()


@pytest.fixture
def place() -> Iterator[Place]:
    with bound("unix") as place:
        yield place


def application(probe: Probe | None = None) -> Flask:
    app = Flask("tested", static_folder=None)

    @app.get("/hello")
    def hello() -> str:
        return "hello"

    @app.get("/slow")
    def slow() -> str:
        assert probe is not None
        probe.wait()
        return "slow"

    return app


@pytest.mark.parametrize("path", ["/whole", "/form", "/pieces"])
@pytest.mark.parametrize("length", [[("content-length", "100")], []])
async def test_an_upload_over_a_link_that_is_cut_off_leaves_no_traceback(
    path: str, length: list[tuple[str, str]], caplog: pytest.LogCaptureFixture
) -> None:
    app = Flask("tested", static_folder=None)
    app.post("/whole", endpoint="whole")(lambda: str(len(request.get_data())))
    app.post("/form", endpoint="form")(lambda: str(len(request.files)))
    app.post("/pieces", endpoint="pieces")(lambda: str(len(list(iter(lambda: request.stream.read(10), b"")))))
    sent: list[Any] = []

    class Wire:
        def post(self, message: Any) -> None:
            sent.append(message)

        async def send(self, message: Any) -> None:
            sent.append(message)

    caplog.set_level(logging.INFO)
    headers = [("content-type", "multipart/form-data; boundary=x"), *length]
    async with served(app, None) as server:
        stream = Stream(HttpStreamRequest("r", "POST", path, headers, 1000, b"--x\r\n", True), Wire())
        answering = asyncio.create_task(server.stream(stream))  # type: ignore[attr-defined]
        await until(lambda: bool(sent), "the application never read")
        stream.lose()
        await answering
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.INFO] == []


async def test_waitress_that_cannot_start_is_a_server_error(place: Place) -> None:
    place.listener.close()
    server = pywatt_flask.pywatt_make_server(application(), ServerOptions(state=None))
    assert server is not None
    with pytest.raises(ServerError, match="waitress could not start"):
        await server.start(place.listener)
    await server.close()
    await until(lambda: not [t for t in threading.enumerate() if t.name.startswith("waitress")], "threads are left")


async def test_requests_beyond_the_limits_are_refused(place: Place) -> None:
    async with served(application(), place):
        response = await fetch(place.address, "GET", "/hello", headers={"X-Long": "x" * MAX_HEADERS})
        assert response.status == 431
        async with streaming(place.address) as stream:
            stream.ask("/hello", method="POST", headers=f"content-length: {1 << 40}\r\n")
            assert b" 413 " in await stream.until(b"\r\n")
        assert (await fetch(place.address, "GET", "/hello")).text == "hello"


async def test_a_malformed_request_is_400(place: Place) -> None:
    async with served(application(), place), streaming(place.address) as stream:
        stream.writer.write(b"GET /hello HTTP/1.1\r\nbad header\r\n\r\n")
        assert b" 400 " in await stream.until(b"\r\n")


async def test_a_large_response_to_a_slow_client_is_finished_at_the_drain(place: Place) -> None:
    size = 20 * 1024 * 1024
    app = Flask("large", static_folder=None)

    @app.get("/")
    def large() -> Response:
        return Response(b"x" * size, content_type="application/octet-stream")

    async with served(app, place) as server, streaming(place.address) as stream:
        stream.ask("/")
        head = await stream.until(b"\r\n\r\n")
        draining = asyncio.create_task(server.drain(DEADLINE))
        await place.until_refused()
        assert f"content-length: {size}".encode() in head.lower()
        assert len(await stream.rest()) == size
        assert await draining


async def test_files_are_sent_whole(place: Place, tmp_path: Any) -> None:
    (tmp_path / "f").write_bytes(bytes(range(256)) * 1000)
    app = Flask("files", static_folder=None)

    @app.get("/f")
    def file() -> Response:
        return send_file(tmp_path / "f", mimetype="application/octet-stream")

    async with served(app, place) as server:
        assert (await fetch(place.address, "GET", "/f")).body == bytes(range(256)) * 1000
        assert (await server.handle(server_probe.request("GET", "/f"))).body == bytes(range(256)) * 1000


async def test_a_view_that_exits_answers_500_and_its_thread_lives_on(place: Place) -> None:
    app = application()

    @app.get("/exit")
    def leave() -> str:
        raise SystemExit(3)

    async with served(app, place, threads=1) as server:
        assert (await fetch(place.address, "GET", "/exit")).status == 500
        assert (await server.handle(server_probe.request("GET", "/exit"))).status_code == 500
        assert (await fetch(place.address, "GET", "/hello")).text == "hello"


async def test_sockets_and_links_share_the_threads(place: Place) -> None:
    probe, names = Probe(), set()
    app = application()

    @app.get("/who")
    def who() -> str:
        names.add(threading.current_thread().name)
        probe.wait()
        return ""

    async with served(app, place, threads=2) as server:
        asking = [asyncio.create_task(fetch(place.address, "GET", "/who")) for _ in range(2)]
        linked = [asyncio.create_task(server.handle(server_probe.request("GET", "/who"))) for _ in range(2)]
        await probe.until_waiting(2)
        assert probe.waiting == 2
        probe.let_on(4)
        await asyncio.gather(*asking, *linked)
        assert len(names) == 2


async def test_a_view_that_never_comes_back_does_not_hold_up_the_close(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    probe = Probe()
    try:
        async with served(application(probe), place, threads=1) as server, streaming(place.address) as stream:
            stream.ask("/slow")
            await probe.until_waiting()
            waiting = asyncio.create_task(server.handle(server_probe.request("GET", "/hello")))
            await asyncio.sleep(0)
            assert not await server.drain(0.01)
            assert (await waiting).status_code == 503
            await server.close()
            assert "1 worker thread(s) did not come back" in caplog.text
    finally:
        probe.let_on()


async def test_waiting_requests_are_not_logged_one_by_one(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    probe = Probe()
    async with served(application(probe), place, threads=1):
        asking = [asyncio.create_task(fetch(place.address, "GET", "/slow")) for _ in range(4)]
        await probe.until_waiting()
        probe.let_on(4)
        await asyncio.gather(*asking)
    assert "queue depth" not in caplog.text
    assert logging.getLogger("waitress.queue").level == logging.ERROR


# ── prefixes ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_urls_are_built_below_the_gateways_mount_and_the_prefix(place: Place) -> None:
    app = application()

    @app.get("/urls")
    def urls() -> str:
        return f"{url_for('hello')} {url_for('hello', _external=True)}"

    @app.get("/away")
    def away() -> Any:
        return redirect(url_for("hello"))

    headers = {"X-Forwarded-Prefix": "/shop", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "shop.example"}
    async with served(app, place, prefix="/v1", behind_gateway=True):
        response = await fetch(place.address, "GET", "/v1/urls", headers=headers)
        assert response.text == "/shop/v1/hello https://shop.example/shop/v1/hello"
        assert (await fetch(place.address, "GET", "/v1/away", headers=headers)).headers["location"] == "/shop/v1/hello"


# ── the state ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_state_stands_for_the_appstate_and_called_is_it() -> None:
    given = state()
    app = Flask("state", static_folder=None)

    @app.get("/")
    def endpoint() -> str:
        handed = pywatt_flask.state()
        found: list[str] = []
        thread = threading.Thread(target=lambda: found.append(handed.module_id))
        thread.start()
        thread.join()
        assert handed is given
        return f"{pywatt_flask.state.module_id} {found[0]}"

    async with served(app, None, state=given) as server:
        assert (await server.handle(server_probe.request("GET", "/"))).body == b"contract contract"


def test_outside_of_a_request_the_state_says_so() -> None:
    for touch in (lambda: pywatt_flask.state.module_id, pywatt_flask.state):
        with pytest.raises(RuntimeError, match="pywatt_flask.state was used outside of a request"):
            touch()


def test_outside_of_a_module_the_state_says_what_is_missing() -> None:
    with application().test_request_context(), pytest.raises(RuntimeError, match="the application is not served by a PyWatt module"):
        pywatt_flask.state()


async def test_views_log_under_the_requests_name(place: Place) -> None:
    seen: list[tuple[str, str]] = []
    app = Flask("ids", static_folder=None)

    @app.get("/")
    def endpoint() -> str:
        seen.append((telemetry.current().request_id, request.environ["HTTP_X_REQUEST_ID"]))
        return ""

    async with served(app, place):
        await fetch(place.address, "GET", "/", headers={"X-Request-ID": "abc-1"})
    assert seen == [("abc-1", "abc-1")]


def test_it_all_works_on_uvloop() -> None:
    probe = Probe()

    async def live() -> None:
        with bound("tcp") as place:
            async with served(application(probe), place) as server:
                asking = asyncio.create_task(fetch(place.address, "GET", "/slow"))
                linked = asyncio.create_task(server.handle(server_probe.request("GET", "/slow")))
                await probe.until_waiting(2)
                draining = asyncio.create_task(server.drain(DEADLINE))
                await place.until_refused()
                probe.let_on(2)
                assert (await asking).text == "slow"
                assert (await linked).body == b"slow"
                assert await draining

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(live())
