"""Endpoints that are announced with ``auth`` are guarded."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from pywatt_core import ConfigError, telemetry
from pywatt_core.errors import ChannelClosed, Forbidden, InvalidToken, RequestTimeout, Unavailable
from pywatt_core.http import guarding
from pywatt_core.http.bearer import MissingToken, Refusal, refusal_of
from pywatt_core.http.guarding import Guard, guard_of, prove, prove_blocking, refused, signs_of
from pywatt_core.protocol.messages import AnnouncedEndpoint

GOOD = ["Bearer good"]


class Porter:
    """An authenticator that knows one token."""

    def __init__(self, name: str = "porter", error: Exception | None = None) -> None:
        self.name, self.error = name, error
        self.threads: list[int] = []

    async def authenticate(self, token: str) -> Mapping[str, Any]:
        self.threads.append(threading.get_ident())
        if self.error is not None:
            raise self.error
        if token != "good":
            raise InvalidToken("the token is another one")
        return {"by": self.name}


class QuickPorter(Porter):
    """One that can say so at once."""

    def authenticate_now(self, token: str) -> Mapping[str, Any] | None:
        self.threads.append(-threading.get_ident())
        return {"by": self.name} if token == "good" else None


A, B = Porter("A"), Porter("B")


def guard(*endpoints: tuple[Any, ...]) -> Guard:
    announced = [AnnouncedEndpoint(path=path, methods=methods.split(), auth=(more or (None,))[0]) for path, methods, *more in endpoints]
    return Guard(announced, {"a": A, "b": B})


# ── who needs a token ───────────────────────────────────────────────────────────────────────────────────────────────


def test_only_what_is_announced_with_auth_needs_a_token() -> None:
    some = guard(("/admin", "GET", "a"), ("/login", "GET"))
    assert some.needed("GET", "/admin") == (A,)
    assert some.needed("GET", "/login") == ()
    assert some.needed("GET", "/elsewhere") == ()


@pytest.mark.parametrize("method", ["GET", "get", "HEAD", "POST", "DELETE", "OPTIONS", "TRACE", "WHATEVER"])
def test_methods_that_are_not_announced_are_guarded_as_those_that_are(method: str) -> None:
    assert guard(("/admin", "GET", "a")).needed(method, "/admin") == (A,)


def test_another_method_of_the_same_path_is_open_where_it_is_announced_without_auth() -> None:
    some = guard(("/items", "GET"), ("/items", "POST", "a"))
    assert some.needed("GET", "/items") == some.needed("HEAD", "/items") == ()
    assert some.needed("POST", "/items") == some.needed("PUT", "/items") == (A,)
    assert some.needed("GET", "/items/") == (A,), "this is not beyond doubt what is open"


def test_a_method_that_is_announced_both_ways_is_guarded() -> None:
    assert guard(("/items", "GET"), ("/items", "GET", "a")).needed("GET", "/items") == (A,)
    assert guard(("/items/{id}", "GET"), ("/items/{name}", "GET", "a")).needed("GET", "/items/7") == (A,)
    assert guard(("/items/{id}", "GET"), ("/items/7", "GET", "a")).needed("GET", "/items/7") == (A,)
    assert guard(("/{a}/x", "GET"), ("/u/{b}", "GET", "a")).needed("GET", "/u/x") == (A,)


def test_a_smaller_part_of_what_is_guarded_is_open_where_it_is_announced_without_auth() -> None:
    some = guard(("/{*rest}", "*", "a"), ("/login", "GET POST"), ("/public/{*rest}", "GET"), ("/{page}", "GET"), ("/files/{id}", "GET"))
    assert some.needed("GET", "/login") == some.needed("POST", "/login") == ()
    assert some.needed("PUT", "/login") == (A,)
    assert some.needed("GET", "/public/a/b") == some.needed("GET", "/about") == some.needed("GET", "/files/7") == ()
    assert some.needed("GET", "/files/7/8") == some.needed("GET", "/") == (A,)


def test_what_is_not_beyond_doubt_open_is_guarded() -> None:
    some = guard(("/{*rest}", "*", "a"), ("/login", "GET"), ("/public/{name}", "GET"))
    for path in ("/login/", "//login", "/Login", "/public/..", "/public/a/", "/login\n", "/public/%2e"):
        assert some.needed("GET", path) == (A,), path
    assert some.needed("GET", "/login", "/log%69n") == (A,)
    assert some.needed("GET", "/login", "/login") == ()


def test_of_several_that_guard_a_path_the_smallest_counts() -> None:
    some = guard(("/{*rest}", "*", "a"), ("/admin/{*rest}", "*", "b"), ("/shop/{id}", "GET", "a"), ("/shop/{id}", "POST", "b"))
    assert some.needed("GET", "/x") == (A,)
    assert some.needed("GET", "/admin/x") == (B,)
    assert some.needed("GET", "/shop/7") == (A,)
    assert some.needed("POST", "/shop/7") == (B,)


def test_where_it_is_not_sure_which_is_meant_all_have_to_accept() -> None:
    some = guard(("/{*rest}", "*", "a"), ("/admin/{*rest}", "*", "b"), ("/shop/{id}", "GET", "a"), ("/shop/{id}", "POST", "b"))
    assert set(some.needed("GET", "//admin/x")) == {A, B}
    assert set(some.needed("PUT", "/shop/7")) == {A, B}
    assert set(some.needed("GET", "/shop/7", signs={guarding.OVERRIDDEN})) == {A, B}
    assert guard(("/{a}", "GET", "a"), ("/{*b}", "POST", "a")).needed("PUT", "/x/") == (A,), "each is asked once"


def test_a_preflight_passes_unless_options_is_announced_with_auth() -> None:
    preflight = {guarding.PREFLIGHT}
    some = guard(("/admin", "GET", "a"), ("/all", "*", "a"), ("/options", "GET OPTIONS", "a"))
    assert some.needed("OPTIONS", "/admin", signs=preflight) == some.needed("OPTIONS", "/all", signs=preflight) == ()
    assert some.needed("OPTIONS", "/admin") == (A,)
    assert some.needed("OPTIONS", "/options", signs=preflight) == (A,)
    assert some.needed("GET", "/admin", signs=preflight) == (A,)


def test_another_method_that_is_asked_for_makes_no_open_endpoint_of_a_guarded_one() -> None:
    some = guard(("/items", "GET"), ("/items", "DELETE", "a"), ("/login", "POST"))
    assert some.needed("GET", "/items", signs={guarding.OVERRIDDEN}) == (A,)
    assert some.needed("POST", "/login", signs={guarding.OVERRIDDEN}) == ()


@pytest.mark.parametrize(
    ("headers", "query", "signs"),
    [
        ([], "", set()),
        (["host", "accept"], "a=b", set()),
        (["access-control-request-method"], "", {"preflight"}),
        (["x-http-method-override"], "", {"overridden"}),
        (["x-http-method"], "", {"overridden"}),
        (["x-method-override", "access-control-request-method"], "", {"overridden", "preflight"}),
        ([], "a=b&_method=DELETE", {"overridden"}),
        ([], "%5fme%74hod=DELETE", {"overridden"}),
    ],
)
def test_the_signs_of_a_request(headers: list[str], query: str, signs: set[str]) -> None:
    assert signs_of(headers, query) == signs


def test_below_a_root_of_its_own_an_application_has_its_routes_again() -> None:
    some = guard(("/admin", "GET", "a"))
    assert some.needed("GET", "/api/admin") == ()
    assert not some.attached
    some.attach(["", "/", "/api/"])
    assert some.attached
    assert some.needed("GET", "/api/admin") == some.needed("GET", "/api//admin") == some.needed("GET", "/admin") == (A,)


def test_a_path_that_the_server_answers_itself_is_guarded_where_it_is_named() -> None:
    some = guard(("/{*rest}", "GET", "a"), ("/metrics", "GET", "b"))
    assert some.needed_beside("/metrics") == (B,)
    assert some.needed_beside("/health") == ()


# ── whose authenticator ─────────────────────────────────────────────────────────────────────────────────────────────


def state_with(**sections: str) -> Any:
    named = {name: SimpleNamespace(use=use) for name, use in sections.items()}
    return SimpleNamespace(
        config=SimpleNamespace(sections=lambda kind: {"auth": named}[kind]), authenticators={n: Porter(n) for n in named}
    )


def endpoint(path: str, auth: str | None = None, *methods: str) -> AnnouncedEndpoint:
    return AnnouncedEndpoint(path=path, methods=list(methods or ("GET",)), auth=auth)


async def told(state: Any, *endpoints: AnnouncedEndpoint) -> Any:
    made = guard_of(endpoints, state)
    assert made is not None
    return await made.check(made.needed("GET", endpoints[0].path), GOOD)


def test_without_auth_there_is_no_guard() -> None:
    assert guard_of(None, None) is None
    assert guard_of([endpoint("/a"), endpoint("/b", "")], None) is None


async def test_auth_is_the_name_of_a_section_or_what_the_only_one_uses() -> None:
    assert await told(state_with(jwt="other", main="jwt"), endpoint("/a", "jwt")) == {"by": "jwt"}
    assert await told(state_with(main="jwt", more="other"), endpoint("/a", "jwt")) == {"by": "main"}


async def test_jwt_is_what_the_orchestrator_checks_where_nothing_here_does() -> None:
    assert await told(state_with(main="orchestrator", more="other"), endpoint("/a", "jwt")) == {"by": "main"}
    assert await told(state_with(far="orchestrator", near="jwt"), endpoint("/a", "jwt")) == {"by": "near"}
    with pytest.raises(ConfigError, match=r'use = "orchestrator" any may be meant: one, two\. Name one: auth="one"'):
        guard_of([endpoint("/a", "jwt")], state_with(one="orchestrator", two="orchestrator"))
    with pytest.raises(ConfigError, match="No section is called that"):
        guard_of([endpoint("/a", "basic")], state_with(main="orchestrator"))


def test_a_section_that_is_not_meant_is_named() -> None:
    with pytest.raises(ConfigError) as caught:
        guard_of([endpoint("/a", "jwt")], state_with(main="other"))
    assert str(caught.value) == (
        'announced with auth="jwt": /a. No section is called that or uses it, there is [auth.main] with use = "other". '
        'Where one of them is meant, auth="main" names it; otherwise add a section [auth.jwt] to pywatt.toml'
    )


def test_nobody_to_check_is_an_error_with_the_lines_to_add() -> None:
    with pytest.raises(ConfigError) as caught:
        guard_of([endpoint("/a", "jwt"), endpoint("/b"), endpoint("/c", "jwt")], state_with())
    assert str(caught.value) == (
        'announced with auth="jwt": /a, /c. No section says who checks the tokens. Add to pywatt.toml:\n\n'
        '[auth.jwt]\nuse = "jwt"\nsecret_key = "secret:JWT_KEY"'
    )


def test_two_that_may_be_meant_are_an_error_too() -> None:
    with pytest.raises(ConfigError, match=r'with use = "jwt" any may be meant: one, two\. Name one: auth="one"'):
        guard_of([endpoint("/a", "jwt")], state_with(one="jwt", two="jwt"))
    with pytest.raises(ConfigError, match="for which there is no authenticator"):
        Guard([endpoint("/a", "jwt")], {})


def test_what_stands_beside_is_open_unless_an_endpoint_names_it() -> None:
    state = state_with(jwt="jwt")
    some = guard_of([endpoint("/{*rest}", "jwt")], state, beside=["/health"])
    assert some is not None
    assert some.needed("GET", "/health") == () != some.needed("POST", "/health")
    named = guard_of([endpoint("/{*rest}", "jwt"), endpoint("/health", "jwt")], state, beside=["/health"])
    assert named is not None
    assert named.needed("GET", "/health") == named.needed_beside("/health") != ()


# ── checking ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_good_token_gives_its_claims_and_each_has_to_accept_it() -> None:
    some = guard()
    assert await some.check((A,), GOOD) == {"by": "A"}
    assert await some.check((A, B), GOOD) == {"by": "A"}
    refusal = refusal_of(Forbidden())
    assert await some.check((A, Porter(error=Forbidden())), GOOD) == refusal
    assert await some.check((Porter(error=Forbidden()), A), GOOD) == refusal


@pytest.mark.parametrize(
    ("said", "error", "status", "text"),
    [
        ([], None, 401, "Missing Authorization header"),
        (["Basic YTpi"], None, 401, "Missing Authorization header"),
        (["Bearer bad"], None, 401, "Unauthorized: InvalidToken"),
        ([*GOOD, *GOOD], None, 401, "Unauthorized: InvalidToken"),
        (GOOD, InvalidToken("why", reason="InvalidAudience"), 401, "Unauthorized: InvalidAudience"),
        (GOOD, Forbidden(), 403, "Forbidden"),
        (GOOD, Unavailable("away"), 503, "Tokens cannot be checked now"),
        (GOOD, ChannelClosed("gone"), 500, "Tokens cannot be checked"),
        (GOOD, ValueError("good"), 500, "Tokens cannot be checked"),
        (GOOD, ExceptionGroup("several", [ValueError()]), 500, "Tokens cannot be checked"),
    ],
)
async def test_everything_else_is_refused(said: list[str], error: Exception | None, status: int, text: str) -> None:
    porter = Porter(error=error)
    checked = await guard().check((porter,), said)
    assert isinstance(checked, Refusal)
    assert (checked.status, checked.body) == (status, b'{"error":"%s"}' % text.encode())
    if status != 503 and status != 500:
        assert dict(checked.headers)["www-authenticate"].startswith("Bearer")
    blocking = await asyncio.to_thread(guard().check_blocking, (porter,), said, Stateful(asyncio.get_running_loop()))
    assert blocking == checked


class Stateful:
    """As much of an `AppState` as threads need."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        from pywatt_core.held import Blocking

        self.sync = Blocking(self, loop, threading.get_ident(), 20.0)


