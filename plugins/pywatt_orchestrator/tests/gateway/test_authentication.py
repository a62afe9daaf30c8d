"""The gateway asks for a token where a path is announced with ``auth``: before a module hears of the request, and only there."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from pywatt_core.errors import AuthError, ExpiredToken, Forbidden, InvalidToken, PyWattError, StorageError, Unavailable
from pywatt_core.http.bearer import MAX_TOKEN
from pywatt_core.http.guarding import ASKING, OVERRIDING
from pywatt_core.protocol.messages import AnnouncedEndpoint
from pywatt_core.protocol.values import TcpAddress
from pywatt_orchestrator.gateway import Instance, ModuleRoutes, RouteTable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TOKEN = "eyJ.canary.sig"
GOOD = f"Authorization: Bearer {TOKEN}"


class Checker:
    """Instead of an authenticator: knows one token, and waits where it is told to."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.error: BaseException | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.cancelled = 0

    async def __call__(self, token: str) -> Mapping[str, Any]:
        self.asked.append(token)
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        if token != TOKEN:
            raise InvalidToken("no such token")
        return {"sub": "ada"}


def announced(*texts: str) -> list[AnnouncedEndpoint]:
    """``"GET,POST /items jwt"``: methods, path and, where there is one, `auth`."""
    found = []
    for text in texts:
        methods, path, *auth = text.split(" ")
        found.append(AnnouncedEndpoint(path, methods.split(","), auth[0] if auth else None))
    return found


USUAL = ("GET /open", "GET,POST /items jwt", "POST /both jwt", "GET /both", "GET /users/{id} jwt", "GET /users/public", "GET /ws jwt")


@asynccontextmanager
async def guarded(stage: Any, *texts: str, mount_all: bool = False, **options: Any) -> AsyncIterator[tuple[Any, Any, Checker]]:
    checker = Checker()
    async with stage.module() as module:
        routes = ModuleRoutes(
            name="users", mount="/m", endpoints=announced(*(texts or USUAL)), instances=(module.instance(),), mount_all=mount_all
        )
        async with stage.gateway(routes, **{"authenticate": "tokens", **options}) as front:
            front.gateway.authenticate = checker
            yield front, module, checker


# ── who needs one ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("method", "path", "needed"),
    [
        ("GET", "/m/open", False),
        ("HEAD", "/m/open", False),
        ("GET", "/m/items", True),
        ("HEAD", "/m/items", True),
        ("POST", "/m/items", True),
        ("GET", "/m/items?x=1", True),
        ("GET", "/m/%69tems", True),
        ("OPTIONS", "/m/items", True),
        ("POST", "/m/both", True),
        ("GET", "/m/both", False),
        ("HEAD", "/m/both", False),
        ("GET", "/m/users/7", True),
        ("GET", "/m/users/public", False),
        ("GET", "/m/users/%70ublic", False),
        ("GET", "http://front.test/m/items", True),
    ],
)
async def test_a_token_is_needed_where_the_endpoint_says_so(stage: Any, method: str, path: str, needed: bool) -> None:
    async with guarded(stage) as (front, module, checker):
        without = await front.get(path, method=method)
        assert without.status == (401 if needed else 200)
        assert len(module.requests) == (not needed) and checker.asked == []
        assert (await front.get(path, GOOD, method=method)).status == 200
        assert checker.asked == ([TOKEN] if needed else [])
        assert module.requests[-1]["authorization"] == f"Bearer {TOKEN}", "the module checks it again"


async def test_what_is_not_open_is_not_open_with_a_token_either(stage: Any) -> None:
    async with guarded(stage) as (front, module, checker):
        for method, path, status in (("GET", "/m/nothing", 404), ("DELETE", "/m/items", 405), ("GET", "/n/items", 404), ("GET", "/m", 404)):
            for lines in ((), (GOOD,)):
                assert (await front.get(path, *lines, method=method)).status == status
        assert module.requests == checker.asked == []


async def test_without_the_option_modules_are_left_to_themselves(stage: Any) -> None:
    async with guarded(stage, authenticate=None) as (front, _module, checker):
        assert (await front.get("/m/items")).status == 200
        assert checker.asked == []


