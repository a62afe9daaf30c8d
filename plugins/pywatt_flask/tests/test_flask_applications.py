"""Which applications the plugin takes, and what is announced of them."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from flask import Blueprint, Flask
from flask.views import MethodView
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.routing import BaseConverter, Rule

import pywatt_flask
from pywatt_core.interfaces import Server, ServerOptions
from pywatt_core.testing.contracts.server_probe import request

ALL = ["GET", "POST", "PUT", "PATCH", "DELETE"]


def view(**arguments: Any) -> str:
    return "view"


def make(app: Any, **options: Any) -> Server:
    server = pywatt_flask.pywatt_make_server(app, ServerOptions(**{"state": None, **options}))
    assert server is not None
    return server


def announced(app: Any, **options: Any) -> dict[str, Any]:
    routes = make(app, **options).routes()
    return {route.path: route.methods if route.auth is None else (route.methods, route.auth) for route in routes}


def bare(*rules: str) -> Flask:
    app = Flask("bare", static_folder=None)
    for rule in rules:
        app.add_url_rule(rule, rule, view)
    return app


# ── applications ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "app", [Flask("a"), Blueprint("a", "a"), ProxyFix(Flask("a")), DispatcherMiddleware(Flask("a"))], ids=lambda a: type(a).__name__
)
def test_flasks_applications_are_recognised(app: Any) -> None:
    assert pywatt_flask.pywatt_make_server(app, ServerOptions(state=None)) is not None


def test_the_class_of_an_application_and_middleware_round_nothing_are_left_to_others() -> None:
    for stranger in (Flask, ProxyFix(view), view):  # type: ignore[arg-type]
        assert pywatt_flask.pywatt_make_server(stranger, ServerOptions(state=None)) is None


async def test_a_blueprint_becomes_an_application() -> None:
    outer, inner = Blueprint("outer", __name__, url_prefix="/outer"), Blueprint("inner", __name__, url_prefix="/<tenant>")
    inner.add_url_rule("/a", view_func=view, methods=["POST"])
    outer.register_blueprint(inner)
    server = make(outer)
    assert ("/outer/{tenant}/a", ["POST"]) in [(route.path, route.methods) for route in server.routes()]
    await server.start(None)
    assert (await server.handle(request("POST", "/outer/ada/a"))).body == b"view"
    await server.close()


async def test_what_a_dispatcher_mounts_is_served_and_announced() -> None:
    app = DispatcherMiddleware(bare("/own"), {"/other": bare("/there")})
    assert announced(app) == {"/other": ALL, "/other/{*rest}": ALL, "/own": ["GET"]}
    server = make(app)
    assert not server.add_route("/other/health", lambda: (200, "text/plain", b""))
    assert server.add_route("/health", lambda: (200, "text/plain", b""))
    await server.start(None)
    assert (await server.handle(request("GET", "/other/there"))).body == b"view"
    await server.close()


def test_looking_at_the_plugin_imports_no_framework() -> None:
    code = (
        "import sys, pywatt_flask; from pywatt_core.interfaces import ServerOptions; "
        "assert pywatt_flask.pywatt_make_server(object(), ServerOptions(state=None)) is None; "
        "print([name for name in ('flask', 'werkzeug', 'waitress', 'asyncio') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


# ── routes ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("rule", "path"),
    [
        ("/", "/"),
        ("/a/", "/a/"),
        ("/<name>", "/{name}"),
        ("/<int:id>/<float(min=1):size>/<uuid:key>", "/{id}/{size}/{key}"),
        ("/<any(a, 'b/c'):kind>", "/{kind}"),
        ("/<string(length=2):code>", "/{code}"),
        ("/files/<path:path>", "/files/{*path}"),
        ("/files/<path:path>/meta", "/files/{*path}/meta"),
        ("/files/<name>.<kind>", "/files/{name}.{kind}"),
        ("/<path:first>/to/<path:second>", "/{*first}"),
    ],
)
def test_parameters_are_one_segment_or_a_remainder(rule: str, path: str) -> None:
    assert announced(bare(rule)) == {path: ["GET"]}


def test_a_converter_of_the_users_own_is_a_remainder_where_it_takes_slashes() -> None:
    class Slashes(BaseConverter):
        regex = "[a-z/]+"

    class Letters(BaseConverter):
        regex = "[a-z]+"

    app = bare()
    app.url_map.converters.update(slashes=Slashes, letters=Letters)
    app.add_url_rule("/1/<slashes:a>", "1", view)
    app.add_url_rule("/2/<letters:a>", "2", view)
    assert announced(app) == {"/1/{*a}": ["GET"], "/2/{a}": ["GET"]}


def test_methods_are_those_of_the_rule_without_what_is_implied() -> None:
    class View(MethodView):
        def get(self) -> str:
            return ""

        def delete(self) -> str:
            return ""

    app = bare()
    app.add_url_rule("/a", "a", view, methods=["POST", "GET", "PURGE"])
    app.add_url_rule("/options", "o", view, methods=["OPTIONS"])
    app.add_url_rule("/class", view_func=View.as_view("v"))
    app.url_map.add(Rule("/any", endpoint="any"))
    app.url_map.add(Rule("/built", endpoint="built", build_only=True))
    assert announced(app) == {"/a": ["GET", "POST", "PURGE"], "/options": ["OPTIONS"], "/class": ["GET", "DELETE"], "/any": ALL}


def test_static_files_and_prefix() -> None:
    assert announced(Flask("static"), prefix="/v1") == {"/v1/static/{*filename}": ["GET"]}


def test_hosts_and_subdomains_make_no_difference() -> None:
    app = Flask("hosts", static_folder=None, subdomain_matching=True)
    app.add_url_rule("/a", "a", view)
    app.add_url_rule("/a", "b", view, subdomain="api", methods=["GET", "POST"])
    assert announced(app) == {"/a": ["GET", "POST"]}


def test_a_guarded_view_that_answers_options_itself_says_so() -> None:
    def guarded() -> str:
        return ""

    guarded.__pywatt_auth__ = "jwt"  # type: ignore[attr-defined]
    app = bare()
    app.add_url_rule("/itself", "itself", guarded, methods=["GET", "OPTIONS"])
    app.add_url_rule("/by-flask", "by-flask", guarded, methods=["GET"])
    app.add_url_rule("/open", "open", view, methods=["GET", "OPTIONS"])
    assert announced(app) == {"/itself": (["GET", "OPTIONS"], "jwt"), "/by-flask": (["GET"], "jwt"), "/open": ["GET"]}


def test_a_view_may_say_what_guards_it() -> None:
    def guarded() -> str:
        return ""

    guarded.__pywatt_auth__ = "jwt"  # type: ignore[attr-defined]
    app = bare("/open")
    app.add_url_rule("/guarded", "guarded", guarded)
    assert announced(app) == {"/open": ["GET"], "/guarded": (["GET"], "jwt")}


@pytest.mark.parametrize(("path", "taken"), [("/a", True), ("/slash", True), ("/b", False), ("/", False), ("/static/x", False)])
def test_a_path_is_the_users_where_a_rule_says_so(path: str, taken: bool) -> None:
    server = make(bare("/a", "/slash/", "/<name>", "/<path:rest>"))
    assert server.add_route(path, lambda: (200, "text/plain", b"")) is not taken
