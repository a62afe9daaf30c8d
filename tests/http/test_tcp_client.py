"""`HttpTcpClient` against scripted peers on real sockets."""

import asyncio
import contextlib

import pytest

from pywatt_core.errors import ChannelClosed, LocalProtocolError, RemoteError, RemoteProtocolError, RequestTimeout
from pywatt_core.http import HttpTcpClient, HttpTcpError
from pywatt_core.protocol.framing import JSON, LengthFraming
from pywatt_core.protocol.http_tcp import HttpTcpRequest, HttpTcpResponse, read_request, write
from pywatt_core.testing.contracts.server_probe import until

ID = "11111111-2222-4333-8444-555555555555"


class Peer:
    """Accepts connections; `act` gets each request, and `send` or `send_raw` of the connection that it came on."""

    def __init__(self, act):
        self.act = act
        self.requests = []
        self.connections = []

    async def serve(self, reader, writer):
        framing = LengthFraming(2**26)
        connection = Connection(writer)
        self.connections.append(connection)
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            while data := await reader.read(65536):
                for _code, payload in framing.feed(data):
                    request = read_request(payload)
                    self.requests.append(request)
                    self.act(request, connection)
        connection.ended = True
        writer.close()


class Connection:
    def __init__(self, writer):
        self.writer = writer
        self.ended = False

    def send(self, request, body=b"fine", status=200, **more):
        response = HttpTcpResponse(**{"request_id": request.request_id, "status_code": status, "headers": {}, "body": body, **more})
        self.send_raw(write(response, id=ID))

    def send_raw(self, payload, code=JSON):
        self.writer.write(len(payload).to_bytes(4, "big") + bytes([code]) + payload)


