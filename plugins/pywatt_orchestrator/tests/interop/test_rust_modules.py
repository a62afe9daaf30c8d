"""Modules built on the Rust SDK under a real supervisor, with all their defects. The module is strict, and says what it cannot read."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tools.environment import ROOT

Running = Callable[[], Any]
RUST_MODULE = ROOT / "tests" / "interop" / "rust_module.py"
UUID = "11111111-2222-4333-8444-555555555555"
ROUTED = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"

USERS = """
from pywatt_core import HttpIpcRouter, pywatt_module
from pywatt_core.errors import PyWattError

@pywatt_module
def users(state):
    router = HttpIpcRouter()

    @router.get("/ask/{format}")
    async def ask(request, format):
        try:
            return await state.messaging.request("billing:find", {"name": "Zoë"}, timeout=1.0, format=format)
        except PyWattError as error:
            return f"{type(error).__name__}: {error}"

    @router.get("/tell")
    async def tell(request):
        await state.send_message("billing:note", "hello")
        return "told"

    return router

@users.on("double")
async def double(number: int) -> int:
    return number * 2
"""


def add(project: Any, *deeds: str, users: bool = False, top: str = "", **options: Any) -> None:
    """``[modules.billing]``: the peer as a program that has to be started, nothing else said about it."""
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in options.items())
    entry = f"[modules.billing]\ncommand = {json.dumps([sys.executable, str(RUST_MODULE), *deeds])}\n{lines}"
    if users:
        project.write(USERS, "users.py")
        entry += '[modules.users]\nrun = "users.py"\nmount_all = true\n'
    project.write(f"{top}\n{entry}")


@asynccontextmanager
async def started(running: Running, *deeds: str, ready: bool = True, environ: dict[str, str] | None = None, **options: Any) -> Any:
    """The project with the module ready; at the end nothing that it was sent may have been unreadable for it."""
    async with running() as project:
        project.environ.update(environ or {})
        add(project, *deeds, **options)
        await project.start()
        if ready:
            await project.ready("billing", *(["users"] if options.get("users") else []))
        yield project
        assert [line["message"] for line in project.lines if "could not read" in line["message"]] == []
        assert not project.said("got format", module="billing")


def init_of(project: Any, after: int = 0) -> Any:
    """The init line that the module read, without what it does not show."""
    line = project.said("init {", module="billing", after=after)
    return json.loads(line["message"].removeprefix("init "))


def on_stdin(line: dict[str, Any], op: str) -> Any:
    return json.loads(line["message"].removeprefix(f"stdin {op} "))


# ── the start ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_it_is_offered_what_it_needs_to_live_and_nothing_that_it_does_not_know(running: Running) -> None:
    """protocol 18, D1 (it ends without a TCP channel), D14, D25, P22; appendix B 1 to 3 and 6"""
    async with started(
        running, "tell_env=PYWATT_MODULE_ID", "tell_env=PYWATT_LISTEN_FD", top="[channel_listener]\ntoken = true\n"
    ) as project:
        init = init_of(project)
        assert init["listen"].startswith("127.0.0.1:")
        assert init["tcp_channel"] == {"address": init["tcp_channel"]["address"], "required": True, "tls_enabled": False}
        assert init["security_level"] == "None"
        assert "ipc_channel" not in init
        assert project.said("could not send identify", module="billing")
        assert project.said("env PYWATT_MODULE_ID is None", module="billing")
        assert project.said("env PYWATT_LISTEN_FD is None", module="billing")
        await project.line("heartbeat 1 on TCP", module="billing")
        assert (await project.http("/billing/status")).text == "rust"
        assert await project.stop() == 0
        assert project.said("ends with 0: shutdown", module="billing")
        await project.nothing_left()


async def test_the_variable_that_changes_its_behaviour_is_set_on_request_alone(running: Running) -> None:
    """protocol 18, D15: its mere presence sends the module's JWT checks to the orchestrator"""
    async with started(running, "tell_env=PYWATT_MODULE_ID", module_id_env=True) as project:
        assert project.said("env PYWATT_MODULE_ID is 'billing'", module="billing")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"channels": []},
            "modules.billing.channels (pywatt.toml:4): a module built on the Rust SDK ends where it is offered no TCP channel",
        ),
        ({"listen": "unix"}, "modules.billing.listen (pywatt.toml:4): a module built on the Rust SDK cannot serve on a Unix socket"),
    ],
)
async def test_what_would_end_it_is_refused_by_name_before_it_is_started(running: Running, options: dict[str, Any], words: str) -> None:
    """protocol 18, D1 and D14"""
    async with started(running, ready=False, **options) as project:
        assert await project.ended() == 2
        assert words in project.errors


