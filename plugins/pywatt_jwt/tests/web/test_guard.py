"""No way of writing a path leads past the guard: for each that is tried, either no guarded view runs, or there was a token.

Every house is asked twice, once with all its doors open, so that it is known which of the spellings lead anywhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import product
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pywatt_core.testing.client import connect, read_response
from pywatt_core.testing.contracts.server_streams import caller_of
from pywatt_jwt import JwtConfig, JwtValidator, create_token
from pywatt_jwt.authenticator import JwtAuthenticator

from .houses import ALL_BUT_THE_OPEN, BEHIND, GUARDED, HOUSES, OPEN, House, Served, served

CONFIG = JwtConfig(secret_key="the key of the guard, 32 bytes or more")
GOOD = f"Bearer {create_token({'sub': 'ada'}, CONFIG)}"
DEADLINE = 20.0

Spelling = Callable[[str], str]


def _escaped(path: str, characters: str) -> str:
    return "".join(f"%{ord(c):02X}" if c in characters else c for c in path)


SPELLINGS: dict[str, Spelling] = {
    "as it is": lambda path: path,
    "a slash more": lambda path: path + "/",
    "a slash less": lambda path: path.rstrip("/") or "/",
    "two slashes first": lambda path: "/" + path,
    "two slashes last": lambda path: path + "//",
    "two slashes everywhere": lambda path: path.replace("/", "//"),
    "an escaped slash more": lambda path: path + "%2F",
    "an escaped slash": lambda path: path[0] + path[1:].replace("/", "%2f"),
    "every slash escaped": lambda path: path.replace("/", "%2F"),
    "a letter escaped": lambda path: _escaped(path, "amiuUfdl"),
    "everything escaped": lambda path: "/" + _escaped(path[1:], "abcdefghijklmnopqrstuvwxyzUPC0123456789"),
    "escaped twice": lambda path: "/" + quote(quote(path[1:], safe=""), safe=""),
    "a letter escaped twice": lambda path: _escaped(path, "amiu").replace("%", "%25"),
    "upper case": str.upper,
    "lower case": str.lower,
    "swapped case": str.swapcase,
    "a dot": lambda path: "/." + path,
    "a dot last": lambda path: path + "/.",
    "dots back": lambda path: "/nowhere/.." + path,
    "dots above the top": lambda path: "/../.." + path,
    "dots last": lambda path: path + "/more/..",
    "escaped dots": lambda path: "/nowhere/%2e%2E" + path,
    "through an open one": lambda path: "/public/.." + path,
    "through an open one, escaped": lambda path: "/public/%2e%2e" + path,
    "escaped dots and slashes": lambda path: "/public/%2e%2e%2f" + path[1:],
    "a backslash": lambda path: path[0] + path[1:].replace("/", "\\"),
    "an escaped backslash": lambda path: path[0] + path[1:].replace("/", "%5C"),
    "a line feed": lambda path: path + "%0A",
    "a carriage return": lambda path: path + "%0D",
    "both": lambda path: path + "%0D%0A",
    "a line feed first": lambda path: "/%0A" + path[1:],
    "a tab": lambda path: path + "%09",
    "a blank": lambda path: path + "%20",
    "a plus": lambda path: path + "+",
    "nothing, as a byte": lambda path: path + "%00",
    "a parameter": lambda path: path + ";a=b",
    "parameters everywhere": lambda path: path.replace("/", "/;x=/"),
    "a query": lambda path: path + "?a=/public/x",
    "an empty query": lambda path: path + "?",
    "an escaped question": lambda path: path + "%3F",
    "a fragment": lambda path: path + "#/login",
    "an escaped fragment": lambda path: path + "%23",
    "a whole address": lambda path: "http://localhost" + path,
    "another host": lambda path: "http://login" + path,
    "a host first": lambda path: "//localhost" + path,
    "the root": lambda path: "/api" + path,
    "the root twice": lambda path: "/api/api" + path,
    "the root and a slash more": lambda path: "/api/" + path,
    "the root escaped": lambda path: "/%61pi" + path,
    "overlong": lambda path: path.replace("/", "%c0%af"),
    "half of a character": lambda path: path + "%C3",
    "a wide slash": lambda path: "/" + path[1:].replace("/", "%EF%BC%8F"),
    "a wide letter": lambda path: path.replace("a", "%EF%BD%81"),
    "a long s": lambda path: path.replace("s", "%C5%BF"),
    "a sign of Kelvin": lambda path: path.replace("k", "%E2%84%AA"),
    "a percent": lambda path: path + "%",
    "a format": lambda path: path + ".json",
    "an index": lambda path: path + "/index.html",
    "a star": lambda path: path + "*",
    "a mount": lambda path: "/mount" + path,
    "a mount, escaped": lambda path: path.replace("/mount/", "/mount%2F"),
}


class Guarded:
    """A house behind its guard, and the same house open."""

    def __init__(self, guarded: Served, unguarded: Served) -> None:
        self.guarded, self.unguarded = guarded, unguarded

    async def leads_inside(self, method: str, uri: str, **headers: str) -> bool:
        """Whether the request reaches a guarded view where nobody guards it. Fails where it does so behind the guard too."""
        await self.unguarded.ask(method, uri, **headers)
        inside, _ = self.unguarded.visits.take()
        answer = await self.guarded.ask(method, uri, **headers)
        past, _ = self.guarded.visits.take()
        assert not past, f"{method} {uri!r} ran {past} without a token"
        if inside:
            assert answer.status_code == 401, f"{method} {uri!r} was answered {answer.status_code}"
        return bool(inside)


@pytest.fixture(params=HOUSES)
def make(request: pytest.FixtureRequest) -> Callable[[], House]:
    return HOUSES[request.param]


@pytest.fixture
def authenticator() -> JwtAuthenticator:
    return JwtAuthenticator(JwtValidator(CONFIG))


def singles() -> Iterator[str]:
    for path, spelling in product(BEHIND, SPELLINGS.values()):
        yield spelling(path)


def pairs() -> Iterator[str]:
    for first, second in product(SPELLINGS.values(), repeat=2):
        for path in ("/admin", "/users/7", "/mount/secret"):
            with suppress(ValueError):
                yield second(first(path))


async def test_no_spelling_leads_past_the_guard(make: Callable[[], House], authenticator: JwtAuthenticator) -> None:
    async with served(make(), authenticator) as guarded, served(make(), None) as unguarded:
        both = Guarded(guarded, unguarded)
        led = [uri for uri in dict.fromkeys(singles()) if await both.leads_inside("GET", uri)]
    assert len(led) > 100, "the attack has teeth"


async def test_no_two_spellings_together_lead_past_the_guard(make: Callable[[], House], authenticator: JwtAuthenticator) -> None:
    async with served(make(), authenticator) as guarded, served(make(), None) as unguarded:
        both = Guarded(guarded, unguarded)
        led = [uri for uri in dict.fromkeys(pairs()) if await both.leads_inside("GET", uri)]
    assert len(led) > 300, "the attack has teeth"


@pytest.mark.parametrize("method", ["HEAD", "DELETE", "POST", "PUT", "OPTIONS", "get", "Get", "TRACE", "PROPFIND", "CONNECT"])
async def test_no_method_leads_past_the_guard(make: Callable[[], House], authenticator: JwtAuthenticator, method: str) -> None:
    async with served(make(), authenticator) as guarded, served(make(), None) as unguarded:
        for path in (*BEHIND, "/admin/", "/admin%0A"):
            await Guarded(guarded, unguarded).leads_inside(method, path)


@pytest.mark.parametrize("header", ["X-HTTP-Method-Override", "x-http-method", "X-Method-Override", "x_http_method_override"])
async def test_another_method_in_a_header_leads_nowhere(make: Callable[[], House], authenticator: JwtAuthenticator, header: str) -> None:
    async with served(make(), authenticator) as guarded, served(make(), None) as unguarded:
        both = Guarded(guarded, unguarded)
        for method, path in product(("GET", "POST", "OPTIONS"), ("/admin", "/users/7", "/users/me", "/login")):
            for wanted in ("GET", "DELETE", "delete"):
                await both.leads_inside(method, path, **{header: wanted})
        assert (await guarded.ask("GET", "/users/me", **{"X-HTTP-Method-Override": "DELETE"})).status_code == 401


async def test_a_preflight_passes_and_runs_no_view(make: Callable[[], House], authenticator: JwtAuthenticator) -> None:
    asked = {"origin": "https://shop.example", "access-control-request-method": "DELETE"}
    async with served(make(), authenticator) as guarded:
        for path in BEHIND:
            assert (await guarded.ask("OPTIONS", path)).status_code == 401
            assert (await guarded.ask("OPTIONS", path, **asked)).status_code != 401
            for method in ("GET", "HEAD", "DELETE", "options "):
                assert (await guarded.ask(method, path, **asked)).status_code in (400, 401)
        assert guarded.visits.take() == ([], [])


async def test_open_endpoints_stay_open_and_a_token_opens_the_others(make: Callable[[], House], authenticator: JwtAuthenticator) -> None:
    async with served(make(), authenticator) as guarded:
        for path in ("/login", "/users/me", "/public/ada", "/public/caf%C3%A9"):
            assert (await guarded.ask("GET", path)).status_code == 200, path
        _, ran = guarded.visits.take()
        assert [name for name in ran if name in OPEN] == ["/login", "/users/me", "/public/{name}", "/public/{name}"]
        for path in BEHIND:
            answer = await guarded.ask("GET", path, authorization=GOOD)
            assert answer.status_code in (200, 404), path
        ran, _ = guarded.visits.take()
        assert len(ran) >= len(BEHIND) - 1, "only a mount below a root_path of FastAPI is somewhere else"


async def test_the_prefix_changes_nothing(make: Callable[[], House], authenticator: JwtAuthenticator) -> None:
    async with served(make(), authenticator, prefix="/v1") as guarded, served(make(), None, prefix="/v1") as unguarded:
        both = Guarded(guarded, unguarded)
        led = 0
        for path, spelling in product(BEHIND, SPELLINGS.values()):
            for uri in {"/v1" + spelling(path), spelling("/v1" + path), "/%761" + spelling(path), "/v1/" + spelling(path)}:
                led += await both.leads_inside("GET", uri)
        assert led > 100
        assert (await guarded.ask("GET", "/v1/login")).status_code == 200


async def test_where_all_is_guarded_but_the_open_no_spelling_of_an_open_one_leads_elsewhere(
    make: Callable[[], House], authenticator: JwtAuthenticator
) -> None:
    async with served(make(), authenticator, endpoints=ALL_BUT_THE_OPEN) as guarded:
        opened = 0
        for path, (method, spelling) in product(("/login", "/users/me", "/public/ada"), product(("GET", "POST"), SPELLINGS.values())):
            answer = await guarded.ask(method, spelling(path))
            past, ran = guarded.visits.take()
            assert not past, f"{spelling(path)!r} ran {past} without a token"
            assert not guarded.visits.rest, f"{spelling(path)!r} ran the view for everything else"
            opened += bool(ran)
            assert ran or answer.status_code in (400, 401, 404, 405, 307, 308)
        assert opened > 5
        for path in BEHIND:
            assert (await guarded.ask("GET", path)).status_code == 401


PIECES = [
    "/", "/", "//", "admin", "users", "7", "me", "files", "deep", "items", "mount", "secret", "a", "b", "1", "login", "public", "UP",
    "Case", ".", "..", "%2e", "%2F", "%5c", "%0A", "%00", "%25", "%2561", ";", "api", "caf%C3%A9", "%20", "ADMIN", "*", "\\", ":", "%C3",
    "~", "%61dmin",
]  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(paths=st.lists(st.lists(st.sampled_from(PIECES), min_size=1, max_size=9), min_size=20, max_size=40))
def test_no_path_of_any_pieces_leads_past_the_guard(
    make: Callable[[], House], authenticator: JwtAuthenticator, paths: list[list[str]]
) -> None:
    async def ask() -> None:
        async with served(make(), authenticator) as guarded, served(make(), None) as unguarded:
            for pieces in paths:
                await Guarded(guarded, unguarded).leads_inside("GET", "/" + "".join(pieces))

    asyncio.run(ask())


# ── the other ways into a module ────────────────────────────────────────────────────────────────────────────────────


async def test_requests_in_pieces_are_guarded(make: Callable[[], House], authenticator: JwtAuthenticator) -> None:
    async with served(make(), authenticator) as guarded, caller_of(guarded.server) as caller:
        for path in (*BEHIND, "/admin/", "/admin%0A", "//admin"):
            asked = await caller.ask("GET", path)
            assert (asked.start.status_code, asked.complete) == (401, True)
            assert dict(asked.start.headers)["www-authenticate"] == "Bearer"
        assert guarded.visits.take() == ([], [])
        assert (await caller.ask("GET", "/admin", headers=[("authorization", GOOD)])).start.status_code == 200
        twice = [("authorization", GOOD), ("authorization", GOOD)]
        assert (await caller.ask("GET", "/admin", headers=twice)).start.status_code == 401


async def test_a_refusal_does_not_wait_for_the_body_in_pieces(make: Callable[[], House], authenticator: JwtAuthenticator) -> None:
    async with served(make(), authenticator) as guarded, caller_of(guarded.server) as caller:
        _, asking = await caller.begin("DELETE", "/users/7", b"the beginning", headers=[("content-length", "1000000")])
        async with asyncio.timeout(DEADLINE):
            asked = await asking
        assert asked.start.status_code == 401
        assert (await caller.ask("GET", "/login")).start.status_code == 200


async def talk(address: str, request: bytes) -> int | None:
    """The status of the answer to a request that is sent byte for byte; None where the server says nothing."""
    async with asyncio.timeout(DEADLINE):
        reader, writer = await connect(address)
        try:
            writer.write(request)
            await writer.drain()
            return (await read_response(reader)).status
        except (EOFError, OSError):
            return None
        finally:
            writer.close()


ON_A_PORT = [name for name in HOUSES if name != "router"]


@pytest.mark.parametrize("name", ON_A_PORT)
async def test_no_bytes_on_a_port_lead_past_the_guard(name: str, authenticator: JwtAuthenticator) -> None:
    async with served(HOUSES[name](), authenticator, port=True) as guarded, served(HOUSES[name](), None, port=True) as unguarded:
        led = 0
        for uri in dict.fromkeys(singles()):
            wanted = f"GET {uri} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode("latin-1", "replace")
            await talk(unguarded.address, wanted)
            inside, _ = unguarded.visits.take()
            status = await talk(guarded.address, wanted)
            past, _ = guarded.visits.take()
            assert not past, f"{uri!r} ran {past} without a token"
            assert not inside or status == 401
            led += bool(inside)
        assert led > 100, "the attack has teeth"


HEADS = {
    "two tokens": f"authorization: {GOOD}\r\nauthorization: {GOOD}\r\n",
    "a bad and a good one": f"authorization: Bearer x.y.z\r\nauthorization: {GOOD}\r\n",
    "a good one and a bad": f"authorization: {GOOD}\r\nAuthorization: Bearer x\r\n",
    "an empty one and a good one": f"authorization:\r\nauthorization: {GOOD}\r\n",
    "a comma": f"authorization: {GOOD}, {GOOD}\r\n",
    "another header": f"authorization_: {GOOD}\r\nx-authorization: {GOOD}\r\nproxy-authorization: {GOOD}\r\n",
    "a fold before": f"x-a: b\r\n authorization: {GOOD}\r\n",
    "two blanks": f"authorization: Bearer  {GOOD[7:]}\r\n",
    "a tab": f"authorization: Bearer\t{GOOD[7:]}\r\n",
    "no blank": f"authorization: Bearer{GOOD[7:]}\r\n",
    "a blank in the name": f"authorization : {GOOD}\r\n",
    "another scheme": f"authorization: Token {GOOD[7:]}\r\n",
    "no scheme": f"authorization: {GOOD[7:]}\r\n",
    "two schemes": f"authorization: Bearer Bearer {GOOD[7:]}\r\n",
    "quotes": f'authorization: Bearer "{GOOD[7:]}"\r\n',
    "a word after": f"authorization: {GOOD} admin\r\n",
    "a parameter": f"authorization: {GOOD};q=1\r\n",
    "bytes outside ASCII": f"authorization: {GOOD}\xe9\r\n",
    "a byte that is nothing": f"authorization: {GOOD}\x00\r\n",
    "a cookie": f"cookie: authorization={GOOD[7:]}; access_token={GOOD[7:]}\r\n",
    "a megabyte": f"authorization: Bearer {'a' * 1_000_000}\r\n",
    "a token that is too long": f"authorization: Bearer {'a' * 17_000}\r\n",
    "a token after the headers": f"\r\nauthorization: {GOOD}\r\n",
}


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
@pytest.mark.parametrize("name", ["fastapi", "flask"])
async def test_no_other_way_to_send_a_token_is_taken(name: str, authenticator: JwtAuthenticator, head: str) -> None:
    async with served(HOUSES[name](), authenticator, port=True) as guarded:
        status = await talk(guarded.address, f"GET /admin HTTP/1.1\r\nhost: localhost\r\n{head}connection: close\r\n\r\n".encode("latin-1"))
        assert status in (400, 401, 431, None)
        assert guarded.visits.take() == ([], [])


@pytest.mark.parametrize("name", ["fastapi", "flask"])
async def test_a_refused_body_is_no_request_of_its_own(name: str, authenticator: JwtAuthenticator) -> None:
    """What follows a refusal on the same connection is read as what it is, and a request inside a refused body is none."""
    smuggled = b"GET /admin HTTP/1.1\r\nhost: localhost\r\nauthorization: " + GOOD.encode() + b"\r\n\r\n"
    body = smuggled + b"x" * 200_000
    async with served(HOUSES[name](), authenticator, port=True) as guarded:
        reader, writer = await connect(guarded.address)
        try:
            async with asyncio.timeout(DEADLINE):
                writer.write(b"DELETE /users/7 HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
                writer.write(b"GET /login HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
                statuses = [(await read_response(reader)).status]
                with suppress(EOFError, OSError):  # a server may close the connection instead of reading all of it
                    statuses.append((await read_response(reader)).status)
        finally:
            writer.close()
        assert statuses in ([401], [401, 200])
        assert guarded.visits.take() in (([], []), ([], ["/login"]))


@pytest.mark.parametrize(("name", "status"), [("fastapi", 400), ("flask", 200)])
async def test_a_folded_header_is_one_header_or_none(name: str, status: int, authenticator: JwtAuthenticator) -> None:
    """RFC 9112 5.2 leaves both to a server: refusing the request, as uvicorn does, or reading the fold as a blank, as waitress does."""
    async with served(HOUSES[name](), authenticator, port=True) as guarded:
        folded = f"GET /admin HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer\r\n {GOOD[7:]}\r\nconnection: close\r\n\r\n"
        assert await talk(guarded.address, folded.encode()) == status
        twice = folded.replace("connection", "Authorization: Bearer a.b.c\r\nconnection")
        assert await talk(guarded.address, twice.encode()) in (400, 401)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR"])
@pytest.mark.parametrize("name", ["fastapi", "flask"])
async def test_the_scheme_may_be_in_any_case(name: str, authenticator: JwtAuthenticator, scheme: str) -> None:
    async with served(HOUSES[name](), authenticator, port=True) as guarded:
        head = f"GET /admin HTTP/1.1\r\nhost: localhost\r\nAUTHORIZATION:  {scheme} {GOOD[7:]}  \r\nconnection: close\r\n\r\n"
        assert await talk(guarded.address, head.encode()) == 200


@pytest.mark.parametrize("name", ["fastapi", "starlette"])
async def test_a_websocket_is_refused_before_it_is_accepted(name: str, authenticator: JwtAuthenticator) -> None:
    upgrade = "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    async with served(HOUSES[name](), authenticator, port=True) as guarded, served(HOUSES[name](), None, port=True) as unguarded:
        for path in ("/socket", "/socket%0A", "/sock%65t", "/socket?token=x"):
            wanted = f"GET {path} HTTP/1.1\r\nhost: localhost\r\n{upgrade}\r\n".encode()
            assert await talk(unguarded.address, wanted) == 101
            assert unguarded.visits.take() == (["/socket"], [])
            assert await talk(guarded.address, wanted) == 401
        assert guarded.visits.take() == ([], [])
        good = f"GET /socket HTTP/1.1\r\nhost: localhost\r\n{upgrade}authorization: {GOOD}\r\n\r\n".encode()
        assert await talk(guarded.address, good) == 101


def test_every_guarded_view_is_knocked_at() -> None:
    assert len(BEHIND) >= len(GUARDED) - 1


def test_what_the_houses_note_is_what_is_asserted(make: Callable[[], House]) -> None:
    house: Any = make()
    assert house.visits.note("/admin") == "/admin"
    assert house.visits.take() == (["/admin"], [])
