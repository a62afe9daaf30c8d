"""Registering elsewhere: requests in order on one connection, heartbeats that survive outages, a farewell. The other end is scripted."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from pywatt_core.errors import ChannelClosed, LocalProtocolError, RemoteError, RemoteProtocolError, RequestTimeout
from pywatt_core.protocol.framing import BASE64, JSON, MSGPACK
from pywatt_core.redaction import redact
from pywatt_core.services.registration import (
    Capabilities,
    Endpoint,
    HealthStatus,
    ModuleInfo,
    RegisteredModule,
    Registration,
    address_of,
    register_module,
)
from pywatt_core.transports.frames import FrameStream

UUID = "11111111-2222-4333-8444-555555555555"
INFO = ModuleInfo("demo", "1.0.0", "Demo module")
Script = Callable[[dict[str, Any]], Any]


class Orchestrator:
    """The other end: `script` answers each request with the members of an answer, bytes, or None for silence."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.connections = 0
        self.open: set[FrameStream] = set()
        self.script: Script = self.grant
        self.changed = asyncio.Event()
        self.port = 0

    def grant(self, content: dict[str, Any]) -> dict[str, Any]:
        kind = content["request_type"]
        if kind == "register":
            module = {"info": content["module_info"], "id": UUID, "token": f"token-{self.connections}-of-demo"}
            return {"success": True, "module": {**module, "orchestrator_host": "127.0.0.1", "orchestrator_port": self.port}}
        return {"success": True, **({"status": "Healthy"} if kind == "heartbeat" else {})}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stream = FrameStream(reader, writer, limit=1_000_000)
        self.connections += 1
        self.open.add(stream)
        try:
            while (frame := await stream.receive()) is not None:
                assert frame[0] == JSON
                request = json.loads(frame[1])
                self.requests.append(request)
                self.changed.set()
                answer = self.script(request["content"])
                if isinstance(answer, dict):
                    answer = json.dumps({"response_type": request["content"]["request_type"], **answer}).encode()
                if isinstance(answer, bytes):
                    await stream.send(answer)
                elif isinstance(answer, tuple):
                    await stream.send(*answer)
        except ChannelClosed:
            pass
        finally:
            self.open.discard(stream)
            await stream.close()

    def kinds(self) -> list[str]:
        return [request["content"]["request_type"] for request in self.requests]

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    async def hang_up(self) -> None:
        for stream in list(self.open):
            await stream.close()


@asynccontextmanager
async def orchestrator(port: int = 0) -> AsyncIterator[Orchestrator]:
    end = Orchestrator()
    server = await asyncio.start_server(end.serve, "127.0.0.1", port)
    end.port = server.sockets[0].getsockname()[1]
    try:
        yield end
    finally:
        server.close()
        await end.hang_up()


def at(end: Orchestrator) -> str:
    return f"127.0.0.1:{end.port}"


# ── one after the other ─────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_whole_life_goes_over_one_connection_and_ends_with_a_farewell() -> None:
    async with orchestrator() as end:
        async with await register_module(at(end), INFO) as registration:
            assert (registration.module.id, registration.module.orchestrator_port) == (UUID, end.port)
            assert await registration.heartbeat(HealthStatus.DEGRADED, {"queue": "9"}) is HealthStatus.HEALTHY
            await registration.advertise_capabilities(Capabilities([Endpoint("/a", ["GET"])], message_types=["m"]))
        assert end.kinds() == ["register", "heartbeat", "capabilities", "unregister"]
        assert end.connections == 1
        contents = [request["content"] for request in end.requests]
        token = registration.module.token
        assert contents[0] == {
            "request_type": "register",
            "module_info": {"name": "demo", "version": "1.0.0", "description": "Demo module"},
        }
        assert contents[1] == {
            "request_type": "heartbeat", "module_id": UUID, "token": token, "status": "Degraded", "details": {"queue": "9"}
        }  # fmt: skip
        assert contents[2]["capabilities"] == {"endpoints": [{"path": "/a", "methods": ["GET"]}], "message_types": ["m"]}
        ids = {request["metadata"]["id"] for request in end.requests} | {request["id"] for request in end.requests}
        assert len(ids) == 8