async def test_a_browser_may_ask_whether_it_may_send_a_token(stage: Any) -> None:
    preflight = ("Origin: http://elsewhere.test", "Access-Control-Request-Method: POST")
    async with guarded(stage, "GET,POST /items jwt", "OPTIONS /own jwt") as (front, module, _):
        assert (await front.get("/m/items", *preflight, method="OPTIONS")).status == 200
        assert (await front.get("/m/own", *preflight, method="OPTIONS")).status == 401, "it answers OPTIONS itself, and wants a token"
        assert (await front.get("/m/items", *preflight, method="POST")).status == 401
        assert [request.method for request in module.requests] == ["OPTIONS"]


@pytest.mark.parametrize("line", ["X-HTTP-Method-Override: POST", "x_http_method_override: POST", "X-Method-Override: GET"])
async def test_who_asks_for_another_method_than_its_own_needs_a_token(stage: Any, line: str) -> None:
    async with guarded(stage) as (front, module, _):
        assert (await front.get("/m/both", line)).status == 401
        assert (await front.get("/m/both?_method=POST")).status == 401
        assert (await front.get("/m/both?%5Fmethod=POST")).status == 401
        assert (await front.get("/m/open", line)).status == 200
        assert [request.target for request in module.requests] == ["/open"]


def test_every_header_that_may_change_the_method_is_noticed() -> None:
    assert all("method" in name for name in (ASKING, *OVERRIDING)), "the names of headers are looked at only where one of them says so"


async def test_everything_open_is_still_guarded_where_it_is_announced_so(stage: Any) -> None:
    async with guarded(stage, "GET /items jwt", "GET /open", mount_all=True) as (front, module, _):
        for method, path, status in (
            ("GET", "/m/items", 401),
            ("PATCH", "/m/items", 401),
            ("GET", "/m/items/", 401),
            ("GET", "/m/Items", 401),
            ("GET", "/m/other", 200),
            ("GET", "/m/open", 200),
        ):
            assert (await front.get(path, method=method)).status == status, (method, path)
        assert [request.target for request in module.requests] == ["/other", "/open"]


async def test_what_wants_other_credentials_than_a_token_is_the_modules_own_affair(stage: Any) -> None:
    async with guarded(stage, "GET /basic basic", "GET /digest digest", "GET /key api_key", "GET /other main") as (front, module, checker):
        for path in ("basic", "digest", "key"):
            assert (await front.get(f"/m/{path}", "Authorization: Basic YTpi")).status == 200
        assert (await front.get("/m/other", "Authorization: Basic YTpi")).status == 401
        assert len(module.requests) == 3 and checker.asked == []


async def test_a_path_that_cannot_be_understood_leaves_no_gap(stage: Any) -> None:
    async with guarded(stage, "GET /{*a}/x/{*b} jwt", "GET /{*rest}") as (front, module, _):
        assert (await front.get("/m/1/x/2")).status == 401
        assert (await front.get("/m/1/y")).status == 200
        assert [request.target for request in module.requests] == ["/1/y"]


@pytest.mark.parametrize("mount_all", [False, True])
async def test_what_comes_before_the_first_announcement_waits_for_it(stage: Any, mount_all: bool) -> None:
    checker = Checker()
    async with stage.module() as module:
        unknown = ModuleRoutes(name="users", mount="/m", endpoints=None, instances=(module.instance(ready=False),), mount_all=mount_all)
        async with stage.gateway(unknown, authenticate="tokens") as front:
            front.gateway.authenticate = checker
            asking = [asyncio.create_task(front.get(path)) for path in ("/m/items", "/m/open")]
            await stage.until(lambda: len(front.gateway._clients) == 2)
            known = ModuleRoutes(name="users", mount="/m", endpoints=announced(*USUAL), instances=(module.instance(),), mount_all=mount_all)
            front.gateway.update(RouteTable([known]))
            assert [response.status for response in await asyncio.gather(*asking)] == [401, 200]
            assert [request.target for request in module.requests] == ["/open"]


