"""The orchestrator's figures: the lines themselves, and the pages of a real project."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from pywatt_orchestrator.figures import instance_lines
from pywatt_orchestrator.instance import Status

Running = Callable[[], Any]


def test_instances_are_counted_by_state_and_told_one_by_one() -> None:
    one = Status(module="users", instance="users.1", pid=1, state="ready", restarts=2, address="", uptime=1.5)
    two = Status(module="users", instance="users.2", pid=None, state="backoff", restarts=5, address="", uptime=None)
    lines = list(instance_lines([one, two]))
    for line in (
        "# TYPE pywatt_instances gauge",
        'pywatt_instances{state="ready"} 1',
        'pywatt_instances{state="backoff"} 1',
        'pywatt_instances{state="failed"} 0',
        'pywatt_instance_ready{module="users",module_id="users.1"} 1',
        'pywatt_instance_ready{module="users",module_id="users.2"} 0',
        "# TYPE pywatt_instance_restarts_total counter",
        'pywatt_instance_restarts_total{module="users",module_id="users.2"} 5',
        'pywatt_instance_uptime_seconds{module="users",module_id="users.1"} 1.5',
        'pywatt_instance_uptime_seconds{module="users",module_id="users.2"} 0',
    ):
        assert lines.count(line) == 1, line


ASKING = """
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from pywatt_core import pywatt_module

@pywatt_module(metrics=True)
async def app(state):
    async def ask(request):
        return JSONResponse(await state.send_request("answering:double", 21))
    async def ways(request):
        return JSONResponse({name: [one.type.value, one.healthy] for name, one in state.channel_health().items()})
    async def providers(request):
        return JSONResponse(len(await state.discover_service_providers("cache")))
    async def recommended(request):
        return JSONResponse(state.recommend_channel("answering:double"))
    return Starlette(routes=[Route("/ask", ask), Route("/ways", ways), Route("/providers", providers), Route("/recommended", recommended)])
"""

ANSWERING = """
from starlette.applications import Starlette
from pywatt_core import pywatt_module

@pywatt_module()
async def app(state):
    return Starlette()

@app.on("double")
async def double(number: int):
    return 2 * number
"""


PROJECT = """
[gateway]
port = 0

[modules.asking]
run = "asking.py"
expose = ["metrics"]

[modules.answering]
run = "answering.py"

[modules.strict]
run = "asking.py"

[modules.strict.routing]
preference = "tcp_only"
"""


def sample(text: str, name: str) -> float:
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    assert found is not None, f"{name} is not on the page:\n{text}"
    return float(found[1])


async def test_a_project_tells_what_its_modules_say_to_each_other(running: Running) -> None:
    async with running() as project:
        project.write(ASKING, "asking.py")
        project.write(ANSWERING, "answering.py")
        project.write(PROJECT)
        await project.start()
        await project.ready("asking", "answering", "strict")
        for _ in range(3):
            assert (await project.http("/asking/ask")).json() == 42
        page = (await project.http("/_pywatt/metrics")).text
        assert sample(page, "pywatt_messages_routed_total") >= 6
        assert sample(page, "pywatt_requests_pending") == 0
        assert sample(page, 'pywatt_instances{state="ready"}') == 3
        assert sample(page, 'pywatt_instance_ready{module="asking",module_id="asking"}') == 1
        assert sample(page, 'pywatt_gateway_requests_total{module="asking",status="200"}') == 3

        ways = (await project.http("/asking/ways")).json()
        assert ways["unix"] == ["Ipc", True]
        assert ways["stdio"] == ["Stdio", True]
        assert (await project.http("/asking/recommended")).json() == "unix"
        assert (await project.http("/strict/recommended")).json() is None
        assert (await project.http("/strict/ask")).status == 500
        line = await project.line("exception in the application", module="strict")
        assert "[routing] preference = 'tcp_only' allows no other" in line["exception"]

        own = (await project.http("/asking/metrics")).text
        assert sample(own, 'pywatt_channel_successes_total{channel="unix"}') == 3
        assert sample(own, 'pywatt_channel_latency_seconds{channel="unix",quantile="0.5"}') == 0, "that was the other module's time"
        assert (await project.http("/asking/providers")).json() == 0
        own = (await project.http("/asking/metrics")).text
        assert sample(own, 'pywatt_channel_failures_total{channel="unix"}') == 0
        assert sample(own, 'pywatt_channel_connected{channel="unix"}') == 1
        assert sample(own, 'pywatt_channel_bytes_sent_total{channel="unix"}') > 100
        assert sample(own, 'pywatt_channel_latency_seconds{channel="unix",quantile="0.5"}') > 0
