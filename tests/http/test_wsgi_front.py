"""A WSGI application as a server runs it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from wsgiref.util import FileWrapper, setup_testing_defaults

import pytest

from pywatt_core import telemetry
from pywatt_core.errors import InvalidToken
from pywatt_core.http import WsgiFront
from pywatt_core.http.bearer import AUTHENTICATOR_KEY, CLAIMS_KEY
from pywatt_core.http.guarding import Guard
from pywatt_core.http.wsgi_front import STATE_KEY
from pywatt_core.interfaces import ServerOptions
from pywatt_core.protocol.messages import AnnouncedEndpoint


def fine(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]


class Server:
    """Runs a front as servers do, and keeps what came of it."""

    def __init__(self, app: Any = fine, **options: Any) -> None:
        self.front = WsgiFront(app, ServerOptions(**{"state": "the state", **options}))
        self.environ: dict[str, Any] = {}
        self.status = ""
        self.headers: dict[str, str] = {}
        self.answer: Any = None

    def ask(self, path: str = "/", **more: Any) -> bytes:
        self.environ = {"PATH_INFO": path, "SCRIPT_NAME": "", **more}
        setup_testing_defaults(self.environ)

        def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            self.status, self.headers = status, dict(headers)

        self.answer = self.front(self.environ, start_response)
        try:
            return b"".join(self.answer)
        finally:
            if hasattr(self.answer, "close"):
                self.answer.close()


def test_without_a_prefix_nothing_moves() -> None:
    server = Server()
    assert server.ask("/a") == b"done"
    assert (server.environ["SCRIPT_NAME"], server.environ["PATH_INFO"]) == ("", "/a")
    assert server.environ[STATE_KEY] == "the state"


@pytest.mark.parametrize(("path", "rest"), [("/v1/a", "/a"), ("/v1", "/"), ("/v1/", "/")])
def test_the_script_name_is_what_the_path_no_longer_has(path: str, rest: str) -> None:
    server = Server(prefix="/v1", behind_gateway=True)
    server.ask(path, HTTP_X_FORWARDED_PREFIX="/shop")
    assert (server.environ["SCRIPT_NAME"], server.environ["PATH_INFO"]) == ("/shop/v1", rest)


def test_what_is_not_below_the_prefix_is_404() -> None:
    server = Server(prefix="/v1")
    assert server.ask("/a") == b"Not Found"
    assert (server.status, server.headers["content-length"]) == ("404 Not Found", "9")


@pytest.mark.parametrize("believed", [True, False])
def test_only_the_gateway_is_believed(believed: bool) -> None:
    server = Server(behind_gateway=believed)
    said = {"HTTP_X_FORWARDED_FOR": "203.0.113.9", "HTTP_X_FORWARDED_PROTO": "https", "HTTP_X_FORWARDED_HOST": "shop.example"}
    server.ask("/", HTTP_HOST="inner", REMOTE_ADDR="localhost", REMOTE_PORT="None", HTTP_X_FORWARDED_PREFIX="/shop", **said)
    environ = server.environ
    seen = (environ["SCRIPT_NAME"], environ["REMOTE_ADDR"], environ["wsgi.url_scheme"], environ["HTTP_HOST"])
    assert seen == (("/shop", "203.0.113.9", "https", "shop.example") if believed else ("", "localhost", "http", "inner"))
    assert ("REMOTE_PORT" in environ) is not believed


def test_an_extra_route_comes_before_the_application_and_outside_the_prefix() -> None:
    server = Server(prefix="/v1")
    server.front.extra.add("/health", lambda: (200, "text/plain", b"fine"))
    assert server.ask("/health") == b"fine"
    assert server.ask("/health", REQUEST_METHOD="HEAD") == b""
    assert server.headers["content-length"] == "4"


@pytest.mark.parametrize("failure", [LookupError("why"), SystemExit(3), KeyboardInterrupt()])
def test_an_exception_is_500_and_logged(failure: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        raise failure

    server = Server(app)
    assert server.ask() == b"Internal Server Error"
    assert server.status == "500 Internal Server Error"
    assert "exception in the application" in caplog.text


@pytest.mark.parametrize(
    ("failure", "said"),
    [(SystemExit(3), r"called exit\(3\)"), (KeyboardInterrupt(), "raised KeyboardInterrupt")],
    ids=["exit", "interrupt"],
)
def test_an_exit_in_the_middle_of_a_body_is_an_exception_that_servers_survive(failure: BaseException, said: str) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])

        def pieces() -> Iterator[bytes]:
            yield b"x"
            raise failure

        return pieces()

    with pytest.raises(RuntimeError, match=f"the application {said}"):
        Server(app).ask()


def test_the_requests_name_is_bound_until_the_body_is_closed() -> None:
    seen: list[str] = []

    class Pieces:
        def __iter__(self) -> Iterator[bytes]:
            seen.append(telemetry.current().request_id)
            yield b"x"

        def close(self) -> None:
            seen.append(telemetry.current().request_id)

    def app(environ: Any, start_response: Any) -> Any:
        seen.append(telemetry.current().request_id)
        start_response("200 OK", [])
        return Pieces()

    server = Server(app)
    server.ask(HTTP_X_REQUEST_ID="abc-1")
    server.answer.close()
    assert seen == ["abc-1", "abc-1", "abc-1", ""]
    assert telemetry.current().request_id == ""


@pytest.mark.parametrize("kind", ["list", "file"])
def test_what_the_server_has_to_recognise_stays_what_it_is(kind: str, tmp_path: Any) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"file")

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        return [b"list"] if kind == "list" else environ["wsgi.file_wrapper"](path.open("rb"))

    server = Server(app)
    assert server.ask("/", **{"wsgi.file_wrapper": FileWrapper}) == kind.encode()
    assert isinstance(server.answer, list if kind == "list" else FileWrapper)


# ── guarded endpoints ───────────────────────────────────────────────────────────────────────────────────────────────


class Porter:
    async def authenticate(self, token: str) -> Any:
        raise AssertionError("a thread asks for `authenticate_now`")

    def authenticate_now(self, token: str) -> Any:
        if token != "good":
            raise InvalidToken("another one")
        return {"sub": "ada"}


PORTER = Porter()
ENDPOINTS = [
    AnnouncedEndpoint(path, ["GET"], auth) for path, auth in (("/admin", "jwt"), ("/health", "jwt"), ("/café", "jwt"), ("/open", None))
]


def guarded(app: Any = fine, **options: Any) -> Server:
    return Server(app, guard=Guard(ENDPOINTS, {"jwt": PORTER}), **options)


@pytest.mark.parametrize("path", ["/admin", "/admin/", "//admin", "/caf\xc3\xa9", "/Admin"])
def test_a_guarded_endpoint_needs_a_token(path: str) -> None:
    server = guarded()
    assert server.ask(path) == b'{"error":"Missing Authorization header"}'
    assert server.status == "401 Unauthorized"
    assert (server.headers["www-authenticate"], server.headers["content-length"]) == ("Bearer", "40")
    assert server.ask(path, HTTP_AUTHORIZATION="Bearer bad") == b'{"error":"Unauthorized: InvalidToken"}'
    assert server.ask(path, HTTP_AUTHORIZATION="Bearer good") == b"done"
    assert (server.environ[CLAIMS_KEY], server.environ[AUTHENTICATOR_KEY]) == ({"sub": "ada"}, PORTER)


def test_what_is_open_stays_open_and_nobody_brings_claims_along() -> None:
    server = guarded()
    assert server.ask("/open", HTTP_PYWATT_CLAIMS="admin") == b"done"
    assert CLAIMS_KEY not in server.environ


@pytest.mark.parametrize(("method", "more"), [("POST", {}), ("OPTIONS", {}), ("GET", {"HTTP_X_HTTP_METHOD_OVERRIDE": "PUT"})])
def test_other_methods_are_guarded_too(method: str, more: dict[str, str]) -> None:
    server = guarded()
    server.ask("/admin", REQUEST_METHOD=method, **more)
    assert server.status == "401 Unauthorized"


def test_a_preflight_passes() -> None:
    asked = {"HTTP_ORIGIN": "https://a.example", "HTTP_ACCESS_CONTROL_REQUEST_METHOD": "GET"}
    assert guarded().ask("/admin", REQUEST_METHOD="OPTIONS", **asked) == b"done"


def test_a_path_of_the_servers_own_is_guarded_where_it_is_announced_so() -> None:
    server = guarded(prefix="/v1")
    server.front.extra.add("/health", lambda: (200, "text/plain", b"well"))
    server.front.extra.add("/metrics", lambda: (200, "text/plain", b"0"))
    server.ask("/health")
    assert server.status == "401 Unauthorized"
    assert server.ask("/health", HTTP_AUTHORIZATION="Bearer good") == b"well"
    assert server.ask("/metrics") == b"0"
    server.ask("/v1/admin")
    assert server.status == "401 Unauthorized"


def test_a_refusal_is_counted_and_leaves_no_ids_behind() -> None:
    server = guarded()
    server.ask("/admin", REQUEST_METHOD="PATCH", HTTP_X_REQUEST_ID="known-as-this")
    assert 'pywatt_http_requests_total{method="PATCH",status="401"}' in telemetry.metrics.render()
    assert telemetry.current().request_id == ""
