"""Endpoints of Starlette that need a token, and its own AuthenticationMiddleware."""

from __future__ import annotations

import asyncio
import functools
import threading
from typing import Any, TypedDict

import pytest
from starlette.applications import Starlette
from starlette.authentication import requires
from starlette.endpoints import HTTPEndpoint, WebSocketEndpoint
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from pywatt_jwt import extract_jwt_claims
from pywatt_jwt import require as having
from pywatt_jwt.starlette import JwtBackend, jwt_required, on_error, require, require_scopes

from .callers import CONFIG, EXPIRED, FORBIDDEN, FOREIGN, INVALID, MISSING, Counting, bearer, refusal, served


@jwt_required(source=CONFIG)
async def me(request: Request) -> Response:
    return JSONResponse(extract_jwt_claims(request)["sub"])


@require("admin", source=CONFIG)
def threaded(request: Request) -> Response:
    return JSONResponse(threading.get_ident())


@require_scopes("read", "write", source=CONFIG)
async def scoped(request: Request) -> Response:
    return JSONResponse("scoped")


class Things(HTTPEndpoint):
    @jwt_required(source=CONFIG)
    async def get(self, request: Request) -> Response:
        return JSONResponse("one")

    async def post(self, request: Request) -> Response:
        return JSONResponse("open")


TALKED: list[str] = []


@jwt_required(source=CONFIG)
async def talk(websocket: WebSocket) -> None:
    TALKED.append("function")
    await websocket.accept()
    assert await websocket.receive_text() == extract_jwt_claims(websocket)["sub"]
    await websocket.send_text("ada")


class Talk(WebSocketEndpoint):
    encoding = "text"

    @jwt_required(source=CONFIG)
    async def on_connect(self, websocket: WebSocket) -> None:
        TALKED.append("class")
        await websocket.accept()

    async def on_receive(self, websocket: WebSocket, data: Any) -> None:
        await websocket.send_text(data)

    async def on_disconnect(self, websocket: WebSocket, close_code: int) -> None:
        LEFT.set()


LEFT = asyncio.Event()

APP = Starlette(
    routes=[
        Route("/me", me),
        Route("/threaded", threaded),
        Route("/scoped", scoped),
        Route("/things", Things),
        WebSocketRoute("/talk", talk),
        WebSocketRoute("/class", Talk),
    ]
)


async def test_endpoints_need_a_token() -> None:
    async with served(APP) as app:
        assert (await app.ask("/me", bearer())).json() == "ada"
        assert refusal(await app.ask("/me")) == MISSING
        assert refusal(await app.ask("/me", bearer(FOREIGN))) == INVALID
        assert refusal(await app.ask("/me", bearer(exp=1))) == EXPIRED
        assert refusal(await app.ask("/things")) == MISSING
        assert (await app.ask("/things", bearer())).json() == "one"
        assert (await app.ask("/things", method="POST")).json() == "open"


async def test_roles_scopes_and_threads() -> None:
    async with served(APP) as app:
        assert refusal(await app.ask("/threaded", bearer())) == FORBIDDEN
        assert (await app.ask("/threaded", bearer(roles=["admin"]))).json() != threading.get_ident()
        assert refusal(await app.ask("/scoped", bearer(scope="read"))) == FORBIDDEN
        assert (await app.ask("/scoped", bearer(scope="read write"))).json() == "scoped"


async def test_endpoints_are_announced_with_auth() -> None:
    async with served(APP) as app:
        announced = {endpoint.path: endpoint.auth for endpoint in app.server.routes()}
    assert (announced["/me"], announced["/threaded"], announced["/talk"], announced["/things"]) == ("jwt", "jwt", "jwt", None)


@pytest.mark.parametrize(("path", "kind"), [("/talk", "function"), ("/class", "class")])
async def test_websockets(path: str, kind: str) -> None:
    TALKED.clear()
    async with served(APP, port=True) as app:
        for said in ({}, {"authorization": bearer(FOREIGN)}):
            with pytest.raises(InvalidStatus) as caught:
                await connect(f"ws://{app.address}{path}", additional_headers=said, proxy=None)
            assert caught.value.response.status_code == 403
        assert not TALKED
        assert not LEFT.is_set(), "who did not come in does not leave"
        async with connect(f"ws://{app.address}{path}", additional_headers={"authorization": bearer()}, proxy=None) as socket:
            await socket.send("ada")
            assert await socket.recv() == "ada"
        assert [kind] == TALKED
        if kind == "class":
            await asyncio.wait_for(LEFT.wait(), 20)


async def test_a_websocket_without_starlettes_application_is_closed() -> None:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(event: Any) -> None:
        sent.append(event)

    await talk(WebSocket({"type": "websocket", "path": "/", "headers": []}, receive, send))
    assert [(event["type"], event["code"]) for event in sent] == [("websocket.close", 1008)]


