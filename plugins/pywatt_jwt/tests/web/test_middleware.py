"""Tokens are required of whole applications, whatever they are made with."""

from __future__ import annotations

from itertools import product
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import Depends, FastAPI, WebSocket
from flask import Flask, jsonify, request
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Mount, Route
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from pywatt_core import AppState, pywatt_module
from pywatt_core.http import HttpIpcRouter
from pywatt_core.testing import app as in_process
from pywatt_jwt import JwtConfig, JwtValidator, MissingToken, require
from pywatt_jwt.fastapi import JwtBearer
from pywatt_jwt.fastapi import require as having
from pywatt_jwt.middleware import create_jwt_middleware, extract_jwt_claims

from ..key_server import KeyServer
from ..making import token_of
from .callers import CONFIG, EXPIRED, FORBIDDEN, FOREIGN, INVALID, MISSING, Counting, bearer, refusal, served
from .houses import BEHIND, HOUSES, OPEN
from .houses import served as house_served
from .test_guard import SPELLINGS

KINDS = ["fastapi", "starlette", "asgi", "flask", "wsgi"]


def made_with(framework: str, source: Any = CONFIG, **options: Any) -> Any:
    """An application that says who calls, behind the middleware, which is put before it in the framework's own way."""
    middleware = create_jwt_middleware(framework, source, **options)
    if framework in ("flask", "wsgi"):
        flask = Flask("made", static_folder=None)
        for path in ("/me", "/login", "/public/<name>"):
            flask.add_url_rule(path, path, lambda **_values: jsonify(_sub(request)))
        return middleware(flask)

    async def me(request: Request) -> JSONResponse:
        return JSONResponse(_sub(request))

    routes = [Route(path, me) for path in ("/me", "/login", "/public/{name}")]
    if framework == "fastapi":
        app = FastAPI(routes=[*routes])
        app.add_middleware(middleware)
        return app
    return middleware(Starlette(routes=routes))


def _sub(request: Any) -> str:
    try:
        return str(extract_jwt_claims(request)["sub"])
    except MissingToken:
        return "nobody"


@pytest.mark.parametrize("framework", KINDS)
async def test_every_request_needs_a_token(framework: str) -> None:
    async with served(made_with(framework)) as app:
        assert (await app.ask("/me", bearer())).json() == "ada"
        for path in ("/me", "/login", "/nowhere", "/", "/me/"):
            assert refusal(await app.ask(path)) == MISSING
        assert refusal(await app.ask("/me", bearer(FOREIGN))) == INVALID
        assert refusal(await app.ask("/me", bearer(exp=1))) == EXPIRED
        assert (await app.ask("/nowhere", bearer())).status == 404
        body = (await app.ask("/me", "Bearer a.b.c")).json()
        assert body == {"error": "Unauthorized: InvalidToken"}


@pytest.mark.parametrize("framework", KINDS)
async def test_some_paths_may_be_left_out(framework: str) -> None:
    async with served(made_with(framework, exclude=["/login", "/public/{name}"])) as app:
        assert (await app.ask("/login")).json() == (await app.ask("/public/x")).json() == "nobody"
        assert (await app.ask("/login", "Bearer a.b.c")).json() == "nobody", "a token that nobody asks for is not looked at"
        assert (await app.ask("/login", method="POST")).status == 405
        for path in ("/login/", "//login", "/Login", "/login%0A", "/public/x/y", "/public/%2e%2e/me", "/me"):
            assert refusal(await app.ask(path)) == MISSING, path


@pytest.mark.parametrize("framework", KINDS)
async def test_preflights_pass_and_run_no_view(framework: str) -> None:
    async with served(made_with(framework)) as app:
        assert refusal(await app.ask("/me", method="OPTIONS")) == MISSING
        asked = await app.ask("/me", method="OPTIONS", origin="https://a.example", access_control_request_method="GET")
        assert asked.status != 401
        assert b"nobody" not in asked.body