@contextlib.asynccontextmanager
async def peer_and_client(act, **options):
    peer = Peer(act)
    server = await asyncio.start_server(peer.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with HttpTcpClient("127.0.0.1", port, **{"timeout": 20, **options}) as client:
        try:
            yield peer, client
        finally:
            server.close()
            for connection in peer.connections:
                connection.writer.transport.abort()


def fine(request, connection):
    connection.send(request)


# ── requests ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_request_is_made_step_by_step():
    async with peer_and_client(fine, base_url="/api/", headers={"X-All": "1", "x-own": "0"}) as (peer, client):
        response = await client.post("users/é b").query({"q": "a&b"}, n=1).query([("q", "ü")]).header("X-Own", "2").json({"a": 1}).send()
        assert (response.status_code, response.text()) == (200, "fine")
        (request,) = peer.requests
        assert (request.method, request.uri) == ("POST", "/api/users/%C3%A9%20b?q=a%26b&n=1&q=%C3%BC")
        assert request.headers == {"X-All": "1", "X-Own": "2", "Content-Type": "application/json"}
        assert (request.body, response.request_id) == (b'{"a":1}', request.request_id)


@pytest.mark.parametrize(
    ("base", "url", "whole"),
    [
        ("", "/a", "/a"),
        ("", "a", "a"),
        ("/b", "/a", "/b/a"),
        ("/b/", "a", "/b/a"),
        ("http://h:1", "/a", "http://h:1/a"),
        ("http://h:1/", "http://other/x", "http://other/x"),
        ("http://h:1/", "HTTPS://other/x", "HTTPS://other/x"),
    ],
)
def test_urls_are_joined_with_one_slash(base, url, whole):
    assert HttpTcpClient("h", 1, base_url=base).get(url).build().uri == whole


@pytest.mark.parametrize(
    ("url", "whole"), [("/a?b=c", "/a?b=c&x=1"), ("/a?", "/a?x=1"), ("/a#f", "/a?x=1#f"), ("/100%25", "/100%25?x=1"), ("/a\n", "/a%0A?x=1")]
)
def test_parameters_are_added_where_they_belong(url, whole):
    assert HttpTcpClient("h", 1).get(url).query(x=1).build().uri == whole


def test_every_request_has_an_id_of_its_own_and_every_method_its_verb():
    client = HttpTcpClient("h", 1)
    builder = client.get("/")
    assert builder.build().request_id != builder.build().request_id
    for name in ("get", "post", "put", "delete", "patch", "head", "options"):
        assert getattr(client, name)("/").build().method == name.upper()
    assert client.get("/").body("é").build().body == "é".encode()
    with pytest.raises(HttpTcpError.Json):
        client.post("/").json(object())
    with pytest.raises(ValueError, match="at least one connection"):
        HttpTcpClient("h", 1, max_connections=0)


async def test_many_requests_share_a_connection_whatever_the_order_of_their_answers():
    held = []

    def act(request, connection):
        held.append(request)
        if len(held) == 20:
            for one in reversed(held):
                connection.send(one, one.uri.encode())

    async with peer_and_client(act) as (peer, client):
        answers = await asyncio.gather(*(client.get(f"/{number}").send() for number in range(20)))
        assert [answer.body for answer in answers] == [f"/{number}".encode() for number in range(20)]
        assert len(peer.connections) == 1


async def test_further_connections_are_opened_where_all_are_busy():
    def act(request, connection):
        if len(peer.connections) == 2 and len(peer.requests) == 3:
            for one, where in zip(peer.requests, wheres, strict=False):
                where.send(one)
            connection.send(request)
        wheres.append(connection)

    wheres = []
    async with peer_and_client(act, max_connections=2) as (peer, client):
        answers = await asyncio.gather(*(client.get("/").send() for _ in range(3)))
        assert [answer.status_code for answer in answers] == [200] * 3
        assert len(peer.connections) == 2


async def test_connections_are_lent_by_a_pool_that_tells_how_it_is():
    held, gate = [], asyncio.Event()

    def act(request, connection):
        held.append((request, connection))
        if gate.is_set():
            connection.send(request)

    def told():
        metrics = client.pool_metrics()
        return metrics.active_connections, metrics.idle_connections, metrics.total_connections_created, metrics.total_connections_destroyed

    async with peer_and_client(act, max_connections=3) as (peer, client):
        assert told() == (0, 0, 0, 0)
        assert client.pool_metrics().max_pool_size == 3
        asking = [asyncio.create_task(client.get("/").send()) for _ in range(7)]
        await until(lambda: len(held) == 7, "the requests never arrived")
        assert told() == (3, 0, 3, 0)
        assert sorted(sum(one is where for _, where in held) for one in peer.connections) == [2, 2, 3]
        gate.set()
        for request, where in held:
            where.send(request)
        await asyncio.gather(*asking)
        assert told() == (0, 3, 3, 0)
        await client.get("/").send()
        assert told() == (0, 3, 3, 0), "one that is there is used again"
        for connection in peer.connections:
            connection.writer.close()
        await until(lambda: all(connection.ended for connection in peer.connections), "the connections never ended")
        assert (await client.get("/").send()).body == b"fine"
        assert told()[0] == 0
        assert told()[2] >= 4
        assert told()[3] >= 1
    assert told()[:2] == (0, 0)


async def test_a_large_body_holds_up_nobody_where_there_is_another_connection():
    """The first peer's connection stops to read in the middle of it."""
    stuck, free = asyncio.Event(), asyncio.Event()
    places = iter(range(10))

    async def serve(reader, writer):
        if next(places) == 0:
            await reader.readexactly(1000)
            stuck.set()
            await free.wait()
        else:
            framing = LengthFraming(2**26)
            while data := await reader.read(65536):
                for _code, payload in framing.feed(data):
                    Connection(writer).send(read_request(payload))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with HttpTcpClient("127.0.0.1", server.sockets[0].getsockname()[1], timeout=20, retries=0, max_connections=2) as client:
        large = asyncio.create_task(client.post("/").body(bytes(20_000_000)).send())
        await stuck.wait()
        assert (await client.get("/").send()).body == b"fine"
        free.set()
        with pytest.raises(ChannelClosed):
            await large
    server.close()


async def test_a_failure_is_a_response_until_its_body_is_asked_for():
    async with peer_and_client(lambda request, connection: connection.send(request, b"why", 404)) as (_, client):
        response = await client.get("/").send()
        assert response.status_code == 404
        with pytest.raises(RemoteError, match=r"Response error \(404\): why"):
            response.json()


# ── what peers get wrong ────────────────────────────────────────────────────────────────────────────────────────────


async def test_strangers_and_nonsense_are_skipped():
    def act(request, connection):
        connection.send(request, b"a stranger's", request_id="another")
        connection.send_raw(b"no json")
        connection.send_raw(b"{}", code=9)
        connection.send_raw(b"{}", code=0)
        connection.send(request)
        connection.send(request, b"a second time")

    async with peer_and_client(act) as (_, client):
        for _ in range(2):
            assert (await client.get("/").send()).body == b"fine"


async def test_a_response_that_cannot_be_read_fails_its_request_alone():
    def act(request, connection):
        if request.uri == "/bad":
            connection.send_raw(b'{"id":"x","content":{"request_id":"%b","status_code":"200"}}' % request.request_id.encode())
        else:
            connection.send(request)

    async with peer_and_client(act) as (_, client):
        with pytest.raises(RemoteProtocolError, match=r"status_code"):
            await client.get("/bad").send()
        assert (await client.get("/").send()).body == b"fine"


async def test_a_bare_response_and_one_in_base64_are_read_too():
    import base64

    def act(request, connection):
        bare = b'{"request_id":"%b","status_code":200,"headers":{}}' % request.request_id.encode()
        connection.send_raw(*((bare,) if request.uri == "/bare" else (base64.b64encode(bare), 3)))

    async with peer_and_client(act) as (_, client):
        assert (await client.get("/bare").send()).body is None
        assert (await client.get("/base64").send()).status_code == 200


async def test_a_response_over_the_limit_ends_the_connection():
    def act(request, connection):
        connection.writer.write((2**31).to_bytes(4, "big") + b"\x01")

    async with peer_and_client(act, retries=0) as (_, client):
        with pytest.raises(ChannelClosed) as caught:
            await client.get("/").send()
        assert isinstance(caught.value.__cause__, RemoteProtocolError)


async def test_a_request_over_the_limit_or_without_a_form_is_refused_and_the_connection_stays():
    async with peer_and_client(fine, limit=1000) as (peer, client):
        with pytest.raises(LocalProtocolError):
            await client.post("/").body(bytes(1000)).send()
        with pytest.raises(LocalProtocolError):
            await client.get("/").header("x", "\ud800").send()
        assert (await client.get("/").send()).body == b"fine"
        assert len(peer.connections) == 1


# ── time and loss ───────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_late_answer_is_not_taken_for_the_next_one():
    held = []

    def act(request, connection):
        if request.uri == "/slow":
            held.append(request)
        else:
            connection.send(held[0], b"late")
            connection.send(request)

    async with peer_and_client(act) as (_, client):
        with pytest.raises(RequestTimeout, match=r"GET 127\.0\.0\.1:\d+ was not answered within 0\.05 s"):
            await client.get("/slow").timeout(0.05).send()
        assert (await client.get("/").send()).body == b"fine"


@pytest.mark.parametrize(("method", "attempts"), [("GET", 2), ("PUT", 2), ("POST", 1), ("PATCH", 1)])
async def test_only_what_is_idempotent_is_sent_again(method, attempts):
    def act(request, connection):
        if len(peer.requests) == 1:
            connection.writer.transport.abort()
        else:
            connection.send(request)

    async with peer_and_client(act) as (peer, client):
        sending = client.request(method, "/").send()
        if attempts == 2:
            assert (await sending).body == b"fine"
        else:
            with pytest.raises(ChannelClosed) as caught:
                await sending
            assert caught.value.executed == "unknown"
        assert len(peer.requests) == attempts


async def test_retries_end():
    def act(request, connection):
        connection.writer.transport.abort()

    async with peer_and_client(act) as (peer, client):
        with pytest.raises(ChannelClosed):
            await client.get("/").retries(3).send()
        assert len(peer.requests) == 4


async def test_nobody_there_is_an_error_that_says_where():
    client = HttpTcpClient("127.0.0.1", 1, retries=0)
    with pytest.raises(ChannelClosed, match=r"Connection failed: 127\.0\.0\.1:1: ") as caught:
        await client.post("/").send()
    assert caught.value.executed == "no"
    await client.close()


async def test_a_cancelled_request_leaves_the_connection_to_others():
    gone = asyncio.Event()

    def act(request, connection):
        if request.uri == "/slow":
            gone.set()
        else:
            connection.send(request)

    async with peer_and_client(act) as (peer, client):
        asking = asyncio.create_task(client.get("/slow").send())
        await gone.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert (await client.get("/").send()).body == b"fine"
        assert len(peer.connections) == 1


async def test_closing_fails_what_is_under_way_and_nothing_can_be_sent_after():
    async with peer_and_client(lambda request, connection: None) as (peer, client):
        asking = asyncio.create_task(client.post("/").send())
        await until(lambda: peer.requests, "the request never arrived")
        await client.close()
        with pytest.raises(ChannelClosed):
            await asking
        with pytest.raises(ChannelClosed, match="is closed"):
            await client.get("/").send()
        await client.close()


async def test_an_id_that_is_under_way_is_refused():
    async with peer_and_client(lambda request, connection: None) as (peer, client):
        request = HttpTcpRequest("r", "GET", "/")
        asking = asyncio.create_task(client.send(request))
        await until(lambda: peer.requests, "the request never arrived")
        with pytest.raises(LocalProtocolError, match="same request_id"):
            await client.send(request)
        asking.cancel()
        await asyncio.wait({asking})
