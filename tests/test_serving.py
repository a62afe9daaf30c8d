"""The inbox: what arrives over a module's links, with real links and a server whose answers the test decides."""

import asyncio
import socket
import uuid
from types import SimpleNamespace

import pytest

from pywatt_core.definition import Definition
from pywatt_core.errors import PluginError
from pywatt_core.interfaces import ServerOptions
from pywatt_core.protocol.messages import (
    Announce,
    AnnouncedEndpoint,
    EncodedMessage,
    Heartbeat,
    HeartbeatAck,
    HttpRequest,
    HttpResponse,
    Init,
    Rotated,
    RotationAck,
    RoutedModuleMessage,
    Shutdown,
)
from pywatt_core.protocol.session import Role, Session
from pywatt_core.serving import CONCURRENT_REQUESTS, Inbox, guard_for, plain_routes, refuse_unguarded
from pywatt_core.transports.link import Link, new_id


class Server:
    """Answers each request once its gate is open."""

    def __init__(self):
        self.gate = asyncio.Event()
        self.running = 0
        self.most = 0

    async def handle(self, request):
        if request.uri == "/boom":
            raise RuntimeError("on purpose")
        if request.uri == "/odd":
            return HttpResponse(request_id=request.request_id, status_code=600, headers={}, body=None)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.gate.wait()
        finally:
            self.running -= 1
        return HttpResponse(request_id=request.request_id, status_code=200, headers={}, body=request.uri.encode())


class Pair:
    async def open(self):
        self.stops = []
        self.arrived = []
        self.inbox = Inbox(on_stop=lambda reason, drain=None: self.stops.append((reason, drain)))
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        module, orchestrator = Session(Role.MODULE, new_id=new_id, on_problem=self.inbox.problem), Session(Role.ORCHESTRATOR, new_id=new_id)
        _, self.module = await loop.create_unix_connection(
            lambda: Link(module, on_message=self.inbox.take, on_close=self.inbox.closed), sock=ours
        )
        _, self.orchestrator = await loop.create_unix_connection(
            lambda: Link(orchestrator, on_message=lambda message, link: self.arrived.append(message)), sock=theirs
        )
        self.orchestrator.post(Init(orchestrator_api="x", module_id="m", env={}, listen="127.0.0.1:0"))
        await self.inbox.init
        self.module.post(Announce(listen="127.0.0.1:1", endpoints=[]))
        await self.until(lambda: self.arrived)
        return self

    async def until(self, condition):
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(0.001)

    def ask(self, uri="/"):
        request = HttpRequest(request_id=str(uuid.uuid4()), method="GET", uri=uri)
        return asyncio.create_task(self.orchestrator.request(request, timeout=20))

    async def close(self):
        await self.orchestrator.close()
        await self.module.close()


@pytest.fixture
def pair():
    return Pair()


async def test_what_arrives_while_the_module_starts_is_acted_on_later_in_order(pair):
    await pair.open()
    acted = []

    async def heartbeat(message):
        acted.append("heartbeat")
        return HeartbeatAck()

    async def rotated(message):
        acted.append(message.rotation_id)
        return RotationAck(rotation_id=message.rotation_id, status="success")

    pair.orchestrator.post(Heartbeat())
    rotation = asyncio.create_task(pair.orchestrator.request(Rotated(keys=[], rotation_id="r1"), timeout=20))
    await asyncio.sleep(0.01)
    assert acted == []
    pair.inbox.open({Heartbeat: heartbeat, Rotated: rotated}, None)
    assert (await rotation).status == "success"
    assert acted == ["heartbeat", "r1"]
    await pair.close()


async def test_only_so_many_requests_run_at_once_and_none_is_lost(pair):
    await pair.open()
    server = Server()
    pair.inbox.open({}, server)
    asking = [pair.ask(f"/{number}") for number in range(CONCURRENT_REQUESTS + 50)]
    await pair.until(lambda: server.running == CONCURRENT_REQUESTS)
    server.gate.set()
    answers = [await one for one in asking]
    assert [answer.body for answer in answers] == [f"/{number}".encode() for number in range(CONCURRENT_REQUESTS + 50)]
    assert server.most == CONCURRENT_REQUESTS
    await pair.close()


async def test_what_comes_on_top_of_the_queue_is_refused_at_once(pair, monkeypatch):
    monkeypatch.setattr("pywatt_core.serving.WAITING_REQUESTS", 10)
    await pair.open()
    server = Server()
    pair.inbox.open({}, server)
    asking = [pair.ask(f"/{number}") for number in range(CONCURRENT_REQUESTS + 15)]
    refused = [await one for one in asking[-5:]]
    assert [(answer.status_code, answer.body) for answer in refused] == [(503, b"busy")] * 5
    server.gate.set()
    assert {(await one).status_code for one in asking[:-5]} == {200}
    await pair.close()


