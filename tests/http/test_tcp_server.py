"""HTTP over framed TCP with both ends ours, and against peers out of order."""

import asyncio
import contextlib
import json

import pytest

from pywatt_core.errors import ChannelClosed, ServerError
from pywatt_core.http import HttpTcpClient, HttpTcpRouter, HttpTcpServer, start_http_server
from pywatt_core.policies import Backoff
from pywatt_core.protocol.http_tcp import HttpTcpRequest, read_response, write
from pywatt_core.protocol.registration import Advertise, Answer, HealthStatus, HeartbeatReport, ModuleInfo, RegisteredModule, Unregister
from pywatt_core.services.registration import Registration
from pywatt_core.testing.contracts.server_probe import until
from pywatt_core.transports.frames import FrameStream

ID = "11111111-2222-4333-8444-555555555555"


class Application:
    def __init__(self):
        self.router = HttpTcpRouter()
        self.gate = asyncio.Event()
        self.waiting = self.most = 0
        self.router.get("/hello", self.hello)
        self.router.get("/slow", self.slow)
        self.router.get("/big", self.big)
        self.router.post("/echo", self.echo)

    async def hello(self, request, state):
        return state

    async def slow(self, request):
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        await self.gate.wait()
        self.waiting -= 1
        return "slow"

    async def big(self, request):
        return "x" * 10_000

    async def echo(self, request):
        return request.text()


@contextlib.asynccontextmanager
async def serving(**options):
    app = Application()
    async with HttpTcpServer(app.router, state="the state", **options) as server, HttpTcpClient("127.0.0.1", server.port) as client:
        yield app, server, client


async def test_requests_are_answered_side_by_side():
    async with serving() as (app, _, client):
        slow = [asyncio.create_task(client.get("/slow").send()) for _ in range(10)]
        await until(lambda: app.waiting == 10, "they do not run side by side")
        assert (await client.get("/hello").send()).json()["data"] == "the state"
        app.gate.set()
        assert {(await one).status_code for one in slow} == {200}
        body = "é" * 100_000
        assert (await client.post("/echo").body(body).send()).json()["data"] == body
        assert (await client.head("/hello").send()).body is None


async def test_only_so_many_requests_of_one_connection_run_at_once(monkeypatch):
    monkeypatch.setattr("pywatt_core.http.tcp_server.AT_ONCE", 3)
    async with serving() as (app, _, client):
        slow = [asyncio.create_task(client.get("/slow").send()) for _ in range(10)]
        await until(lambda: app.waiting == 3, "they do not run side by side")
        app.gate.set()
        assert {(await one).status_code for one in slow} == {200}
        assert app.most == 3


async def test_a_frame_that_cannot_be_read_is_skipped_and_refused_where_it_has_an_id():
    async with serving() as (_, server, _client):
        stream = await FrameStream.connect("127.0.0.1", server.port, limit=100_000)
        for payload, code in ((b"no json", 1), (b"\xff", 1), (b"{}", 9), (b"?", 3), (b'{"content":{"request_id":"r","method":5}}', 1)):
            await stream.send(payload, code)
        refusal = read_response((await stream.receive())[1])
        assert (refusal.request_id, refusal.status_code) == ("r", 400)
        assert b"content.method" in refusal.body
        await stream.send(write(HttpTcpRequest("s", "GET", "/hello"), id=ID))
        assert read_response((await stream.receive())[1]).request_id == "s"
        await stream.close()


async def test_who_sends_nothing_but_nonsense_fills_no_log(caplog):
    async with serving() as (_, server, _client):
        stream = await FrameStream.connect("127.0.0.1", server.port, limit=100_000)
        for _ in range(50):
            await stream.send(b"no json")
        await stream.send(write(HttpTcpRequest("s", "GET", "/hello"), id=ID))
        assert read_response((await stream.receive())[1]).request_id == "s"
        await stream.close()
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(told) == 20 + 1
    assert "sent what is no request, which was skipped: " in told[0]
    assert "50 frames that were no requests" in told[-1]


async def test_who_is_silent_for_long_is_cut_off_unless_a_request_runs():
    async with serving(idle=0.1) as (app, server, client):
        silent = await FrameStream.connect("127.0.0.1", server.port, limit=100_000)
        asking = asyncio.create_task(client.get("/slow").send())
        await until(lambda: app.waiting == 1, "the request never arrived")
        assert await silent.receive() is None
        half, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"\x00\x00")
        assert await half.read() == b""
        writer.close()
        app.gate.set()
        assert (await asking).status_code == 200
        await silent.close()


@pytest.mark.parametrize("idle", [0, -1])
def test_a_limit_of_no_time_is_refused(idle):
    with pytest.raises(ValueError, match="idle"):
        HttpTcpServer(HttpTcpRouter(), idle=idle)


async def test_a_frame_over_the_limit_ends_that_connection_alone():
    async with serving(limit=1000) as (_, server, client):
        await client.get("/hello").send()
        stream = await FrameStream.connect("127.0.0.1", server.port, limit=100_000)
        await stream.send(bytes(2000))
        with contextlib.suppress(ChannelClosed):
            assert await stream.receive() is None
        await stream.close()
        assert (await client.get("/hello").send()).status_code == 200


async def test_a_response_that_is_too_long_is_500():
    async with serving(limit=1000) as (_, _server, client):
        response = await client.get("/big").send()
        assert (response.status_code, json.loads(response.body)["message"]) == (500, "the response could not be sent")


