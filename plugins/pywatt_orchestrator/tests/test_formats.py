"""What the orchestrator and its modules say to each other on channels: MessagePack, CBOR where both were told to, JSON to all others."""

from __future__ import annotations

import json
from typing import Any

import pytest

pytest.importorskip("pywatt_cbor")

ASKER = """
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from pywatt_cbor.serializer import CborSerializer
from pywatt_core import pywatt_module
from pywatt_core.protocol.formats import offered_formats

frames = {"read": 0, "written": 0}
read, encode = CborSerializer.read, CborSerializer.encode

def counted_read(self, data):
    frames["read"] += 1
    return read(self, data)

def counted_encode(self, value):
    frames["written"] += 1
    return encode(self, value)

CborSerializer.read, CborSerializer.encode = counted_read, counted_encode

@pywatt_module()
async def app(state):
    async def ask(request):
        answer = await state.send_request("answerer:double", 21, int)
        counted = dict(frames)
        held = sorted(state.serializers)
        for serializer in state.serializers.values():
            assert serializer.decode(serializer.encode({"a": b"\\xff"}), dict[str, bytes]) == {"a": b"\\xff"}
        return JSONResponse({"answer": answer, "offers": offered_formats(), "serializers": held, **counted})

    return Starlette(routes=[Route("/ask", ask)])
"""

ANSWERER = """
from starlette.applications import Starlette
from pywatt_core import pywatt_module

@pywatt_module()
async def app(state):
    return Starlette()

@app.on("double")
async def double(number: int) -> int:
    return number * 2
"""

MODULES = '[modules.asker]\nrun = "asker.py"\n[modules.answerer]\nrun = "answerer.py"\n'


async def asked(project: Any, configuration: str) -> dict[str, Any]:
    """What the module tells after it has asked the other one."""
    project.write(ASKER, "asker.py")
    project.write(ANSWERER, "answerer.py")
    project.write(configuration)
    await project.start()
    await project.ready("asker", "answerer")
    answer = await project.http("/asker/ask")
    assert answer.status == 200, answer.text
    found: dict[str, Any] = json.loads(answer.text)
    return found


async def test_cbor_is_spoken_where_both_ends_were_told_to(running: Any) -> None:
    async with running() as project:
        found = await asked(project, '[module]\nframes = "cbor"\n[serializers.cbor]\n' + MODULES)
        assert (found["answer"], found["offers"], found["serializers"]) == (42, ["msgpack", "cbor"], ["cbor"])
        assert found["read"] > 0
        assert found["written"] > 0


async def test_messagepack_is_spoken_where_cbor_is_there_and_nobody_prefers_it(running: Any) -> None:
    async with running() as project:
        found = await asked(project, "[serializers.cbor]\n[serializers.msgpack]\n" + MODULES)
        assert (found["answer"], found["serializers"]) == (42, ["cbor", "msgpack"])
        assert (found["read"], found["written"]) == (0, 0)


async def test_cbor_is_not_spoken_to_an_orchestrator_that_did_not_offer_it(running: Any) -> None:
    async with running() as project:
        found = await asked(
            project,
            MODULES.replace(
                "[modules.answerer]", '[modules.asker.serializers.cbor]\n[modules.asker.module]\nframes = "cbor"\n[modules.answerer]'
            ),
        )
        assert (found["answer"], found["offers"]) == (42, ["msgpack", "cbor"])
        assert (found["read"], found["written"]) == (0, 0)


async def test_a_preferred_format_that_nobody_brings_keeps_the_orchestrator_from_starting(running: Any) -> None:
    async with running() as project:
        project.write('[module]\nframes = "cbor"\n' + MODULES)
        project.write(ASKER, "asker.py")
        project.write(ANSWERER, "answerer.py")
        await project.start()
        assert await project.ended() != 0
        assert "module.frames (pywatt.toml:2)" in project.errors + project.transcript()
        assert "[serializers.cbor]" in project.errors + project.transcript()
