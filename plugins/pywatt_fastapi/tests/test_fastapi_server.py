"""What uvicorn, FastAPI and Starlette add to the contract: lifespans, WebSockets, event streams, mounts, background work."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, Request, WebSocket
from fastapi.responses import StreamingResponse
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from websockets.asyncio.client import connect, unix_connect
from websockets.exceptions import ConnectionClosed

import pywatt_fastapi
from pywatt_core.errors import ServerError
from pywatt_core.interfaces import Server, ServerOptions
from pywatt_core.testing.client import fetch
from pywatt_core.testing.contracts.server_probe import DEADLINE, Place, Probe, bound, request, state, streaming


def make(app: Any, **options: Any) -> Server:
    server = pywatt_fastapi.pywatt_make_server(app, ServerOptions(**{"state": state(), **options}))
    assert server is not None
    return server


@asynccontextmanager
async def served(app: Any, place: Place | None = None, **options: Any) -> AsyncIterator[Server]:
    server = make(app, **options)
    try:
        await server.start(place.listener if place else None)
        yield server
    finally:
        await server.close()


@pytest.fixture
def place() -> Any:
    with bound("unix") as place:
        yield place


# ── lifespan ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("port", [True, False])
@pytest.mark.parametrize("failure", [LookupError("no table"), SystemExit(3)], ids=["exception", "exit"])
async def test_a_lifespan_that_fails_is_a_server_error_with_its_cause(place: Place, port: bool, failure: BaseException) -> None:
    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        raise failure
        yield

    server = make(FastAPI(lifespan=lifespan))
    with pytest.raises(ServerError, match="the application's lifespan failed at start-up") as caught:
        await server.start(place.listener if port else None)
    assert failure in (caught.value.__cause__, caught.value.__cause__.__cause__ if caught.value.__cause__ else None)
    await server.close()


async def test_what_the_lifespan_yields_is_each_requests_state(place: Place) -> None:
    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[dict[str, Any]]:
        yield {"pool": "the pool"}

    async def pool(request: Request) -> PlainTextResponse:
        request.state.own = 1
        return PlainTextResponse(request.state.pool)

    async with served(Starlette(routes=[Route("/", pool)], lifespan=lifespan), place) as server:
        assert (await fetch(place.address, "GET", "/")).text == "the pool"
        assert (await server.handle(request("GET", "/"))).body == b"the pool"


async def test_uvicorn_that_cannot_start_is_a_server_error() -> None:
    with bound("tcp") as place:
        place.listener.close()
        server = make(FastAPI())
        with pytest.raises(ServerError, match="uvicorn could not serve on the socket"):
            await server.start(place.listener)
        await server.close()


async def test_uvicorn_leaves_logging_and_signals_alone(place: Place) -> None:
    import signal

    before = (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT), list(logging.getLogger().handlers))
    async with served(FastAPI(), place):
        await fetch(place.address, "GET", "/docs")
        assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT), list(logging.getLogger().handlers)) == before
        assert logging.getLogger("uvicorn").handlers == []
        assert logging.getLogger("uvicorn.error").propagate


# ── websockets and streams ──────────────────────────────────────────────────────────────────────────────────────────


async def test_a_websocket_client_speaks_with_the_application_behind_the_gateway(place: Place) -> None:
    app = FastAPI()

    @app.websocket("/ws/{name}")
    async def ws(websocket: WebSocket, name: str, state: Annotated[Any, Depends(pywatt_fastapi.state)]) -> None:
        await websocket.accept(subprotocol="chat")
        await websocket.send_json([name, state.module_id, websocket.url.path, websocket.url.scheme])
        await websocket.send_bytes(await websocket.receive_bytes())

    headers = {"X-Forwarded-Prefix": "/shop", "X-Forwarded-Proto": "https"}
    async with (
        served(app, place, prefix="/v1", behind_gateway=True),
        unix_connect(place.address, "ws://inner/v1/ws/ada", additional_headers=headers, subprotocols=["chat"]) as client,
    ):
        assert client.subprotocol == "chat"
        assert json.loads(await client.recv()) == ["ada", "contract", "/shop/v1/ws/ada", "wss"]
        await client.send(bytes(range(256)) * 1000)
        assert await client.recv() == bytes(range(256)) * 1000


async def test_a_websocket_that_is_refused_or_fails_is_closed(caplog: pytest.LogCaptureFixture) -> None:
    async def failing(websocket: WebSocket) -> None:
        await websocket.accept()
        raise LookupError("why")

    with bound("tcp") as place:
        async with served(Starlette(routes=[WebSocketRoute("/ws", failing)]), place, prefix="/v1"):
            for path in ("/ws", "/v1/other"):
                with pytest.raises(Exception, match="403"):
                    await connect(f"ws://{place.address}{path}")
            async with connect(f"ws://{place.address}/v1/ws") as client:
                with pytest.raises(ConnectionClosed) as caught:
                    await client.recv()
                assert caught.value.rcvd is not None
                assert caught.value.rcvd.code == 1011
    assert "why" in caplog.text


async def test_a_websocket_is_told_to_come_again_and_the_application_to_go(place: Place) -> None:
    ended = asyncio.Event()

    async def ws(websocket: WebSocket) -> None:
        await websocket.accept()
        async for _ in websocket.iter_text():
            pass
        ended.set()

    async with (
        served(Starlette(routes=[WebSocketRoute("/ws", ws)]), place) as server,
        unix_connect(place.address, "ws://inner/ws") as client,
    ):
        draining = asyncio.create_task(server.drain(DEADLINE))
        with pytest.raises(ConnectionClosed) as caught:
            await client.recv()
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1012
        assert await draining
        assert ended.is_set()


@pytest.mark.parametrize("kind", ["fastapi", "middleware", "starlette"])
async def test_an_event_stream_ends_cleanly_at_the_drain(place: Place, kind: str) -> None:
    closed = asyncio.Event()

    async def events() -> AsyncIterator[str]:
        try:
            yield "data: one\n\n"
            await asyncio.Event().wait()
        finally:
            closed.set()

    async def endpoint(request: Request) -> StreamingResponse:
        return StreamingResponse(events(), media_type="text/event-stream")

    app: Any = FastAPI() if kind != "starlette" else Starlette(routes=[Route("/events", endpoint)])
    if kind != "starlette":
        app.add_api_route("/events", endpoint, response_model=None)
    if kind == "middleware":

        @app.middleware("http")  # type: ignore[untyped-decorator]
        async def middleware(request: Request, call_next: Any) -> Any:
            return await call_next(request)

    async with served(app, place) as server, streaming(place.address) as stream:
        stream.ask("/events")
        await stream.until(b"data: one\n\n")
        assert await server.drain(DEADLINE)
        assert (await stream.rest()).endswith(b"0\r\n\r\n")
        assert closed.is_set()


async def test_a_stream_that_never_ends_is_cut_at_the_deadline(place: Place) -> None:
    closed = asyncio.Event()

    async def pieces() -> AsyncIterator[str]:
        try:
            while True:
                yield "x" * 100
                await asyncio.sleep(0.001)
        finally:
            closed.set()

    async def endpoint(request: Request) -> StreamingResponse:
        return StreamingResponse(pieces(), media_type="text/plain")

    async with served(Starlette(routes=[Route("/", endpoint)]), place) as server, streaming(place.address) as stream:
        stream.ask("/")
        await stream.until(b"xxx")
        assert not await server.drain(0.05)
        assert not (await stream.rest()).endswith(b"0\r\n\r\n")
        assert closed.is_set()


@pytest.mark.parametrize("over", ["socket", "link"])
async def test_background_work_is_waited_for(place: Place, over: str) -> None:
    probe, done = Probe(), asyncio.Event()
    app = FastAPI()

    async def work() -> None:
        await probe.wait_here()
        done.set()

    @app.post("/")
    async def begin(background: BackgroundTasks) -> str:
        background.add_task(work)
        return "begun"

    async with served(app, place) as server:
        if over == "socket":
            assert (await fetch(place.address, "POST", "/", body=b"")).text == '"begun"'
        else:
            assert (await server.handle(request("POST", "/"))).body == b'"begun"'
        await probe.until_waiting()
        draining = asyncio.create_task(server.drain(DEADLINE))
        await place.until_refused()
        assert not done.is_set()
        probe.let_on()
        assert await draining
        assert done.is_set()


# ── mounts, prefixes ────────────────────────────────────────────────────────────────────────────────────────────────

SHOP = {"X-Forwarded-Prefix": "/shop"}


async def where(request: Request) -> PlainTextResponse:
    return PlainTextResponse(f"{request.scope['root_path']} {request.url_for('where')} {pywatt_fastapi.state_of(request).module_id}")


@pytest.mark.parametrize("sub", ["starlette", "fastapi"])
async def test_mounts_work_below_the_gateways_mount_and_the_prefix(place: Place, tmp_path: Path, sub: str) -> None:
    (tmp_path / "a.txt").write_text("static")
    inner: Any = Starlette(routes=[Route("/where", where)]) if sub == "starlette" else FastAPI()
    if sub == "fastapi":
        inner.add_api_route("/where", where, response_model=None)
    app = FastAPI()
    app.mount("/static", StaticFiles(directory=tmp_path))
    app.mount("/sub", inner)
    async with served(app, place, prefix="/v1", behind_gateway=True) as server:
        assert (await fetch(place.address, "GET", "/v1/static/a.txt", headers=SHOP)).text == "static"
        mounted = await fetch(place.address, "GET", "/v1/sub/where", headers=SHOP)
        assert mounted.text == "/shop/v1/sub http://localhost/shop/v1/sub/where contract"
        linked = await server.handle(request("GET", "/v1/sub/where", host="localhost", x_forwarded_prefix="/shop"))
        assert (linked.body or b"").decode() == mounted.text


async def test_the_documentation_knows_where_it_stands(place: Place) -> None:
    async with served(FastAPI(), place, prefix="/v1", behind_gateway=True):
        page = await fetch(place.address, "GET", "/v1/docs", headers=SHOP)
        assert "/shop/v1/openapi.json" in page.text
        schema = (await fetch(place.address, "GET", "/v1/openapi.json", headers=SHOP)).json()
        assert {"url": "/shop/v1"} in schema["servers"]


async def test_slashes_are_redirected_to_where_the_client_finds_them(place: Place) -> None:
    app = Starlette(routes=[Mount("/sub", routes=[Route("/", where, name="where")])])
    async with served(app, place, behind_gateway=True):
        response = await fetch(
            place.address, "GET", "/sub", headers={**SHOP, "X-Forwarded-Host": "shop.example", "X-Forwarded-Proto": "https"}
        )
        assert (response.status, response.headers["location"]) == (307, "https://shop.example/shop/sub/")


@pytest.mark.filterwarnings("ignore:The `root_path` parameter is deprecated")
async def test_a_root_path_of_the_applications_own_does_not_break_mounts(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    app = FastAPI(root_path="/old")
    app.mount("/sub", Starlette(routes=[Route("/where", where)]))
    async with served(app, place, behind_gateway=True):
        assert (await fetch(place.address, "GET", "/sub/where", headers=SHOP)).text.startswith("/shop/sub ")
    assert "FastAPI(root_path='/old') is not used" in caplog.text


@pytest.mark.filterwarnings("ignore:The `root_path` parameter is deprecated")
async def test_a_root_path_of_the_applications_own_stays_where_nobody_says_better(place: Place) -> None:
    app = FastAPI(root_path="/old")
    app.add_api_route("/where", where, response_model=None)
    async with served(app, place):
        assert (await fetch(place.address, "GET", "/where")).text.startswith("/old ")


# ── the state ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_state_is_a_dependency_that_can_be_overridden() -> None:
    app = FastAPI()

    @app.get("/")
    async def endpoint(state: Annotated[Any, Depends(pywatt_fastapi.state)]) -> str:
        return str(state.module_id)

    app.dependency_overrides[pywatt_fastapi.state] = lambda: type("Other", (), {"module_id": "other"})
    async with served(app) as server:
        assert (await server.handle(request("GET", "/"))).body == b'"other"'


async def test_plain_functions_reach_the_state_in_their_thread() -> None:
    app = FastAPI()

    @app.get("/")
    def endpoint(request: Request, state: Annotated[Any, Depends(pywatt_fastapi.state)]) -> bool:
        return state is pywatt_fastapi.state_of(request) and state.module_id == "contract"

    async with served(app) as server:
        assert (await server.handle(request("GET", "/"))).body == b"true"


def test_outside_of_a_module_the_state_says_what_is_missing() -> None:
    with pytest.raises(RuntimeError, match="the application is not served by a PyWatt module"):
        pywatt_fastapi.state_of(Request({"type": "http"}))


async def test_exceptions_are_logged_under_the_requests_name_and_once(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    from pywatt_core import telemetry

    names: list[str] = []

    class Names(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.levelno >= logging.ERROR:
                names.append(telemetry.current().request_id)

    async def boom(request: Request) -> None:
        raise LookupError("why")

    watching = Names()
    logging.getLogger().addHandler(watching)
    try:
        async with served(Starlette(routes=[Route("/", boom)]), place):
            assert (await fetch(place.address, "GET", "/", headers={"X-Request-ID": "abc-1"})).status == 500
    finally:
        logging.getLogger().removeHandler(watching)
    assert names == ["abc-1"]
