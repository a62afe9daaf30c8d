"""HTTP to a module with the Rust SDK's habits that serves no port: over standard input, where it answers one by one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from pywatt_core.testing.client import connect, read_response

from .test_rust_modules import started

Running = Callable[[], Any]


@pytest.mark.parametrize("form", ["wrapper", "tagged", "enveloped"])
async def test_its_response_is_read_in_every_form(running: Running, form: str) -> None:
    """protocol 18, D18: on standard output the reference writes neither op nor id, and ``unknown_module`` as the source"""
    async with started(running, "no_port", f"answers={form}") as project:
        response = await project.http("/billing/some/where?q=1")
        assert (response.status, response.text, response.headers["content-type"]) == (200, "GET /some/where?q=1", "text/plain")
        assert not project.said("a message was dropped", module="billing")


async def test_it_is_asked_over_standard_input_although_it_has_a_channel(running: Running) -> None:
    """protocol 18, D12: over its channel the reference answers by itself, and its /health is JSON that is cut off"""
    async with started(running, "no_port") as project:
        await project.line("heartbeat 1 on TCP", module="billing")
        for path in ("/health2", "/api/x", "/else"):
            assert (await project.http(f"/billing{path}")).text == f"GET {path}"


async def test_more_requests_than_its_queue_holds_wait_here_and_are_all_answered(running: Running) -> None:
    """protocol 18, D16: the 101st that waits for it ends it; appendix B 8"""
    async with started(running, "no_port", "slow", "answers=tagged") as project:
        answers = await asyncio.gather(*(project.http(f"/billing/r{number}") for number in range(300)))
        assert [one.text for one in answers] == [f"GET /r{number}" for number in range(300)]
        assert not project.said("lagged", module="billing")
        assert (await project.ps())["billing"]["restarts"] == 0


async def test_no_header_or_path_of_a_client_ends_it(running: Running) -> None:
    """protocol 18, D16: one value that is not visible ASCII does; appendix B 8 and 13"""
    async with started(running, "no_port") as project:
        for head in (
            "GET /billing/a HTTP/1.1\r\nX-Name: Zo\xeb",
            "GET /billing/b%C3%AB HTTP/1.1\r\nX-Tab: a\tb",
            "PURGE /billing/c HTTP/1.1",
        ):
            reader, writer = await connect(project.address)
            writer.write(f"{head}\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode("latin-1"))
            assert (await read_response(reader)).status in (200, 400, 405)
            writer.close()
        assert (await project.http("/billing/alive")).text == "GET /alive"
        assert not project.said("ends with", module="billing")


@pytest.mark.parametrize("answer", ['{"body":"text"}', '{"status_code":70000}', '{"headers":{"a":1}}'])
async def test_a_response_that_cannot_be_read_is_a_failure_of_that_request_at_once(running: Running, answer: str) -> None:
    """protocol 18, P9: bodies are arrays of bytes"""
    async with started(running, "no_port", f"answer={answer}", "answers=tagged") as project:
        assert (await project.http("/billing/x")).status == 502
        await project.line("a message was dropped (invalid): http_response", module="billing")


async def test_a_status_that_http_does_not_know_reaches_no_client(running: Running) -> None:
    """protocol 18, P21: any 16 bits are read, 100 to 599 are passed on"""
    async with started(running, "no_port", 'answer={"status_code":700,"body":null}') as project:
        assert (await project.http("/billing/x")).status == 502
