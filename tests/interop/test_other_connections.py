"""What a module does over connections of its own: registration, HTTP over framed TCP, and the bytes of streams.

The other end is a plain server that reads frames and answers with whatever a test says.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from pywatt_core.errors import LocalProtocolError, PyWattError, RemoteError, RemoteProtocolError, RequestTimeout, SecretError
from pywatt_core.http.tcp_client import HttpTcpClient
from pywatt_core.policies.reconnecting import ExponentialBackoff
from pywatt_core.protocol.messages import Announce, HttpResponse
from pywatt_core.protocol.registration import HealthStatus, ModuleInfo
from pywatt_core.protocol.session import Role, Session
from pywatt_core.protocol.stream_bytes import read_chunk
from pywatt_core.redaction import TypedSecret
from pywatt_core.services.registration import register_module

from . import rust_wire as wire
from .rust_orchestrator import DEADLINE, UUID

Answers = Callable[[int, Any], list[Any]]
INFO = ModuleInfo("demo", "1.0.0", "Demo module")
MODULE = {
    "info": {"name": "demo", "version": "1.0.0", "description": "Demo module"},
    "id": UUID,
    "token": "tok",
    "orchestrator_host": "127.0.0.1",
    "orchestrator_port": 9900,
}
REGISTERED = {"response_type": "register", "success": True, "module": MODULE}


class Server:
    """Answers the n-th frame of all with ``answers(n, message)``: dictionaries become bare frames, bytes are written as they are."""

    def __init__(self, answers: Answers) -> None:
        self.answers = answers
        self.requests: list[Any] = []
        self.codes: list[int] = []
        self.connections = 0
        self.ended = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        buffer = bytearray()
        with contextlib.suppress(OSError, asyncio.CancelledError):
            while data := await reader.read(65536):
                buffer += data
                for code, payload in wire.frames_in(buffer):
                    self.codes.append(code)
                    self.requests.append(wire.parse(payload))
                    for answer in self.answers(len(self.requests), self.requests[-1]):
                        writer.write(answer if isinstance(answer, bytes) else wire.frame(wire.compact(answer)))
        self.ended += 1
        writer.close()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)


@asynccontextmanager
async def serving(answers: Answers) -> AsyncIterator[tuple[Server, int]]:
    server = Server(answers)
    listener = await asyncio.start_server(server.accept, "127.0.0.1", 0)
    try:
        yield server, listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        await server.close()


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not condition():
            await asyncio.sleep(0.005)


def in_envelope(content: Any, request: Any) -> Any:
    """As the earlier Python port expects and writes it."""
    return {"id": str(uuid.uuid4()), "content": content, "metadata": {"id": request["metadata"]["id"]}}


# ── registration ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_registration_asks_in_envelopes_and_reads_bare_answers() -> None:
    """protocol 18, D6"""
    async with serving(lambda n, _: [REGISTERED if n == 1 else {"response_type": "unregister", "success": True}]) as (server, port):
        registration = await register_module(f"127.0.0.1:{port}", INFO)
        assert registration.module.token == "tok"
        first = server.requests[0]
        assert list(first) == ["id", "content", "metadata"] and list(first["metadata"]) == ["id"]
        assert first["content"] == {"request_type": "register", "module_info": MODULE["info"]}
        await registration.unregister()
        assert server.requests[1]["content"] == {"request_type": "unregister", "module_id": UUID, "token": "tok"}
        assert server.codes == [1, 1]


async def test_registration_reads_the_earlier_ports_answers_too() -> None:
    """protocol 18, P13: enveloped, health in lower case; what we send is in the reference's words"""

    def answers(n: int, request: Any) -> list[Any]:
        kind = request["content"]["request_type"]
        content = REGISTERED if n == 1 else {"response_type": kind, "success": True, "status": "degraded"}
        return [in_envelope(content, request)]

    async with serving(answers) as (server, port):
        registration = await register_module(f"127.0.0.1:{port}", INFO)
        assert await registration.heartbeat(HealthStatus.HEALTHY) is HealthStatus.DEGRADED
        assert server.requests[1]["content"]["status"] == "Healthy"
        await registration.unregister()