@pytest.mark.parametrize("framework", KINDS)
async def test_roles_types_and_other_authenticators(framework: str) -> None:
    async with served(made_with(framework, require=require("admin"))) as app:
        assert refusal(await app.ask("/me", bearer())) == FORBIDDEN
        assert (await app.ask("/me", bearer(roles=["admin"]))).json() == "ada"
    async with served(made_with(framework, claims_type=SimpleNamespace)) as app:
        assert (await app.ask("/me", bearer())).status == 500, "what claims can never be read as lets nobody in"
    counting = Counting()
    for source in (None, "customers", counting, JwtValidator(CONFIG)):
        async with served(made_with(framework, source), authenticator=counting) as app:
            assert (await app.ask("/me", bearer())).json() == "ada"
            assert refusal(await app.ask("/me")) == MISSING
    assert counting.asked == 3


async def test_a_mounted_application_has_its_paths_below_the_mount() -> None:
    inner = create_jwt_middleware("starlette", CONFIG, exclude=["/login"])(
        Starlette(routes=[Route("/login", _plain), Route("/me", _plain), Route("/inner/login", _plain)])
    )
    async with served(Starlette(routes=[Mount("/inner", app=inner), Route("/free", _plain)])) as app:
        assert (await app.ask("/inner/login")).status == (await app.ask("/free")).status == 200
        assert refusal(await app.ask("/inner/me")) == refusal(await app.ask("/inner/inner/login")) == MISSING


async def _plain(_request: Request) -> PlainTextResponse:
    return PlainTextResponse("in")


async def test_websockets_are_refused_before_they_are_accepted() -> None:
    app, talked = FastAPI(), []

    @app.websocket("/talk")
    async def talk(websocket: WebSocket) -> None:
        talked.append(extract_jwt_claims(websocket)["sub"])
        await websocket.accept()
        await websocket.close()

    app.add_middleware(create_jwt_middleware("fastapi", CONFIG))
    async with served(app, port=True) as asked:
        with pytest.raises(InvalidStatus) as caught:
            await connect(f"ws://{asked.address}/talk", proxy=None)
        assert caught.value.response.status_code == 401
        assert caught.value.response.headers["www-authenticate"] == "Bearer"
        assert not talked
        async with connect(f"ws://{asked.address}/talk", additional_headers={"authorization": bearer()}, proxy=None):
            pass
    assert talked == ["ada"]


@pytest.mark.parametrize("name", ["fastapi", "starlette", "flask", "lax flask"])
async def test_no_spelling_leads_past_the_middleware(name: str) -> None:
    house = HOUSES[name]()
    framework = "flask" if "flask" in name else "asgi"
    middleware = create_jwt_middleware(framework, CONFIG, exclude=OPEN)
    async with house_served(house._replace(app=_around(house.app, middleware)), None) as app:
        for path, spelling in product((*BEHIND, "/login", "/users/me"), SPELLINGS.values()):
            await app.ask("GET", spelling(path))
            past, _ = app.visits.take()
            assert not past, f"{spelling(path)!r} ran {past} without a token"
            assert not app.visits.rest


def _around(app: Any, middleware: Any) -> Any:
    return middleware(app)


# ── PyWatt's own routers ────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_router_with_middleware() -> None:
    counting = Counting()

    @pywatt_module(bind_http=False)
    def routed(state: AppState[None]) -> HttpIpcRouter:
        state.authenticators["main"] = counting
        router = HttpIpcRouter()
        router.middleware(create_jwt_middleware("router", exclude=["/login"], require=require("admin")))
        router.get("/me", lambda request: [request.claims["sub"], extract_jwt_claims(request, "router")["sub"]])
        router.get("/login", lambda request: request.claims)
        router.get("/{rest}", lambda request: "rest")
        return router

    async with in_process(routed) as client:
        good = {"authorization": bearer(roles=["admin"])}
        assert (await client.get("/me", headers=good)).json()["data"] == ["ada", "ada"]
        assert (await client.get("/login")).json()["data"] is None
        for path in ("/me", "/login%0A", "/log%69n", "/x"):
            answer = await client.get(path)
            assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer"), path
        assert refusal(await client.get("/me", headers={"authorization": bearer()})) == FORBIDDEN
        both = {"authorization": good["authorization"], "Authorization": good["authorization"]}
        assert (await client.get("/me", headers=both)).status == 401


