"""Modules that talk to each other: real processes under a real `pywatt up`, over whatever ways it gives them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

PEER = Path(__file__).with_name("rust_peer.py")
VECTORS = Path(__file__).parents[3] / "tests" / "data" / "vectors.json"

Running = Callable[[], Any]

ASKER = """
import json, os, sys
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from pywatt_core import ChannelClosed, RemoteError, RequestTimeout, pywatt_module

@pywatt_module()
async def app(state):
    if os.path.exists("early"):
        print("early", await state.send_request("answerer:pid", timeout=25), file=sys.stderr, flush=True)

    async def ask(request):
        said = request.query_params
        try:
            payload, timeout = json.loads(said.get("payload", "null")), float(said.get("timeout", 25))
            value = await state.send_request(said["target"], payload, timeout=timeout)
        except RemoteError as error:
            cause = error.cause and [error.cause.code, str(error.cause)]
            return JSONResponse({"code": error.code, "error": str(error), "executed": error.executed, "cause": cause})
        except (RequestTimeout, ChannelClosed) as error:
            return JSONResponse({"code": type(error).__name__, "error": str(error)})
        return JSONResponse({"value": value})

    async def tell(request):
        await state.send_message(request.query_params["target"], json.loads(request.query_params.get("payload", "null")))
        return JSONResponse({})

    return Starlette(routes=[Route("/ask", ask), Route("/tell", tell)])

@app.on("circle")
async def circle(left: int, state, message):
    return await state.send_request(f"{message.source}:circle", left - 1, int) + 1 if left else 0

@app.on("greet")
async def greet(name: str, message):
    return f"hello {name} of {message.source}"
"""

ANSWERER = """
import asyncio, logging, os, threading
from dataclasses import dataclass
from starlette.applications import Starlette
from pywatt_core import AppState, Arrival, RemoteError, pywatt_module

log = logging.getLogger("answerer")

@dataclass
class Order:
    id: int
    items: list[str]

@pywatt_module()
async def app(state):
    while os.path.exists("hold"):
        await asyncio.sleep(0.01)
    return Starlette()

@app.on("order")
async def order(order: Order, state: AppState, message: Arrival):
    return {"id": order.id, "count": len(order.items), "by": state.module_id, "from": message.source, "to": message.endpoint}

@app.on("thread")
def thread(number: int):
    return number * 2 if threading.current_thread() is not threading.main_thread() else None

@app.on("fail")
async def fail():
    raise ValueError("no such luck")

@app.on("refuse")
async def refuse():
    raise RemoteError("I am a teapot", code="teapot")

@app.on("slow")
async def slow():
    log.warning("slow begun")
    try:
        await asyncio.sleep(600)
    except asyncio.CancelledError:
        log.warning("slow cancelled")
        raise

@app.on("die")
async def die():
    os._exit(1)

@app.on("last_words")
async def last_words(state):
    send = state.channels.send

    async def send_and_leave(message, **more):
        await send(message, **more)
        for _ in range(3):  # until the loop has written it
            await asyncio.sleep(0)
        os._exit(1)

    state.channels.send, state.channels.post = send_and_leave, lambda message: False
    return "farewell"

@app.on("without_a_channel")
async def without_a_channel(state):
    await state.channels._lanes["unix"].way.close()
    return await ways(state)

@app.on("circle")
def circle(left: int, state, message):
    return state.sync.send_request(f"{message.source}:circle", left - 1, int) + 1 if left else 0

@app.on("ways")
async def ways(state):
    return {name: channel.value for name, channel in state.channels.states().items()}

@app.on("pid")
async def pid():
    return os.getpid()

@app.on("back")
async def back(name: str, state, message):
    return await state.send_request(f"{message.source}:greet", name, str)

@app.on("blocking")
def blocking(name: str, state, message):
    return state.sync.send_request(f"{message.source}:greet", name, str)

@app.on("nested")
async def nested(state):
    left = message_deadline() - asyncio.get_running_loop().time()
    try:
        await state.send_request("answerer:slow", timeout=600)
    finally:
        log.warning("nested had %s", "less than 600 s" if left < 600 else "all the time in the world")

def message_deadline():
    from pywatt_core.services.answering import deadline
    return deadline.get()

@app.on("note")
async def note(text: str):
    log.warning("noted %s", text)

@app.on_source("asker")
async def from_asker(payload, message):
    return f"{message.source} said {payload} to {message.endpoint}"
