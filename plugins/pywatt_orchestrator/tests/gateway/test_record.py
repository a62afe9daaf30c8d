"""What is kept of a request: access records and metrics."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest

from pywatt_core.telemetry import JsonFormatter, Metrics


async def test_each_answer_leaves_one_record(stage: Any) -> None:
    records: list[Any] = []
    async with (
        stage.module() as module,
        stage.gateway(stage.routes("users", instances=[module.instance()]), on_access=records.append) as front,
    ):
        client = await front.client()
        answers = [await client.get("/users/a?secret=1"), await client.get("/nowhere"), await client.get("/users/b", method="POST")]
        await client.send(b"GET /users/c HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n")
        assert (await client.receive()).status == 400
        await stage.until(lambda: len(records) == 4)
        assert [(r["method"], r["path"], r["status"], r["module_name"], r["instance"]) for r in records] == [
            ("GET", "/users/a", 200, "users", "users"),
            ("GET", "/nowhere", 404, "", ""),
            ("POST", "/users/b", 200, "users", "users"),
            ("", "", 400, "", ""),
        ]
        for record, answer in zip(records, answers, strict=False):
            assert record["request_id"] == answer["x-request-id"] and record["trace_id"] == answer["x-request-id"]
            assert record["client"] == "127.0.0.1" and record["duration_ms"] > 0 and record["bytes"] > len(answer.body)


async def test_a_client_that_left_is_recorded_as_499(stage: Any) -> None:
    records: list[Any] = []

    async def hang(request: Any, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with (
        stage.module(hang) as module,
        stage.gateway(stage.routes("users", instances=[module.instance()]), on_access=records.append) as front,
    ):
        client = await front.client()
        await client.send(b"GET /users/a HTTP/1.1\r\nHost: x\r\n\r\n")
        await stage.until(lambda: len(module.requests) == 1)
        client.writer.transport.abort()
        await stage.until(lambda: len(records) == 1)
        assert records[0]["status"] == 499


async def test_the_access_log_is_structured_and_cannot_be_written_by_a_client(stage: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "pywatt.access")
    async with stage.front(access_log=True) as (front, _):
        answer = await front.get("/users/%1b%5b31m", "User-Agent: \x85evil")
        assert answer.status == 400
        answer = await front.get('/users/"quoted"')
        await stage.until(lambda: len(caplog.records) == 2)
        line = JsonFormatter().format(caplog.records[1])
        fields = json.loads(line)["fields"]
        assert fields["message"] == 'GET /users/"quoted" 200' and fields["status"] == 200 and fields["module_name"] == "users"
        assert "\n" not in line


async def test_metrics_count_answers_by_module_and_status(stage: Any) -> None:
    metrics = Metrics()
    async with stage.module() as module, stage.gateway(stage.routes("users", instances=[module.instance()]), metrics=metrics) as front:
        client = await front.client()
        for path in ("/users/a", "/users/b", "/nowhere"):
            await client.get(path)
        assert "pywatt_gateway_connections 1" in metrics.render(process=False)
        front.gateway.recorder.write()
        text = metrics.render(process=False)
        assert 'pywatt_gateway_requests_total{module="users",status="200"} 2' in text
        assert 'pywatt_gateway_requests_total{module="",status="404"} 1' in text
        assert 'pywatt_gateway_request_seconds_count{module="users"} 2' in text


async def test_what_is_not_written_yet_is_written_at_the_end(stage: Any) -> None:
    records: list[Any] = []
    async with stage.gateway(on_access=records.append) as front:
        await front.get("/x")
    assert len(records) == 1