async def test_where_somebody_insists_its_end_is_told_with_its_own_reason(running: Running) -> None:
    """protocol 18, D1: after the announce it cannot write identify"""
    async with started(running, ready=False, rust=False, channels=[], restart="never") as project:
        await project.line("it ended with exit code 1", module="billing")
        assert project.said("cannot serialize tagged newtype variant", module="billing")


async def test_a_socket_that_it_is_offered_is_there_when_it_connects(running: Running) -> None:
    """protocol 18, D7: it would wait for a missing one for ever; appendix B 2 and 7: heartbeats on each channel"""
    async with started(running, channels=["unix", "tcp"]) as project:
        await project.line("heartbeat 2 on IPC", module="billing")
        await project.line("heartbeat 2 on TCP", module="billing")
        assert not project.said("the socket is not there", module="billing")
        assert await project.stop() == 0


async def test_it_is_ready_when_its_port_is_open_and_not_when_it_has_announced_itself(running: Running) -> None:
    """protocol 18, D14: it announces first; appendix B 5"""
    async with started(running) as project:
        assert (await project.http("/billing/status")).status == 200
        assert not project.said("it ended", module="billing")
        assert (await project.ps())["billing"]["restarts"] == 0


@pytest.mark.parametrize("address", ["10.1.2.3:80", "/run/somebody.sock"])
async def test_an_address_that_is_not_its_own_is_not_believed(running: Running, address: str) -> None:
    """protocol 18, D14: the reference announces what it was told, whatever it binds"""
    async with started(running, f"announce={address}", ready=False, restart="never") as project:
        await project.line(f"it announced '{address}'", module="billing")


async def test_a_macro_module_that_was_given_a_socket_path_ends_and_is_reported(running: Running) -> None:
    """protocol 18, D14"""
    async with started(running, "macro", ready=False, listen="unix", rust=False, restart="never") as project:
        await project.line("Only TCP listen is supported", module="billing")
        await project.line("it ended with exit code 1", module="billing")


# ── secrets ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_each_secret_is_followed_by_a_line_to_swallow(running: Running) -> None:
    """protocol 18, D2: a reader that holds the lock takes the line after the answer; appendix B 4"""
    environ = {"ONE": "value-of-one", "TWO": "value-of-two!"}
    async with started(running, "secret=ONE", "secret=TWO", environ=environ) as project:
        assert project.said("secret ONE of 12 characters", module="billing")
        assert project.said("secret TWO of 13 characters", module="billing")
        assert project.said("swallowed heartbeat", module="billing")


async def test_an_answer_that_a_competing_reader_lost_is_given_again_and_shows_in_no_log(running: Running) -> None:
    """protocol 18, D2 and D8: it asks again; and it logs raw lines before it knows what is in them"""
    environ = {"DATABASE_URL": "postgres://me:s3cretword@db/x"}
    async with started(running, "lost_secret=DATABASE_URL", "raw_log", environ=environ) as project:
        assert project.said("swallowed secret", module="billing")
        assert project.said("secret DATABASE_URL of 29 characters after", module="billing")
        assert project.said('received line: {"op":"secret"', "[REDACTED]", module="billing")
        assert "s3cretword" not in json.dumps(project.lines) + project.errors


