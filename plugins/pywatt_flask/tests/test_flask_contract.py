"""The contract of servers, with a real Flask application behind a real waitress."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flask import Flask, Response, jsonify, make_response, request

import pywatt_flask
from pywatt_core.interfaces import Server, ServerOptions
from pywatt_core.testing.contracts.server import ServerContract
from pywatt_core.testing.contracts.server_probe import Probe


def agreed_application(probe: Probe) -> Flask:
    app = Flask("agreed", static_folder=None)

    @app.get("/hello")
    def hello() -> str:
        return "hello"

    @app.post("/echo")
    def echo() -> Response:
        return Response(request.get_data(), content_type="application/octet-stream")

    @app.get("/items/<int:id>")
    def item(id: int) -> str:
        return f"item {id}"

    @app.get("/files/<path:path>")
    def file(path: str) -> str:
        return f"file {path}"

    @app.get("/where")
    def where() -> Response:
        return jsonify(root=request.script_root, url=request.base_url, client=request.remote_addr, query=request.args.get("q"))

    @app.get("/latin")
    def latin() -> Response:
        value = request.headers["X-Latin"]
        return Response(value.encode("latin-1"), headers={"X-Latin": value})

    @app.get("/repeated")
    def repeated() -> Response:
        response = make_response("")
        response.headers.add("X-Many", "1")
        response.headers.add("X-Many", "2")
        response.set_cookie("a", "1")
        response.set_cookie("b", "2")
        return response

    @app.get("/boom")
    def boom() -> str:
        raise RuntimeError("a detail that nobody may see")

    @app.get("/slow")
    def slow() -> str:
        probe.wait()
        return "slow"

    @app.get("/stream")
    def stream() -> Response:
        def pieces() -> Iterator[str]:
            for piece in ("one;", "two;", "three;"):
                probe.wait()
                yield piece

        return Response(pieces(), content_type="text/plain")

    @app.get("/state")
    def state() -> str:
        return str(pywatt_flask.state.module_id)

    return app


class TestFlask(ServerContract):
    lifespan = False
    websockets = False
    cancellation = False

    def application(self, probe: Probe) -> Any:
        return agreed_application(probe)

    def make_server(self, app: object, options: ServerOptions) -> Server | None:
        return pywatt_flask.pywatt_make_server(app, options)


class TestFlaskInsideMiddleware(TestFlask):
    """The same, with a WSGI middleware round the application."""

    def application(self, probe: Probe) -> Any:
        return Middleware(agreed_application(probe))


class Middleware:
    def __init__(self, app: Any) -> None:
        self.app = app

    def __call__(self, environ: Any, start_response: Any) -> Any:
        return self.app(environ, start_response)