async def test_a_new_announcement_counts_from_the_next_request_on(stage: Any) -> None:
    async with guarded(stage) as (front, module, _):
        client = await front.client()
        assert [(await client.get("/m/open")).status for _ in range(3)] == [200] * 3
        routes = ModuleRoutes(name="users", mount="/m", endpoints=announced("GET /open jwt"), instances=(module.instance(),))
        front.gateway.update(RouteTable([routes]))
        assert [(await client.get("/m/open")).status for _ in range(3)] == [401] * 3
        routes = ModuleRoutes(name="users", mount="/m", endpoints=announced("GET /open"), instances=(module.instance(),))
        front.gateway.update(RouteTable([routes]))
        assert [(await client.get("/m/open")).status for _ in range(3)] == [200] * 3


# ── what is answered ────────────────────────────────────────────────────────────────────────────────────────────────

REFUSED = 'Bearer error="invalid_token"'


@pytest.mark.parametrize(
    ("error", "status", "body", "challenge"),
    [
        (InvalidToken("its key is not known"), 401, "Unauthorized: InvalidToken", REFUSED),
        (InvalidToken("x", reason="InvalidAudience"), 401, "Unauthorized: InvalidAudience", REFUSED),
        (ExpiredToken("x"), 401, "Unauthorized: ExpiredSignature", REFUSED),
        (Forbidden("x"), 403, "Forbidden", 'Bearer error="insufficient_scope"'),
        (Unavailable("the keys are away"), 503, "Tokens cannot be checked now", None),
        (ValueError(TOKEN), 503, "Tokens cannot be checked now", None),
        (TimeoutError(TOKEN), 503, "Tokens cannot be checked now", None),
        (asyncio.CancelledError(TOKEN), 503, "Tokens cannot be checked now", None),
        (AuthError("x"), 500, "Tokens cannot be checked", None),
        (StorageError("x"), 500, "Tokens cannot be checked", None),
    ],
)
async def test_a_refusal_is_told_in_the_words_of_the_reference(
    stage: Any, error: BaseException, status: int, body: str, challenge: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        async with guarded(stage) as (front, module, checker):
            checker.error = error
            client = await front.client()
            for _ in range(3):
                response = await client.get("/m/items", GOOD)
                assert (response.status, response.json()) == (status, {"error": body})
                assert response.all("www-authenticate") == ([challenge] if challenge else [])
                assert response["content-type"] == "application/json" and response["cache-control"] == "no-store"
                assert response["x-request-id"] and response["server"] == "pywatt"
                assert response.all("retry-after") == (["1"] if status == 503 else [])
            assert module.requests == []
    assert "canary" not in caplog.text
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING and record.name == "pywatt.gateway"]
    assert len(warnings) == (0 if isinstance(error, AuthError) else 1), "what an attacker can cause is not logged as often as he likes"


@pytest.mark.parametrize(
    ("lines", "body"),
    [
        ((), "Missing Authorization header"),
        (("Authorization: Basic YTpi",), "Missing Authorization header"),
        (("Authorization: Bearer",), "Missing Authorization header"),
        (("Authorization: Bearer  x",), "Unauthorized: InvalidToken"),
        (("Authorization: Bearer\tx",), "Missing Authorization header"),
        (("Authorization: Bearer x y",), "Unauthorized: InvalidToken"),
        (("Authorization: Bearer x,y",), "Unauthorized: InvalidToken"),
        (("Authorization: Bearer \xe9",), "Missing Authorization header"),
        ((f"X-Authorization: Bearer {TOKEN}",), "Missing Authorization header"),
        ((f"Proxy-Authorization: Bearer {TOKEN}",), "Missing Authorization header"),
        ((GOOD, "Connection: authorization"), "Missing Authorization header"),
        ((GOOD, GOOD), "Unauthorized: InvalidToken"),
        ((GOOD, "authorization: Bearer other"), "Unauthorized: InvalidToken"),
        (("Authorization: ", GOOD), "Unauthorized: InvalidToken"),
        (("Authorization: Bearer " + "x" * (MAX_TOKEN + 11),), "Unauthorized: InvalidToken"),
    ],
)
async def test_what_is_no_bearer_token_is_never_checked(stage: Any, lines: tuple[str, ...], body: str) -> None:
    async with guarded(stage) as (front, module, checker):
        client = await front.client()
        await client.send("\r\n".join(("GET /m/items HTTP/1.1", "Host: front.test", *lines, "", "")).encode("latin-1"))
        response = await client.receive()
        assert (response.status, response.json()) == (401, {"error": body})
        assert module.requests == checker.asked == []