# ── its channel ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_heartbeats_let_its_requests_through_and_their_results_come_bare(running: Running) -> None:
    """protocol 18, D5 (it sends only after a frame came), D6, D10; appendix B 6, 7 and 11"""
    async with started(running, "route=users:double:21", users=True) as project:
        await project.line(f"response {ROUTED} from users: 42", module="billing")


@pytest.mark.parametrize(
    ("route", "words"),
    [
        ("nobody:x:1", ("from nobody", '{"Err":"module \'nobody\' not found"}')),
        ("users:dubble:1", ("from users", '{"Err":', "did you mean 'double'")),
        ('users:double:"text"', ("from users", '{"Err":', "cannot read the payload")),
    ],
)
async def test_what_goes_wrong_with_its_requests_is_a_bare_err_at_once(running: Running, route: str, words: tuple[str, ...]) -> None:
    """protocol 18, D28: the protocol has no word for it, and the reference would wait for its 30 s"""
    async with started(running, f"route={route}", users=True) as project:
        await project.line(f"response {ROUTED}", *words, module="billing")


async def test_a_request_to_it_is_delivered_and_ends_in_time_since_it_cannot_answer(running: Running) -> None:
    """protocol 18, D10 and D11: no handler of its ever fires, and there is no operation for a reply; appendix B 13: no other formats"""
    async with started(running, users=True) as project:
        answer = (await project.http("/users/ask/Json")).json()
        assert answer["data"].startswith("RequestTimeout: billing:find did not answer within 1 s")
        assert (await project.http("/users/tell")).json()["data"] == "told"
        await project.line("no handler for messages from users", module="billing")
        answer = (await project.http("/users/ask/MessagePack")).json()
        assert "does not read MessagePack" in answer["data"]
        assert (await project.http("/billing/status")).text == "rust"
        assert (await project.ps())["billing"]["restarts"] == 0


async def test_between_two_of_them_a_request_that_nobody_can_answer_ends_with_its_target(running: Running) -> None:
    """protocol 18, D10 and D28: the target's handlers never fire; the requester is told when its process ends"""
    async with running() as project:
        add(project, "route=ledger:find:7")
        with (project.folder / "pywatt.toml").open("a") as file:
            file.write(f"[modules.ledger]\ncommand = {json.dumps([sys.executable, str(RUST_MODULE)])}\n")
        await project.start()
        await project.line("no handler for messages from billing", module="ledger")
        os.kill((await project.ps())["ledger"]["pid"], signal.SIGKILL)
        await project.line(f"response {ROUTED} from ledger", '{"Err":', module="billing")
        assert not any("could not read" in line["message"] for line in project.lines)


IDENTITIES = [
    {"op": "identify", "module_id": "billing"},
    {"op": "identify", "identify": "billing", "announce": None, "get_secret": None},
    {"id": UUID, "content": {"op": "identify", "content": "billing"}, "metadata": {}},
    {"id": UUID, "content": {"op": "identify", "module_id": "billing"}, "metadata": {"id": None, "source": "billing", "properties": None}},
]


async def test_an_identity_in_any_shape_is_welcome_on_a_channel_and_on_standard_output(running: Running) -> None:
    """protocol 18, D1, P16 and P18: a build of old wrote one, with all other members as null"""
    frames = [f"frame={json.dumps(one)}" for one in IDENTITIES]
    lines = [f"emit={json.dumps(one)}" for one in IDENTITIES]
    async with started(running, *frames, *lines, "route=users:double:4", users=True) as project:
        await project.line(f"response {ROUTED} from users: 8", module="billing")
        assert not project.said("a message was dropped", module="billing")
        assert not project.said("its channel", module="billing")