# ── what is said about it ───────────────────────────────────────────────────────────────────────────────────────────


async def test_one_configuration_has_its_keys_fetched_once_wherever_it_is_named(server: KeyServer) -> None:
    config = JwtConfig(jwks_url=f"{server.url}/keys")
    app = FastAPI(dependencies=[Depends(JwtBearer(source=config))])
    for path in ("/a", "/b", "/c"):
        app.add_api_route(path, lambda: "in", dependencies=[Depends(having("admin", source=config)), Depends(JwtBearer(source=config))])
    app.add_middleware(create_jwt_middleware("fastapi", config))
    token = token_of({"exp": 9_999_999_999, "roles": ["admin"]}, alg="RS256", header={"alg": "RS256", "kid": "first"})
    async with served(app) as asked:
        for path in ("/a", "/b", "/c"):
            assert (await asked.ask(path, f"Bearer {token}")).json() == "in"
    assert server.asked == ["/keys"]


async def test_a_token_is_checked_once_for_each_request(monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[str] = []
    check = JwtValidator.validate_async

    async def counting(self: JwtValidator, token: str, into: Any = None, *, now: float | None = None) -> Any:
        checked.append(token)
        return await check(self, token, into, now=now)

    monkeypatch.setattr(JwtValidator, "validate_async", counting)
    for source in (CONFIG, JwtValidator(CONFIG)):
        app = FastAPI(dependencies=[Depends(JwtBearer(source=source)), Depends(having("admin", source=source))])
        app.add_api_route("/me", lambda: "in")
        app.add_middleware(create_jwt_middleware("fastapi", source))
        async with served(app) as asked:
            assert (await asked.ask("/me", bearer(roles=["admin"]))).json() == "in"
    assert len(checked) == 2


@pytest.mark.parametrize("framework", ["django", "", None, "FastAPI"])
def test_another_framework_is_not_known(framework: Any) -> None:
    with pytest.raises(ValueError, match="framework is one of fastapi, starlette, asgi, flask, wsgi, router"):
        create_jwt_middleware(framework, CONFIG)
    if framework is not None:
        with pytest.raises(ValueError, match="framework is one of"):
            extract_jwt_claims({}, framework)


@pytest.mark.parametrize("key", ["A key of the tests, 32 bytes or more", "deadbeef" * 8, "My-Key", "", "a\n", "hunter2!"])
def test_a_key_in_the_place_of_a_configuration_is_refused_and_not_repeated(key: str) -> None:
    makers: list[Any] = [lambda: create_jwt_middleware("fastapi", key), lambda: JwtBearer(source=key)]
    for made in makers:
        with pytest.raises(ValueError, match=r"JwtConfig\(secret_key=…\)") as caught:
            made()
        assert not key or key not in str(caught.value)


def test_a_path_alone_is_no_list_of_paths() -> None:
    with pytest.raises(TypeError, match=r"exclude= is a list of paths: exclude=\['/login'\]"):
        create_jwt_middleware("asgi", CONFIG, exclude="/login")


def test_claims_come_from_requests_scopes_and_environs_and_nowhere_else() -> None:
    claims = {"sub": "ada"}
    there: list[Any] = [{"pywatt.claims": claims}, SimpleNamespace(scope={"pywatt.claims": claims}), SimpleNamespace(claims=claims)]
    for place in there:
        assert extract_jwt_claims(place) == claims
    nothing: list[Any] = [{}, {"HTTP_AUTHORIZATION": bearer()}, SimpleNamespace(environ={}), SimpleNamespace(claims=None)]
    for place in nothing:
        with pytest.raises(MissingToken, match="was not checked"):
            extract_jwt_claims(place)
    with pytest.raises(TypeError, match="is no request"):
        extract_jwt_claims(5)