class Called:
    async def __call__(self, request: Request) -> Response:
        return PlainTextResponse("in")


def plainly(endpoint: Any) -> Any:
    @functools.wraps(endpoint)
    def wrapper(request: Request) -> Any:
        return endpoint(request)

    return wrapper


def asynchronously(endpoint: Any) -> Any:
    @functools.wraps(endpoint)
    async def wrapper(request: Request) -> Any:
        return endpoint(request)

    return wrapper


async def coroutine(request: Request) -> Response:
    return PlainTextResponse("in")


def function(request: Request) -> Response:
    return PlainTextResponse("in")


@pytest.mark.parametrize(
    "endpoint",
    [Called(), functools.partial(coroutine), functools.partial(function), plainly(coroutine), plainly(function), asynchronously(function)],
)
async def test_whatever_starlette_calls_may_be_decorated(endpoint: Any) -> None:
    decorated = jwt_required(source=CONFIG)(endpoint)
    async with served(Starlette(routes=[Route("/me", decorated)])) as app:
        assert (await app.ask("/me", bearer())).text == "in"
        assert refusal(await app.ask("/me")) == MISSING


class Member(TypedDict):
    sub: str
    level: int


@pytest.mark.parametrize("decorate", [jwt_required, functools.partial(require, "admin"), functools.partial(require_scopes, "read")])
async def test_claims_are_tried_as_the_type_that_the_endpoint_wants(decorate: Any) -> None:
    async def level(request: Request) -> Response:
        return JSONResponse(extract_jwt_claims(request, "starlette", Member)["level"])

    async with served(Starlette(routes=[Route("/me", decorate(source=CONFIG, claims_type=Member)(level))])) as app:
        assert (await app.ask("/me", bearer(level=3, roles=["admin"], scope="read"))).json() == 3
        assert refusal(await app.ask("/me", bearer(level="3", roles=["admin"], scope="read"))).text == "Unauthorized: JSON error"


async def test_what_the_guard_has_checked_is_not_checked_again() -> None:
    counting = Counting()
    app = Starlette(routes=[Route("/me", jwt_required()(lambda request: PlainTextResponse("in")))])
    async with served(app, authenticator=counting, guarded="/me") as asked:
        assert (await asked.ask("/me", bearer())).text == "in"
    assert counting.asked == 1


def test_what_cannot_be_decorated_says_so() -> None:
    with pytest.raises(TypeError, match="decorate the methods of Things"):
        jwt_required()(Things)


async def test_an_endpoint_without_a_request_lets_nobody_in() -> None:
    @jwt_required(source=CONFIG)
    async def blind() -> str:
        raise AssertionError("nobody comes here")

    with pytest.raises(TypeError, match="takes the request"):
        await blind()


# ── request.user ────────────────────────────────────────────────────────────────────────────────────────────────────


async def who(request: Request) -> Response:
    user = request.user
    roles = sorted(getattr(user, "roles", ()))
    return JSONResponse(
        [
            user.is_authenticated,
            user.display_name,
            getattr(user, "identity", "") if user.is_authenticated else "",
            roles,
            request.auth.scopes,
        ]
    )


@requires("read", status_code=403)
async def reading(request: Request) -> Response:
    return JSONResponse("read")


USERS = Starlette(
    routes=[Route("/me", who), Route("/reading", reading)],
    middleware=[Middleware(AuthenticationMiddleware, backend=JwtBackend(source=CONFIG), on_error=on_error)],
)


async def test_the_caller_is_the_requests_user() -> None:
    async with served(USERS) as app:
        assert (await app.ask("/me")).json() == [False, "", "", [], []]
        said = bearer(name="Ada Lovelace", scope="write read", roles=["admin"])
        assert (await app.ask("/me", said)).json() == [True, "Ada Lovelace", "ada", ["admin"], ["authenticated", "read", "write"]]
        assert (await app.ask("/me", bearer(name=5, preferred_username=""))).json()[1] == "ada"
        assert (await app.ask("/reading", said)).json() == "read"
        assert (await app.ask("/reading", bearer(roles=["read"]))).status == 403
        assert (await app.ask("/reading")).status == 403


async def test_a_bad_token_is_no_anonymous_caller() -> None:
    async with served(USERS) as app:
        assert refusal(await app.ask("/me", bearer(FOREIGN))) == INVALID
        assert refusal(await app.ask("/me", "Basic YTpi")) == MISSING
        assert refusal(await app.ask("/me", bearer(), Authorization=bearer())) == INVALID


async def test_a_backend_can_require_more() -> None:
    middleware = [Middleware(AuthenticationMiddleware, backend=JwtBackend(source=CONFIG, require=having("admin")), on_error=on_error)]
    async with served(Starlette(routes=[Route("/me", who)], middleware=middleware)) as app:
        assert refusal(await app.ask("/me", bearer())) == FORBIDDEN
        assert (await app.ask("/me", bearer(roles="admin"))).json()[0] is True
