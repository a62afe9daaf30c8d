"""A module's life, in real processes under a fake orchestrator."""

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pywatt_core.config import load
from pywatt_core.lifecycle import open_registry
from pywatt_core.protocol.messages import Announce, GetSecret, Heartbeat, HeartbeatAck, Rotated, Secret
from pywatt_core.testing import ModuleRunner

SMALL = Path(__file__).parent / "modules" / "small.py"


async def test_a_module_announces_the_address_it_serves_and_what_its_router_contains():
    async with ModuleRunner(SMALL, config={}) as module:
        paths = {endpoint.path: set(endpoint.methods) for endpoint in module.announce.endpoints}
        assert paths["/hello"] >= {"GET"}
        assert paths["/echo"] >= {"GET", "POST"}
        assert paths["/secret/{name}"] >= {"GET"}
        assert paths["/health"] == {"GET"}
        assert paths["/metrics"] == {"GET"}
        assert module.announce.pywatt is not None
        assert "heartbeat" in module.announce.pywatt.features
        response = await module.http("GET", "/hello?name=ada")
        assert (response.status, response.text) == (200, "hello ada")
        health = await module.http("GET", "/health")
        assert health.json()["status"] == "OK"
        assert "text/plain; version=0.0.4" in (await module.http("GET", "/metrics")).headers["content-type"]
        await module.assert_clean_exit()


@pytest.mark.parametrize("listen", ["tcp", "handed"])
async def test_the_address_is_bound_before_it_is_announced(listen):
    async with ModuleRunner(SMALL, config={}, listen=listen) as module:
        assert not module.announce.listen.endswith(":0")
        assert (await module.http("GET", "/hello")).status == 200
        await module.assert_clean_exit()


async def test_requests_over_the_link_reach_the_same_application():
    async with ModuleRunner(SMALL, config={}) as module:
        response = await module.ipc("POST", "/echo?x=1", body=b"\x00\xff" * 10)
        assert (response.status, response.json()["length"]) == (200, 20)
        assert (await module.ipc("GET", "/nowhere")).status == 404
        assert (await module.ipc("GET", "/boom")).status == 500
        assert (await module.ipc("GET", "/hello")).status == 200
        await module.stop()


def test_what_is_unwise_about_the_configuration_is_logged_once(caplog):
    settings = load(init={"caches": {"main": {"use": "orchestrator", "password": "lifecycle-canary"}}}, environ={}, defer=True)
    open_registry(settings)
    told = [record.getMessage() for record in caplog.records]
    assert [text.partition(";")[0] for text in told] == ["caches.main.password (init.pywatt.config) is a secret in plain text"]


async def test_what_user_code_prints_is_a_log_line_and_never_reaches_the_wire():
    async with ModuleRunner(SMALL, config={}, env={"SMALL_CHILD": "1"}) as module:
        await module.http("GET", "/hello")
        await module.until(lambda: "a print while serving" in module.stderr)
        assert "printed while importing" in module.stderr
        assert "written to descriptor 1 while importing" in module.stderr
        assert "from a child" in module.stderr
        assert module.orchestrator.problems == []
        assert module.orchestrator.received == []
        await module.assert_clean_exit()


async def test_a_request_in_flight_at_shutdown_is_still_answered():
    async with ModuleRunner(SMALL, config={}) as module:
        over_the_socket = asyncio.create_task(module.http("GET", "/slow"))
        over_the_link = asyncio.create_task(module.ipc("GET", "/slow"))
        await module.until(lambda: module.stderr.count("slow began") == 2)
        await module.orchestrator.shutdown()
        assert (await over_the_socket).text == "done"
        assert (await over_the_link).text == "done"
        assert await module.ended() == 0


async def test_a_thread_that_is_still_busy_after_the_drain_does_not_keep_the_process():
    async with ModuleRunner(SMALL, config={"module": {"drain": 0.1}}) as module:
        busy = asyncio.create_task(module.http("GET", "/busy"))
        await module.until(lambda: "busy began" in module.stderr)
        assert await module.stop() == 6
        await asyncio.wait({busy})


async def test_a_drain_that_is_too_short_is_cut_and_said_so_by_the_exit_code():
    async with ModuleRunner(SMALL, config={"module": {"drain": 0.1}}) as module:
        endless = asyncio.create_task(module.http("GET", "/slow?seconds=60"))
        await module.until(lambda: "slow began" in module.stderr)
        assert await module.stop() == 6
        await asyncio.wait({endless})