async def test_an_answer_that_comes_too_late_is_never_taken_for_the_next_ones() -> None:
    """protocol 18, D21 and D32: nothing in an answer says what it answers, so the connection goes with the time limit"""

    def answers(n: int, _: Any) -> list[Any]:
        return [REGISTERED] if n == 1 else [] if n == 2 else [{"response_type": "heartbeat", "success": True, "status": "Degraded"}]

    async with serving(answers) as (server, port):
        registration = await register_module(f"127.0.0.1:{port}", INFO, timeout=0.3)
        with pytest.raises(RequestTimeout):
            await registration.heartbeat()
        await until(lambda: server.ended == 1)
        assert await registration.heartbeat() is HealthStatus.DEGRADED
        assert server.connections == 2


async def test_half_an_answer_is_given_up_with_its_connection() -> None:
    """protocol 18, D32: a receive that timed out in mid-frame leaves a Rust client out of step"""
    half = wire.frame(wire.compact({"response_type": "heartbeat", "success": True, "status": "Unhealthy"}))[:20]

    def answers(n: int, _: Any) -> list[Any]:
        return [REGISTERED] if n == 1 else [half] if n == 2 else [{"response_type": "heartbeat", "success": True, "status": "Healthy"}]

    async with serving(answers) as (server, port):
        registration = await register_module(f"127.0.0.1:{port}", INFO, timeout=0.3)
        with pytest.raises(RequestTimeout):
            await registration.heartbeat()
        assert await registration.heartbeat() is HealthStatus.HEALTHY
        assert server.connections == 2


@pytest.mark.parametrize("status", [{}, {"status": None}, {"status": "Unhealthy"}])
async def test_a_failed_heartbeat_tells_its_reason_with_or_without_a_status(status: dict[str, Any]) -> None:
    """protocol 18, D33: without it, the reference hides the reason behind a serialisation error"""
    failure = {"response_type": "heartbeat", "success": False, "error": "the token has expired", **status}
    async with serving(lambda n, _: [REGISTERED if n == 1 else failure]) as (_, port):
        registration = await register_module(f"127.0.0.1:{port}", INFO)
        with pytest.raises(RemoteError, match="the token has expired"):
            await registration.heartbeat()


@pytest.mark.parametrize(
    ("answer", "error", "text"),
    [
        ({"response_type": "register", "success": False, "error": "name taken"}, RemoteError, "(?i)name taken"),
        ({"response_type": "register", "success": False}, RemoteError, "Unknown error"),
        ({"response_type": "register", "success": True}, RemoteError, "No module information in response"),
        ({"response_type": "heartbeat", "success": True, "status": "Healthy"}, RemoteProtocolError, "the answer to 'heartbeat'"),
        (b"\0\0\0\2\x09{}", RemoteProtocolError, "format 9"),
        (wire.frame("no JSON"), RemoteProtocolError, "JSON"),
    ],
)
async def test_a_registration_that_does_not_succeed_says_why(answer: Any, error: type[PyWattError], text: str) -> None:
    """protocol 18, D21 and 10.3: the kind of an answer is checked"""
    async with serving(lambda *_: [answer]) as (_, port):
        with pytest.raises(error, match=text):
            await register_module(f"127.0.0.1:{port}", INFO, timeout=5)


# ── HTTP over framed TCP ────────────────────────────────────────────────────────────────────────────────────────────


def http_response(request: Any, status: int = 200, **members: Any) -> Any:
    content = {"request_id": request["content"]["request_id"], "status_code": status, "headers": {}, "body": list(b"own"), **members}
    return {"id": str(uuid.uuid4()), "content": content, "metadata": {}}


async def test_a_response_with_somebody_elses_id_is_not_returned() -> None:
    """protocol 18, D21: the reference returns whatever comes next, with a warning. D6: both directions are enveloped"""

    def answers(_: int, request: Any) -> list[Any]:
        return [http_response(request, request_id=UUID, body=list(b"foreign")), http_response(request)]

    async with serving(answers) as (server, port), HttpTcpClient("127.0.0.1", port) as client:
        response = await client.get("/a").query({"x y": "ä&b"}).send()
        assert (response.status_code, response.body) == (200, b"own")
        request = server.requests[0]
        assert list(request) == ["id", "content", "metadata"]
        assert list(request["content"]) == ["request_id", "method", "uri", "headers"]
        assert request["content"]["uri"] == "/a?x%20y=%C3%A4%26b"