async def test_requests_that_run_and_wait_have_so_many_bytes(pair):
    await pair.open()
    server = Server()
    pair.inbox.request_bytes = 10_000
    pair.inbox.open({}, server)
    asking = [pair.ask("/" + "x" * 3999) for _ in range(3)]
    assert ((await asking[-1]).status_code, (await asking[-1]).body) == (503, b"busy")
    small = pair.ask("/small")
    await pair.until(lambda: server.running == 3)
    server.gate.set()
    assert {(await one).status_code for one in (*asking[:-1], small)} == {200}
    assert pair.inbox._bytes == 0
    assert (await pair.ask("/" + "x" * 20_000)).status_code == 200, "one alone may have more"
    await pair.close()


async def test_what_comes_before_the_start_has_so_many_bytes(pair, monkeypatch, caplog):
    monkeypatch.setattr("pywatt_core.serving.EARLY_BYTES", 10_000)
    await pair.open()
    acted = []

    async def routed(message):
        acted.append(len(message.payload.data))

    for size in (6000, 6000, 3000):
        message = RoutedModuleMessage("other", str(uuid.uuid4()), EncodedMessage(b"x" * size, "Json"))
        pair.orchestrator.post(message)
    await pair.until(lambda: len(pair.inbox._early) == 2)
    assert "too many came before the module had started" in caplog.text
    pair.inbox.open({RoutedModuleMessage: routed}, None)
    await pair.until(lambda: len(acted) == 2)
    assert acted == [6000, 3000]
    await pair.close()


async def test_a_drain_refuses_what_still_waits_for_its_turn(pair):
    await pair.open()
    server = Server()
    pair.inbox.open({}, server)
    asking = [pair.ask() for _ in range(CONCURRENT_REQUESTS + 3)]
    await pair.until(lambda: server.running == CONCURRENT_REQUESTS and len(pair.inbox._turn) == 3)
    draining = asyncio.create_task(pair.inbox.drain(20))
    assert [(await one).status_code for one in asking[-3:]] == [503] * 3
    server.gate.set()
    assert await draining is True
    assert {(await one).status_code for one in asking[:-3]} == {200}
    await pair.close()


async def test_a_request_that_fails_is_a_500_and_the_next_is_answered(pair):
    await pair.open()
    server = Server()
    server.gate.set()
    pair.inbox.open({}, server)
    assert (await pair.ask("/boom")).status_code == 500
    assert (await pair.ask("/odd")).status_code == 500, "what may not be sent is answered all the same"
    assert (await pair.ask("/fine")).body == b"/fine"
    await pair.close()


async def test_a_handler_that_fails_ends_nothing_else(pair):
    await pair.open()

    async def heartbeat(message):
        raise RuntimeError("on purpose")

    async def rotated(message):
        return RotationAck(rotation_id=message.rotation_id, status="success")

    pair.inbox.open({Heartbeat: heartbeat, Rotated: rotated}, None)
    pair.orchestrator.post(Heartbeat())
    assert (await pair.orchestrator.request(Rotated(keys=[], rotation_id="r1"), timeout=20)).status == "success"
    await pair.close()


async def test_a_drain_waits_for_what_runs_and_refuses_what_is_new(pair):
    await pair.open()
    server = Server()
    pair.inbox.open({}, server)
    running = pair.ask("/running")
    await pair.until(lambda: server.running == 1)
    draining = asyncio.create_task(pair.inbox.drain(20))
    await asyncio.sleep(0)
    late = await pair.ask("/late")
    assert (late.status_code, late.headers["retry-after"]) == (503, "1")
    server.gate.set()
    assert await draining is True
    assert (await running).body == b"/running"
    await pair.close()


async def test_a_drain_that_is_cut_short_says_so(pair):
    await pair.open()
    server = Server()
    pair.inbox.open({}, server)
    running = pair.ask()
    await pair.until(lambda: server.running == 1)
    assert await pair.inbox.drain(0.01) is False
    assert server.running == 0
    running.cancel()
    await asyncio.wait({running})
    await pair.close()


async def test_a_shutdown_is_a_wish_to_stop_and_the_end_of_the_stream_after_it_is_not_another(pair):
    await pair.open()
    pair.orchestrator.post(Shutdown())
    await pair.until(lambda: pair.stops)
    await pair.close()
    assert pair.stops == [("the orchestrator asked for it", None)]