@pytest.mark.parametrize("line", [f"authorization: bearer {TOKEN}", f"AUTHORIZATION:BEARER {TOKEN}", f"Authorization:  Bearer {TOKEN}\t "])
async def test_the_spelling_of_the_header_and_the_scheme_is_free(stage: Any, line: str) -> None:
    async with guarded(stage) as (front, _module, checker):
        assert (await front.get("/m/items", line)).status == 200
        assert checker.asked == [TOKEN]


@pytest.mark.parametrize(
    "line", [f"Authorization : Bearer {TOKEN}", f"Authorization: Bearer\r\n {TOKEN}", f"Authorization: Bearer {TOKEN}\x00"]
)
async def test_a_header_that_could_be_read_in_two_ways_is_refused_as_ever(stage: Any, line: str) -> None:
    async with guarded(stage) as (front, module, checker):
        assert (await front.get("/m/items", line)).status == 400
        assert module.requests == checker.asked == []


async def test_nobody_passes_while_nobody_is_there_to_check(stage: Any) -> None:
    async with guarded(stage) as (front, module, _):
        front.gateway.authenticate = None
        assert (await front.get("/m/items", GOOD)).status == 503
        assert (await front.get("/m/open", GOOD)).status == 200
        assert [request.target for request in module.requests] == ["/open"]


async def test_a_check_that_takes_too_long_is_503_and_stopped(stage: Any) -> None:
    async with guarded(stage, authenticate_timeout=0.1) as (front, module, checker):
        checker.gate.clear()
        assert (await front.get("/m/items", GOOD)).status == 503
        assert (module.requests, checker.cancelled) == ([], 1)


# ── bodies, connections, time ───────────────────────────────────────────────────────────────────────────────────────


async def test_a_connection_goes_on_after_a_refusal_without_a_body(stage: Any) -> None:
    async with guarded(stage) as (front, module, _):
        client = await front.client()
        for _ in range(3):
            assert (await client.get("/m/items")).status == 401
            assert (await client.get("/m/items", "Authorization: Bearer wrong")).status == 401
            assert (await client.get("/m/items", GOOD)).status == 200
        assert len(module.requests) == 3 and module.connections == 1


async def test_pipelined_requests_are_answered_in_order_each_with_its_own_token(stage: Any) -> None:
    async with guarded(stage) as (front, module, checker):
        client = await front.client()
        checker.gate.clear()
        heads = [
            ("/m/items?1", GOOD),
            ("/m/items?2", "X: y"),
            ("/m/open", "X: y"),
            ("/m/items?3", "Authorization: Bearer no"),
            ("/m/items?4", GOOD),
        ]
        await client.send(b"".join(f"GET {path} HTTP/1.1\r\nHost: x\r\n{line}\r\n\r\n".encode() for path, line in heads))
        await stage.until(lambda: checker.asked)
        checker.gate.set()
        assert [(await client.receive()).status for _ in heads] == [200, 401, 200, 401, 200]
        assert [request.target for request in module.requests] == ["/items?1", "/open", "/items?4"]


@pytest.mark.parametrize("token", [None, TOKEN])
@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_a_body_that_came_along_is_dropped_or_passed_on_whole(stage: Any, token: str | None, framing: str) -> None:
    head = f"POST /m/items HTTP/1.1\r\nHost: x\r\n{f'Authorization: Bearer {token}' if token else 'X: y'}\r\n"
    body = (
        "Content-Length: 11\r\n\r\nhello there"
        if framing == "length"
        else "Transfer-Encoding: chunked\r\n\r\nb\r\nhello there\r\n0\r\n\r\n"
    )
    async with guarded(stage) as (front, module, _):
        client = await front.client()
        await client.send((head + body + "GET /m/open HTTP/1.1\r\nHost: x\r\n\r\n").encode())
        first, second = await client.receive(), await client.receive()
        assert (first.status, second.status) == (200 if token else 401, 200)
        assert [request.body for request in module.requests] == ([b"hello there", b""] if token else [b""])