"""


async def ask(project: Any, target: str, payload: Any = None, module: str = "asker", **more: Any) -> Any:
    query = urlencode({"target": target, "payload": json.dumps(payload), **more})
    answer = await project.http(f"/{module}/ask?{query}")
    assert answer.status == 200, answer.text
    return json.loads(answer.text)


async def two(project: Any, **options: Any) -> None:
    """Both modules, ready."""
    project.write(ASKER, "asker.py")
    project.write(ANSWERER, "answerer.py")
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in options.items())
    same = f"channels = {json.dumps(options['channels'])}\n" if "channels" in options else ""
    project.write(f'[modules.asker]\nrun = "asker.py"\n{same}[modules.answerer]\nrun = "answerer.py"\n{lines}')
    await project.start()
    await project.ready("asker", *([f"answerer.{n + 1}" for n in range(options["instances"])] if "instances" in options else ["answerer"]))


@pytest.mark.parametrize("channels", [["unix"], ["tcp"], []], ids=["unix", "tcp", "stdio"])
async def test_a_function_answers_another_module_with_what_its_types_say(running: Running, channels: list[str]) -> None:
    async with running() as project:
        await two(project, channels=channels)
        value = {"id": 7, "count": 2, "by": "answerer", "from": "asker", "to": "order"}
        assert await ask(project, "answerer:order", {"id": 7, "items": ["a", "b"]}) == {"value": value}
        assert await ask(project, "answerer:thread", 21) == {"value": 42}
        assert await ask(project, "answerer:anything", 3) == {"value": "asker said 3 to anything"}
        assert await ask(project, "answerer:back", "you") == {"value": "hello you of answerer"}
        assert await ask(project, "answerer:blocking", "thread") == {"value": "hello thread of answerer"}
        await project.http("/asker/tell?" + urlencode({"target": "answerer:note", "payload": json.dumps("this")}))
        await project.line("noted this", module="answerer")
        assert await project.stop() == 0
        assert project.errors == ""


async def test_an_answer_takes_another_way_where_the_one_of_the_request_is_gone(running: Running) -> None:
    async with running() as project:
        await two(project)
        async with asyncio.timeout(30):
            while (await ask(project, "answerer:ways"))["value"]["unix"] != "connected":
                await asyncio.sleep(0.02)
        states = (await ask(project, "answerer:without_a_channel"))["value"]
        assert states["unix"] != "connected"
        assert await ask(project, "answerer:thread", 2) == {"value": 4}, "and so do all that follow"


async def test_modules_that_ask_each_other_in_a_circle_do_not_wait_for_themselves(running: Running) -> None:
    async with running() as project:
        await two(project, **{"module.messages_at_once": 1})
        assert await ask(project, "answerer:circle", 6) == {"value": 6}


async def test_what_goes_wrong_at_the_target_arrives_with_its_code_and_cause(running: Running) -> None:
    async with running() as project:
        await two(project)
        misfit = await ask(project, "answerer:order", {"id": "seven", "items": []})
        assert (misfit["code"], misfit["executed"]) == ("bad_request", "no")
        assert "$.id" in misfit["error"] and "seven" not in misfit["error"]
        failed = await ask(project, "answerer:fail")
        assert (failed["code"], failed["executed"], failed["cause"]) == ("application_error", "yes", ["ValueError", "no such luck"])
        await project.line("answering a message failed", module="answerer")
        refused = await ask(project, "answerer:refuse")
        assert (refused["code"], refused["error"]) == ("teapot", "I am a teapot")
        nobody = await ask(project, "nobody:x")
        assert (nobody["code"], nobody["error"], nobody["executed"]) == ("module_not_found", "module 'nobody' not found", "no")
        nowhere = await ask(project, "asker:great")
        assert nowhere["code"] == "endpoint_not_found"
        assert nowhere["error"] == "asker has no endpoint 'great'; did you mean 'greet'?"


async def test_a_request_that_is_given_up_is_ended_at_the_target_and_at_its_targets(running: Running) -> None:
    async with running() as project:
        await two(project)
        late = await ask(project, "answerer:slow", timeout=0.5)
        assert late["code"] == "RequestTimeout"
        await project.line("slow cancelled", module="answerer")
        seen = len(project.lines)
        late = await ask(project, "answerer:nested", timeout=0.7)
        assert late["code"] == "RequestTimeout"
        await project.line("nested had less than 600 s", module="answerer", after=seen)
        await project.line("slow cancelled", module="answerer", after=seen)


async def test_a_target_that_dies_is_told_at_once_and_its_successor_answers(running: Running) -> None:
    async with running() as project:
        await two(project)
        dead = await ask(project, "answerer:die")
        assert (dead["code"], dead["executed"]) == ("disconnected", "unknown")
        assert "answerer" in dead["error"]
        order = {"id": 1, "items": []}
        assert (await ask(project, "answerer:order", order))["value"]["id"] == 1, "it waits for the new process"
        assert (await project.ps())["answerer"]["restarts"] == 1


async def test_what_a_target_answers_with_its_last_words_still_arrives(running: Running) -> None:
    async with running() as project:
        await two(project)
        for _ in range(4):
            seen = len(project.lines)
            assert await ask(project, "answerer:last_words") == {"value": "farewell"}
            await project.ready("answerer", after=seen)


async def test_who_dies_with_requests_under_way_has_them_cancelled(running: Running) -> None:
    async with running() as project:
        await two(project)
        asking = asyncio.create_task(ask(project, "answerer:slow"))
        await project.line("slow begun", module="answerer")
        os.kill((await project.ps())["asker"]["pid"], signal.SIGKILL)
        await project.line("slow cancelled", module="answerer")
        asking.cancel()  # The front door has asked the next process: a GET may be asked twice.
        await asyncio.wait({asking})


async def test_a_stopped_module_is_unavailable_at_once_and_one_that_starts_is_waited_for(running: Running) -> None:
    async with running() as project:
        await two(project)
        assert (await project.command("stop", "answerer"))[0] == 0
        gone = await ask(project, "answerer:pid")
        assert (gone["code"], gone["executed"]) == ("unavailable", "no")
        assert "'answerer' is not running" in gone["error"]
        project.write("", "hold")
        starting = asyncio.create_task(project.command("restart", "answerer"))
        await project.is_state("answerer", "starting")
        late = await ask(project, "answerer:pid", timeout=0.5)
        assert (late["code"], late["executed"], late["error"]) == ("unavailable", "no", "module 'answerer' was not ready within 0.5 s")
        asking = asyncio.create_task(ask(project, "answerer:pid"))
        (project.folder / "hold").unlink()
        assert (await asking)["value"] == (await project.ps())["answerer"]["pid"]
        assert (await starting)[0] == 0


async def test_a_module_may_ask_while_it_starts_itself(running: Running) -> None:
    async with running() as project:
        project.write("", "early")
        await two(project)
        line = await project.line("early", module="asker")
        assert line["message"] == f"early {(await project.ps())['answerer']['pid']}"


async def test_instances_take_turns_and_one_can_be_meant(running: Running) -> None:
    async with running() as project:
        await two(project, instances=2)
        pids = [(await ask(project, "answerer:pid"))["value"] for _ in range(4)]
        assert len(set(pids)) == 2 and pids[:2] == pids[2:]
        known = await project.ps()
        assert {(await ask(project, "answerer.2:pid"))["value"] for _ in range(3)} == {known["answerer.2"]["pid"]}
        order = await ask(project, "answerer.1:order", {"id": 1, "items": []})
        assert order["value"]["by"] == "answerer.1"


async def test_a_rust_module_is_told_in_its_own_way_that_there_is_nobody(running: Running) -> None:
    async with running() as project:
        project.write(ASKER, "asker.py")
        command = json.dumps([sys.executable, str(PEER), str(VECTORS), "route"])
        project.write(f'[modules.asker]\nrun = "asker.py"\n[modules.billing]\ncommand = {command}\n')
        await project.start()
        line = await project.line("routed_module_response", module="billing")
        answer = json.loads(line["message"].removeprefix("channel "))
        assert json.loads(bytes(answer["payload"]["data"])) == {"Err": "module 'mod-b' not found"}
        await project.ready("asker")
        await project.http("/asker/tell?" + urlencode({"target": "billing:hello", "payload": json.dumps("you")}))
        line = await project.line("routed_module_message", module="billing")
        heard = json.loads(line["message"].removeprefix("channel "))
        assert (heard["op"], heard["source_module_id"]) == ("routed_module_message", "asker")
        assert json.loads(bytes(heard["payload"]["data"]))["content"] == "you"
