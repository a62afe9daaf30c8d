"""A router as a module's application, without any framework."""

import asyncio
import json

import pytest

from pywatt_core import Module, PluginError, ServerError, pywatt_module
from pywatt_core.builtin import pywatt_make_server
from pywatt_core.http import HttpIpcRouter
from pywatt_core.interfaces import ServerOptions, StreamingServer
from pywatt_core.protocol.messages import AnnouncedEndpoint, HttpRequest
from pywatt_core.registry import Registry
from pywatt_core.testing import app
from pywatt_core.testing.contracts.server_probe import request, until
from pywatt_core.testing.contracts.server_streams import caller_of

ROUTER = HttpIpcRouter()


@ROUTER.get("/hello")
async def hello(request):
    return "hello"


@ROUTER.post("/users/{id}")
async def change(request, id: int, state):
    return [id, request.json(), state]


def server(**options):
    return pywatt_make_server(ROUTER, ServerOptions(**{"state": "the state", "port": False, **options}))


def test_only_a_router_without_a_port_is_taken():
    assert isinstance(server(), StreamingServer)
    assert pywatt_make_server(object(), ServerOptions(state=None, port=False)) is None
    assert pywatt_make_server(ROUTER, ServerOptions(state=None)) is None


def test_routes_are_announced_below_the_prefix():
    assert server(prefix="/v1").routes() == [AnnouncedEndpoint("/v1/hello", ["GET"]), AnnouncedEndpoint("/v1/users/{id}", ["POST"])]


async def test_requests_reach_the_handlers_and_extra_routes_stand_outside_the_prefix():
    one = server(prefix="/v1")
    assert one.add_route("/health", lambda: (200, "text/plain", b"well"))
    assert not one.add_route("/v1/hello", lambda: (200, "text/plain", b""))
    assert (await one.handle(request("GET", "/health"))).status_code == 503
    await one.start(None)
    answer = await one.handle(request("POST", "/v1/users/7?x=1", b'{"a":1}'))
    assert (answer.status_code, json.loads(answer.body)["data"]) == (200, [7, {"a": 1}, "the state"])
    assert answer.headers["x-request-id"] == answer.request_id
    assert (await one.handle(request("GET", "/health"))).body == b"well"
    assert (await one.handle(request("GET", "/hello"))).status_code == 404
    with pytest.raises(ServerError, match="started before"):
        await one.start(None)
    await one.close()
    assert (await one.handle(request("GET", "/health"))).status_code == 503


async def test_requests_in_pieces_reach_the_handlers():
    one = server()
    await one.start(None)
    async with caller_of(one) as caller:
        id, asking = await caller.begin("POST", "/users/7", b'{"a"')
        await caller.send(id, b":1}", more=False)
        assert json.loads((await asking).body)["data"] == [7, {"a": 1}, "the state"]
        head = await caller.ask("HEAD", "/hello")
        assert (head.body, dict(head.start.headers)["content-length"]) == (b"", "50")
        assert (await caller.ask("PUT", "/hello")).start.status_code == 405
        assert await one.drain(5)
        assert (await caller.ask("GET", "/hello")).start.status_code == 503
    await one.close()


async def test_a_drain_waits_for_what_runs_and_cuts_what_runs_for_too_long():
    router, gate, begun = HttpIpcRouter(), asyncio.Event(), []

    @router.get("/slow")
    async def slow(request):
        begun.append(True)
        await gate.wait()

    for patient in (True, False):
        one = pywatt_make_server(router, ServerOptions(state=None, port=False))
        await one.start(None)
        gate.clear()
        begun.clear()
        asking = asyncio.create_task(one.handle(request("GET", "/slow")))
        await until(lambda: begun, "the request never arrived")
        if patient:
            asyncio.get_running_loop().call_soon(gate.set)
        assert await one.drain(20 if patient else 0.0) is patient
        assert (await asking).status_code == (200 if patient else 503)


async def test_a_body_that_is_too_long_is_413(monkeypatch):
    one = server()
    one._app._max_body = 10
    await one.start(None)
    assert (await one.handle(request("POST", "/users/7", bytes(11)))).status_code == 413
    await one.close()


def test_a_module_with_a_port_needs_a_plugin_and_is_told_both_ways_out(tmp_path):
    with pytest.raises(PluginError, match=r"pip install pywatt-fastapi; or do without a port: bind_http=False"):
        Registry(path=[str(tmp_path)]).make_server(ROUTER, ServerOptions(state=None))


async def test_a_module_whose_application_is_a_router_is_brought_up():
    @pywatt_module(bind_http=False)
    def module(state):
        return ROUTER

    assert isinstance(module, Module)
    async with app(module) as client:
        assert (await client.get("/hello")).json()["data"] == "hello"
        assert (await client.get("/health")).status == 200
        assert (await client.get("/nowhere")).status == 404


async def test_whole_requests_are_answered_on_the_channel_that_they_came_on():
    one = server()
    await one.start(None)
    async with caller_of(one) as caller:
        asking = [caller.link.request(HttpRequest(str(number), "GET", "/hello"), timeout=20) for number in range(5)]
        answers = await asyncio.gather(*asking)
        assert [(answer.request_id, answer.status_code) for answer in answers] == [(str(number), 200) for number in range(5)]
        bad = await caller.link.request(HttpRequest("bad", "GET /", "/hello"), timeout=20)
        assert bad.status_code == 400
    await one.close()
