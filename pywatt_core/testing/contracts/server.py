"""What every server plugin has to do: subclass `ServerContract`, give it an application, say what the framework cannot do.

The application that `ServerContract.application` returns has these routes (`probe` is how it waits for the test):

===========================  =========================================================================================
``GET /hello``               the text ``hello``
``POST /echo``               the request's body, as ``application/octet-stream``
``GET /items/{id}``          the text ``item ID``; ``id`` is an integer where the framework can say so
``GET /files/{*path}``       the text ``file PATH``
``GET /where``               JSON: ``root`` (ASGI's root_path, WSGI's SCRIPT_NAME), ``url`` (the request's own, absolute,
                             as the framework builds it), ``client`` (its address), ``query`` (the value of ``q``, or null)
``GET /latin``               the request's header ``X-Latin``, as the response's header ``X-Latin`` and as latin-1 body
``GET /repeated``            headers ``X-Many: 1``, ``X-Many: 2``, cookies ``a=1`` and ``b=2``
``GET /boom``                raises ``RuntimeError("a detail that nobody may see")``
``GET /slow``                waits once, then the text ``slow``
``GET /stream``              the texts ``one;``, ``two;``, ``three;``, each sent as it is made, after waiting once
``GET /state``               the text ``state.module_id``, by the plugin's own way to the state
``/ws``                      a WebSocket that answers each text in upper case (where `websockets`)
===========================  =========================================================================================
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from typing import Any

import pytest

from ...errors import InvalidToken
from ...http.guarding import Guard
from ...interfaces import Server, ServerOptions
from ...protocol.messages import AnnouncedEndpoint, HttpResponse
from ..client import Response, fetch
from .server_life import LifeContract
from .server_probe import Place, ServerSubject, bound, request
from .server_requests import LinkContract, SocketContract
from .server_streams import StreamContract

ROUTES = {
    "/hello": ["GET"],
    "/echo": ["POST"],
    "/items/{id}": ["GET"],
    "/files/{*path}": ["GET"],
    "/slow": ["GET"],
}
"""Some of the routes, as they are announced."""

FORWARDED = {
    "X-Forwarded-Prefix": "/shop",
    "X-Forwarded-For": "203.0.113.9",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "shop.example:8443",
}


class RoutesContract(ServerSubject):
    """Which applications a server takes, and what it says of their routes."""

    async def test_an_application_of_another_kind_is_left_to_other_plugins(self) -> None:
        options = ServerOptions(state=None)
        for stranger in (object(), None, "application", dict, lambda: None):
            assert self.make_server(stranger, options) is None

    async def test_the_routes_are_those_of_the_application(self) -> None:
        routes = self.server().routes()
        announced = {route.path: route.methods for route in routes}
        assert {path: announced.get(path) for path in ROUTES} == ROUTES
        pairs = [(route.path, method) for route in routes for method in route.methods]
        assert len(pairs) == len(set(pairs))
        assert all(route.path.startswith("/") for route in routes)

    async def test_the_routes_stand_below_the_prefix(self) -> None:
        plain, prefixed = self.server().routes(), self.server(prefix="/v1").routes()
        assert [route.path for route in prefixed] == ["/v1" + route.path for route in plain]

    async def test_an_extra_route_answers_get_and_head_alone(self, place: Place) -> None:
        async with self.served(place) as server:
            assert server.add_route("/extra", lambda: (200, "text/x-extra", b"more"))
            response = await fetch(place.address, "GET", "/extra")
            assert (response.status, response.headers["content-type"], response.body) == (200, "text/x-extra", b"more")
            head = await fetch(place.address, "HEAD", "/extra")
            assert (head.status, head.headers["content-length"], head.body) == (200, "4", b"")
            wrong = await fetch(place.address, "POST", "/extra", body=b"")
            assert (wrong.status, wrong.headers["allow"]) == (405, "GET, HEAD")

    async def test_an_extra_route_is_no_route_of_the_application(self) -> None:
        server = self.server()
        before = server.routes()
        assert server.add_route("/extra", lambda: (200, "text/plain", b""))
        assert server.routes() == before

    async def test_a_path_that_the_user_has_is_not_taken(self) -> None:
        async with self.served(None) as server:
            assert not server.add_route("/hello", lambda: (200, "text/plain", b"not the user's"))
            assert (await server.handle(request("GET", "/hello"))).body == b"hello"

    async def test_an_extra_route_that_fails_is_500(self) -> None:
        def broken() -> tuple[int, str, bytes]:
            raise RuntimeError("a detail that nobody may see")

        async with self.served(None) as server:
            server.add_route("/extra", broken)
            response = await server.handle(request("GET", "/extra"))
            assert response.status_code == 500
            assert b"detail" not in (response.body or b"")

    async def test_extra_routes_stand_outside_the_prefix(self) -> None:
        async with self.served(None, prefix="/v1") as server:
            assert server.add_route("/hello", lambda: (200, "text/plain", b"extra"))
            assert not server.add_route("/v1/hello", lambda: (200, "text/plain", b"not the user's"))
            assert (await server.handle(request("GET", "/hello"))).body == b"extra"
            assert (await server.handle(request("GET", "/v1/hello"))).body == b"hello"


class ArrivalContract(ServerSubject):
    """Prefixes, and what the gateway says of a request."""

    async def _where(self, place: Place | None, server: Server, path: str, **headers: str) -> dict[str, Any]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        response: Response | HttpResponse
        if place is None:
            response = await server.handle(request("GET", path, None, **{"host": "inner", **named}))
        else:
            response = await fetch(place.address, "GET", path, headers={"host": "inner", **named})
        return json.loads(response.body or b"")  # type: ignore[no-any-return]

    async def test_the_application_lives_below_the_prefix(self, place: Place) -> None:
        async with self.served(place, prefix="/v1") as server:
            assert (await fetch(place.address, "GET", "/hello")).status == 404
            assert (await fetch(place.address, "GET", "/v1x/hello")).status == 404
            where = await self._where(place, server, "/v1/where")
            assert (where["root"], where["url"]) == ("/v1", "http://inner/v1/where")

    @pytest.mark.parametrize("over", ["unix", "tcp", "link"])
    async def test_what_the_gateway_says_is_believed(self, over: str) -> None:
        with contextlib.nullcontext() if over == "link" else bound(over) as place:
            async with self.served(place, behind_gateway=True) as server:
                where = await self._where(place, server, "/where", **FORWARDED)
        assert where == {"root": "/shop", "url": "https://shop.example:8443/shop/where", "client": "203.0.113.9", "query": None}

    @pytest.mark.parametrize("over", ["unix", "tcp", "link"])
    async def test_nobody_else_is_believed(self, over: str) -> None:
        with contextlib.nullcontext() if over == "link" else bound(over) as place:
            async with self.served(place) as server:
                where = await self._where(place, server, "/where", **FORWARDED)
        assert (where["root"], where["url"]) == ("", "http://inner/where")
        assert where["client"] != "203.0.113.9"

    async def test_mount_and_prefix_add_up(self) -> None:
        async with self.served(None, behind_gateway=True, prefix="/v1") as server:
            where = await self._where(None, server, "/v1/where", X_Forwarded_Prefix="/shop")
            assert (where["root"], where["url"]) == ("/shop/v1", "http://inner/shop/v1/where")

    async def test_of_several_addresses_the_one_counts_that_the_gateway_saw(self) -> None:
        async with self.served(None, behind_gateway=True) as server:
            where = await self._where(None, server, "/where", X_Forwarded_For="198.51.100.1, 203.0.113.9")
            assert where["client"] == "203.0.113.9"

    async def test_nonsense_from_the_gateway_is_ignored(self) -> None:
        nonsense = {"X_Forwarded_Prefix": "shop<", "X_Forwarded_For": "someone", "X_Forwarded_Proto": "gopher", "X_Forwarded_Host": "a b/"}
        async with self.served(None, behind_gateway=True) as server:
            where = await self._where(None, server, "/where", **nonsense)
            assert (where["root"], where["url"]) == ("", "http://inner/where")


class _Porter:
    """An authenticator that knows one token."""

    async def authenticate(self, token: str) -> Mapping[str, Any]:
        return self.authenticate_now(token)

    def authenticate_now(self, token: str) -> Mapping[str, Any]:
        if token != "good":
            raise InvalidToken("it is another one")
        return {"sub": "ada"}


class GuardContract(ServerSubject):
    """Endpoints that are announced with ``auth``."""

    def guard(self) -> Guard:
        announced = [AnnouncedEndpoint(path=path, methods=["GET"], auth="jwt") for path in ("/hello", "/items/{id}", "/health")]
        return Guard(announced, {"jwt": _Porter()})

    def test_the_guard_is_taken(self) -> None:
        guard = self.guard()
        self.server(guard=guard)
        assert guard.attached, "a server puts the guard before its application, or the module does not start"

    @pytest.mark.parametrize("over", ["unix", "tcp", "link"])
    async def test_what_is_guarded_needs_a_token(self, over: str) -> None:
        good = {"authorization": "Bearer good"}
        with contextlib.nullcontext() if over == "link" else bound(over) as place:
            async with self.served(place, guard=self.guard(), prefix="/v1") as server:
                assert server.add_route("/health", lambda: (200, "text/plain", b"well"))

                async def status(path: str, method: str = "GET", **headers: str) -> int:
                    if place is None:
                        return (await server.handle(request(method, path, None, **headers))).status_code
                    return (await fetch(place.address, method, path, headers=headers)).status

                for path in ("/v1/hello", "/v1/hello/", "/v1//hello", "/v1/HELLO", "/v1/hell%6F", "/v1/hello%0A", "/v1/items/7", "/health"):
                    assert await status(path) == 401, path
                    assert await status(path, authorization="Bearer bad") == 401, path
                assert await status("/v1/hello", "HEAD") == await status("/v1/hello", "POST") == 401
                assert await status("/v1/hello", **good) == await status("/v1/items/7", **good) == await status("/health", **good) == 200
                assert await status("/v1/files/a") == 200


class ServerContract(RoutesContract, SocketContract, LinkContract, StreamContract, ArrivalContract, GuardContract, LifeContract):
    """All of it. The server closes the socket that it was given when it drains; to close it once more is harmless."""
