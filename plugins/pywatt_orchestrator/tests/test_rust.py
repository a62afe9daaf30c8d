"""Modules built on the Rust SDK, played by a peer that emits the golden lines and has the reference's habits."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Running = Callable[[], Any]
PEER = Path(__file__).with_name("rust_peer.py")
VECTORS = Path(__file__).parents[3] / "tests" / "data" / "vectors.json"


def add(project: Any, *deeds: str, **options: Any) -> None:
    """``[modules.billing]``: the peer as a program that has to be started, nothing else said about it."""
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in options.items())
    project.write(f"[modules.billing]\ncommand = {json.dumps([sys.executable, str(PEER), str(VECTORS), *deeds])}\n{lines}")


async def test_it_is_started_served_restarted_and_stopped_like_any_other(running: Running) -> None:
    async with running() as project:
        add(project)
        await project.start()
        await project.ready("billing")
        assert (await project.http("/billing/status")).text == "rust"
        assert (await project.http("/billing/other")).status == 404
        os.kill((await project.ps())["billing"]["pid"], signal.SIGKILL)
        await project.ready("billing", after=len(project.lines))
        assert (await project.http("/billing/data")).text == "rust"
        assert await project.stop() == 0
        assert project.said("shutdown", module="billing")
        await project.nothing_left()


async def test_its_secret_arrives_with_a_line_to_swallow_and_is_shown_nowhere(running: Running) -> None:
    async with running() as project:
        project.environ["DATABASE_URL"] = "postgres://me:s3cretword@db/x"
        add(project, "secret")
        await project.start()
        await project.ready("billing")
        assert project.said("swallowed heartbeat", module="billing")
        assert project.said("secret of 29 characters", module="billing")
        assert "s3cretword" not in json.dumps(project.lines) + project.errors


async def test_a_missing_secret_is_answered_with_silence_and_named_in_the_log(running: Running) -> None:
    async with running() as project:
        add(project, "secret", start_timeout=1.0)
        project.environ.pop("DATABASE_URL", None)
        await project.start()
        await project.line("it asks for the secret 'DATABASE_URL', which no source knows", "export DATABASE_URL=", module="billing")
        await project.line("it was not ready within 1 s", module="billing")
        assert not project.said("AssertionError", module="billing")


async def test_heartbeats_let_its_own_frames_through_and_its_messages_are_refused_politely(running: Running) -> None:
    async with running() as project:
        add(project, "route")
        await project.start()
        line = await project.line("routed_module_response", module="billing")
        answer = json.loads(line["message"].removeprefix("channel "))
        assert (answer["op"], answer["request_id"], answer["source_module_id"]) == (
            "routed_module_response",
            "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee",
            "mod-b",
        )
        assert "Err" in json.loads(bytes(answer["payload"]["data"]))


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ("port_request_any", {"op": "port_response", "success": True, "error_message": None}),
        ("service_request_database", {"op": "service_response", "service_type": "Database", "success": False, "connection_id": None}),
        ("service_operation_db_query", {"op": "service_operation_result", "success": False, "result": None}),
    ],
)
async def test_what_is_not_offered_is_refused_at_once_instead_of_left_unanswered(
    running: Running, asked: str, answered: dict[str, Any]
) -> None:
    async with running() as project:
        add(project, asked)
        await project.start()
        line = await project.line(f'"op":"{answered["op"]}"', module="billing")
        answer = json.loads(line["message"].removeprefix("stdin "))
        assert answered.items() <= answer.items()
        if asked == "port_request_any":
            with socket.create_server(("127.0.0.1", answer["port"])):
                pass
        elif asked == "service_operation_db_query":
            assert (answer["params"]["connection_id"], answer["params"]["operation"]) == ("conn-1", "query")


async def test_its_channel_is_closed_to_whoever_comes_second(running: Running) -> None:
    async with running() as project:
        add(project, "second_connection")
        await project.start()
        await project.ready("billing")
        assert project.said("the door is closed", module="billing")


async def test_one_that_ignores_shutdown_and_the_end_of_its_input_gets_sigterm(running: Running) -> None:
    async with running() as project:
        add(project, "ignore_shutdown", stop_timeout=0.5)
        await project.start()
        await project.ready("billing")
        assert await project.stop() == 0
        assert project.said("it does not end 0.5 s after shutdown (stop_timeout): SIGTERM", module="billing")
        await project.nothing_left()
