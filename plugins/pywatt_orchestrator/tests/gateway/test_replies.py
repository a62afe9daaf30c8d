"""What the gateway says itself."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pywatt_orchestrator.gateway import RouteTable


@pytest.mark.parametrize("accept", ["*/*", "application/json", "text/html, application/json;q=0.9", "image/png"])
async def test_a_problem_is_json_unless_text_is_preferred(stage: Any, accept: str) -> None:
    async with stage.gateway() as front:
        response = await front.get("/x", f"Accept: {accept}")
        assert response["content-type"] == "application/problem+json" and response["cache-control"] == "no-store"
        assert response.json() == {
            "status": 404,
            "title": "Not Found",
            "detail": "no module is mounted at this path",
            "request_id": response["x-request-id"],
        }
        assert "date" in response and response["server"] == "pywatt"


@pytest.mark.parametrize("accept", ["text/plain", "text/html,*/*;q=0.8"])
async def test_a_problem_is_text_for_a_person(stage: Any, accept: str) -> None:
    async with stage.gateway() as front:
        response = await front.get("/x", f"Accept: {accept}")
        assert response["content-type"] == "text/plain; charset=utf-8"
        assert response.body == b"404 Not Found: no module is mounted at this path\n"


async def test_a_problem_answers_head_without_a_body(stage: Any) -> None:
    async with stage.gateway() as front:
        client = await front.client()
        for _ in range(2):
            assert int((await client.get("/x", method="HEAD"))["content-length"]) > 0


async def test_the_index_lists_modules_and_their_open_paths(stage: Any) -> None:
    modules = [stage.routes("users", "GET,POST /entries", "GET /entries/{id}", "GET /health"), stage.routes("mail", "GET /")]
    async with stage.gateway(*modules) as front:
        response = await front.get("/")
        assert response["content-type"] == "application/json" and response["vary"] == "Accept"
        assert response.json() == {
            "modules": [
                {
                    "name": "users",
                    "mount": "/users",
                    "endpoints": [
                        {"path": "/users/entries", "methods": ["GET", "POST"]},
                        {"path": "/users/entries/{id}", "methods": ["GET"]},
                    ],
                },
                {"name": "mail", "mount": "/mail", "endpoints": [{"path": "/mail/", "methods": ["GET"]}]},
            ]
        }
        page = (await front.get("/", "Accept: text/html")).body.decode()
        assert '<a href="/users/entries">/users/entries</a>' in page and "<code>/users/entries/{id}</code>" in page
        assert "health" not in page
        assert (await front.get("/", method="HEAD")).status == 200
        response = await front.get("/", method="POST")
        assert response.status == 405 and response["allow"] == "GET, HEAD"


async def test_the_index_cannot_be_written_by_a_module(stage: Any) -> None:
    async with stage.gateway(stage.routes("users", 'GET /"><script>alert(1)</script>', "<b> /x")) as front:
        page = (await front.get("/", "Accept: text/html")).body.decode()
        assert "<script" not in page and "<b>" not in page and "&lt;script&gt;" in page
        json.loads((await front.get("/")).body)


async def test_the_index_gives_way_to_a_module_at_the_root(stage: Any) -> None:
    async with stage.module() as module, stage.gateway(stage.routes("users", "GET /x", mount="/", instances=[module.instance()])) as front:
        assert (await front.get("/")).status == 404
        assert (await front.get("/x")).json()["target"] == "/x"
        assert not module.requests[0].all("x-forwarded-prefix")
        front.gateway.update(RouteTable())
        assert (await front.get("/")).status == 200


async def test_the_index_says_where_nothing_runs(stage: Any) -> None:
    async with stage.gateway() as front:
        assert b"No module is running." in (await front.get("/", "Accept: text/html")).body
    async with stage.gateway(stage.routes("users", "GET /health")) as front:
        assert b"Nothing is open here." in (await front.get("/", "Accept: text/html")).body
