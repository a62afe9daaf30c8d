"""HTTP to modules without a port: real processes under a real `pywatt up`, over stdio and over both kinds of channels."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from pywatt_core.testing.client import fetch
from pywatt_core.testing.contracts.server_probe import streaming

STARLETTE = """
import asyncio, os
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from pywatt_core import pywatt_module

@pywatt_module(bind_http=False)
async def app(state):
    gate, active = asyncio.Event(), []
    async def hello(request):
        return PlainTextResponse(f"hello {request.url.path} {os.getpid()}")
    async def echo(request):
        body = await request.body()
        async def pieces():
            for start in range(0, len(body), 50_000):
                yield body[start : start + 50_000]
        return StreamingResponse(pieces())
    async def cookies(request):
        response = PlainTextResponse("")
        response.set_cookie("a", "1")
        response.set_cookie("b", "2")
        return response
    async def events(request):
        async def pieces():
            active.append(1)
            try:
                yield "one;"
                await gate.wait()
                yield "two;"
            finally:
                active.pop()
        return StreamingResponse(pieces(), media_type="text/event-stream")
    async def go(request):
        gate.set()
        return PlainTextResponse("")
    async def count(request):
        return PlainTextResponse(str(len(active)))
    async def large(request):
        async def pieces():
            for number in range(160):
                yield bytes(65536)
        return StreamingResponse(pieces(), headers={"content-length": str(160 * 65536)})
    return Starlette(routes=[
        Route("/hello", hello), Route("/echo", echo, methods=["POST"]), Route("/cookies", cookies), Route("/events", events),
        Route("/go", go), Route("/active", count), Route("/large", large),
    ])
"""

FLASK = """
import os, threading
from flask import Flask, Response, request
from pywatt_core import pywatt_module

@pywatt_module(bind_http=False)
def app(state):
    flask, gate, active = Flask("app"), threading.Event(), []
    @flask.get("/hello")
    def hello():
        return f"hello {request.script_root}{request.path} {os.getpid()}"
    @flask.post("/echo")
    def echo():
        return request.get_data()
    @flask.get("/cookies")
    def cookies():
        response = Response("")
        response.set_cookie("a", "1")
        response.set_cookie("b", "2")
        return response
    @flask.get("/events")
    def events():
        def pieces():
            active.append(1)
            try:
                yield "one;"
                while not gate.wait(0.01):
                    yield ":"
                yield "two;"
            finally:
                active.pop()
        return Response(pieces(), mimetype="text/event-stream")
    @flask.get("/go")
    def go():
        gate.set()
        return ""
    @flask.get("/active")
    def count():
        return str(len(active))
    @flask.get("/large")
    def large():
        return Response((bytes(65536) for _ in range(160)), headers={"content-length": str(160 * 65536)})
    return flask
"""

ROUTER = """
import os
from pywatt_core import HttpIpcResponse, HttpIpcRouter, pywatt_module

@pywatt_module(bind_http=False)
def app(state):
    router = HttpIpcRouter()
    @router.get("/hello/{name}")
    async def hello(request, name):
        return f"hello {name} of {state.module_id}"
    @router.post("/echo")
    def echo(request):
        return HttpIpcResponse(request.request_id, 200, {}, request.body)
    return router
"""

WAYS = {"stdio": [], "unix": ["unix"], "tcp": ["tcp"]}


def write(project: Any, way: str, **modules: str) -> None:
    for name, source in modules.items():
        project.write(source, f"{name}.py")
    entries = [
        f'[modules.{name}]\nrun = "{name}.py"\nchannels = {WAYS[way]!r}\nchannels_required = {str(way != "stdio").lower()}\n'
        for name in modules
    ]
    project.write("".join(entries).replace("'", '"'))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["starlette", "flask"])
async def test_requests_reach_the_real_application_and_bodies_travel_in_pieces(running: Callable[[], Any], way: str, kind: str) -> None:
    async with running() as project:
        write(project, way, users={"starlette": STARLETTE, "flask": FLASK}[kind])
        await project.start()
        await project.ready("users")
        assert (await project.ps())["users"]["address"] == "stdio"

        hello = await project.http("/users/hello")
        assert (hello.status, hello.text.split()[:2]) == (200, ["hello", "/users/hello"])
        body = os.urandom(3_000_000)
        echo = await fetch(project.address, "POST", "/users/echo", body=body)
        assert (echo.status, echo.body == body) == (200, True)
        cookies = [value.split(";")[0] for name, value in (await project.http("/users/cookies")).all_headers if name == "set-cookie"]
        assert cookies == ["a=1", "b=2"]
        large = await project.http("/users/large")
        assert (large.headers["content-length"], len(large.body)) == (str(160 * 65536), 160 * 65536)

        async with streaming(project.address) as one, streaming(project.address) as other:
            for stream in (one, other):
                stream.ask("/users/events")
                await stream.until(b"one;")
            other.writer.transport.abort()
            async with asyncio.timeout(20):
                while (await project.http("/users/active")).text != "1":
                    await asyncio.sleep(0.01)
            await project.http("/users/go")
            await one.until(b"two;")
            await one.until(b"0\r\n\r\n")

        assert await project.stop() == 0
        await project.nothing_left()
        assert project.errors == ""


@pytest.mark.parametrize("way", WAYS)
async def test_a_router_is_an_application_too(running: Callable[[], Any], way: str) -> None:
    async with running() as project:
        write(project, way, users=ROUTER)
        await project.start()
        await project.ready("users")
        assert (await project.http("/users/hello/ann%20b")).json()["data"] == "hello ann b of users"
        assert (await fetch(project.address, "POST", "/users/echo", body=b"\xff\x00")).body == b"\xff\x00"
        wrong = await fetch(project.address, "PUT", "/users/echo", body=b"")
        assert wrong.status == 405
        assert await project.stop() == 0


async def test_many_requests_over_one_link_are_answered_side_by_side(running: Callable[[], Any]) -> None:
    async with running() as project:
        write(project, "unix", users=STARLETTE)
        await project.start()
        await project.ready("users")
        bodies = [os.urandom(100_000) for _ in range(30)]
        answers = await asyncio.gather(*(fetch(project.address, "POST", "/users/echo", body=body) for body in bodies))
        assert [answer.body for answer in answers] == bodies
        assert await project.stop() == 0


async def test_a_module_that_dies_within_a_response_cuts_its_client_off_and_is_replaced(running: Callable[[], Any]) -> None:
    async with running() as project:
        write(project, "unix", users=STARLETTE)
        await project.start()
        await project.ready("users")
        pid = int((await project.http("/users/hello")).text.split()[2])
        async with streaming(project.address) as stream:
            stream.ask("/users/events")
            await stream.until(b"one;")
            os.kill(pid, signal.SIGKILL)
            assert not (await stream.rest()).endswith(b"0\r\n\r\n")
        again = await project.http("/users/hello")
        assert (again.status, int(again.text.split()[2]) == pid) == (200, False)
        assert await project.stop() == 0
        await project.nothing_left()


async def test_a_stop_lets_events_end_and_answers_what_runs(running: Callable[[], Any]) -> None:
    async with running() as project:
        write(project, "unix", users=STARLETTE)
        await project.start()
        await project.ready("users")
        async with streaming(project.address) as stream:
            stream.ask("/users/events")
            await stream.until(b"one;")
            stopping = asyncio.create_task(project.stop())
            assert (await stream.rest()).endswith(b"0\r\n\r\n")
            assert await stopping == 0
        await project.nothing_left()