async def test_the_token_is_hidden_from_every_log() -> None:
    async with orchestrator() as end, await register_module(at(end), INFO) as registration:
        assert registration.module.token not in redact(f"token is {registration.module.token}")
        assert registration.module.token not in repr(registration.module)


async def test_requests_at_the_same_time_wait_for_each_other() -> None:
    async with orchestrator() as end, await register_module(at(end), INFO) as registration:
        statuses = {"Healthy": "Degraded", "Unhealthy": "Unhealthy", "Degraded": "Healthy"}
        end.script = lambda content: {"success": True, "status": statuses[content["status"]]}
        found = await asyncio.gather(*(registration.heartbeat(status) for status in HealthStatus))
        assert found == [HealthStatus.DEGRADED, HealthStatus.HEALTHY, HealthStatus.UNHEALTHY]
        end.script = end.grant


async def test_a_registration_that_was_kept_connects_when_it_has_to() -> None:
    async with orchestrator() as end:
        kept = RegisteredModule(INFO, UUID, "kept-token-of-demo", "127.0.0.1", end.port)
        async with Registration(kept) as registration:
            assert end.connections == 0
            await registration.heartbeat()
        assert [request["content"]["token"] for request in end.requests] == ["kept-token-of-demo"] * 2


async def test_enveloped_and_base64_answers_are_read_and_those_to_other_requests_are_dropped() -> None:
    async with orchestrator() as end, await register_module(at(end), INFO) as registration:

        def enveloped(content: dict[str, Any]) -> bytes:
            answer = {"response_type": "heartbeat", "success": True, "status": "degraded"}
            return json.dumps({"id": UUID, "content": answer, "metadata": {"id": end.requests[-1]["metadata"]["id"]}}).encode()

        end.script = enveloped
        assert await registration.heartbeat() is HealthStatus.DEGRADED
        end.script = lambda content: (b"eyJyZXNwb25zZV90eXBlIjoiaGVhcnRiZWF0Iiwic3VjY2VzcyI6dHJ1ZX0=", BASE64)
        assert await registration.heartbeat() is HealthStatus.HEALTHY
        stale = json.dumps({"content": {"response_type": "heartbeat", "success": False}, "metadata": {"id": "of-another"}}).encode()
        end.script = lambda content: stale
        asking = asyncio.create_task(registration.heartbeat())
        await end.until(lambda: len(end.requests) == 4)
        (stream,) = end.open
        await stream.send(json.dumps({"response_type": "heartbeat", "success": True, "status": "Unhealthy"}).encode())
        assert await asking is HealthStatus.UNHEALTHY
        end.script = end.grant


# ── what goes wrong ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("answer", "code", "text"),
    [
        ({"success": False, "error": "module name 'demo' is already taken"}, "name_taken", "Module name 'demo' is already taken"),
        ({"success": False, "error": "full"}, "rejected", "Registration rejected: full"),
        ({"success": False}, "rejected", "Registration rejected: Unknown error"),
        ({"success": True}, "rejected", "Registration rejected: No module information in response"),
    ],
)
async def test_a_refused_registration_says_why_and_leaves_no_connection(answer: dict[str, Any], code: str, text: str) -> None:
    async with orchestrator() as end:
        end.script = lambda content: answer
        with pytest.raises(RemoteError) as caught:
            await register_module(at(end), INFO)
        assert (caught.value.code, str(caught.value)) == (code, text)
        async with asyncio.timeout(20):
            while end.open:
                await asyncio.sleep(0)


async def test_nobody_there_is_told_with_the_address_and_nothing_was_executed() -> None:
    async with orchestrator() as end:
        address = at(end)
    with pytest.raises(ChannelClosed, match=f"Connection error: the orchestrator at {address} cannot be reached") as caught:
        await register_module(address, INFO)
    assert caught.value.executed == "no"


