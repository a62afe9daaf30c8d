"""Applications of every framework with the same doors, which note who was in; and ways to knock on them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from fastapi import APIRouter, FastAPI, WebSocket
from flask import Blueprint, Flask
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route, WebSocketRoute
from werkzeug.middleware.dispatcher import DispatcherMiddleware

import pywatt_fastapi
import pywatt_flask
from pywatt_core.access import Authenticator
from pywatt_core.builtin import pywatt_make_server
from pywatt_core.http import HttpIpcRouter
from pywatt_core.http.guarding import Guard
from pywatt_core.interfaces import ServerOptions, StreamingServer
from pywatt_core.protocol.messages import AnnouncedEndpoint, HttpRequest, HttpResponse
from pywatt_core.testing.contracts.server_probe import bound

GUARDED = {
    "/admin": ["GET"],
    "/users/{id}": ["GET", "DELETE"],
    "/files/{*rest}": ["GET"],
    "/deep/{part}": ["GET"],
    "/items/": ["GET"],
    "/a/{x}/b": ["GET"],
    "/mount/secret": ["GET"],
    "/UP/Case": ["GET"],
    "/café": ["GET"],
    "/socket": ["GET"],
}
"""What is announced with ``auth``; ``/deep/{part}`` says less than its route does, as people do."""

OPEN = {"/login": ["GET", "POST"], "/users/me": ["GET"], "/public/{name}": ["GET"]}
ENDPOINTS = [
    *(AnnouncedEndpoint(path=path, methods=methods, auth="jwt") for path, methods in GUARDED.items()),
    *(AnnouncedEndpoint(path=path, methods=methods) for path, methods in OPEN.items()),
]
BEHIND = [
    "/admin", "/users/7", "/files/", "/files/a", "/files/a/b", "/deep/a", "/deep/a/b", "/items/", "/a/1/b", "/mount/secret", "/UP/Case",
    "/caf%C3%A9",
]  # fmt: skip
"""A path to each guarded view, as it is written in a request."""


ALL_BUT_THE_OPEN = [
    AnnouncedEndpoint(path="/{*rest}", methods=["*"], auth="jwt"),
    *(AnnouncedEndpoint(path=path, methods=methods) for path, methods in OPEN.items()),
]
"""Another way to announce the same: everything is guarded, also the view that answers where no other does."""


class Visits:
    """Which views ran: those that are guarded in every way, those that are open, and the one that answers where no other does."""

    def __init__(self) -> None:
        self.guarded: list[str] = []
        self.open: list[str] = []
        self.rest = 0

    def note(self, name: str) -> str:
        if name == "*":
            self.rest += 1
        else:
            (self.open if name in OPEN else self.guarded).append(name)
        return name

    def take(self) -> tuple[list[str], list[str]]:
        found = self.guarded, self.open
        self.guarded, self.open = [], []
        return found


class House(NamedTuple):
    app: Any
    visits: Visits
    make: Callable[[Any, ServerOptions], Any]


# ── the same application, again and again ───────────────────────────────────────────────────────────────────────────


def _fastapi(root_path: str = "") -> House:
    visits, app = Visits(), FastAPI()
    app.root_path = root_path
    inner = Starlette(routes=[Route("/secret", _plain(visits, "/mount/secret"))])
    router = APIRouter(prefix="/users")

    @router.get("/me")
    async def me() -> str:
        return visits.note("/users/me")

    @router.get("/{id}")
    @router.delete("/{id}")
    async def user(id: str) -> str:
        return visits.note("/users/{id}")

    app.include_router(router)
    paths = {"/files/{rest:path}": "/files/{*rest}", "/deep/{part:path}": "/deep/{part}"}
    for path in ("/admin", "/files/{rest:path}", "/deep/{part:path}", "/items/", "/a/{x}/b", "/UP/Case", "/café", "/public/{name}"):
        app.add_api_route(path, _view(visits, paths.get(path, path)), methods=["GET"])
    app.add_api_route("/login", _view(visits, "/login"), methods=["GET", "POST"])

    @app.websocket("/socket")
    async def talk(websocket: WebSocket) -> None:
        visits.note("/socket")
        await websocket.accept()
        await websocket.send_text("in")
        await websocket.close()

    app.mount("/mount", inner)
    app.add_api_route("/{rest:path}", _view(visits, "*"), methods=["GET", "POST", "DELETE"])
    return House(app, visits, pywatt_fastapi.pywatt_make_server)


def _view(visits: Visits, name: str) -> Callable[[], Any]:
    async def view() -> str:
        return visits.note(name)

    return view


def _plain(visits: Visits, name: str) -> Callable[..., Any]:
    async def view(_request: Any) -> PlainTextResponse:
        return PlainTextResponse(visits.note(name))

    return view


def _starlette() -> House:
    visits = Visits()

    async def talk(websocket: Any) -> None:
        visits.note("/socket")
        await websocket.accept()
        await websocket.close()

    routes = [
        Route("/users/me", _plain(visits, "/users/me")),
        Route("/users/{id}", _plain(visits, "/users/{id}"), methods=["GET", "DELETE"]),
        Route("/files/{rest:path}", _plain(visits, "/files/{*rest}")),
        Route("/deep/{part:path}", _plain(visits, "/deep/{part}")),
        Route("/login", _plain(visits, "/login"), methods=["GET", "POST"]),
        WebSocketRoute("/socket", talk),
        Mount("/mount", routes=[Route("/secret", _plain(visits, "/mount/secret"))]),
    ]
    routes += [Route(path, _plain(visits, path)) for path in ("/admin", "/items/", "/a/{x}/b", "/UP/Case", "/café", "/public/{name}")]
    routes.append(Route("/{rest:path}", _plain(visits, "*"), methods=["GET", "POST", "DELETE"]))
    app = Starlette(routes=routes)
    app.router.redirect_slashes = False
    return House(Overriding(app), visits, pywatt_fastapi.pywatt_make_server)


def _flask(*, lax: bool = False) -> House:
    visits, app = Visits(), Flask("house", static_folder=None)
    app.url_map.strict_slashes = not lax
    app.url_map.merge_slashes = not lax
    users = Blueprint("users", __name__, url_prefix="/users")

    def add(target: Any, rule: str, name: str, methods: Iterable[str] = ("GET",)) -> None:
        target.add_url_rule(rule, name.replace("/", "_").replace(".", "_"), lambda **_values: visits.note(name), methods=methods)

    add(users, "/me", "/users/me")
    add(users, "/<id>", "/users/{id}", ("GET", "DELETE"))
    app.register_blueprint(users)
    rules = {
        "/files/<path:rest>": "/files/{*rest}",
        "/files/": "/files/{*rest} ",
        "/deep/<path:part>": "/deep/{part}",
        "/a/<x>/b": "/a/{x}/b",
    }
    for rule, name in rules.items():
        add(app, rule, name)
    for path in ("/admin", "/items/", "/UP/Case", "/café"):
        add(app, path, path)
    add(app, "/public/<name>", "/public/{name}")
    add(app, "/login", "/login", ("GET", "POST"))
    add(app, "/<path:rest>", "*", ("GET", "POST", "DELETE"))
    inner = Flask("inner", static_folder=None)
    inner.add_url_rule("/secret", "secret", lambda: visits.note("/mount/secret"))
    app.wsgi_app = WsgiOverriding(app.wsgi_app)  # type: ignore[method-assign]
    return House(DispatcherMiddleware(Lasting(app), {"/mount": inner}), visits, pywatt_flask.pywatt_make_server)


class Lasting:
    """What stands around a Flask application, which is found through ``app``."""

    def __init__(self, app: Flask) -> None:
        self.app = app

    def __call__(self, environ: Any, start_response: Any) -> Any:
        return self.app(environ, start_response)


def _router() -> House:
    visits, router = Visits(), HttpIpcRouter()
    add: Callable[[str, str], None] = lambda path, name: _routed(router, visits, path, name, ["GET"])  # noqa: E731
    add("/users/me", "/users/me")
    _routed(router, visits, "/users/{id}", "/users/{id}", ["GET", "DELETE"])
    _routed(router, visits, "/login", "/login", ["GET", "POST"])
    for path in ("/admin", "/files/{*rest}", "/items/", "/a/{x}/b", "/mount/secret", "/UP/Case", "/public/{name}"):
        add(path, path)
    add("/deep/{*part}", "/deep/{part}")
    add("/caf%C3%A9", "/café")
    _routed(router, visits, "/{*rest}", "*", ["GET", "POST", "DELETE"])
    return House(router, visits, pywatt_make_server)


def _routed(router: HttpIpcRouter, visits: Visits, path: str, name: str, methods: list[str]) -> None:
    def view() -> str:
        return visits.note(name)

    router.route(methods, path, view)


class Overriding:
    """Middleware that people write: another method for those who can only POST."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        for name, value in scope.get("headers", ()):
            if name == b"x-http-method-override":
                scope["method"] = value.decode()
        await self.app(scope, receive, send)