async def test_many_requests_share_a_connection_and_are_answered_in_any_order() -> None:
    """protocol 18, D21: the reference sends one and reads one"""
    held: list[Any] = []

    def answers(n: int, request: Any) -> list[Any]:
        held.append(request)
        return [http_response(one, body=list(one["content"]["uri"].encode())) for one in reversed(held)] if n == 3 else []

    async with serving(answers) as (server, port), HttpTcpClient("127.0.0.1", port) as client:
        found = await asyncio.gather(*(client.get(f"/{number}").send() for number in range(3)))
        assert [one.body for one in found] == [b"/0", b"/1", b"/2"]
        assert server.connections == 1


async def test_a_response_that_came_too_late_does_not_answer_the_next_request() -> None:
    """protocol 18, D32 and D21"""
    held: list[Any] = []

    def answers(n: int, request: Any) -> list[Any]:
        held.append(request)
        return [] if n == 1 else [http_response(held[0], body=list(b"late")), http_response(request)]

    async with serving(answers) as (_, port), HttpTcpClient("127.0.0.1", port, retries=0) as client:
        with pytest.raises(RequestTimeout):
            await client.get("/a").timeout(0.2).send()
        assert (await client.get("/b").send()).body == b"own"


@pytest.mark.parametrize("status", [100, 599, 700, 65535])
async def test_any_status_of_sixteen_bits_is_read(status: int) -> None:
    """protocol 18, P21"""
    async with serving(lambda _, request: [http_response(request, status)]) as (_, port), HttpTcpClient("127.0.0.1", port) as client:
        assert (await client.get("/").send()).status_code == status


@pytest.mark.parametrize("status", [99, 600, 700])
def test_no_status_is_sent_that_http_does_not_know(status: int) -> None:
    """protocol 18, P21"""
    session = Session(Role.MODULE)
    session.receive(b'{"orchestrator_api":"","module_id":"a","env":{},"listen":"127.0.0.1:1","security_level":"None"}\n')
    session.send(Announce(listen="127.0.0.1:1", endpoints=[]))
    session.receive(b'{"op":"http_request","request_id":"r","method":"GET","uri":"/","headers":{},"body":null}\n')
    with pytest.raises(LocalProtocolError, match="status_code is not between 100 and 599"):
        session.send(HttpResponse(request_id="r", status_code=status, headers={}))
    session.send(HttpResponse(request_id="r", status_code=599, headers={}))


# ── streams ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def chunk(**members: Any) -> bytes:
    known = {"stream_id": UUID, "sequence": 0, "total_chunks": 1, "data": [97, 98, 99], "compressed": False, "checksum": 294}
    return wire.compact({**known, "is_final": True, "stream_metadata": None, **members}).encode()


BINCODE = uuid.UUID(UUID).bytes + bytes.fromhex("00 01 03 616263 00 fc c2412435 01 00")


@pytest.mark.parametrize(
    "payload", [chunk(), chunk(checksum=0x352441C2), BINCODE], ids=["default build", "its JSON with CRC-32", "advanced_streaming"]
)
def test_chunks_of_both_builds_are_read_with_either_checksum(payload: bytes) -> None:
    """protocol 18, D20 and P20: the reference's two builds cannot talk to each other"""
    found = read_chunk(payload)
    assert (found.stream_id, found.sequence, found.total_chunks, found.data, found.is_final) == (UUID, 0, 1, b"abc", True)


# ── constants that two ports do not share ───────────────────────────────────────────────────────────────────────────


def test_reconnecting_waits_as_the_reference_does() -> None:
    """protocol 18, P19: 0.1 s, doubling, at most 30 s"""
    policy = ExponentialBackoff()
    assert (policy.initial_delay, policy.multiplier, policy.max_delay, policy.max_attempts) == (0.1, 2.0, 30.0, None)


@pytest.mark.parametrize("text", ["yes", "on", "1", "True", " true"])
def test_a_boolean_secret_is_true_or_false_unless_lenience_is_asked_for(text: str) -> None:
    """protocol 18, P17"""
    with pytest.raises(SecretError):
        TypedSecret.parse(text, bool)
    assert TypedSecret.parse(text, bool, lenient=True).expose_secret() is True
    assert TypedSecret.parse("true", bool).expose_secret() is True


def test_a_typed_secret_is_not_serialised_in_clear() -> None:
    """protocol 18, D9"""
    secret = TypedSecret.parse("31415926", int, name="PIN")
    assert "31415926" not in repr(secret) + str(secret) + f"{secret}"
    with pytest.raises(TypeError):
        json.dumps(secret)
