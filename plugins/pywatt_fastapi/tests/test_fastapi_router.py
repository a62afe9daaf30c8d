"""PyWatt's own router over a port: served by uvicorn like any other application."""

from __future__ import annotations

import json

from pywatt_core.http import HttpIpcRouter
from pywatt_core.interfaces import ServerOptions
from pywatt_core.testing.client import fetch
from pywatt_core.testing.contracts.server_probe import bound
from pywatt_fastapi import pywatt_make_server

router = HttpIpcRouter()


@router.get("/items/{id}")
async def item(request: object, id: int, state: object) -> object:
    return [id, str(state)]


def test_a_router_without_a_port_is_left_to_the_core() -> None:
    assert pywatt_make_server(router, ServerOptions(state=None, port=False)) is None


async def test_a_router_is_served_over_a_port_below_its_prefix() -> None:
    with bound("tcp") as place:
        server = pywatt_make_server(router, ServerOptions(state="the state", prefix="/v1"))
        assert server is not None
        assert [route.path for route in server.routes()] == ["/v1/items/{id}"]
        assert server.add_route("/health", lambda: (200, "text/plain", b"well"))
        assert server.add_route("/v1/items", lambda: (200, "text/plain", b"not a route of the router's"))
        await server.start(place.listener)
        try:
            response = await fetch(place.address, "GET", "/v1/items/7")
            assert (response.status, json.loads(response.body)["data"]) == (200, [7, "the state"])
            assert (await fetch(place.address, "GET", "/v1/items/x")).status == 400
            assert (await fetch(place.address, "DELETE", "/v1/items/7")).headers["allow"] == "GET, HEAD, OPTIONS"
            assert (await fetch(place.address, "GET", "/health")).text == "well"
            assert (await fetch(place.address, "GET", "/items/7")).status == 404
        finally:
            await server.close()
