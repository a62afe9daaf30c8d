"""The life cycle in separate steps, and the earlier SDK's ways to serve, each in a real process."""

import sys

import pytest

from pywatt_core import PluginError, announce_from_router
from pywatt_core.protocol.messages import Announce, PortRequest
from pywatt_core.testing import ModuleRunner

STEPS = """
import asyncio
from pywatt_core import AnnouncedEndpoint, bootstrap_module, process_ipc_messages, send_announce
from pywatt_core.protocol.messages import Heartbeat, HeartbeatAck

async def main():
    up = await bootstrap_module(secret_keys=["KEY"], state_builder=lambda init, secrets: (init.module_id, len(secrets[0].expose_secret())))
    print("user state", up.state.user_state, flush=True)
    await send_announce(up.handshake, listen="127.0.0.1:4102", endpoints=[AnnouncedEndpoint(path="/status", methods=["GET"])])

    async def heartbeat(message):
        return HeartbeatAck()

    reason = await process_ipc_messages(up.handshake, {Heartbeat: heartbeat})
    print("ended because", reason, flush=True)
    await up.close()

asyncio.run(main())
"""

PORTS = """
import asyncio
from pywatt_core import get_pre_allocated_port, negotiate_port, read_init, set_pre_allocated_port

async def main():
    handshake = await read_init()
    try:
        print("asked and got", await negotiate_port(handshake.link, specific=8123), flush=True)
    except Exception as error:
        print("refused:", error, flush=True)
    set_pre_allocated_port(4567)
    print("remembered", get_pre_allocated_port(), await negotiate_port(handshake.link), flush=True)
    await handshake.close()

asyncio.run(main())
"""

SERVING = """
import asyncio, sys
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
import pywatt_core

def router(state):
    return Starlette(routes=[Route("/", lambda request: PlainTextResponse(f"served for {state.module_id}"))])

sys.exit(asyncio.run({call}))
"""


@pytest.fixture
def program(tmp_path):
    def write(source):
        path = tmp_path / "program.py"
        path.write_text(source)
        return [sys.executable, str(path)]

    return write


async def test_the_steps_one_by_one(program):
    async with ModuleRunner("", command=program(STEPS), config={}, secrets={"KEY": "fourteen chars"}, announce=False) as module:
        announce = await module.orchestrator.announced()
        assert (announce.listen, announce.endpoints[0].path) == ("127.0.0.1:4102", "/status")
        assert await module.stop() == 0, module.stderr
        assert "user state ('test_module', 14)" in module.stderr
        assert "ended because the orchestrator asked for it" in module.stderr


async def test_a_bootstrap_that_fails_keeps_its_cause(program):
    async with ModuleRunner("", command=program(STEPS), config={}, announce=False) as module:
        assert await module.ended() == 1
        assert "BootstrapError: bootstrap failed: a secret is missing: KEY, wanted by " in module.stderr
        assert "the orchestrator refused the secret 'KEY'" in module.stderr
        assert "SecretNotFound" in module.stderr


async def test_a_port_can_be_asked_for_and_refused(program):
    async with ModuleRunner("", command=program(PORTS), config={}, announce=False) as module:
        assert await module.ended() == 0, module.stderr
        assert "refused: the orchestrator refused the port: no ports in a test" in module.stderr
        assert "remembered 4567 NegotiatedPort(port=4567, fallback=False)" in module.stderr
        asked = [message for message in module.orchestrator.received if isinstance(message, PortRequest)]
        assert [message.specific_port for message in asked] == [8123]


@pytest.mark.parametrize(
    "call",
    [
        "pywatt_core.serve_module(router)",
        "pywatt_core.serve_module(router(type('S', (), {'module_id': 'a plain application'})()))",
        "pywatt_core.serve_with_options(router, pywatt_core.ServeOptions())",
        "pywatt_core.serve_module_full(router_builder=router, secret_keys=['KEY'])",
        "pywatt_core.serve_module_with_lifecycle(router_builder=router)",
    ],
)
async def test_each_way_to_serve_lives_a_whole_life(program, call):
    async with ModuleRunner("", command=program(SERVING.replace("{call}", call)), config={}, secrets={"KEY": "some-secret"}) as module:
        expected = "a plain application" if "plain" in call else "test_module"
        assert (await module.http("GET", "/")).text == f"served for {expected}"
        await module.assert_clean_exit()


async def test_a_module_without_a_port_is_served_over_the_link_alone(program):
    call = "pywatt_core.serve_with_options(router, pywatt_core.ServeOptions(bind_http=False))"
    async with ModuleRunner("", command=program(SERVING.replace("{call}", call)), config={}, listen="tcp") as module:
        assert isinstance(module.announce, Announce)
        assert "http_ipc_only" in module.announce.pywatt.features
        assert (await module.ipc("GET", "/")).text == "served for test_module"
        await module.assert_clean_exit()


def test_the_routes_of_an_application_are_known_without_serving_it():
    from flask import Flask
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse
    from starlette.routing import Mount, Route

    async def home(request):
        return PlainTextResponse("home")

    starlette = Starlette(routes=[Route("/users/{id:int}", home), Mount("/files", routes=[Route("/{path:path}", home)])])
    assert announce_from_router(starlette)[0].path == "/users/{id}"
    flask = Flask("x", static_folder=None)
    flask.add_url_rule("/hello/<name>", view_func=lambda name: name, methods=["GET", "POST"])
    found = announce_from_router(flask)
    assert [(endpoint.path, sorted(endpoint.methods)) for endpoint in found] == [("/hello/{name}", ["GET", "POST"])]
    with pytest.raises(PluginError, match="object"):
        announce_from_router(object())
