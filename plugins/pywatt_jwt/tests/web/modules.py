"""Modules with guarded endpoints, for tests with real processes: ``modules.py:fast``, ``modules.py:flasky``, ``modules.py:routed``."""

from typing import Any

from pywatt_core import AppState, pywatt_module
from pywatt_core.protocol.messages import AnnouncedEndpoint

ENDPOINTS = [
    AnnouncedEndpoint(path="/admin", methods=["GET"], auth="jwt"),
    AnnouncedEndpoint(path="/items", methods=["POST"], auth="jwt"),
    AnnouncedEndpoint(path="/items", methods=["GET"]),
]


@pywatt_module(endpoints=ENDPOINTS, metrics=True, version="v1")
def fast(state: AppState[Any]) -> Any:
    from fastapi import FastAPI, Request  # FastAPI reads annotations: they have to be names of types that are there

    app = FastAPI()

    @app.get("/admin")
    async def admin(request: Request) -> Any:
        return request.scope["pywatt.claims"]["sub"]

    @app.api_route("/items", methods=["GET", "POST"])
    async def items() -> str:
        return "items"

    return app


@pywatt_module(endpoints=ENDPOINTS)
def flasky(state: AppState[Any]) -> Any:
    from flask import Flask, request

    app = Flask("flasky", static_folder=None)
    app.add_url_rule("/admin", "admin", lambda: [request.environ["pywatt.claims"]["sub"]])
    app.add_url_rule("/items", "items", lambda: "items", methods=["GET", "POST"])
    return app


@pywatt_module(endpoints=[*ENDPOINTS, AnnouncedEndpoint(path="/health", methods=["GET"], auth="main")], bind_http=False)
def routed(state: AppState[Any]) -> Any:
    from pywatt_core.http import HttpIpcRouter

    router = HttpIpcRouter()
    router.get("/admin", lambda request: request.claims["sub"])
    router.route(["GET", "POST"], "/items", lambda request: "items")
    return router