async def test_a_peer_that_reads_nothing_is_cut_off(monkeypatch):
    monkeypatch.setattr("pywatt_core.http.tcp_server.SEND_PATIENCE", 0.05)
    async with serving() as (_, server, client):
        _reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
        frame = write(HttpTcpRequest("r", "GET", "/big"), id=ID)
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(20):
                while not writer.is_closing():
                    writer.write(len(frame).to_bytes(4, "big") + b"\x01" + frame)
                    await writer.drain()
                    await asyncio.sleep(0)
        writer.transport.abort()
        assert (await client.get("/hello").send()).status_code == 200


async def test_closing_lets_what_runs_end_and_cuts_what_takes_too_long():
    for patient in (True, False):
        app = Application()
        server = HttpTcpServer(app.router)
        await server.start()
        async with HttpTcpClient("127.0.0.1", server.port, retries=0) as client:
            asking = asyncio.create_task(client.get("/slow").send())
            await until(lambda: app.waiting == 1, "the request never arrived")  # noqa: B023
            closing = asyncio.create_task(server.close(20 if patient else 0.0))
            if patient:
                app.gate.set()
                assert (await asking).status_code == 200
            else:
                with pytest.raises(ChannelClosed):
                    await asking
            await closing
            with pytest.raises(ChannelClosed):
                await client.get("/hello").send()
        with pytest.raises(ServerError, match="started before"):
            await server.start()


async def test_connections_are_counted(monkeypatch):
    monkeypatch.setattr("pywatt_core.http.tcp_server.CONNECTIONS", 1)
    async with serving() as (_, server, client):
        await client.get("/hello").send()
        async with HttpTcpClient("127.0.0.1", server.port, retries=0) as second:
            with pytest.raises(ChannelClosed):
                await second.get("/hello").send()


# ── on a connection to an orchestrator ──────────────────────────────────────────────────────────────────────────────


class Orchestrator:
    """One port for registration and for HTTP, as the reference has it: what a connection says first decides what it is."""

    def __init__(self):
        self.advertised = []
        self.left = False
        self.beats = 0
        self.streams = []
        self.server = None

    async def start(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        return self.server.sockets[0].getsockname()[1]

    async def serve(self, reader, writer):
        from pywatt_core.protocol.registration import read_request as read
        from pywatt_core.protocol.registration import write_answer

        stream = FrameStream(reader, writer, limit=2**20)
        self.streams.append(stream)
        if len(self.streams) != 1:  # the module's connection for HTTP: the test reads it
            return
        with contextlib.suppress(ChannelClosed):
            while (frame := await stream.receive()) is not None:
                request = read(frame[1]).request
                if isinstance(request, Advertise):
                    self.advertised.append(request.capabilities)
                elif isinstance(request, HeartbeatReport):
                    self.beats += 1
                elif isinstance(request, Unregister):
                    self.left = True
                kind = request.kind
                await stream.send(write_answer(Answer(kind, True, status=HealthStatus.HEALTHY if kind == "heartbeat" else None)))

    async def ask(self, number, uri):
        """Ask over the module's `number`th connection."""
        await until(lambda: len(self.streams) > number, "the module never connected")
        await self.streams[number].send(write(HttpTcpRequest("r", "GET", uri), id=ID))
        async with asyncio.timeout(20):
            return read_response((await self.streams[number].receive())[1])


async def test_a_registered_module_serves_the_orchestrator_and_comes_back_when_the_connection_breaks():
    app, orchestrator, shutdown = Application(), Orchestrator(), asyncio.Event()
    port = await orchestrator.start()
    registration = Registration(RegisteredModule(ModuleInfo("m", "1", "d"), ID, "token", "127.0.0.1", port))
    serving = asyncio.create_task(
        start_http_server(app.router, registration, "the state", shutdown=shutdown, reconnect=Backoff(initial=0.01, maximum=0.01))
    )
    assert (await orchestrator.ask(1, "/hello")).status_code == 200
    assert [(one.path, one.methods) for one in orchestrator.advertised[0].endpoints][:2] == [("/hello", ["GET"]), ("/slow", ["GET"])]
    await until(lambda: orchestrator.beats > 0, "no heartbeat came")
    await orchestrator.streams[1].send(b"no request at all")
    assert (await orchestrator.ask(1, "/hello")).status_code == 200
    await orchestrator.streams[1].close()
    assert (await orchestrator.ask(2, "/hello")).status_code == 200
    slow = asyncio.create_task(orchestrator.ask(2, "/slow"))
    await until(lambda: app.waiting == 1, "the request never arrived")
    shutdown.set()
    app.gate.set()
    assert (await slow).status_code == 200
    async with asyncio.timeout(20):
        await serving
    await registration.close()
    orchestrator.server.close()


async def test_a_module_that_was_only_registered_takes_leave_in_the_end():
    orchestrator, shutdown = Orchestrator(), asyncio.Event()
    module = RegisteredModule(ModuleInfo("m", "1", "d"), ID, "token", "127.0.0.1", await orchestrator.start())
    serving = asyncio.create_task(start_http_server(Application().router, module, "the state", shutdown=shutdown))
    assert (await orchestrator.ask(1, "/hello")).status_code == 200
    shutdown.set()
    async with asyncio.timeout(20):
        await serving
    assert orchestrator.left
    orchestrator.server.close()


async def test_an_orchestrator_that_is_not_there_is_an_error():
    registration = Registration(RegisteredModule(ModuleInfo("m", "1", "d"), ID, "token", "127.0.0.1", 1))
    with pytest.raises(ChannelClosed):
        await start_http_server(HttpTcpRouter(), registration)