async def test_a_body_in_parts_is_read_once_the_token_is_known_to_be_good(stage: Any) -> None:
    async with guarded(stage) as (front, _module, checker):
        client = await front.client()
        checker.gate.clear()
        size = 20_000_000
        await client.send(f"POST /m/items HTTP/1.1\r\nHost: x\r\n{GOOD}\r\nContent-Length: {size}\r\n\r\n".encode())
        await stage.until(lambda: checker.asked)
        sending = asyncio.create_task(client.send(b"x" * size))
        await asyncio.sleep(0.05)
        (held,) = front.gateway._clients
        assert not sending.done() and sum(map(len, held._conversation._parts)) < 2_000_000, "it is not read meanwhile"
        checker.gate.set()
        assert len((await client.receive()).json()["body"]) == size
        await sending


async def test_a_body_that_is_not_wanted_is_not_waited_for(stage: Any) -> None:
    async with guarded(stage) as (front, module, _checker):
        for line in ("X: y", "Authorization: Bearer wrong"):
            client = await front.client()
            await client.send(f"POST /m/items HTTP/1.1\r\nHost: x\r\n{line}\r\nContent-Length: 1000000\r\n\r\nsome".encode())
            response = await client.receive()
            assert response.status == 401 and await client.ended_after([response])
        assert module.requests == []


async def test_who_asks_before_sending_a_body_is_refused_without_being_told_to_go_on(stage: Any) -> None:
    async with guarded(stage) as (front, _module, _):
        head = "POST /m/items HTTP/1.1\r\nHost: x\r\n{}\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
        client = await front.client()
        await client.send(head.format("X: y").encode())
        assert (await client.receive()).status == 401
        client = await front.client()
        await client.send(head.format(GOOD).encode())
        assert (await client.receive()).status == 100
        await client.send(b"hello")
        assert (await client.receive()).json()["body"] == "hello"


async def test_a_request_without_a_connection_header_of_its_own_ends_as_http10_does(stage: Any) -> None:
    async with guarded(stage) as (front, _, _):
        client = await front.client()
        await client.send(b"GET /m/items HTTP/1.0\r\n\r\n")
        response = await client.receive()
        assert response.status == 401 and await client.ended_after([response])


async def test_a_client_that_leaves_is_not_checked_for(stage: Any) -> None:
    async with guarded(stage, authenticate_timeout=100.0) as (front, module, checker):
        checker.gate.clear()
        client = await front.client()
        await client.send(f"GET /m/items HTTP/1.1\r\nHost: x\r\n{GOOD}\r\n\r\n".encode())
        await stage.until(lambda: checker.asked)
        client.writer.transport.abort()
        await stage.until(lambda: checker.cancelled)
        await stage.until(lambda: not front.gateway._clients)
        assert module.requests == []


