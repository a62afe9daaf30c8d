"""Endpoints of FastAPI that need a token."""

import logging
import pydoc
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, Security, WebSocket
from fastapi.responses import JSONResponse
from msgspec import Struct
from pydantic import BaseModel
from starlette.requests import Request
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from pywatt_jwt import extract_jwt_claims
from pywatt_jwt.fastapi import JwtBearer, TokenRefused, document_refusals, require, require_scopes

from .callers import CONFIG, EXPIRED, FORBIDDEN, FOREIGN, INVALID, MISSING, Counting, bearer, refusal, served


@dataclass
class Data:
    sub: str
    level: int = 0


class Model(BaseModel):
    sub: str
    level: int = 0


class Record(Struct):
    sub: str
    level: int = 0


def application(source: Any = CONFIG) -> FastAPI:
    app = FastAPI()

    @app.get("/me")
    async def me(claims: Annotated[dict[str, Any], Depends(JwtBearer(source=source))]) -> str:
        return str(claims["sub"])

    @app.get("/data")
    async def data(user: Annotated[Data, Depends(JwtBearer(Data, source=source))]) -> list[Any]:
        return [type(user).__name__, user.sub, user.level]

    @app.get("/model")
    async def model(user: Annotated[Model, Depends(JwtBearer(Model, source=source))]) -> list[Any]:
        return [type(user).__name__, user.sub, user.level]

    @app.get("/record")
    async def record(user: Annotated[Any, Depends(JwtBearer(Record, source=source))]) -> list[Any]:
        return [type(user).__name__, user.sub, user.level]

    @app.delete("/all", dependencies=[Depends(require("admin", "root", source=source))])
    async def remove() -> str:
        return "removed"

    @app.get("/notes", dependencies=[Depends(require_scopes("notes:read", "openid", source=source))])
    def notes() -> str:
        return "notes"

    @app.get("/scoped")
    async def scoped(claims: Annotated[Any, Security(JwtBearer(source=source), scopes=["read"])]) -> str:
        return str(claims["sub"])

    @app.get("/free")
    async def free() -> str:
        return "free"

    return app


async def test_a_good_token_is_let_in_and_gives_its_claims() -> None:
    async with served(application()) as app:
        assert (await app.ask("/me", bearer())).json() == "ada"
        assert (await app.ask("/free")).json() == "free"


async def test_others_are_not() -> None:
    async with served(application()) as app:
        assert refusal(await app.ask("/me")) == MISSING
        assert refusal(await app.ask("/me", "Basic YTpi")) == MISSING
        assert refusal(await app.ask("/me", "Bearer a.b.c")) == INVALID
        assert refusal(await app.ask("/me", bearer(FOREIGN))) == INVALID
        assert refusal(await app.ask("/me", bearer(exp=1))) == EXPIRED
        assert refusal(await app.ask("/me", bearer(), Authorization=bearer())) == INVALID, "two are one too many"


@pytest.mark.parametrize(("path", "name"), [("/data", "Data"), ("/model", "Model"), ("/record", "Record")])
async def test_claims_come_as_the_type_that_was_asked_for(path: str, name: str) -> None:
    async with served(application()) as app:
        assert (await app.ask(path, bearer(level=3))).json() == [name, "ada", 3]
        refused = refusal(await app.ask(path, bearer(level="high")))
        assert (refused.status, refused.text) == (401, "Unauthorized: JSON error")


async def test_roles_and_scopes_are_403() -> None:
    async with served(application()) as app:
        assert refusal(await app.ask("/all", method="DELETE")) == MISSING
        assert refusal(await app.ask("/all", bearer(roles=["user"]), method="DELETE")) == FORBIDDEN
        assert (await app.ask("/all", bearer(roles=["root"]), method="DELETE")).json() == "removed"
        assert refusal(await app.ask("/notes", bearer(scope="notes:read"))) == FORBIDDEN
        assert (await app.ask("/notes", bearer(scope="openid notes:read"))).json() == "notes"
        assert refusal(await app.ask("/scoped", bearer(scope="write"))) == FORBIDDEN
        assert (await app.ask("/scoped", bearer(scp=["read"]))).json() == "ada"


async def test_a_token_that_is_no_good_is_401_whatever_it_may_do() -> None:
    async with served(application()) as app:
        assert refusal(await app.ask("/all", bearer(FOREIGN, roles=["root"]), method="DELETE")) == INVALID


async def test_openapi_knows_the_scheme_the_scopes_and_the_refusals() -> None:
    app = document_refusals(application())

    @app.get("/late", dependencies=[Depends(JwtBearer(source=CONFIG))])
    async def late() -> str:
        return ""

    schema = app.openapi()
    assert schema["components"]["securitySchemes"] == {"jwt": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}}
    assert schema["paths"]["/me"]["get"]["security"] == [{"jwt": []}]
    assert schema["paths"]["/scoped"]["get"]["security"] == [{"jwt": ["read"]}]
    for path, method in (("/me", "get"), ("/all", "delete"), ("/scoped", "get"), ("/late", "get")):
        responses = schema["paths"][path][method]["responses"]
        assert {"401", "403"} <= set(responses)
        assert "WWW-Authenticate" in responses["401"]["headers"]
    assert "401" not in schema["paths"]["/free"]["get"]["responses"]
    assert "detail" in schema["components"]["schemas"]["Refusal"]["properties"]
    assert app.openapi() is schema, "it is made once"
    assert "401" not in application().openapi()["paths"]["/me"]["get"]["responses"]


