"""Channels between the orchestrator and real modules: offered, connected, told apart, lost and made again."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tools.certificates import Authority

Running = Callable[[], Any]

MODULE = """
from fastapi import FastAPI
from pywatt_core import pywatt_module
from pywatt_core.transports.channel import ReconnectingChannel

opened, start = [], ReconnectingChannel.start
ReconnectingChannel.start = lambda channel: (opened.append(channel), start(channel))[1]

@pywatt_module(bind_http=%(port)s)
def users(state):
    app = FastAPI()

    @app.get("/channels")
    async def channels():
        return {name: state.value for name, state in state.channels.states().items()}

    @app.get("/cut")
    async def cut():
        for one in opened:
            one._link.abort(ConnectionError("cut"))
        return "cut"

    @app.get("/echo/{text}")
    async def echo(text: str):
        return text

    return app
"""


def add(project: Any, *lines: str, port: bool = True, top: str = "") -> None:
    project.write(MODULE % {"port": port}, "users.py")
    project.write(f'{top}\n[modules.users]\nrun = "users.py"\nmount_all = true\n' + "\n".join(lines) + "\n")


async def channels(project: Any) -> Any:
    return (await project.http("/users/channels")).json()


async def connected(project: Any, expected: dict[str, str]) -> None:
    async with asyncio.timeout(30):
        while await channels(project) != expected:
            await asyncio.sleep(0.02)


async def test_a_pywatt_module_has_a_private_unix_channel_without_anybodys_word(running: Running) -> None:
    async with running() as project:
        add(project)
        await project.start()
        await project.ready("users")
        await connected(project, {"unix": "connected"})
        (file,) = project.runtime.rglob("users.channel")
        assert file.stat().st_mode & 0o777 == 0o600
        assert (file.parent.stat().st_mode & 0o777) == 0o700
        assert await project.stop() == 0
        assert not project.said("its channel", module="users")
        await project.nothing_left()


async def test_a_channel_that_breaks_is_made_again(running: Running) -> None:
    async with running() as project:
        add(project)
        await project.start()
        await project.ready("users")
        await connected(project, {"unix": "connected"})
        assert (await project.http("/users/cut")).status == 200
        await project.line("its channel unix closed", module="users")
        await connected(project, {"unix": "connected"})
        assert await project.stop() == 0


async def test_each_process_has_a_channel_of_its_own_after_a_restart_and_a_kill(running: Running) -> None:
    async with running() as project:
        add(project, "channels_required = true")
        await project.start()
        await project.ready("users")
        os.kill((await project.ps())["users"]["pid"], signal.SIGKILL)
        await project.ready("users", after=len(project.lines))
        await connected(project, {"unix": "connected"})
        code, _out, err = await project.command("restart", "users")
        assert code == 0, err
        await connected(project, {"unix": "connected"})
        assert await project.stop() == 0
        await project.nothing_left()


async def test_nobody_but_the_process_itself_comes_in(running: Running) -> None:
    async with running() as project:
        add(project)
        await project.start()
        await project.ready("users")
        (file,) = project.runtime.rglob("users.channel")
        reader, writer = await asyncio.open_unix_connection(str(file))
        assert await reader.read() == b""
        writer.close()
        line = await project.line(f"it comes from process {os.getpid()}, and the channel is for process", module="users")
        assert line["level"] == "error"
        assert await channels(project) == {"unix": "connected"}


@pytest.mark.parametrize(
    ("names", "expected"), [([], {}), (["tcp"], {"tcp": "connected"}), (["unix", "tcp"], {"tcp": "connected", "unix": "connected"})]
)
async def test_which_channels_a_module_is_offered_is_configured(running: Running, names: list[str], expected: dict[str, str]) -> None:
    async with running() as project:
        add(project, f"channels = {json.dumps(names)}", "channels_required = true")
        await project.start()
        await project.ready("users")
        assert await channels(project) == expected


async def test_a_module_without_a_port_is_served_over_its_channel_and_over_standard_input_when_that_is_gone(running: Running) -> None:
    async with running() as project:
        add(project, "channels_required = true", port=False, top="[channels.unix]\ninitial_delay = 30\n")
        await project.start()
        await project.ready("users")
        assert (await project.http("/users/echo/one")).json() == "one"
        await project.http("/users/cut")  # the answer may have been lost with the channel that it came over
        await connected(project, {"unix": "disconnected"})
        assert (await project.http("/users/echo/two")).json() == "two"


async def test_a_required_channel_that_cannot_be_made_is_the_modules_end_with_5(running: Running, authorities: Any) -> None:
    server = authorities("theirs").issue("door")
    async with running() as project:
        add(
            project,
            'channels = ["tcp"]',
            "channels_required = true",
            'restart = "never"',
            top=(
                f'[channel_listener]\ntls_cert = "{server.cert}"\ntls_key = "{server.key}"\n'
                f'[channels.tcp]\nca_cert = "{authorities("ours").cert}"\n'
            ),
        )
        await project.start()
        await project.line(
            "the required channel tcp failed: 127.0.0.1:", "is not signed by an authority that is trusted here", module="users"
        )
        await project.line("it ended with exit code 5", module="users")


# ── protected ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_tcp_channels_may_be_protected_by_certificates_of_both_ends_and_a_token(
    running: Running, authorities: Callable[[str], Authority]
) -> None:
    ours = authorities("ours")
    server, client = ours.issue("door"), ours.issue("client")
    async with running() as project:
        add(
            project,
            'channels = ["tcp"]',
            "channels_required = true",
            top=(
                f'[channel_listener]\ntls_cert = "{server.cert}"\ntls_key = "{server.key}"\nclient_ca = "{ours.cert}"\ntoken = true\n'
                f'[channels.tcp]\nca_cert = "{ours.cert}"\nclient_cert = "{client.cert}"\nclient_key = "{client.key}"\n'
            ),
        )
        await project.start()
        await project.ready("users")
        assert await channels(project) == {"tcp": "connected"}
        assert (await project.http("/users/cut")).status == 200
        await connected(project, {"tcp": "connected"})
        assert await project.stop() == 0


async def test_a_module_with_a_certificate_that_is_not_accepted_learns_it_and_both_logs_say_why(
    running: Running, authorities: Callable[[str], Authority]
) -> None:
    ours, theirs = authorities("ours"), authorities("theirs")
    server, client = ours.issue("door"), theirs.issue("client")
    async with running() as project:
        add(
            project,
            'channels = ["tcp"]',
            top=(
                f'[channel_listener]\ntls_cert = "{server.cert}"\ntls_key = "{server.key}"\nclient_ca = "{ours.cert}"\n'
                f'[channels.tcp]\nca_cert = "{ours.cert}"\nclient_cert = "{client.cert}"\nclient_key = "{client.key}"\n'
            ),
        )
        await project.start()
        await project.ready("users")
        await project.line("its certificate is not signed by an authority that is trusted here", module="users")
        await project.line("channel tcp cannot be connected", "perhaps it does not accept this end's client certificate", module="users")
        assert (await channels(project))["tcp"] != "connected"


async def test_a_process_that_does_not_show_its_token_stays_outside(running: Running) -> None:
    async with running() as project:
        add(project, 'channels = ["tcp"]', top='[channel_listener]\ntoken = true\n[channels.tcp]\nsend_auth_token = "no"\n')
        await project.start()
        await project.ready("users")
        await project.line("its first message did not carry the token of this channel", module="users")


# ── a program that speaks for itself ────────────────────────────────────────────────────────────────────────────────

SPEAKER = """
import json, os, socket, struct, sys
init = json.loads(sys.stdin.readline())
def send(message):
    os.write(1, json.dumps(message).encode() + b"\\n")