UNREADABLE = {
    "D20, a chunk without an envelope": (2, json.dumps({"stream_id": UUID, "sequence": 0, "data": [1]}).encode()),
    "D20, a chunk in bincode": (2, bytes(range(40))),
    "P7, msgpack in format 1": (1, b"\x81\xa2op\xadheartbeat_ack"),
    "P7, JSON in format 0": (0, b'{"op":"heartbeat_ack"}'),
    "an unknown format": (9, b"{}"),
    "P12, type for op": (1, b'{"type":"route_to_module","payload":"00ff"}'),
    "not UTF-8": (1, b'{"op":"\xff"}'),
    "nothing": (1, b""),
}


async def test_no_frame_that_cannot_be_read_costs_it_its_channel(running: Running) -> None:
    """protocol 18, D20; P7 and P12"""
    frames = [f"raw_frame={(len(data).to_bytes(4) + bytes([code]) + data).hex()}" for code, data in UNREADABLE.values()]
    async with started(running, "route=users:double:1", *frames, "route=users:double:2", users=True) as project:
        await project.line("heartbeat 3 on TCP", module="billing")
        assert project.said("a message was dropped", module="billing")
        assert project.said(f"response {ROUTED} from users: 2", module="billing")
        assert not project.said("ends with", module="billing")


async def test_a_frame_of_four_gibibytes_costs_the_channel_and_the_process_that_cannot_live_without(running: Running) -> None:
    """protocol 18, D24: the reference allocates what a header says; here nothing is waited for. D16: its end is mended"""
    async with started(running, "raw_frame=ffffffff01" + "00" * 100, ready=False, restart="never") as project:
        await project.line("its channel tcp closed", "limit", module="billing")
        await project.line("it ended with", module="billing")


async def test_messages_go_on_when_the_module_is_started_again(running: Running) -> None:
    """protocol 18, D16: what ends it is mended by starting it again, with a channel of its own"""
    async with started(running, users=True) as project:
        before = len(project.lines)
        code, _out, err = await project.command("restart", "billing")
        assert code == 0, err
        await project.ready("billing", after=before)
        assert init_of(project)["tcp_channel"]["address"] != init_of(project, before)["tcp_channel"]["address"]
        assert (await project.http("/users/tell")).json()["data"] == "told"
        await project.line("no handler for messages from users", module="billing", after=before)


async def test_who_never_acknowledges_on_standard_output_is_well(running: Running) -> None:
    """protocol 18, D27"""
    async with started(running, hang_timeout=1.0) as project:
        await project.line("heartbeat 4 on TCP", module="billing")
        status = (await project.ps())["billing"]
        assert (status["state"], status["restarts"]) == ("ready", 0)


# ── standard output ─────────────────────────────────────────────────────────────────────────────────────────────────


async def test_lines_of_writers_that_know_nothing_of_each_other_cost_no_other_line(running: Running) -> None:
    """protocol 18, D22: the line that landed within another one is read, what is left of that is shown"""
    torn, last = '{"op":"get_secret","name":"NOBODY_KNOWS"}', json.dumps({"op": "service_request", "id": "r", "service_type": "Jwt"})
    async with started(running, f"torn={torn}", f"emit={last}") as project:
        answer = on_stdin(await project.line("stdin port_response", module="billing"), "port_response")
        assert answer["success"] is True
        assert project.said('"NOBODY_KNOWS"}', module="billing")
        assert (await project.ps())["billing"]["restarts"] == 0


def asked(**message: Any) -> str:
    return f"emit={json.dumps(message)}"


OFFER = {"op": "register_service_provider", "name": "s1", "version": None, "address": "127.0.0.1:7700", "metadata": None}