@pytest.mark.parametrize("claims", [None, [], "admin", True])
async def test_an_authenticator_that_returns_no_claims_lets_nobody_in(claims: Any) -> None:
    class Broken:
        async def authenticate(self, token: str) -> Any:
            return claims

    with pytest.raises(TypeError, match="no claims"):
        await prove(Broken(), GOOD)
    assert refused(TypeError()).status == 500


async def test_an_authenticator_that_does_not_answer_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent:
        async def authenticate(self, token: str) -> Mapping[str, Any]:
            await asyncio.Event().wait()
            return {}

    monkeypatch.setattr(guarding, "CHECK_TIMEOUT", 0.01)
    with pytest.raises(Unavailable, match="a token was not checked within"):
        await prove(Silent(), GOOD)
    with pytest.raises(Unavailable, match="a token was not checked within"):
        await asyncio.to_thread(prove_blocking, Silent(), GOOD, Stateful(asyncio.get_running_loop()))


async def test_a_thread_asks_at_once_where_that_is_possible_else_the_loop() -> None:
    state, ours = Stateful(asyncio.get_running_loop()), threading.get_ident()
    quick = QuickPorter()
    assert await asyncio.to_thread(prove_blocking, quick, GOOD, None) == {"by": "porter"}
    assert len(quick.threads) == 1
    assert quick.threads[0] not in (ours, -ours), "in the thread that asks"
    with pytest.raises(InvalidToken):
        await asyncio.to_thread(prove_blocking, quick, ["Bearer bad"], state)
    assert quick.threads[-1] == ours, "what it cannot tell at once the loop finds out"
    slow = Porter()
    assert await asyncio.to_thread(prove_blocking, slow, GOOD, state) == {"by": "porter"}
    assert slow.threads == [ours]


def test_no_token_stands_in_the_log(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(guarding, "_said", float("-inf"))
    try:
        raise ValueError("the token eyJ.canary.sig")
    except ValueError as error:
        refused(error)
    refused(MissingToken("the request has no token"))
    refused(RequestTimeout("late"))
    refused(Unavailable("the keys are away"))
    refused(Unavailable("the keys are away"))
    assert "canary" not in caplog.text
    assert "ValueError at " in caplog.text
    assert "test_guarding.py:" in caplog.text
    kinds = [(record.levelname, record.message.partition(":")[0]) for record in caplog.records]
    assert kinds == [
        ("ERROR", "a token could not be checked"),
        ("DEBUG", "a request was refused"),
        ("ERROR", "a token could not be checked"),
        ("WARNING", "a token could not be checked"),
        ("DEBUG", "a token could not be checked"),
    ], "what every request would say is said aloud once in a while"


def test_refusals_are_counted() -> None:
    refused(Forbidden())
    assert 'pywatt_http_refused_total{status="403"}' in telemetry.metrics.render()