async def test_the_end_of_the_stream_without_a_word_shortens_the_drain(pair):
    await pair.open()
    await pair.orchestrator.close()
    await pair.until(lambda: pair.stops)
    assert pair.stops == [("the orchestrator is gone", 0.5)]
    await pair.close()


def test_the_routes_beside_the_users_are_what_was_asked_for():
    def paths(**arguments):
        return [path for path, _handler in plain_routes(Definition(build=lambda state: None, **arguments))]

    assert paths() == ["/health"]
    assert paths(health="/up", metrics=True) == ["/up", "/metrics"]
    assert paths(health=None) == []
    for _path, handler in plain_routes(Definition(build=lambda state: None, metrics=True)):
        status, kind, body = handler()
        assert (status, bool(kind), bool(body)) == (200, True, True)


async def test_messages_that_may_wait_for_answers_over_the_same_link_do_not_keep_it_from_being_read(pair, monkeypatch):
    monkeypatch.setattr("pywatt_core.serving.MOST_RUNNING", 10)
    await pair.open()
    gate, begun = asyncio.Event(), []

    async def routed(message):
        begun.append(message)
        await gate.wait()

    pair.inbox.allowance = 200
    pair.inbox.open({RoutedModuleMessage: routed}, None)
    for _ in range(200):
        await pair.orchestrator.send(RoutedModuleMessage("them", str(uuid.uuid4()), EncodedMessage(b"x" * 20_000, "Json")))
    await pair.until(lambda: len(begun) == 200)
    gate.set()
    await pair.close()


async def test_who_sends_faster_than_the_module_acts_is_not_read_until_it_has(pair, monkeypatch):
    monkeypatch.setattr("pywatt_core.serving.MOST_RUNNING", 10)
    await pair.open()
    gate, acted = asyncio.Event(), []

    async def routed(message):
        await gate.wait()
        acted.append(message.original_request_id)

    pair.inbox.open({RoutedModuleMessage: routed}, None)
    sent = [str(uuid.uuid4()) for _ in range(200)]

    async def flood():
        for id in sent:
            await pair.orchestrator.send(RoutedModuleMessage("them", id, EncodedMessage(b"x" * 20_000, "Json")))

    flooding = asyncio.create_task(flood())
    await pair.until(lambda: not pair.orchestrator.keeps_up)
    assert not flooding.done() and len(pair.inbox._acting) < 200, "the rest waits in the wire"
    gate.set()
    await flooding
    await pair.until(lambda: len(acted) == 200)
    assert acted == sent
    await pair.close()


def defined(*endpoints, **arguments):
    return Definition(build=lambda state: None, endpoints=endpoints or [AnnouncedEndpoint("/{*rest}", ["GET"], "main")], **arguments)


def guarded_by(*endpoints, **arguments):
    state = SimpleNamespace(authenticators={"main": object()}, config=SimpleNamespace(sections=lambda _kind: {}))
    return guard_for(defined(*endpoints, **arguments), state)


def test_endpoints_with_auth_are_guarded_and_the_modules_own_paths_are_not():
    assert guard_for(Definition(build=lambda state: None), None) is None
    assert guard_for(defined(AnnouncedEndpoint("/a", ["GET"])), None) is None
    assert guarded_by().needed("GET", "/health") == ()
    assert guarded_by().needed("GET", "/other") != ()
    assert guarded_by(health=None).needed("GET", "/health") != ()
    assert guarded_by(version="v1").needed("GET", "/health") != (), "that is /v1/health: another one than the module's"


def test_a_server_that_asks_no_guard_may_not_serve_guarded_endpoints():
    guard = guarded_by()
    with pytest.raises(PluginError, match=r"announced with auth=, and the server \S*test_serving\S*\.Server guards none"):
        refuse_unguarded(Server(), ServerOptions(state=None, guard=guard), defined())
    refuse_unguarded(Server(), ServerOptions(state=None), defined())


def test_a_guarded_path_that_no_route_has_is_told(caplog):
    paths = ["/orders/{id}", "/admn", "/admin/x", "/v1/admin", "/health", "/files"]
    endpoints = [AnnouncedEndpoint(path, ["GET"], "main") for path in paths]
    guard, server = guarded_by(*endpoints, version="v1"), Server()
    guard.attach()
    server.routes = lambda: [AnnouncedEndpoint(path, ["GET"]) for path in ("/v1/orders/{id}", "/v1/admin", "/v1/files/{*rest}")]
    refuse_unguarded(server, ServerOptions(state=None, prefix="/v1", guard=guard), defined(*endpoints, version="v1"))
    assert [message.partition(" ")[0] for message in caplog.messages] == ["/v1/admn", "/v1/admin/x", "/v1/v1/admin"]