async def test_a_websocket_is_opened_with_a_token_alone(stage: Any) -> None:
    async def switch(request: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nhello")

    lines = ("Connection: upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
    async with guarded(stage) as (front, module, _):
        module.handler = switch
        client = await front.client()
        response = await client.get("/m/ws", *lines)
        assert response.status == 401 and await client.ended_after([response])
        client = await front.client()
        await client.send("\r\n".join(("GET /m/ws HTTP/1.1", "Host: x", *lines, GOOD, "", "")).encode())
        assert (await client.receive(head_only=True)).status == 101
        assert await client.reader.readexactly(5) == b"hello"
        assert len(module.requests) == 1


async def test_a_table_that_changes_during_the_check_counts(stage: Any) -> None:
    async with guarded(stage) as (front, module, checker):
        checker.gate.clear()
        asking = asyncio.create_task(front.get("/m/items", GOOD))
        await stage.until(lambda: checker.asked)
        front.gateway.update(RouteTable())
        checker.gate.set()
        assert (await asking).status == 404
        assert module.requests == []


@pytest.mark.parametrize(("line", "status"), [("X: y", 401), (GOOD, 200)])
async def test_who_waited_until_a_token_was_needed_needs_one(stage: Any, line: str, status: int) -> None:
    async with guarded(stage) as (front, module, checker):
        starting = module.instance(ready=False)
        front.gateway.update(RouteTable([ModuleRoutes(name="users", mount="/m", endpoints=announced("POST /x"), instances=(starting,))]))
        client = await front.client()
        asking = asyncio.create_task(client.ask(f"POST /m/x HTTP/1.1\r\nHost: x\r\n{line}\r\nContent-Length: 5\r\n\r\nhello".encode()))
        await stage.until(lambda: [one for one in front.gateway._clients if one._conversation is not None])
        front.gateway.update(
            RouteTable([ModuleRoutes(name="users", mount="/m", endpoints=announced("POST /x jwt"), instances=(starting,))])
        )
        starting.ready = True
        assert (await asking).status == status
        assert [request.body for request in module.requests] == ([b"hello"] if status == 200 else [])
        assert len(checker.asked) == (1 if status == 200 else 0)


async def test_who_waited_for_a_module_without_a_port_until_a_token_was_needed_asks_again(stage: Any) -> None:
    asked = []

    async def http_request(request: Any) -> Any:
        asked.append(request)
        raise PyWattError("not needed here")

    async with guarded(stage) as (front, _, _checker):
        starting = Instance("users", None, ready=False, http_request=http_request)
        front.gateway.update(RouteTable([ModuleRoutes(name="users", mount="/m", endpoints=announced("GET /x"), instances=(starting,))]))
        asking = asyncio.create_task(front.get("/m/x"))
        await stage.until(lambda: [one for one in front.gateway._clients if one._conversation is not None])
        front.gateway.update(RouteTable([ModuleRoutes(name="users", mount="/m", endpoints=announced("GET /x jwt"), instances=(starting,))]))
        starting.ready = True
        answer = await asking
        assert (answer.status, answer.json()["detail"], asked) == (503, "module users wants a token for this path now; ask again", [])


async def test_a_module_that_is_not_ready_yet_does_not_keep_a_refusal_back(stage: Any) -> None:
    checker = Checker()
    routes = ModuleRoutes(name="users", mount="/m", endpoints=announced(*USUAL), instances=(Instance("users", TcpAddress("127.0.0.1", 1)),))
    async with stage.gateway(routes, authenticate="tokens", ready_timeout=0.1) as front:
        front.gateway.authenticate = checker
        assert (await front.get("/m/items")).status == 401
        assert (await front.get("/m/items", GOOD)).status == 503


async def test_a_module_without_a_port_is_guarded_too(stage: Any) -> None:
    asked = []

    async def http_request(request: Any) -> Any:
        asked.append(request)
        raise PyWattError("not needed here")

    checker = Checker()
    instance = Instance("users", None, ready=True, http_request=http_request)
    routes = ModuleRoutes(name="users", mount="/m", endpoints=announced(*USUAL), instances=(instance,))
    async with stage.gateway(routes, authenticate="tokens") as front:
        front.gateway.authenticate = checker
        client = await front.client()
        await client.send(b"POST /m/items HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello")
        assert (await client.receive()).status == 401 and asked == []
        await client.send(f"POST /m/items HTTP/1.1\r\nHost: x\r\n{GOOD}\r\nContent-Length: 5\r\n\r\nhello".encode())
        await client.receive()
        assert len(asked) == 1


async def test_refusals_are_recorded_with_the_module_they_were_for(stage: Any) -> None:
    seen: list[Any] = []
    async with guarded(stage, on_access=seen.append) as (front, _, _checker):
        await front.get("/m/items?token=secret")
        await front.get("/m/items", "Authorization: Bearer wrong")
        await front.get("/m/items", GOOD)
        await stage.until(lambda: len(seen) == 3)
    assert [(one["status"], one["path"], one["module_name"]) for one in seen] == [(401, "/m/items", "users")] * 2 + [
        (200, "/m/items", "users")
    ]
    assert "canary" not in json.dumps(seen)
