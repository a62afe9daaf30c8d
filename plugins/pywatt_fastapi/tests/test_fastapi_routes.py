"""What is announced of FastAPI's and Starlette's routers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, Security
from fastapi.security import APIKeyHeader, HTTPBasic, HTTPBearer, OAuth2PasswordBearer, OpenIdConnect
from starlette.applications import Starlette
from starlette.convertors import Convertor, register_url_convertor
from starlette.endpoints import HTTPEndpoint
from starlette.responses import Response
from starlette.routing import Host, Mount, Route, Router, WebSocketRoute
from starlette.staticfiles import StaticFiles

import pywatt_fastapi
from pywatt_core.interfaces import ServerOptions

ALL = ["GET", "POST", "PUT", "PATCH", "DELETE"]


async def end(request: Any) -> Response:
    return Response()


def announced(app: Any, **options: Any) -> dict[str, Any]:
    server = pywatt_fastapi.pywatt_make_server(app, ServerOptions(state=None, **options))
    assert server is not None
    return {route.path: route.methods if route.auth is None else (route.methods, route.auth) for route in server.routes()}


def taken(app: Any, path: str) -> bool:
    server = pywatt_fastapi.pywatt_make_server(app, ServerOptions(state=None))
    assert server is not None
    return not server.add_route(path, lambda: (200, "text/plain", b""))


def bare() -> FastAPI:
    return FastAPI(openapi_url=None)


@pytest.mark.parametrize(
    ("written", "path"),
    [
        ("/", "/"),
        ("/a/", "/a/"),
        ("/{name}", "/{name}"),
        ("/{id:int}/{size:float}/{key:uuid}", "/{id}/{size}/{key}"),
        ("/files/{path:path}", "/files/{*path}"),
        ("/files/{path:path}/meta", "/files/{*path}/meta"),
        ("/files/{name}.{kind}", "/files/{name}.{kind}"),
        ("/{first:path}/to/{second:path}", "/{*first}"),
    ],
)
def test_parameters_are_one_segment_or_a_remainder(written: str, path: str) -> None:
    assert announced(Starlette(routes=[Route(written, end)])) == {path: ["GET"]}
    app = bare()
    app.add_api_route(written, end)
    assert announced(app) == {path: ["GET"]}


def test_a_convertor_of_the_users_own_is_a_remainder_where_it_takes_slashes() -> None:
    class Slashes(Convertor[str]):
        regex = "[a-z/]+"

        def convert(self, value: str) -> str:
            return value

        def to_string(self, value: str) -> str:
            return value

    class Letters(Slashes):
        regex = "[a-z]+"

    register_url_convertor("slashes", Slashes())
    register_url_convertor("letters", Letters())
    assert announced(Starlette(routes=[Route("/{a:slashes}", end)])) == {"/{*a}": ["GET"]}
    assert announced(Starlette(routes=[Route("/{a:letters}", end)])) == {"/{a}": ["GET"]}


def test_methods_are_those_of_the_route_without_what_is_implied() -> None:
    class Endpoint(HTTPEndpoint):
        async def get(self, request: Any) -> Response:
            return Response()

        async def delete(self, request: Any) -> Response:
            return Response()

    async def raw(scope: Any, receive: Any, send: Any) -> None: ...

    class Raw:
        __call__ = staticmethod(raw)

    routes = [
        Route("/a", end, methods=["post", "GET", "OPTIONS", "PURGE"]),
        Route("/head", end, methods=["HEAD"]),
        Route("/options", end, methods=["OPTIONS"]),
        Route("/class", Endpoint),
        Route("/asgi", Raw()),
        WebSocketRoute("/ws", end),
    ]
    assert announced(Starlette(routes=routes)) == {
        "/a": ["GET", "POST", "PURGE"],
        "/head": ["HEAD"],
        "/options": ["OPTIONS"],
        "/class": ["GET", "DELETE"],
        "/asgi": ALL,
        "/ws": ["GET"],
    }


def test_the_first_route_of_a_path_and_method_wins_and_nothing_is_said_twice() -> None:
    bearer = HTTPBearer()
    app = bare()
    app.add_api_route("/a", end, methods=["GET"])
    app.add_api_route("/a", end, methods=["GET", "POST"], dependencies=[Depends(bearer)])
    app.add_api_route("/a", end, methods=["PUT"])
    server = pywatt_fastapi.pywatt_make_server(app, ServerOptions(state=None))
    assert server is not None
    assert [(route.path, route.methods, route.auth) for route in server.routes()] == [
        ("/a", ["GET", "PUT"], None),
        ("/a", ["POST"], "jwt"),
    ]


def test_included_routers_are_unfolded() -> None:
    inner, outer, app = APIRouter(prefix="/inner"), APIRouter(), bare()
    inner.add_api_route("/{id:int}", end, methods=["PUT"])
    inner.add_api_websocket_route("/ws", end)
    inner.add_route("/plain", end)
    inner.mount("/mounted", Router())
    outer.include_router(inner, prefix="/outer")
    app.include_router(outer, prefix="/app")
    app.include_router(outer, prefix="/again")
    # Starlette's own `add_route` and `mount` leave the router's prefix out, and FastAPI leaves it so.
    below = {"/inner/{id}": ["PUT"], "/inner/ws": ["GET"], "/plain": ["GET"], "/mounted/{*rest}": ALL}
    assert announced(app) == {prefix + "/outer" + path: methods for prefix in ("/app", "/again") for path, methods in below.items()}


def test_routes_added_after_the_router_was_included_are_seen() -> None:
    app, router = bare(), APIRouter()
    app.include_router(router)
    router.add_api_route("/late", end)
    assert announced(app) == {"/late": ["GET"]}


def test_mounts_and_hosts(tmp_path: Path) -> None:
    app = bare()
    app.mount("/static", StaticFiles(directory=tmp_path))
    app.mount("/sub/{tenant}", FastAPI())
    app.router.routes.append(Host("api.example", app=Router([Route("/hosted", end)])))
    app.router.routes.append(Host("raw.example", app=StaticFiles(directory=tmp_path)))
    assert announced(app) == {"/static/{*rest}": ALL, "/sub/{tenant}/{*rest}": ALL, "/hosted": ["GET"], "/{*rest}": ALL}
    assert announced(Starlette(routes=[Mount("/", routes=[Route("/a", end)])])) == {"/{*rest}": ALL}


def test_what_is_guarded_within_a_mounted_application_is_announced_by_name() -> None:
    inner = FastAPI(openapi_url=None)
    inner.add_api_route("/open", end)
    inner.add_api_route("/items/{id}", end, methods=["GET", "PUT"], dependencies=[Depends(marked)])
    inner.mount("/deep", Starlette(routes=[Route("/x", marked), WebSocketRoute("/ws", marked)]))
    app = bare()
    app.mount("/sub/{tenant}", inner)
    assert announced(app) == {
        "/sub/{tenant}/{*rest}": ALL,
        "/sub/{tenant}/items/{id}": (["GET", "PUT"], "jwt"),
        "/sub/{tenant}/deep/x": (["GET"], "jwt"),
        "/sub/{tenant}/deep/ws": (["GET"], "jwt"),
    }


def test_a_guarded_view_that_answers_options_says_so() -> None:
    app = Starlette(routes=[Route("/guarded", marked, methods=["GET", "OPTIONS"]), Route("/open", end, methods=["GET", "OPTIONS"])])
    assert announced(app) == {"/guarded": (["GET", "OPTIONS"], "jwt"), "/open": ["GET"]}


def test_frontends_are_announced(tmp_path: Path) -> None:
    app, router = bare(), APIRouter(prefix="/admin")
    app.frontend("/", directory=tmp_path, check_dir=False)
    router.frontend("/ui", directory=tmp_path, check_dir=False)
    app.include_router(router)
    assert announced(app) == {"/{*rest}": ["GET"], "/admin/ui/{*rest}": ["GET"]}


def test_the_documentation_is_announced_where_there_is_one() -> None:
    own = ["/openapi.json", "/docs", "/docs/oauth2-redirect", "/redoc"]
    assert list(announced(FastAPI())) == own
    assert list(announced(FastAPI(), prefix="/v1")) == ["/v1" + path for path in own]
    assert announced(FastAPI(docs_url=None, redoc_url=None)) == {"/openapi.json": ["GET"]}


# ── what guards a route ─────────────────────────────────────────────────────────────────────────────────────────────

BEARER = HTTPBearer()


def current_user(token: Annotated[Any, Depends(BEARER)]) -> Any:
    return token


def marked() -> None: ...


marked.__pywatt_auth__ = "jwt"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("dependency", "auth"),
    [
        (BEARER, "jwt"),
        (current_user, "jwt"),
        (OAuth2PasswordBearer("token"), "jwt"),
        (OpenIdConnect(openIdConnectUrl="/x"), "jwt"),
        (marked, "jwt"),
        (HTTPBasic(), "basic"),
        (APIKeyHeader(name="x"), "api_key"),
        (HTTPBearer(auto_error=False), None),
        (lambda: None, None),
    ],
)
def test_the_dependency_that_guards_a_route_is_seen(dependency: Any, auth: str | None) -> None:
    expected = ["GET"] if auth is None else (["GET"], auth)
    app = bare()

    @app.get("/parameter")
    async def parameter(user: Any = Depends(dependency)) -> None: ...  # noqa: B008  an annotation cannot see local names

    @app.get("/security")
    async def security(user: Any = Security(dependency)) -> None: ...  # noqa: B008

    app.add_api_route("/route", end, dependencies=[Depends(dependency)])
    router = APIRouter(dependencies=[Depends(dependency)])
    router.add_api_route("/router", end)
    router.add_api_websocket_route("/ws", end)
    app.include_router(router)
    included = APIRouter()
    included.add_api_route("/included", end)
    app.include_router(included, dependencies=[Depends(dependency)])
    open_router = APIRouter()
    open_router.add_api_route("/open", end)
    app.include_router(open_router)
    guarded = ["/parameter", "/security", "/route", "/router", "/ws", "/included"]
    assert announced(app) == {**dict.fromkeys(guarded, expected), "/open": ["GET"]}


def test_dependencies_of_the_application_guard_all_of_it() -> None:
    app = FastAPI(openapi_url=None, dependencies=[Depends(BEARER)])
    app.add_api_route("/a", end)
    assert announced(app) == {"/a": (["GET"], "jwt")}


def test_an_endpoint_may_say_itself_what_guards_it() -> None:
    async def guarded(request: Any) -> Response:
        return Response()

    guarded.__pywatt_auth__ = "jwt"  # type: ignore[attr-defined]
    assert announced(Starlette(routes=[Route("/a", guarded)])) == {"/a": (["GET"], "jwt")}


# ── paths that the user has ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_path_is_the_users_by_whatever_means_it_was_written(tmp_path: Path) -> None:
    router = APIRouter(prefix="/r")
    router.add_api_route("/health", end, methods=["POST"])
    app = bare()
    app.include_router(router)
    app.add_api_route("/slash/", end)
    app.mount("/sub", Starlette(routes=[Route("/health", end)]))
    app.mount("/static", StaticFiles(directory=tmp_path))
    app.router.routes.append(Host("a.example", app=Router([Route("/hosted", end)])))
    for path in ("/r/health", "/slash", "/sub/health", "/static/health", "/static", "/hosted"):
        assert taken(app, path), path
    for path in ("/health", "/r", "/sub/other", "/staticx"):
        assert not taken(app, path), path


def test_what_matches_anything_does_not_take_a_path() -> None:
    app = Starlette(routes=[Route("/{name}", end), Route("/{rest:path}", end), Mount("/", app=Router())])
    assert not taken(app, "/health")