async def test_every_answer_has_all_that_the_reference_requires(running: Running) -> None:
    """protocol 18, D21 (answers without a key), D28, D29; P6, P1 and P11; appendix B 9 and 10"""
    operation = {"connection_id": "conn-1", "service_type": "Database", "operation": "query", "params": {"query": "q", "params": []}}
    taken = socket.create_server(("127.0.0.1", 0))
    deeds = [
        asked(op="port_request", request_id=UUID, specific_port=None),
        asked(op="port_request", request_id=UUID, specific_port=taken.getsockname()[1]),
        asked(op="port_negotiation", preferred_port=1),
        asked(op="discover_service_providers", service_type="Cache"),
        asked(service_type={"Custom": "search"}, **OFFER),
        asked(op="discover_service_providers", service_type="Custom(search)", all_providers=True),
        asked(op="service_request", id="r1", service_type="Jwt", config={"config": {}}),
        asked(op="service_operation", **operation),
        asked(op="port_request", port_request={"request_id": ROUTED, "specific_port": None}, get_secret=None),
    ]
    with taken:
        async with started(running, *deeds) as project:
            free, refused = [on_stdin(one, "port_response") for one in await lines(project, "stdin port_response", 3)][:2]
            assert (free["request_id"], free["success"], free["error_message"]) == (UUID, True, None)
            assert (refused["success"], refused["port"]) == (False, 0) and "is in use" in refused["error_message"]
            none, one = (on_stdin(one, "discover_service_providers_response") for one in await lines(project, "stdin discover", 2))
            assert (none["success"], none["providers"]) == (True, [])
            (provider,) = one["providers"]
            assert (provider["module_id"], provider["name"], provider["address"]) == ("billing", "s1", "127.0.0.1:7700")
            assert (provider["metadata"], provider["version"]) == ({}, None)
            assert provider["service_type"] == {"Custom": "search"}
            (given,) = [on_stdin(one, "register_service_provider_response") for one in await lines(project, "stdin register", 1)]
            assert given["success"] is True and given["provider_id"] == provider["provider_id"]
            (service,) = [on_stdin(one, "service_response") for one in await lines(project, "stdin service_response", 1)]
            assert (service["id"], service["success"], service["connection_id"]) == ("r1", False, None)
            (result,) = [on_stdin(one, "service_operation_result") for one in await lines(project, "stdin service_operation_result", 1)]
            assert result["success"] is False and result["params"] == operation
            assert project.said("a message of an unknown kind was ignored", module="billing")


async def lines(project: Any, words: str, count: int) -> list[dict[str, Any]]:
    """The first `count` lines with these words, waited for."""

    def found() -> list[dict[str, Any]] | None:
        all_of_them = [line for line in project.lines if line["module"] == "billing" and words in line["message"]]
        return all_of_them[:count] if len(all_of_them) >= count else None

    return await project.until(found, f"{count} lines with {words}")  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "line",
    [
        '{"listen":"LISTEN","endpoints":[{"path":"/status","methods":["GET"],"auth":null}]}',
        '{"op":"announce","announce":{"listen":{"Tcp":"LISTEN"},"endpoints":[{"path":"/status","methods":["GET"]}]},"get_secret":null}',
        'a print without its end{"op":"announce","listen":"LISTEN","endpoints":[{"path":"/status","methods":["GET"]}]}',
    ],
)
async def test_an_announce_in_an_earlier_spelling_is_read(running: Running, line: str) -> None:
    """protocol 18, P1, P2 and P3"""
    async with started(running, f"announce_line={line}") as project:
        assert (await project.http("/billing/status")).text == "rust"


# ── the end ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_macro_module_is_served_and_ended_by_a_signal_since_it_ignores_everything_else(running: Running) -> None:
    """protocol 18, D13: neither shutdown nor the end of its input reach it; appendix B 12"""
    async with started(running, "macro", stop_timeout=0.3) as project:
        assert (await project.http("/billing/status")).text == "rust"
        assert await project.stop() == 0
        assert project.said("it does not end 0.3 s after shutdown (stop_timeout): SIGTERM", module="billing")
        await project.nothing_left()