async def test_after_a_timeout_the_connection_is_closed_so_that_a_late_answer_is_nobodys() -> None:
    async with orchestrator() as end, await register_module(at(end), INFO, timeout=0.2) as registration:
        end.script = lambda content: None
        with pytest.raises(RequestTimeout, match=r"Registration timed out after 0\.2 s: heartbeat was not answered"):
            await registration.heartbeat()
        async with asyncio.timeout(20):
            while end.open:
                await asyncio.sleep(0)
        end.script = lambda content: {"success": True, "status": "Degraded"}
        assert await registration.heartbeat() is HealthStatus.DEGRADED
        assert end.connections == 2
        end.script = end.grant


async def test_a_caller_that_is_cancelled_leaves_no_answer_for_the_next() -> None:
    async with orchestrator() as end, await register_module(at(end), INFO) as registration:
        end.script = lambda content: None
        asking = asyncio.create_task(registration.heartbeat())
        await end.until(lambda: end.kinds()[-1] == "heartbeat")
        asking.cancel()
        await asyncio.wait({asking})
        end.script = end.grant
        assert await registration.heartbeat() is HealthStatus.HEALTHY
        assert end.connections == 2


async def test_a_connection_that_closes_before_the_answer_leaves_open_what_was_executed() -> None:
    async with orchestrator() as end, await register_module(at(end), INFO) as registration:
        end.script = lambda content: None
        asking = asyncio.create_task(registration.heartbeat())
        await end.until(lambda: end.kinds()[-1] == "heartbeat")
        await end.hang_up()
        with pytest.raises(ChannelClosed, match="before heartbeat was answered") as caught:
            await asking
        assert caught.value.executed == "unknown"
        end.script = end.grant


async def test_a_connection_that_was_closed_meanwhile_costs_the_next_request_nothing() -> None:
    async with orchestrator() as end, await register_module(at(end), INFO) as registration:
        await end.hang_up()
        stream = registration._exchange._stream
        assert stream is not None
        async with asyncio.timeout(20):
            while not stream.ended:
                await asyncio.sleep(0)
        assert await registration.heartbeat() is HealthStatus.HEALTHY
        assert end.connections == 2


async def test_the_golden_answer_frame_is_understood() -> None:
    vectors = json.loads((Path(__file__).parents[1] / "data" / "vectors.json").read_text())
    (golden,) = (bytes.fromhex(one["hex"]) for one in vectors if one["name"] == "frame_registration_response")
    async with orchestrator() as end:
        end.script = lambda content: golden[5:]
        registration = await register_module(at(end), INFO)
        assert (registration.module.id, registration.module.orchestrator_port, registration.module.info) == (UUID, 9900, INFO)
        end.script = end.grant
        await registration.unregister()


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"nonsense", "malformed|truncated"),
        (b'{"response_type":"register","success":true}', "the answer to 'register', where 'heartbeat' was asked"),
        (b'{"response_type":"heartbeat","success":1}', r"`\$\.success`"),
        ((b"x", MSGPACK), "answered in format 4"),
    ],
)
async def test_an_answer_that_cannot_be_read_costs_the_connection(answer: Any, text: str) -> None:
    async with orchestrator() as end, await register_module(at(end), INFO) as registration:
        end.script = lambda content: answer
        with pytest.raises(RemoteProtocolError, match=text):
            await registration.heartbeat()
        end.script = end.grant
        await registration.heartbeat()
        assert end.connections == 2


async def test_what_cannot_be_sent_costs_nothing() -> None:
    async with orchestrator() as end, await register_module(at(end), INFO) as registration:
        with pytest.raises(LocalProtocolError):
            await registration.heartbeat(details={"a": "x" * 100_000})
        await registration.heartbeat()
        assert end.connections == 1


async def test_a_farewell_that_fails_is_logged_and_an_explicit_one_raises(caplog: pytest.LogCaptureFixture) -> None:
    async with orchestrator() as end:
        registration = await register_module(at(end), INFO)
        end.script = lambda content: {"success": False, "error": "not registered"}
        with pytest.raises(RemoteError) as caught:
            await registration.unregister()
        assert caught.value.code == "not_registered"
        await registration.close()
        assert "demo could not unregister: Registration rejected: not registered" in caplog.text