where = init.get("ipc_channel") or init["tcp_channel"]
if "socket_path" in where:
    channel = socket.socket(socket.AF_UNIX)
    channel.connect(where["socket_path"])
else:
    host, port = where["address"].rsplit(":", 1)
    channel = socket.create_connection((host, int(port)))
def frame(text):
    channel.sendall(struct.pack(">IB", len(text), 1) + text.encode())
frame(json.dumps({"content": {"op": "identify", "module_id": init["module_id"]}, "metadata": {"source": init["module_id"]}}))
send({"op": "announce", "listen": init["listen"], "endpoints": [], "pywatt": {"api": 1, "features": ["http_ipc_only"]}})
print("init", json.dumps(init), file=sys.stderr, flush=True)
for argument in sys.argv[1:]:
    frame(argument)
try:
    while data := channel.recv(65536):
        print("channel", data[5:].decode(), file=sys.stderr, flush=True)
except OSError:
    pass
print("channel closed", file=sys.stderr, flush=True)
for line in sys.stdin:
    if '"shutdown"' in line:
        break
"""


def speak(project: Any, *arguments: str, **options: Any) -> None:
    project.write(SPEAKER, "speaker.py")
    command = [sys.executable, str(project.folder / "speaker.py"), *arguments]
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in {"command": command, "rust": False, **options}.items())
    project.write(f"[modules.speaker]\n{lines}")


async def test_a_command_is_offered_a_tcp_channel_that_is_not_required(running: Running) -> None:
    async with running() as project:
        speak(project)
        await project.start()
        line = await project.line("init {", module="speaker")
        init = json.loads(line["message"].removeprefix("init "))
        assert init["tcp_channel"].keys() == {"address", "tls_enabled", "required"}
        assert (init["tcp_channel"]["tls_enabled"], init["tcp_channel"]["required"]) == (False, False)
        assert "ipc_channel" not in init and "auth_token" not in init
        assert init["security_level"] == "None"
        assert "msgpack" in init["pywatt"]["formats"]
        await project.line('channel {"op":"heartbeat"}', module="speaker")


async def test_one_that_calls_itself_by_another_name_loses_its_channel(running: Running) -> None:
    async with running() as project:
        speak(project, '{"op":"identify","module_id":"somebody_else"}', channels=["unix"])
        await project.start()
        await project.line("channel closed", module="speaker")
        await project.line("its channel unix closed: it calls itself 'somebody_else', and it is 'speaker'", module="speaker")
