"""Every bad token, against the validator and against every way to require one. None is accepted, and the answers tell nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any, NamedTuple

import pytest
from fastapi import Depends, FastAPI
from flask import Flask, jsonify
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

import pywatt_fastapi
import pywatt_flask
from pywatt_core.builtin import pywatt_make_server
from pywatt_core.errors import InvalidToken
from pywatt_core.http import HttpIpcRouter
from pywatt_core.http.bearer import MissingToken, refusal_of
from pywatt_core.http.guarding import Guard
from pywatt_core.interfaces import ServerOptions
from pywatt_core.protocol.messages import AnnouncedEndpoint, HttpRequest, HttpResponse
from pywatt_jwt import JwtValidator, create_jwt_middleware
from pywatt_jwt.authenticator import JwtAuthenticator
from pywatt_jwt.fastapi import JwtBearer
from pywatt_jwt.flask import jwt_required as flask_required
from pywatt_jwt.starlette import JwtBackend, jwt_required, on_error

from .bad_tokens import forged, unfit
from .victims import SECRET, Victim, victims

NAMES = list(victims())
LONG = 100_000
"""Characters of a token that the log is searched for."""


@pytest.fixture(params=NAMES)
def victim(request: pytest.FixtureRequest) -> Victim:
    return victims()[request.param]


# ── the validator ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_there_are_several_hundred_and_each_is_another_one(victim: Victim) -> None:
    names = [name for name, _ in (*forged(victim), *unfit(victim))]
    tokens = {token for _, token in (*forged(victim), *unfit(victim))}
    assert len(tokens) > 650
    assert len(names) - len(tokens) < 40, "the same token has few names"
    assert victim.token() not in tokens


def test_a_genuine_token_is_accepted(victim: Victim) -> None:
    assert JwtValidator(victim.config).validate(victim.token())["sub"] == "mallory"


def test_no_forged_token_is_accepted_and_none_tells_why(victim: Victim) -> None:
    validator = JwtValidator(victim.config)
    for name, token in forged(victim):
        with pytest.raises(InvalidToken) as caught:
            pytest.fail(f"{name} was accepted: {validator.validate(token)}")
        assert caught.value.reason == "", name
        assert refusal_of(caught.value).status == 401
        _tells_nothing(str(caught.value), token)


def test_no_unfit_token_is_accepted(victim: Victim) -> None:
    validator = JwtValidator(victim.config)
    for name, token in unfit(victim):
        with pytest.raises(InvalidToken) as caught:
            pytest.fail(f"{name} was accepted: {validator.validate(token)}")
        _tells_nothing(str(caught.value), token)


async def test_the_asynchronous_way_is_no_other(victim: Victim) -> None:
    authenticator = JwtAuthenticator(JwtValidator(victim.config))
    assert (await authenticator.authenticate(victim.token()))["sub"] == "mallory"
    for _, token in (*forged(victim), *unfit(victim)):
        with pytest.raises(InvalidToken):
            await authenticator.authenticate(token)


def _tells_nothing(text: str, token: str) -> None:
    assert SECRET not in text
    for part in token[:LONG].split("."):
        assert not (len(part) > 4 and part in text), text


def test_no_character_of_a_token_can_be_another_one(victim: Victim) -> None:
    validator, genuine = JwtValidator(victim.config), victim.token()
    for position, character in enumerate(genuine):
        for other in {"A", "_", "0", "=", ".", chr(ord(character) ^ 1), character.swapcase()} - {character}:
            with pytest.raises(InvalidToken):
                pytest.fail(f"{other!r} at {position}: {validator.validate(genuine[:position] + other + genuine[position + 1 :])}")


@given(st.data())
def test_nothing_can_be_taken_from_a_token_nor_put_into_it(data: st.DataObject) -> None:
    victim = victims()[data.draw(st.sampled_from(NAMES))]
    genuine = victim.token()
    start = data.draw(st.integers(0, len(genuine)))
    end = data.draw(st.integers(start, len(genuine)))
    changed = genuine[:start] + data.draw(st.text(max_size=8)) + genuine[end:]
    if changed != genuine:
        with pytest.raises(InvalidToken):
            JwtValidator(victim.config).validate(changed)


# ── every way to require a token ────────────────────────────────────────────────────────────────────────────────────

ENDPOINTS = [AnnouncedEndpoint(path="/admin", methods=["GET"], auth="jwt")]
Ask = Callable[[str], Awaitable[HttpResponse]]


class Way(NamedTuple):
    app: Any
    make: Callable[[Any, ServerOptions], Any]
    guarded: bool = False


class Visits:
    def __init__(self) -> None:
        self.count = 0

    def __call__(self, *_request: Any) -> str:
        self.count += 1
        return "in"


def _fastapi(victim: Victim, visits: Visits) -> Way:
    app = FastAPI()

    async def admin(claims: Any) -> str:
        return visits()

    admin.__annotations__["claims"] = Annotated[Any, Depends(JwtBearer(source=victim.config))]
    app.get("/admin")(admin)
    return Way(app, pywatt_fastapi.pywatt_make_server)


def _plain(visits: Visits) -> Callable[[Request], Awaitable[PlainTextResponse]]:
    async def admin(_request: Request) -> PlainTextResponse:
        return PlainTextResponse(visits())

    return admin


def _starlette(victim: Victim, visits: Visits) -> Way:
    app = Starlette(routes=[Route("/admin", jwt_required(source=victim.config)(_plain(visits)))])
    return Way(app, pywatt_fastapi.pywatt_make_server)


def _backend(victim: Victim, visits: Visits) -> Way:
    users = Middleware(AuthenticationMiddleware, backend=JwtBackend(source=victim.config), on_error=on_error)

    async def admin(request: Request) -> Response:
        if request.user.is_authenticated:
            return PlainTextResponse(visits())
        missing = refusal_of(MissingToken())  # a header that a link cannot carry is dropped there: nobody has said who calls
        return Response(missing.body, missing.status, dict(missing.headers))

    return Way(Starlette(routes=[Route("/admin", admin)], middleware=[users]), pywatt_fastapi.pywatt_make_server)


def _flask(victim: Victim, visits: Visits) -> Way:
    app = Flask("attacked", static_folder=None)
    app.add_url_rule("/admin", "admin", flask_required(source=victim.config)(lambda: jsonify(visits())))
    return Way(app, pywatt_flask.pywatt_make_server)


def _around(framework: str) -> Callable[[Victim, Visits], Way]:
    def make(victim: Victim, visits: Visits) -> Way:
        way = _bare_flask(victim, visits) if framework == "flask" else _bare_starlette(victim, visits)
        return Way(create_jwt_middleware(framework, victim.config)(way.app), way.make)

    return make


def _fenced_router(victim: Victim, visits: Visits) -> Way:
    router = HttpIpcRouter()
    router.middleware(create_jwt_middleware("router", victim.config))
    router.get("/admin", lambda request: visits())
    return Way(router, pywatt_make_server)


def _bare_starlette(_victim: Victim, visits: Visits) -> Way:
    return Way(Starlette(routes=[Route("/admin", _plain(visits))]), pywatt_fastapi.pywatt_make_server, guarded=True)


def _bare_flask(_victim: Victim, visits: Visits) -> Way:
    app = Flask("attacked", static_folder=None)
    app.add_url_rule("/admin", "admin", lambda: jsonify(visits()))
    return Way(app, pywatt_flask.pywatt_make_server, guarded=True)


def _bare_router(_victim: Victim, visits: Visits) -> Way:
    router = HttpIpcRouter()
    router.get("/admin", lambda request: visits())
    return Way(router, pywatt_make_server, guarded=True)


WAYS: dict[str, Callable[[Victim, Visits], Way]] = {
    "dependency of FastAPI": _fastapi,
    "decorator of Starlette": _starlette,
    "backend of Starlette": _backend,
    "decorator of Flask": _flask,
    "ASGI middleware": _around("starlette"),
    "WSGI middleware": _around("flask"),
    "middleware of a router": _fenced_router,
    "guard of an ASGI application": _bare_starlette,
    "guard of a WSGI application": _bare_flask,
    "guard of a router": _bare_router,
}


@asynccontextmanager
async def attacked(victim: Victim, visits: Visits, name: str) -> AsyncIterator[Ask]:
    way = WAYS[name](victim, visits)
    guard = Guard(ENDPOINTS, {"jwt": JwtAuthenticator(JwtValidator(victim.config))}) if way.guarded else None
    server = way.make(way.app, ServerOptions(state=None, port=False, guard=guard))
    await server.start(None)

    async def ask(token: str) -> HttpResponse:
        answer: HttpResponse = await server.handle(HttpRequest("1", "GET", "/admin", {"authorization": f"Bearer {token}"}, None))
        return answer

    try:
        yield ask
    finally:
        await server.close()


def shown(answer: HttpResponse) -> tuple[Any, ...]:
    """All that a client sees, but for the id of its own request."""
    return (
        answer.status_code,
        answer.body,
        sorted((name, value) for name, value in answer.headers.items() if name.lower() != "x-request-id"),
    )


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize("of", ["hmac", "set", "strict"])
async def test_no_way_lets_a_bad_token_in_and_the_answers_are_all_alike(name: str, of: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    victim, visits = victims()[of], Visits()
    async with attacked(victim, visits, name) as ask:
        assert (await ask(victim.token())).status_code == 200
        assert visits.count == 1
        answers: dict[str, set[Any]] = {"forged": set(), "unfit": set()}
        for kind, tokens in (("forged", forged(victim)), ("unfit", unfit(victim))):
            for what, token in tokens:
                if what == "a blank after":
                    continue  # it belongs to the header, not to the token (RFC 9110 5.5)
                answer = await ask(token)
                assert visits.count == 1, f"{what} was let in"
                assert answer.status_code in (400, 401), f"{what}: {answer.status_code}"
                if answer.status_code == 401:
                    assert answer.headers["www-authenticate"].startswith("Bearer")
                    answers[kind].add(repr(shown(answer)))
        bodies = {answer for answer in answers["forged"] if "InvalidToken" in answer}
        assert len(bodies) == 1, "whatever is wrong with a token that is not genuine, the answer is the same"
        assert all("InvalidToken" in answer or "Missing Authorization header" in answer for answer in answers["forged"])
        assert len(answers["forged"]) == 2
    said = caplog.text
    assert SECRET not in said
    for _, token in (*forged(victim), *unfit(victim)):
        assert not any(len(part) > 12 and part in said for part in token[:LONG].split("."))


async def test_tokens_side_by_side_are_not_taken_for_each_other() -> None:
    victim, visits = victims()["set"], Visits()
    bad = [token for _, token in forged(victim)][:200]
    for name in WAYS:
        async with attacked(victim, visits, name) as ask:
            asked = [ask(token) for pair in zip(bad, [victim.token()] * len(bad), strict=True) for token in pair]
            answers = [answer.status_code for answer in await asyncio.gather(*asked)]
        assert answers[1::2] == [200] * len(bad)
        assert set(answers[::2]) <= {400, 401}