# ── heartbeats ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_heartbeats_begin_at_once_and_say_what_the_health_function_says() -> None:
    feelings: Any = iter([HealthStatus.HEALTHY, (HealthStatus.DEGRADED, {"queue": "7"})])

    async def health() -> Any:
        return next(feelings)

    async with orchestrator() as end, await register_module(at(end), INFO) as registration:
        registration.start_heartbeats(0.01, health=health)
        await end.until(lambda: len(end.requests) >= 4)
        await registration.stop_heartbeats()
        said = [request["content"] for request in end.requests[1:4]]
        assert [(one["status"], one.get("details")) for one in said] == [
            ("Healthy", None),
            ("Degraded", {"queue": "7"}),
            ("Unhealthy", {"error": "RuntimeError"}),  # what a coroutine makes of StopIteration
        ]


async def test_two_loops_at_once_are_refused() -> None:
    async with orchestrator() as end, await register_module(at(end), INFO) as registration:
        registration.start_heartbeats(10)
        with pytest.raises(RuntimeError, match="under way already"):
            registration.start_heartbeats(10)
        with pytest.raises(ValueError, match="above 0"):
            await registration.stop_heartbeats()
            registration.start_heartbeats(0)


async def test_heartbeats_outlive_an_outage_which_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with orchestrator() as end:
        port = end.port
        registration = await register_module(at(end), INFO)
        registration.start_heartbeats(0.01)
        await end.until(lambda: end.kinds()[-1] == "heartbeat")
    async with asyncio.timeout(20):
        while "a heartbeat of demo failed: Connection error" not in caplog.text:
            await asyncio.sleep(0.01)
    async with orchestrator(port) as again:
        await again.until(lambda: len(again.requests) >= 2)
        await registration.close()
        assert again.kinds()[-1] == "unregister"
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert "heartbeats of demo are answered again" in caplog.text


async def test_an_orchestrator_that_has_forgotten_us_is_told_again_who_we_are_and_what_we_can_do() -> None:
    async with orchestrator() as end, await register_module(at(end), INFO) as registration:
        await registration.advertise_capabilities(Capabilities([], message_types=["m"]))
        forgotten = [True]

        def script(content: dict[str, Any]) -> Any:
            if content["request_type"] == "heartbeat" and forgotten:
                forgotten.clear()
                return {"success": False, "error": "not registered", "status": "Unhealthy"}
            return end.grant(content)

        end.script = script
        registration.start_heartbeats(10)
        await end.until(lambda: len(end.requests) == 6)
        assert end.kinds()[2:] == ["heartbeat", "register", "capabilities", "heartbeat"]
        assert end.requests[3]["content"]["module_info"]["id"] == UUID
        assert registration.status is None or registration.status is HealthStatus.HEALTHY


async def test_a_rejected_heartbeat_does_not_register_again(caplog: pytest.LogCaptureFixture) -> None:
    async with orchestrator() as end, await register_module(at(end), INFO) as registration:
        end.script = lambda content: {"success": False, "error": "authentication failed: bad token", "status": "Unhealthy"}
        registration.start_heartbeats(0.01)
        await end.until(lambda: len(end.requests) >= 4)
        await registration.stop_heartbeats()
        assert set(end.kinds()[1:]) == {"heartbeat"}
        assert caplog.text.count("a heartbeat of demo failed: Authentication failed: bad token") == 1


@pytest.mark.parametrize(
    ("address", "parsed"),
    [("127.0.0.1:9900", ("127.0.0.1", 9900)), ("wattson:9900", ("wattson", 9900)), ("[::1]:80", ("::1", 80))],
)
def test_an_address_has_a_host_and_a_port(address: str, parsed: tuple[str, int]) -> None:
    assert address_of(address) == parsed


@pytest.mark.parametrize("address", ["9900", ":9900", "host", "host:", "host:0", "host:65536", "::1:80", "host:x", "host:²"])
def test_any_other_address_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="is HOST:PORT, not"):
        address_of(address)
