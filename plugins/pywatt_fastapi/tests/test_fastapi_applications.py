"""Which applications the plugin takes, and what becomes of routers."""

from __future__ import annotations

import subprocess
import sys
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Host, Mount, Route, Router

import pywatt_fastapi
from pywatt_core.interfaces import ServerOptions
from pywatt_core.testing.contracts.server_probe import request
from pywatt_fastapi.applications import recognise


async def root(request: Any) -> PlainTextResponse:
    return PlainTextResponse(request.scope["root_path"])


ROUTES = [Route("/root", root)]


@pytest.mark.parametrize(
    "app",
    [
        FastAPI(),
        APIRouter(),
        Starlette(),
        Router(),
        Mount("/a", routes=ROUTES),
        Host("a.example", app=Router(ROUTES)),
        Route("/root", root),
        GZipMiddleware(FastAPI()),
        GZipMiddleware(GZipMiddleware(Router())),
    ],
    ids=lambda app: type(app).__name__,
)
def test_starlettes_applications_are_recognised(app: Any) -> None:
    assert recognise(app) is not None


def test_the_class_of_an_application_is_none() -> None:
    assert recognise(FastAPI) is None
    assert recognise(GZipMiddleware(root)) is None  # type: ignore[arg-type]


def test_a_middleware_round_itself_ends_the_search() -> None:
    class Loop:
        def __call__(self) -> None: ...

    loop = Loop()
    loop.app = loop  # type: ignore[attr-defined]
    assert recognise(loop) is None


async def test_a_router_becomes_an_application_whose_lifespan_is_the_routers() -> None:
    seen: list[str] = []

    @asynccontextmanager
    async def lifespan(app: Any) -> Any:
        seen.append("entered")
        yield
        seen.append("left")

    router = APIRouter(prefix="/users", lifespan=lifespan)

    @router.get("/{name}")
    async def user(name: str) -> str:
        return name

    server = pywatt_fastapi.pywatt_make_server(router, ServerOptions(state=None))
    assert server is not None
    assert {"/users/{name}", "/docs", "/openapi.json"} <= {route.path for route in server.routes()}
    await server.start(None)
    assert (await server.handle(request("GET", "/users/ada"))).body == b'"ada"'
    await server.close()
    assert seen == ["entered", "left"]


async def test_a_router_as_application_leaves_telemetry_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTAPI_OTEL_AUTO_CONFIGURE", "true")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")  # which FastAPI would refuse to start with
    server = pywatt_fastapi.pywatt_make_server(APIRouter(), ServerOptions(state=None))
    assert server is not None
    await server.start(None)
    await server.close()


async def test_a_mount_alone_is_an_application() -> None:
    server = pywatt_fastapi.pywatt_make_server(Mount("/a", routes=ROUTES), ServerOptions(state=None))
    assert server is not None
    assert [(route.path, route.methods) for route in server.routes()] == [("/a/{*rest}", ["GET", "POST", "PUT", "PATCH", "DELETE"])]
    await server.start(None)
    assert (await server.handle(request("GET", "/a/root"))).body == b"/a"
    await server.close()


def test_looking_at_the_plugin_imports_no_framework() -> None:
    code = (
        "import sys, pywatt_fastapi; from pywatt_core.interfaces import ServerOptions; "
        "assert pywatt_fastapi.pywatt_make_server(object(), ServerOptions(state=None)) is None; "
        "print([name for name in ('starlette', 'fastapi', 'uvicorn', 'anyio', 'asyncio') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_starlette_alone_does_not_import_fastapi_or_uvicorn() -> None:
    code = (
        "import sys, pywatt_fastapi; from starlette.applications import Starlette; from pywatt_core.interfaces import ServerOptions; "
        "print(pywatt_fastapi.pywatt_make_server(Starlette(), ServerOptions(state=None)).routes(), "
        "[name for name in ('fastapi', 'uvicorn') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[] []"
