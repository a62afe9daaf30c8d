"""The page of metrics, and who may see it."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
from typing import Any

import pytest

from pywatt_core.telemetry import Metrics
from pywatt_orchestrator.gateway import inside

PAGE = "/_pywatt/metrics"
HERE = "Host: 127.0.0.1:8000"


@pytest.fixture(autouse=True)
def nothing_told_yet() -> None:
    inside._told.clear()


async def get(front: Any, *lines: str, method: str = "GET", path: str = PAGE) -> Any:
    return await (await front.client()).ask("\r\n".join((f"{method} {path} HTTP/1.1", *lines, "", "")).encode())


async def test_the_page_shows_what_was_counted(stage: Any) -> None:
    metrics = Metrics()
    async with stage.module() as module, stage.gateway(stage.routes("users", instances=[module.instance()]), metrics=metrics) as front:
        await front.get("/users/a")
        answer = await get(front, HERE)
        assert answer.status == 200
        assert answer["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert answer["cache-control"] == "no-store"
        assert b'pywatt_gateway_requests_total{module="users",status="200"} 1\n' in answer.body
        assert b"process_resident_memory_bytes" in answer.body
        head = await get(front, HERE, method="HEAD")
        assert (head.status, head.body) == (200, b"")
        refused = await get(front, HERE, method="POST")
        assert (refused.status, refused["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "127.9.9.9:80", "[::1]:8000"])
async def test_this_machine_has_several_names(stage: Any, host: str) -> None:
    async with stage.gateway(metrics=Metrics()) as front:
        assert (await get(front, f"Host: {host}")).status == 200


@pytest.mark.parametrize(
    "lines",
    [
        ("Host: evil.example",),
        ("Host: 127.0.0.1.evil.example",),
        ("Host: 10.0.0.1",),
        (HERE, "X-Forwarded-For: 127.0.0.1"),
        (HERE, "Forwarded: for=127.0.0.1"),
        (HERE, "x-real-ip: 127.0.0.1"),
        (HERE, "X_Forwarded_For: 127.0.0.1"),
        (HERE, "X-Forwarded-Port: 80"),
        (HERE, "Via: 1.1 front"),
        (HERE, "Connection: x-forwarded-for", "X-Forwarded-For: 127.0.0.1"),
    ],
)
@pytest.mark.parametrize("metrics", ["owner", "local"])
async def test_another_site_s_page_and_a_proxy_do_not_get_it(stage: Any, lines: tuple[str, ...], metrics: str, caplog: Any) -> None:
    caplog.set_level(logging.INFO, "pywatt.gateway")
    async with stage.gateway(metrics=Metrics(), page=metrics) as front:
        for _ in range(2):
            answer = await get(front, *lines)
            assert answer.status == 404
            assert answer.json()["detail"] == "no module is mounted at this path"
        assert [record.getMessage() for record in caplog.records if "page of metrics" in record.getMessage()] == [
            f'the page of metrics was refused: it was asked for from outside, or through a proxy ([gateway] metrics = "{metrics}")'
        ]


async def test_an_open_page_is_everybody_s(stage: Any) -> None:
    async with stage.gateway(metrics=Metrics(), page="open") as front:
        assert (await get(front, "Host: metrics.example", "X-Forwarded-For: 1.2.3.4")).status == 200


async def test_a_page_that_is_off_is_not_there_and_nothing_is_counted(stage: Any) -> None:
    async with stage.gateway(metrics=Metrics(), page="off") as front:
        assert (await get(front, HERE)).status == 404
        assert front.gateway.recorder is None


async def test_nothing_else_is_there(stage: Any) -> None:
    async with stage.front(stage.echo, mount="/") as (front, _):
        for path in (PAGE, PAGE + "/", "/_pywatt/", "/_pywatt/other"):
            assert (await get(front, HERE, path=path)).status == 404


@pytest.mark.parametrize(
    ("peer", "here"),
    [
        ("127.0.0.1", True),
        ("127.3.4.5", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("10.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("unknown", False),
    ],
)
def test_which_addresses_are_this_machine(peer: str, here: bool) -> None:
    assert inside._from_here(peer) is here


ASK = """
import encodings.idna, http.client, os, sys
os.setuid(65534)
connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=20)
connection.request("GET", "/_pywatt/metrics")
print(connection.getresponse().status)
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")
@pytest.mark.parametrize(("metrics", "status"), [("owner", "404"), ("local", "200")])
async def test_another_user_gets_it_only_where_all_of_this_machine_does(stage: Any, metrics: str, status: str) -> None:
    async with stage.gateway(metrics=Metrics(), page=metrics) as front:
        arguments = [sys.executable, "-I", "-c", ASK, str(front.gateway.address.port)]
        done = await asyncio.to_thread(subprocess.run, arguments, capture_output=True, text=True, timeout=30, check=False)
        assert (done.stdout.strip(), done.stderr) == (status, "")
