"""Modules that somebody else started: let in, known by their tokens, forgotten when they are silent."""

from __future__ import annotations

import asyncio
import json
import os
import struct
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from pywatt_core.errors import ChannelClosed, RemoteError
from pywatt_core.protocol.framing import BASE64, MSGPACK
from pywatt_core.protocol.registration import Capabilities, HealthStatus, ModuleInfo, RegisteredModule
from pywatt_core.services.registration import Registration, register_module
from pywatt_core.transports.frames import FrameStream
from pywatt_orchestrator.logs import Journal
from pywatt_orchestrator.registration import GuestBook, Refused, RegistrationOptions, RegistrationServer

Running = Callable[[], Any]
INFO = ModuleInfo("demo", "1.0.0", "Demo module")
UUID = "11111111-2222-4333-8444-555555555555"


class Book:
    """A guest book with what it said."""

    def __init__(self, taken: tuple[str, ...] = (), **options: Any) -> None:
        self.said: list[tuple[str, str]] = []
        self.book = GuestBook(
            RegistrationOptions(**options), taken=lambda name: name in taken, say=lambda text, level: self.said.append((text, level))
        )

    def register(self, name: str = "demo", connection: object = "c1", now: float = 0.0, id: str | None = None) -> tuple[str, str]:
        return self.book.register(ModuleInfo(name, "1", "", id), now, connection)


# ── the list ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_module_is_known_by_its_id_and_token_together() -> None:
    here = Book()
    id, token = here.register()
    other, _ = here.register("other")
    assert here.book.known(id, token, 1.0, "c1").info.name == "demo"
    for wrong, text in ((token[:-1], "authentication failed"), ("", "authentication failed"), (token.swapcase(), "authentication failed")):
        with pytest.raises(Refused, match=text):
            here.book.known(id, wrong, 1.0, "c1")
    with pytest.raises(Refused, match="authentication failed"):
        here.book.known(other, token, 1.0, "c1")
    with pytest.raises(Refused, match="not registered"):
        here.book.known(UUID, token, 1.0, "c1")
    assert token not in repr(here.book.modules)


def test_a_name_is_its_holders_as_long_as_that_is_connected() -> None:
    here = Book(taken=("users",))
    _, token = here.register()
    with pytest.raises(Refused, match="module name 'demo' is already taken"):
        here.register(connection="c2")
    with pytest.raises(Refused, match="module name 'users' is already taken"):
        here.register("users")
    here.book.disconnected("c1")
    id, second = here.register(connection="c2")
    assert token != second
    assert list(here.book.modules) == [id]


def test_who_lost_its_connection_comes_back_with_its_token() -> None:
    here = Book()
    id, token = here.register()
    here.book.disconnected("c1")
    here.book.known(id, token, 1.0, "c2")
    here.book.disconnected("c1")
    with pytest.raises(Refused, match="already taken"):
        here.register(connection="c3")


def test_a_wished_id_is_granted_unless_somebody_has_it() -> None:
    here = Book()
    assert here.register("a", id=UUID)[0] == UUID
    assert here.register("b", id=UUID)[0] != UUID


def test_who_is_silent_for_too_long_is_forgotten_and_may_come_again() -> None:
    here = Book(expire_after=10.0)
    id, token = here.register()
    here.register("other", now=5.0)
    here.book.known(id, token, 2.0, "c1")
    here.book.expire(11.9)
    assert len(here.book.modules) == 2
    here.book.expire(12.0)
    assert [one.info.name for one in here.book.modules.values()] == ["other"]
    assert here.said[-1] == ("demo is forgotten: no heartbeat for 10 s (expire_after in [registration])", "warning")
    here.register(connection="c2")


def test_there_are_at_most_as_many_as_may_be_and_their_names_are_names() -> None:
    here = Book(max_modules=2)
    here.register("a")
    here.register("b")
    with pytest.raises(Refused, match="2 modules are registered, which is as many as may be"):
        here.register("c")
    here.register("a")
    assert len(here.book.modules) == 2
    for name in ("", "x" * 201, "a\nb", "\x1b[31m"):
        with pytest.raises(Refused, match="1 to 200 printable characters"):
            here.register(name)