@pytest.mark.parametrize("way", ["shutdown", "hang up", "SIGTERM"])
async def test_each_way_to_stop_ends_with_success(way):
    async with ModuleRunner(SMALL, config={}) as module:
        if way == "shutdown":
            await module.orchestrator.shutdown()
        elif way == "hang up":
            module.orchestrator.hang_up()
        else:
            module.signal(signal.SIGTERM)
        assert await module.ended() == 0
        assert "Traceback" not in module.stderr


async def test_a_stop_that_arrives_while_the_module_starts_ends_the_start():
    async with ModuleRunner(SMALL, config={}, env={"SMALL_SLOW_START": "1"}, announce=False) as module:
        await module.until(lambda: "starting slowly" in module.stderr)
        assert await module.stop() == 0
        assert not [message for message in module.orchestrator.received if isinstance(message, Announce)]


async def test_secrets_are_there_before_the_application_is_built():
    secrets = {"FIRST": "first-value-of-a-secret", "SECOND": "second-value-of-a-secret"}
    async with ModuleRunner(SMALL, config={}, secrets=secrets, env={"SMALL_SECRETS": "SECOND FIRST"}) as module:
        about = (await module.http("GET", "/about")).json()
        assert about["user_state"] == {"secrets": ["second-value-of-a-secret", "first-value-of-a-secret"], "module_id": "test_module"}
        assert (await module.http("GET", "/secret/FIRST")).text == "first-value-of-a-secret"
        await module.assert_clean_exit()
        assert "value-of-a-secret" not in module.stderr


async def test_a_missing_secret_ends_the_start_with_its_name_and_the_state_exit_code():
    async with ModuleRunner(SMALL, config={}, env={"SMALL_SECRETS": "NOWHERE"}, announce=False) as module:
        assert await module.ended() == 5
        assert "the orchestrator refused the secret 'NOWHERE'" in module.stderr
        assert "Traceback" not in module.stderr


async def test_a_rotation_is_acknowledged_once_the_new_value_is_in_use():
    async with ModuleRunner(SMALL, config={}, secrets={"KEY": "the-old-value"}, env={"SMALL_SECRETS": "KEY"}) as module:
        acknowledgement = await module.orchestrator.rotate({"KEY": "the-new-value"}, "rotation-1")
        assert acknowledgement.status == "success"
        assert (await module.http("GET", "/secret/KEY")).text == "the-new-value"
        asked = [message.name for message in module.orchestrator.received if isinstance(message, GetSecret)]
        assert asked == ["KEY", "KEY"]
        await module.assert_clean_exit()


async def test_a_rotation_that_fails_is_acknowledged_as_an_error():
    async with ModuleRunner(SMALL, config={}, secrets={"KEY": "the-old-value"}, env={"SMALL_SECRETS": "KEY"}) as module:
        del module.orchestrator.secrets["KEY"]
        acknowledgement = await module.orchestrator.link.request(Rotated(keys=["KEY"], rotation_id="rotation-2"), timeout=20)
        assert (acknowledgement.status, acknowledgement.message) == ("error", "the orchestrator refused the secret 'KEY': unknown secret")
        await module.assert_clean_exit()


async def test_a_secret_that_is_pushed_replaces_the_one_in_use():
    async with ModuleRunner(SMALL, config={}, secrets={"KEY": "the-old-value"}, env={"SMALL_SECRETS": "KEY"}) as module:
        await module.orchestrator.send(Secret(name="KEY", value="the-pushed-value"))
        await module.orchestrator.send(Heartbeat())
        await module.orchestrator.expect(HeartbeatAck)
        assert (await module.http("GET", "/secret/KEY")).text == "the-pushed-value"
        await module.stop()


async def test_the_configured_database_is_open_and_relative_to_the_configurations_folder(tmp_path):
    config = {"folder": str(tmp_path), "databases": {"main": {"use": "sqlite", "path": "data/main.db"}}}
    async with ModuleRunner(SMALL, config=config) as module:
        assert (await module.http("POST", "/count")).json() == {"hits": 1}
        assert (await module.http("POST", "/count")).json() == {"hits": 2}
        assert (tmp_path / "data" / "main.db").exists()
        await module.assert_clean_exit()


async def test_an_unnamed_database_answers_with_the_lines_to_add():
    async with ModuleRunner(SMALL, config={}) as module:
        assert (await module.http("POST", "/count")).status == 500
        await module.until(lambda: "[databases.main]" in module.stderr)
        assert (await module.http("GET", "/hello")).status == 200
        await module.stop()