class WsgiOverriding:
    """The same for WSGI, as Flask's documentation has it."""

    def __init__(self, app: Any) -> None:
        self.app = app

    def __call__(self, environ: Any, start_response: Any) -> Any:
        method = environ.get("HTTP_X_HTTP_METHOD_OVERRIDE", "").upper()
        if method:
            environ["REQUEST_METHOD"] = method
        return self.app(environ, start_response)


HOUSES: Mapping[str, Callable[[], House]] = {
    "fastapi": _fastapi,
    "fastapi with a root_path": lambda: _fastapi(root_path="/api"),
    "starlette": _starlette,
    "flask": _flask,
    "lax flask": lambda: _flask(lax=True),
    "router": _router,
}


# ── knocking ────────────────────────────────────────────────────────────────────────────────────────────────────────


class Served:
    """A house that is served, and what was noted in it."""

    def __init__(self, house: House, server: StreamingServer, address: str) -> None:
        self.visits = house.visits
        self.server = server
        self.address = address

    async def ask(self, method: str, uri: str, **headers: str) -> HttpResponse:
        """One request over a link."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.server.handle(HttpRequest("1", method, uri, sent, None))


@asynccontextmanager
async def served(
    house: House, authenticator: Authenticator | None, *, prefix: str = "", port: bool = False, endpoints: Any = ENDPOINTS
) -> AsyncIterator[Served]:
    """The house with its endpoints guarded, or, without an authenticator, with every door open."""
    guard = None if authenticator is None else Guard(endpoints, {"jwt": authenticator})
    server = house.make(house.app, ServerOptions(state=None, prefix=prefix, port=port, guard=guard))
    assert server is not None
    assert guard is None or guard.attached
    with bound("tcp") as place:
        try:
            await server.start(place.listener if port else None)
            yield Served(house, server, place.address)
        finally:
            await server.close()