def test_a_change_of_health_is_one_line() -> None:
    here = Book()
    id, _ = here.register()
    module = here.book.modules[id]
    for _ in range(3):
        here.book.report(module, HealthStatus.DEGRADED, {"queue": "9"})
    here.book.report(module, HealthStatus.HEALTHY, {})
    assert here.said[1:] == [("demo is degraded, it says (queue=9)", "warning"), ("demo is healthy, it says", "info")]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"listen": "0.0.0.0:9900"}, "listen is '0.0.0.0:9900'; it is an IPv4 address on the loopback"),
        ({"listen": "localhost:9900"}, "listen is"),
        ({"listen": "[::1]:9900"}, "listen is"),
        ({"expire_after": 0.0}, "expire_after is 0.0"),
        ({"max_modules": 0}, "max_modules is 0"),
    ],
)
def test_options_that_make_no_sense_are_refused_by_name(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        RegistrationOptions(**options)


# ── the listener ────────────────────────────────────────────────────────────────────────────────────────────────────


@asynccontextmanager
async def listening(*, uid: int | None = None, **options: Any) -> AsyncIterator[tuple[RegistrationServer, list[str]]]:
    """A server, and the lines that it writes to the journal."""
    lines: list[str] = []
    journal = Journal(lambda record: lines.append(record.message))
    server = RegistrationServer(RegistrationOptions(listen="127.0.0.1:0", **options), journal, taken={"users"}.__contains__, uid=uid)
    await server.start()
    try:
        yield server, lines
    finally:
        await server.close()
        await server.close()


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


async def ask(server: RegistrationServer, *contents: dict[str, Any] | bytes, code: int = 1) -> list[Any]:
    """The answers to requests that are sent as they are, on one connection."""
    assert server.address is not None
    stream = await FrameStream.connect(server.address.host, server.address.port, limit=1_000_000)
    answers = []
    try:
        for content in contents:
            data = content if isinstance(content, bytes) else json.dumps({"id": UUID, "content": content, "metadata": {"id": "m"}}).encode()
            await stream.send(data, code)
            frame = await stream.receive()
            assert frame is not None
            answers.append(json.loads(frame[1]))
    finally:
        await stream.close()
    return answers


async def test_our_own_client_lives_a_whole_life_here() -> None:
    async with listening() as (server, lines):
        async with await register_module(str(server.address), INFO) as registration:
            assert await registration.heartbeat(HealthStatus.DEGRADED, {"queue": "9"}) is HealthStatus.DEGRADED
            await registration.advertise_capabilities(Capabilities([], message_types=["m"]))
            (known,) = server.book.modules.values()
            assert (known.info, known.status, known.capabilities) == (INFO, HealthStatus.DEGRADED, Capabilities([], message_types=["m"]))
            with pytest.raises(RemoteError, match="Module name 'demo' is already taken") as caught:
                await register_module(str(server.address), INFO)
            assert caught.value.code == "name_taken"
            forged = RegisteredModule(INFO, registration.module.id, "x" * 43, "127.0.0.1", registration.module.orchestrator_port)
            with pytest.raises(RemoteError) as caught:
                await Registration(forged).heartbeat()
            assert caught.value.code == "authentication_failed"
        assert not server.book.modules
        assert lines == ["demo 1.0.0 has registered itself", "demo is degraded, it says (queue=9)", "demo has unregistered"]


async def test_answers_are_bare_and_a_failed_heartbeat_has_a_status() -> None:
    async with listening() as (server, _):
        registered, failed, unreadable, unknown = await ask(
            server,
            {"request_type": "register", "module_info": {"name": "demo", "version": "1", "description": ""}},
            {"request_type": "heartbeat", "module_id": UUID, "token": "t", "status": "Healthy"},
            {"request_type": "heartbeat", "module_id": UUID, "token": "t", "status": "Fine"},
            b"nonsense",
        )
        assert registered.keys() == {"response_type", "success", "module"}
        assert registered["module"].keys() == {"info", "id", "token", "orchestrator_host", "orchestrator_port"}
        assert failed == {"response_type": "heartbeat", "success": False, "error": "not registered", "status": "Unhealthy"}
        assert (unreadable["response_type"], unreadable["status"]) == ("heartbeat", "Unhealthy")
        assert unreadable["error"] == "Invalid enum value - at `$.content.status`"
        assert (unknown["response_type"], unknown["success"]) == ("unknown", False)


async def test_a_rust_module_registers_with_its_golden_frame() -> None:
    vectors = json.loads((Path(__file__).parents[3] / "tests" / "data" / "vectors.json").read_text())
    golden = {one["name"]: one for one in vectors}
    async with listening() as (server, _):
        assert server.address is not None
        reader, writer = await asyncio.open_connection(server.address.host, server.address.port)
        writer.write(bytes.fromhex(golden["frame_registration_request"]["hex"]))
        length, code = struct.unpack(">IB", await reader.readexactly(5))
        answer = json.loads(await reader.readexactly(length))
        wanted = json.loads(golden["registration_response"]["json"])
        assert (code, answer.keys(), answer["module"].keys()) == (1, wanted.keys(), wanted["module"].keys())
        assert answer["module"]["info"] == wanted["module"]["info"]
        writer.close()


async def test_the_earlier_python_port_is_understood_and_answered_in_its_own_way() -> None:
    async with listening() as (server, _):
        info = {"id": None, "name": "demo", "version": "1", "description": "", "metadata": None}
        assert server.address is not None
        (registered,) = await ask(server, {"request_type": "registration", "module_info": info})
        module = registered["content"]["module"]
        assert (registered["content"]["response_type"], registered["metadata"]) == ("registration", {"id": "m"})
        me = {"module_id": module["id"], "token": module["token"]}
        capabilities = {"request_type": "capabilities", **me, "capabilities": {"endpoints": [], "message_types": None}}
        for request, wanted in (
            (
                {"request_type": "heartbeat", **me, "status": "healthy", "details": None},
                {"response_type": "heartbeat", "status": "healthy"},
            ),
            (capabilities, {"response_type": "capabilities"}),
            ({"request_type": "unregistration", **me}, {"response_type": "unregistration"}),
        ):
            (answer,) = await ask(server, request)  # each on a connection of its own
            assert answer["content"] == {"success": True, **wanted}


async def test_base64_is_read_and_a_format_that_nobody_reads_is_skipped() -> None:
    async with listening() as (server, lines):
        assert server.address is not None
        stream = await FrameStream.connect(server.address.host, server.address.port, limit=1_000_000)
        await stream.send(b"\x80", MSGPACK)
        await stream.send(b"eyJyZXF1ZXN0X3R5cGUiOiJwaW5nIn0=", BASE64)
        frame = await stream.receive()
        assert frame is not None
        assert json.loads(frame[1])["error"].startswith("not a request that a module may make")
        assert "frames of format 4 are skipped: registrations are JSON" in lines
        await stream.close()


async def test_a_frame_over_the_limit_ends_its_connection_alone() -> None:
    async with listening() as (server, lines), await register_module(str(server.address), INFO) as registration:
        assert server.address is not None
        reader, writer = await asyncio.open_connection(server.address.host, server.address.port)
        writer.write(b"\xff\xff\xff\xff\x01")
        assert await reader.read() == b""
        writer.close()
        assert any("a frame of 4294967295 bytes is over the limit of 65536" in line for line in lines)
        await registration.heartbeat()


async def test_a_silent_module_is_forgotten_and_registers_again_by_itself() -> None:
    async with listening(expire_after=0.1) as (server, _):
        registration = await register_module(str(server.address), INFO)
        before = registration.module
        await until(lambda: not server.book.modules)
        registration.start_heartbeats(0.02)
        await until(lambda: server.book.modules)
        await until(lambda: registration.module is not before)
        assert registration.module.id == before.id
        assert registration.module.token != before.token
        await registration.close()
        assert not server.book.modules


async def test_a_module_that_vanished_keeps_its_name_only_until_somebody_wants_it() -> None:
    async with listening() as (server, _):
        first = await register_module(str(server.address), INFO)
        await first._exchange.close()
        await until(lambda: all(module.connection is None for module in server.book.modules.values()))
        async with await register_module(str(server.address), INFO):
            with pytest.raises(RemoteError) as caught:
                await first.heartbeat()
            assert caught.value.code == "not_registered"


async def test_a_connection_on_which_nothing_is_asked_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pywatt_orchestrator.registration.SILENCE", 0.05)
    async with listening(expire_after=0.2) as (server, _):
        assert server.address is not None
        reader, writer = await asyncio.open_connection(server.address.host, server.address.port)
        assert await reader.read() == b""
        writer.close()


async def test_connections_on_which_nobody_is_registered_make_room_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pywatt_orchestrator.registration.MORE_CONNECTIONS", 2)
    async with listening(max_modules=2) as (server, lines):
        address = server.address
        assert address is not None
        first = await register_module(str(address), INFO)
        silent = [await asyncio.open_connection(address.host, address.port) for _ in range(20)]
        for reader, _ in silent[:17]:
            assert await reader.read() == b""
        second = await register_module(str(address), ModuleInfo("other", "1", ""))
        assert sorted(module.info.name for module in server.book.modules.values()) == ["demo", "other"]
        assert len([line for line in lines if line.startswith("there are too many connections for registrations")]) == 1
        for registered in (first, second):
            await registered.close()
        for _, one in silent:
            one.close()


async def test_another_user_is_turned_away() -> None:
    me = os.getuid()
    async with listening(uid=me + 1) as (server, lines):
        with pytest.raises(ChannelClosed):
            await register_module(str(server.address), INFO)
        assert lines == [f"a connection for registrations was refused: it belongs to user {me}"]
        assert not server.book.modules


# ── as a whole ──────────────────────────────────────────────────────────────────────────────────────────────────────

ELSEWHERE = """
import sys
from starlette.applications import Starlette
from pywatt_core import Capabilities, HealthStatus, ModuleInfo, pywatt_module
from pywatt_core.services.registration import Endpoint

@pywatt_module()
async def app(state):
    info = ModuleInfo(sys.argv[2], "1.0", "runs by itself")
    await state.register_module(
        sys.argv[1], info, capabilities=Capabilities([Endpoint("/", ["GET"])]), health=lambda: (HealthStatus.DEGRADED, {"why": "test"})
    )
    return Starlette()

if __name__ == "__main__":
    app.run()
"""


async def test_a_module_that_runs_by_itself_registers_at_pywatt_up_and_takes_leave_when_it_ends(running: Running) -> None:
    async with running() as project:
        project.write('[registration]\nlisten = "127.0.0.1:0"\n')
        project.peer("users", "serve")
        project.write(ELSEWHERE, "elsewhere.py")
        await project.start()
        line = await project.line("registrations on 127.0.0.1:", module="pywatt")
        address = line["message"].removeprefix("registrations on ")

        def start(name: str) -> Any:
            variables = {**project.environ, "PYWATT_STANDALONE": "1", "PYWATT__MODULE__LISTEN": "127.0.0.1:0"}
            return asyncio.create_subprocess_exec(
                sys.executable, "elsewhere.py", address, name, cwd=project.folder, env=variables, stderr=asyncio.subprocess.PIPE
            )

        module = await start("billing")
        try:
            await project.line("billing 1.0 has registered itself", module="pywatt")
            await project.line("billing is degraded, it says (why=test)", module="pywatt")
            twin = await start("users")
            _, wrote = await asyncio.wait_for(twin.communicate(), 30)
            assert b"Module name 'users' is already taken" in wrote
            module.terminate()
            await project.line("billing has unregistered", module="pywatt")
            await asyncio.wait_for(module.communicate(), 30)
            assert module.returncode == 0
        finally:
            if module.returncode is None:
                module.kill()
        assert await project.stop() == 0


async def test_a_wrong_section_is_named_before_anything_starts(running: Running) -> None:
    async with running() as project:
        project.write('[registration]\nlisten = "0.0.0.0:9900"\n')
        project.peer("users", "serve")
        await project.start()
        assert await project.ended() == 2
        assert "registration.listen" in project.errors
        assert "IPv4 address on the loopback" in project.errors
