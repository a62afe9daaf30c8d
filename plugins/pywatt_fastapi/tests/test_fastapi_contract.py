"""The contract of servers, with real FastAPI and Starlette applications behind a real uvicorn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import uvloop
from fastapi import APIRouter, Depends, FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

import pywatt_fastapi
from pywatt_core.interfaces import Server, ServerOptions
from pywatt_core.testing.contracts.server import ServerContract
from pywatt_core.testing.contracts.server_probe import Probe


async def hello(request: Request) -> Response:
    return PlainTextResponse("hello")


async def echo(request: Request) -> Response:
    return Response(await request.body(), media_type="application/octet-stream")


async def item(request: Request) -> Response:
    return PlainTextResponse(f"item {request.path_params['id']}")


async def file(request: Request) -> Response:
    return PlainTextResponse(f"file {request.path_params['path']}")


async def where(request: Request) -> Response:
    client = request.client.host if request.client else None
    url = str(request.url.replace(query=""))
    return JSONResponse(
        {"root": request.scope["root_path"], "url": url.rstrip("?"), "client": client, "query": request.query_params.get("q")}
    )


async def latin(request: Request) -> Response:
    value = request.headers["x-latin"]
    return Response(value.encode("latin-1"), headers={"X-Latin": value})


async def repeated(request: Request) -> Response:
    response = Response()
    response.headers.append("X-Many", "1")
    response.headers.append("X-Many", "2")
    response.set_cookie("a", "1")
    response.set_cookie("b", "2")
    return response


async def boom(request: Request) -> Response:
    raise RuntimeError("a detail that nobody may see")


async def slow(request: Request) -> Response:
    await request.app.state.probe.wait_here()
    return PlainTextResponse("slow")


async def stream(request: Request) -> Response:
    async def pieces() -> AsyncIterator[str]:
        for piece in ("one;", "two;", "three;"):
            await request.app.state.probe.wait_here()
            yield piece

    return StreamingResponse(pieces(), media_type="text/plain")


async def state(request: Request) -> Response:
    return PlainTextResponse(pywatt_fastapi.state_of(request).module_id)


async def ws(websocket: WebSocket) -> None:
    await websocket.accept()
    try:
        while True:
            await websocket.send_text((await websocket.receive_text()).upper())
    except WebSocketDisconnect:
        pass


@asynccontextmanager
async def lifespan(app: Any) -> AsyncIterator[None]:
    app.state.probe.lifespan.append("entered")
    yield
    app.state.probe.lifespan.append("left")


PLAIN_ROUTES = {
    "/hello": hello,
    "/items/{id:int}": item,
    "/files/{path:path}": file,
    "/where": where,
    "/latin": latin,
    "/repeated": repeated,
    "/boom": boom,
    "/slow": slow,
    "/stream": stream,
}


def starlette_application(probe: Probe) -> Starlette:
    routes = [Route(path, endpoint) for path, endpoint in PLAIN_ROUTES.items()]
    routes += [Route("/echo", echo, methods=["POST"]), Route("/state", state)]
    app = Starlette(routes=[*routes, WebSocketRoute("/ws", ws)], lifespan=lifespan)
    app.state.probe = probe
    return app


def fastapi_application(probe: Probe) -> FastAPI:
    app = FastAPI(lifespan=lifespan)
    app.state.probe = probe
    router = APIRouter()
    for path, endpoint in PLAIN_ROUTES.items():
        router.add_api_route(path, endpoint, methods=["GET", "HEAD"], response_model=None)
    router.add_api_route("/echo", echo, methods=["POST"], response_model=None)

    @router.get("/state")
    async def state(state: Annotated[Any, Depends(pywatt_fastapi.state)]) -> Response:
        return PlainTextResponse(state.module_id)

    router.add_api_websocket_route("/ws", ws)
    app.include_router(router)
    return app


class TestFastAPI(ServerContract):
    lifespan = True
    websockets = True
    cancellation = True

    def application(self, probe: Probe) -> Any:
        return fastapi_application(probe)

    def make_server(self, app: object, options: ServerOptions) -> Server | None:
        return pywatt_fastapi.pywatt_make_server(app, options)


class TestStarlette(TestFastAPI):
    def application(self, probe: Probe) -> Any:
        return starlette_application(probe)


class TestStarletteOnUvloop(TestStarlette):
    """The same on the event loop that modules run on where it is installed."""

    loop_factory = staticmethod(uvloop.new_event_loop)

    async def test_these_tests_run_on_uvloop(self) -> None:
        assert isinstance(asyncio.get_running_loop(), uvloop.Loop)


class TestStarletteInsideMiddleware(TestFastAPI):
    """The same, with an ASGI middleware round the application."""

    def application(self, probe: Probe) -> Any:
        return Middleware(starlette_application(probe))


class Middleware:
    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)