@pytest.mark.parametrize(
    ("config", "code", "words"),
    [
        ({"databases": {"main": {"use": "nosuch"}}}, 2, "nosuch"),
        ({"databases": {"main": {"use": "sqlite", "pth": "x"}}}, 2, "path"),
        ({"module": {"drian": 1}}, 2, "drain"),
        ({"plugins": {"disable": ["fastapi"]}}, 4, "fastapi"),
        ({"databases": {"main": {"use": "sqlite", "path": "/proc/nowhere/x.db"}}}, 5, "/proc/nowhere"),
    ],
)
async def test_a_start_that_fails_names_the_culprit_and_ends_with_the_code_of_its_step(config, code, words):
    async with ModuleRunner(SMALL, config=config, announce=False) as module:
        assert await module.ended() == code, module.stderr
        assert words in module.stderr
        assert "Traceback" not in module.stderr


async def test_a_failing_builder_shows_the_users_traceback_and_ends_with_1():
    async with ModuleRunner(SMALL, config={}, env={"SMALL_FAILS": "1"}, announce=False) as module:
        assert await module.ended() == 1
        assert "the builder failed on purpose" in module.stderr
        assert "small.py" in module.stderr


async def test_a_module_that_starts_cleanly_under_our_orchestrator_never_imports_pydantic_settings(tmp_path):
    spy = tmp_path / "spy.py"
    spy.write_text(
        "import sys, json\n"
        "from pywatt_core import pywatt_module\n"
        "from starlette.applications import Starlette\n"
        "from starlette.responses import JSONResponse\n"
        "from starlette.routing import Route\n"
        "@pywatt_module\n"
        "def spy(state):\n"
        "    return Starlette(routes=[Route('/modules', lambda request: JSONResponse(sorted(sys.modules)))])\n"
    )
    async with ModuleRunner(spy, config={}) as module:
        loaded = set((await module.http("GET", "/modules")).json())
        assert sorted(loaded & {"pydantic", "pydantic_settings", "rich", "rich_click", "ahocorasick", "aiosqlite", "flask"}) == []
        await module.assert_clean_exit()


async def test_heartbeats_are_acknowledged():
    async with ModuleRunner(SMALL, config={}) as module:
        await module.orchestrator.send(Heartbeat())
        await module.orchestrator.expect(HeartbeatAck)
        await module.assert_clean_exit()


async def test_log_lines_are_structured_and_name_the_module():
    async with ModuleRunner(SMALL, config={}, module_id="users") as module:
        await module.stop()
        events = module.logs()
        assert {event["module_id"] for event in events} == {"users"}
        assert "serving" in [event["fields"]["message"] for event in events]


async def test_no_init_line_in_time_ends_with_3_and_names_the_variable():
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "pywatt_core.launch",
        str(SMALL),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": "/usr/bin", "PYWATT__MODULE__HANDSHAKE_TIMEOUT": "0.2"},
    )
    stderr = await process.stderr.read()
    assert await process.wait() == 3
    assert b"no init line arrived within 0.2 s" in stderr
    assert b"PYWATT_STANDALONE=1" in stderr


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"hello\n", b"init"),
        (b'{"orchestrator_api":"x","env":{},"listen":"127.0.0.1:0"}\n', b"module_id"),
        (b'{"orchestrator_api":"x","module_id":"m","env":{},"listen":"localhost:80"}\n', b"listen"),
        (b"", b"init line"),
    ],
)
async def test_a_bad_init_line_ends_with_3_and_names_the_field(line, words):
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "pywatt_core.launch",
        str(SMALL),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": "/usr/bin"},
    )
    stdout, stderr = await process.communicate(line)
    assert process.returncode == 3, stderr.decode()
    assert words in stderr
    assert stdout == b""
    assert b"Traceback" not in stderr


async def test_a_plain_init_line_without_our_extension_is_enough(tmp_path):
    async with ModuleRunner(SMALL, pywatt=False, cwd=tmp_path) as module:
        assert module.announce.pywatt is None
        assert json.loads((await module.http("GET", "/health")).body)["status"] == "OK"
        await module.assert_clean_exit()


def test_what_only_some_modules_use_is_not_imported_by_all_of_them():
    rarely = ["pluggy", "pywatt_core.builtin", "pywatt_core.registry", "pywatt_core.transports.tls", "pywatt_core.http", "pydantic"]
    program = f"import sys, pywatt_core.lifecycle; print([name for name in {rarely} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "[]\n"