async def test_endpoints_are_announced_with_auth() -> None:
    router = APIRouter(dependencies=[Depends(JwtBearer(source="customers"))])

    @router.get("/mine")
    async def mine() -> str:
        return ""

    app = application()
    app.include_router(router)
    async with served(app) as asked:
        announced = {endpoint.path: endpoint.auth for endpoint in asked.server.routes()}
    assert {path: announced[path] for path in ("/me", "/all", "/scoped", "/free", "/mine")} == {
        "/me": "jwt", "/all": "jwt", "/scoped": "jwt", "/free": None, "/mine": "customers",
    }  # fmt: skip


async def test_the_modules_own_authenticator_checks_and_only_once() -> None:
    counting = Counting()
    async with served(application(None), authenticator=counting, guarded="/me") as app:
        assert (await app.ask("/me", bearer())).json() == "ada"
        assert counting.asked == 1, "what the guard has checked is not checked again"
        assert (await app.ask("/data", bearer())).status == 200
        assert counting.asked == 2
        assert refusal(await app.ask("/me")) == MISSING
    async with served(application("customers"), authenticator=counting) as app:
        assert (await app.ask("/me", bearer())).json() == "ada"
    other = Counting()
    async with served(application(other), authenticator=counting, guarded="/me") as app:
        assert (await app.ask("/me", bearer())).json() == "ada"
        assert other.asked == 1, "what another one has checked counts for nothing here"


async def test_without_a_module_there_is_nobody_to_ask_and_nobody_gets_in(caplog: pytest.LogCaptureFixture) -> None:
    async with served(application(None)) as app:
        assert (await app.ask("/me", bearer())).status == 500
    assert "there is no AppState in this request" in caplog.text
    assert "hand over a JwtConfig" in caplog.text


async def test_an_application_may_answer_in_its_own_way() -> None:
    app = application()

    @app.exception_handler(TokenRefused)
    async def answer(_request: Any, error: TokenRefused) -> JSONResponse:
        return JSONResponse({"no": error.detail}, 418)

    async with served(app) as asked:
        assert (await asked.ask("/me")).json() == {"no": "Missing Authorization header"}


async def test_claims_can_be_had_from_the_request_too() -> None:
    app = FastAPI()

    @app.get("/asked", dependencies=[Depends(JwtBearer(source=CONFIG))])
    async def asked_for(request: Request) -> str:
        return str(extract_jwt_claims(request, "fastapi", Data).sub)

    async with served(app) as asked:
        assert (await asked.ask("/asked", bearer())).json() == "ada"


async def test_websockets() -> None:
    app = FastAPI()
    ran: list[str] = []

    @app.websocket("/talk")
    async def talk(websocket: WebSocket, claims: Annotated[Any, Depends(require("admin", source=CONFIG))]) -> None:
        ran.append(claims["sub"])
        await websocket.accept()
        await websocket.send_text(claims["sub"])
        await websocket.close()

    async with served(app, port=True) as asked:
        for said in ({}, {"authorization": bearer()}, {"authorization": bearer(FOREIGN, roles=["admin"])}):
            with pytest.raises(InvalidStatus) as caught:
                await connect(f"ws://{asked.address}/talk", additional_headers=said, proxy=None)
            assert caught.value.response.status_code == 403
        assert not ran
        async with connect(
            f"ws://{asked.address}/talk", additional_headers={"authorization": bearer(roles=["admin"])}, proxy=None
        ) as socket:
            assert await socket.recv() == "ada"


async def test_nothing_of_a_token_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with served(application()) as app:
        for said in (bearer(), bearer(FOREIGN), bearer(exp=1), bearer(level="high"), "Bearer canary.canary.canary"):
            await app.ask("/data", said)
            for part in said.removeprefix("Bearer ").split("."):
                assert part not in caplog.text
    assert CONFIG.secret_key is not None
    assert CONFIG.secret_key.expose_secret() not in caplog.text


@pytest.mark.parametrize("dependency", [JwtBearer, require, require_scopes])
def test_a_dependency_that_was_not_made_guards_nothing_and_is_refused(dependency: Any) -> None:
    app = FastAPI()

    async def view() -> str:
        return "in"

    with pytest.raises(TypeError, match="this dependency would guard nothing: write Depends"):
        app.get("/", dependencies=[Depends(dependency)])(view)
    with pytest.raises(TypeError, match="this dependency would guard nothing: write Depends"):
        APIRouter(dependencies=[Depends(dependency)]).get("/")(view)
    assert "claims_type" in pydoc.render_doc(JwtBearer)


@pytest.mark.parametrize("wrong", [5, object(), b"key"])
def test_what_checks_nothing_is_refused_at_once(wrong: Any) -> None:
    with pytest.raises(TypeError, match="tokens are checked by a JwtConfig"):
        JwtBearer(source=wrong)
    with pytest.raises(TypeError, match="require= takes what require"):
        JwtBearer(source=CONFIG, require="admin")  # type: ignore[arg-type]
