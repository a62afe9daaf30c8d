"""Views of Flask that need a token."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from flask import Blueprint, Flask, jsonify, request
from flask.views import MethodView

from pywatt_core import AppState, ConfigError, pywatt_module
from pywatt_core.testing import app as in_process
from pywatt_jwt import MissingToken, extract_jwt_claims
from pywatt_jwt.flask import claims, jwt_required, require, require_scopes

from .callers import CONFIG, EXPIRED, FORBIDDEN, FOREIGN, INVALID, MISSING, Counting, bearer, refusal, served


@dataclass
class User:
    sub: str
    level: int = 0


def application(source: Any = CONFIG) -> Flask:
    app = Flask("members", static_folder=None)

    @app.get("/me")
    @jwt_required(source=source)
    def me() -> Any:
        return jsonify(claims()["sub"])

    @app.get("/typed")
    @jwt_required(source=source, claims_type=User)
    def typed() -> Any:
        user = claims(User)
        return jsonify([user.sub, user.level])

    @app.delete("/all")
    @require("admin", source=source)
    def remove() -> Any:
        return jsonify("removed")

    @app.get("/scoped/<name>")
    @require_scopes("read", "write", source=source)
    def scoped(name: str) -> Any:
        return jsonify([name, extract_jwt_claims(request, "flask", User).sub])

    @app.get("/free")
    def free() -> Any:
        return jsonify("free")

    class Things(MethodView):
        decorators = [jwt_required(source=source)]

        def get(self) -> Any:
            return jsonify("thing")

    app.add_url_rule("/things", view_func=Things.as_view("things"))
    return app


async def test_a_good_token_is_let_in_and_others_are_not() -> None:
    async with served(application()) as app:
        assert (await app.ask("/me", bearer())).json() == "ada"
        assert (await app.ask("/free")).json() == "free"
        assert (await app.ask("/things", bearer())).json() == "thing"
        for path in ("/me", "/things", "/typed", "/scoped/x"):
            assert refusal(await app.ask(path)) == MISSING
            assert refusal(await app.ask(path, bearer(FOREIGN))) == INVALID
            assert refusal(await app.ask(path, bearer(exp=1))) == EXPIRED
        joined = refusal(await app.ask("/me", bearer(), Authorization=bearer()))
        assert joined == INVALID, "several are joined with a comma before they get here, and that is no token"


async def test_claims_come_as_the_type_that_was_asked_for() -> None:
    async with served(application()) as app:
        assert (await app.ask("/typed", bearer(level=2))).json() == ["ada", 2]
        assert refusal(await app.ask("/typed", bearer(level="high"))).text == "Unauthorized: JSON error"


async def test_roles_and_scopes_are_403() -> None:
    async with served(application()) as app:
        assert refusal(await app.ask("/all", bearer(), method="DELETE")) == FORBIDDEN
        assert (await app.ask("/all", bearer(realm_access={"roles": ["admin"]}), method="DELETE")).json() == "removed"
        assert refusal(await app.ask("/scoped/x", bearer(scope="read"))) == FORBIDDEN
        assert (await app.ask("/scoped/x", bearer(scope="read write"))).json() == ["x", "ada"]


async def test_views_are_announced_with_auth() -> None:
    async with served(application("customers"), authenticator=Counting()) as app:
        announced = {endpoint.path: endpoint.auth for endpoint in app.server.routes()}
    assert announced == dict.fromkeys(("/me", "/typed", "/all", "/scoped/{name}", "/things"), "customers") | {"/free": None}


async def test_what_the_guard_has_checked_is_not_checked_again() -> None:
    counting = Counting()
    async with served(application(None), authenticator=counting, guarded="/me") as app:
        assert (await app.ask("/me", bearer())).json() == "ada"
    assert counting.asked == 1


async def test_all_views_of_a_blueprint() -> None:
    blueprint = Blueprint("inner", __name__, url_prefix="/inner")
    blueprint.before_request(jwt_required(source=CONFIG).refusal)
    blueprint.add_url_rule("/a", "a", lambda: jsonify(claims()["sub"]))
    app = Flask("outer", static_folder=None)
    app.register_blueprint(blueprint)
    async with served(app) as asked:
        assert refusal(await asked.ask("/inner/a")) == MISSING
        assert (await asked.ask("/inner/a", bearer())).json() == "ada"


async def test_an_application_with_a_decorator_above_its_route_is_not_served() -> None:
    app = Flask("wrong", static_folder=None)

    @require("admin", source=CONFIG)
    @app.get("/wrong")
    def wrong() -> str:
        raise AssertionError("nobody comes here")

    @app.get("/right")
    @require("admin", source=CONFIG)
    @jwt_required(source=CONFIG)
    def right() -> str:
        return "in"

    with pytest.raises(ConfigError, match=r"^/wrong: the decorator that asks for a token stands above the route's"):
        async with served(app):
            pass
    app.view_functions["wrong"] = right
    async with served(app) as asked:
        assert (await asked.ask("/wrong")).status == 401
        assert (await asked.ask("/right", bearer(roles=["admin"]))).text == "in"


async def test_coroutine_views_stay_coroutines_for_flask() -> None:
    class Running(Flask):
        """As Flask with asgiref, which is an extra of it."""

        def async_to_sync(self, func: Any) -> Any:
            return lambda *args, **kwargs: asyncio.run(func(*args, **kwargs))

    app = Running("async", static_folder=None)

    @app.get("/me")
    @jwt_required(source=CONFIG)
    async def me() -> Any:
        await asyncio.sleep(0)
        return jsonify(claims()["sub"])

    async with served(app) as asked:
        assert (await asked.ask("/me", bearer())).json() == "ada"


def test_claims_that_nobody_has_checked_are_none() -> None:
    app = Flask("bare", static_folder=None)
    with app.test_request_context("/", headers={"authorization": bearer()}), pytest.raises(MissingToken, match="was not checked"):
        claims()


async def test_without_a_module_there_is_nobody_to_ask_and_nobody_gets_in(caplog: pytest.LogCaptureFixture) -> None:
    async with served(application(None)) as app:
        assert (await app.ask("/me", bearer())).status == 500
    assert "hand over a JwtConfig" in caplog.text


async def test_nothing_of_a_token_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with served(application()) as app:
        for said in (bearer(), bearer(FOREIGN), bearer(exp=1), "Bearer canary.canary.canary"):
            await app.ask("/typed", said)
            for part in said.removeprefix("Bearer ").split("."):
                assert part not in caplog.text


# ── an authenticator that has to wait ───────────────────────────────────────────────────────────────────────────────


class Slow:
    """Checks on the loop, and nowhere else: its answer comes from somewhere."""

    def __init__(self) -> None:
        self.threads: set[int] = set()

    async def authenticate(self, token: str) -> Mapping[str, Any]:
        await asyncio.sleep(0)
        self.threads.add(threading.get_ident())
        return {"sub": token}


async def test_an_authenticator_that_waits_does_so_on_the_modules_loop() -> None:
    slow, ran = Slow(), []

    @pywatt_module()
    def members(state: AppState[None]) -> Flask:
        state.authenticators["main"] = slow
        app = Flask("members", static_folder=None)

        @app.get("/me")
        @jwt_required()
        def me() -> Any:
            ran.append(threading.get_ident())
            return jsonify(claims()["sub"])

        return app

    async with in_process(members) as client:
        answers = await asyncio.gather(*(client.get("/me", headers={"authorization": f"Bearer t{number}"}) for number in range(20)))
    assert [answer.json() for answer in answers] == [f"t{number}" for number in range(20)]
    assert slow.threads == {threading.get_ident()}
    assert threading.get_ident() not in ran, "views run in threads"
