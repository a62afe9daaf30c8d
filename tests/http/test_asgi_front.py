"""An ASGI application as a server runs it."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from pywatt_core import telemetry
from pywatt_core.errors import InvalidToken
from pywatt_core.http import AsgiFront
from pywatt_core.http.asgi_front import STATE_KEY, Unfinished, own_roots
from pywatt_core.http.bearer import AUTHENTICATOR_KEY, CLAIMS_KEY
from pywatt_core.http.guarding import Guard
from pywatt_core.http.streams import Disconnected
from pywatt_core.interfaces import ServerOptions
from pywatt_core.protocol.messages import AnnouncedEndpoint

START: dict[str, Any] = {"type": "http.response.start", "status": 200, "headers": []}
STREAM: dict[str, Any] = {"type": "http.response.start", "status": 200, "headers": [(b"Content-Type", b"text/event-stream; charset=utf-8")]}
END: dict[str, Any] = {"type": "http.response.body", "body": b"done"}
PIECE: dict[str, Any] = {"type": "http.response.body", "body": b"piece", "more_body": True}


class Client:
    """The server's end: one request, what was sent back, and whether the client is still there."""

    def __init__(self, path: str = "/", *, kind: str = "http", **headers: str) -> None:
        self.sent: list[dict[str, Any]] = []
        self.gone = asyncio.Event()
        self._events = [{"type": "http.request", "body": b"", "more_body": False}]
        named = [(name.replace("_", "-").lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
        self.scope: dict[str, Any] = {"type": kind, "path": path, "raw_path": path.encode(), "root_path": "", "headers": named}
        if kind == "http":
            self.scope["method"] = "GET"

    async def receive(self) -> dict[str, Any]:
        if self._events:
            return self._events.pop()
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, event: Any) -> None:
        self.sent.append(dict(event))

    async def ask(self, front: AsgiFront) -> None:
        await front(self.scope, self.receive, self.send)

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def body(self) -> bytes:
        return b"".join(event.get("body", b"") for event in self.sent)


async def fine(scope: Any, receive: Any, send: Any) -> None:
    await send(START)
    await send(END)


def front(app: Any = fine, **options: Any) -> AsgiFront:
    return AsgiFront(app, ServerOptions(**{"state": "the state", **options}))


async def placed(client: Client, **options: Any) -> dict[str, Any]:
    """The scope that the application sees."""
    await client.ask(front(**options))
    assert client.status == 200
    return client.scope


async def test_without_a_prefix_nothing_moves() -> None:
    scope = await placed(Client("/a%20b"))
    assert (scope["root_path"], scope["path"], scope["raw_path"]) == ("", "/a%20b", b"/a%20b")
    assert scope[STATE_KEY] == "the state"


async def test_the_path_contains_the_root_path() -> None:
    scope = await placed(Client("/v1/a", X_Forwarded_Prefix="/shop"), prefix="v1", behind_gateway=True)
    assert (scope["root_path"], scope["path"], scope["raw_path"]) == ("/shop/v1", "/shop/v1/a", b"/shop/v1/a")


async def test_the_prefix_alone_is_its_root() -> None:
    scope = await placed(Client("/v1"), prefix="/v1")
    assert (scope["root_path"], scope["path"], scope["raw_path"]) == ("/v1", "/v1/", b"/v1/")


@pytest.mark.parametrize(("kind", "scheme"), [("http", "https"), ("websocket", "wss")])
async def test_a_believed_gateway_says_who_and_how(kind: str, scheme: str) -> None:
    seen: list[dict[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)

    said = {"X_Forwarded_For": "203.0.113.9", "X_Forwarded_Proto": "https", "X_Forwarded_Host": "shop.example"}
    await Client("/", kind=kind, host="inner", accept="x", **said).ask(front(app, behind_gateway=True))
    assert (seen[0]["client"], seen[0]["scheme"]) == (("203.0.113.9", 0), scheme)
    assert [value for name, value in seen[0]["headers"] if name == b"host"] == [b"shop.example"]
    assert (b"accept", b"x") in seen[0]["headers"]


async def test_other_senders_are_not_believed() -> None:
    scope = await placed(Client("/", host="inner", X_Forwarded_Prefix="/shop", X_Forwarded_For="203.0.113.9", X_Forwarded_Host="evil"))
    assert scope["root_path"] == ""
    assert "client" not in scope
    assert (b"host", b"inner") in scope["headers"]


@pytest.mark.parametrize(("kind", "answer"), [("http", ["http.response.start", "http.response.body"]), ("websocket", ["websocket.close"])])
async def test_what_is_not_below_the_prefix_is_refused(kind: str, answer: list[str]) -> None:
    client = Client("/a", kind=kind)
    await client.ask(front(prefix="/v1"))
    assert [event["type"] for event in client.sent] == answer
    if kind == "http":
        assert (client.status, client.body) == (404, b"Not Found")


async def test_an_extra_route_comes_before_the_application_and_outside_the_prefix() -> None:
    subject = front(prefix="/v1")
    subject.extra.add("/health", lambda: (200, "text/plain", b"fine"))
    client = Client("/health")
    await client.ask(subject)
    assert (client.status, client.body) == (200, b"fine")


async def test_a_lifespan_is_the_applications_affair() -> None:
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    client = Client()
    await front(app)({"type": "lifespan"}, client.receive, client.send)
    assert seen == ["lifespan"]


async def test_each_request_has_a_copy_of_the_lifespans_state() -> None:
    subject = front()
    subject.lifespan_state = {"pool": 1}
    first, second = Client(), Client()
    first.scope["state"] = {"own": 2}
    await first.ask(subject)
    await second.ask(subject)
    assert (first.scope["state"], second.scope["state"]) == ({"own": 2, "pool": 1}, {"pool": 1})
    assert first.scope["state"] is not subject.lifespan_state


async def test_an_exception_is_500_and_logged_under_the_requests_name(caplog: pytest.LogCaptureFixture) -> None:
    names: list[str] = []

    class Names(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            names.append(telemetry.current().request_id)
            return True

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise LookupError("why")

    logger = logging.getLogger("pywatt.http")
    watching = Names()
    logger.addFilter(watching)
    try:
        client = Client("/", X_Request_ID="abc-1")
        await client.ask(front(app))
    finally:
        logger.removeFilter(watching)
    assert (client.status, client.body) == (500, b"Internal Server Error")
    assert names == ["abc-1"]
    assert "why" in caplog.text


async def test_an_exception_after_a_complete_response_is_only_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await fine(scope, receive, send)
        raise LookupError("why")

    client = Client()
    await client.ask(front(app))
    assert client.body == b"done"
    assert "why" in caplog.text


@pytest.mark.parametrize("failure", [LookupError("why"), SystemExit(3), KeyboardInterrupt()])
async def test_an_exception_in_the_middle_of_a_response_tells_the_server_to_drop_it(failure: BaseException) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        raise failure

    with pytest.raises(Unfinished):
        await Client().ask(front(app))


class ClientDisconnect(Exception):
    """As Starlette has one."""


@pytest.mark.parametrize("gone", [ClientDisconnect, Disconnected])
async def test_a_client_that_went_away_is_no_error(gone: type[Exception], caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise gone

    with caplog.at_level(logging.INFO):
        await Client().ask(front(app))
    assert caplog.text == ""


async def test_a_websocket_that_fails_is_closed_with_1011() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        raise LookupError("why")

    client = Client("/", kind="websocket")
    await client.ask(front(app))
    assert client.sent[-1] == {"type": "websocket.close", "code": 1011}


# ── the end ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def stream(scope: Any, receive: Any, send: Any) -> None:
    """As frameworks stream: pieces, until the client goes."""
    await receive()
    gone = asyncio.create_task(receive())
    await send(scope.get("start", STREAM))
    await send(PIECE)
    await gone


@pytest.mark.parametrize("when", ["before", "during"])
async def test_an_event_stream_is_told_that_the_end_has_come_and_ends_cleanly(when: str) -> None:
    subject, client = front(stream), Client()
    if when == "before":
        subject.end_streams()
    asking = asyncio.create_task(client.ask(subject))
    for _ in range(10):
        await asyncio.sleep(0)
    if when == "during":
        assert not asking.done()
        subject.end_streams()
    await asyncio.wait_for(asking, 10)
    assert client.sent == [STREAM, PIECE, {"type": "http.response.body", "body": b"", "more_body": False}]


async def test_another_stream_is_left_to_finish() -> None:
    subject, client = front(stream), Client()
    client.scope["start"] = START
    asking = asyncio.create_task(client.ask(subject))
    for _ in range(10):
        await asyncio.sleep(0)
    subject.end_streams()
    for _ in range(10):
        await asyncio.sleep(0)
    assert not asking.done()
    client.gone.set()
    await asyncio.wait_for(asking, 10)
    assert client.sent == [START, PIECE]


@pytest.mark.parametrize("begun", [True, False])
async def test_what_is_cut_before_it_began_is_503(begun: bool) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if begun:
            await send(START)
        await asyncio.Event().wait()

    subject, client = front(app), Client()
    asking = asyncio.create_task(client.ask(subject))
    for _ in range(5):
        await asyncio.sleep(0)
    subject.cut()
    asking.cancel()
    if begun:
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert client.sent == [START]
    else:
        await asking
        assert client.status == 503
        assert (b"retry-after", b"1") in client.sent[0]["headers"]
    assert not subject.calls


# ── guarded endpoints ───────────────────────────────────────────────────────────────────────────────────────────────


class Porter:
    async def authenticate(self, token: str) -> Any:
        if token != "good":
            raise InvalidToken("another one")
        return {"sub": "ada"}


PORTER = Porter()
ENDPOINTS = [AnnouncedEndpoint(path, ["GET"], auth) for path, auth in (("/admin", "jwt"), ("/health", "jwt"), ("/open", None))]


def guarded(app: Any = fine, **options: Any) -> AsgiFront:
    return front(app, guard=Guard(ENDPOINTS, {"jwt": PORTER}), **options)


@pytest.mark.parametrize(("path", "status"), [("/admin", 401), ("/admin/", 401), ("/open", 200), ("/other", 200)])
async def test_a_guarded_endpoint_needs_a_token(path: str, status: int) -> None:
    client = Client(path)
    await client.ask(guarded())
    assert client.status == status
    if status == 401:
        assert client.body == b'{"error":"Missing Authorization header"}'
        assert (b"www-authenticate", b"Bearer") in client.sent[0]["headers"]
        assert (b"content-length", b"40") in client.sent[0]["headers"]


async def test_the_application_finds_the_claims_and_who_proved_them() -> None:
    client = Client("/admin", authorization="Bearer good")
    await client.ask(guarded())
    assert client.status == 200
    assert (client.scope[CLAIMS_KEY], client.scope[AUTHENTICATOR_KEY]) == ({"sub": "ada"}, PORTER)


async def test_no_request_can_bring_claims_along() -> None:
    client = Client("/open", **{"pywatt.claims": "admin", "pywatt.authenticator": "x"})
    await client.ask(guarded())
    assert client.status == 200
    assert CLAIMS_KEY not in client.scope


async def test_a_guard_stands_below_the_prefix_and_the_one_that_a_gateway_tells() -> None:
    for path, status in (("/v1/admin", 401), ("/v1//admin", 401), ("/v1/open", 200), ("/admin", 404)):
        client = Client(path, X_Forwarded_Prefix="/shop")
        await client.ask(guarded(prefix="/v1", behind_gateway=True))
        assert client.status == status, path


async def test_a_path_of_the_servers_own_is_guarded_where_it_is_announced_so() -> None:
    one = guarded()
    one.extra.add("/health", lambda: (200, "text/plain", b"well"))
    one.extra.add("/metrics", lambda: (200, "text/plain", b"0"))
    for path, more, status in (("/health", {}, 401), ("/health", {"authorization": "Bearer good"}, 200), ("/metrics", {}, 200)):
        client = Client(path, **more)
        await client.ask(one)
        assert client.status == status


async def test_a_websocket_is_answered_where_the_server_can_and_closed_where_not() -> None:
    client = Client("/admin", kind="websocket")
    await client.ask(guarded())
    assert client.sent == [{"type": "websocket.close", "code": 1008}]
    client = Client("/admin", kind="websocket")
    client.scope["extensions"] = {"websocket.http.response": {}}
    await client.ask(guarded())
    assert [event["type"] for event in client.sent] == ["websocket.http.response.start", "websocket.http.response.body"]
    assert client.status == 401


async def test_a_refusal_is_counted_as_a_response() -> None:
    client = Client("/admin")
    client.scope["method"] = "PATCH"
    await client.ask(guarded())
    assert 'pywatt_http_requests_total{method="PATCH",status="401"}' in telemetry.metrics.render()


async def test_a_refusal_carries_the_requests_id_into_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "pywatt.auth")
    seen: list[Any] = []

    class Noting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(telemetry.current().request_id)

    noting = Noting()
    logging.getLogger("pywatt.auth").addHandler(noting)
    try:
        await Client("/admin", X_Request_Id="known-as-this").ask(guarded())
    finally:
        logging.getLogger("pywatt.auth").removeHandler(noting)
    assert seen == ["known-as-this"]


def test_the_roots_of_an_application_are_found_through_its_middleware() -> None:
    class Layer:
        def __init__(self, app: Any, root_path: Any = None) -> None:
            self.app, self.root_path = app, root_path

    assert own_roots(fine) == set()
    assert own_roots(Layer(Layer(fine, "/api"), 5)) == {"/api"}
    endless: Any = Layer(None)
    endless.app = endless
    assert own_roots(endless) == set()
