"""Streams between modules: real processes under a real `pywatt up`."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

Running = Callable[[], Any]

SENDER = """
import asyncio, hashlib, json, logging, os
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from pywatt_core import ChannelClosed, LocalProtocolError, RemoteError, RequestTimeout, pywatt_module

log = logging.getLogger("sender")
RUNNING = {}

@pywatt_module()
async def app(state):
    async def send(request):
        said = request.query_params
        options, times = json.loads(said.get("options", "{}")), int(said.get("times", "1"))
        piece = bytes(range(256)) * (int(said.get("size", "0")) // 256)
        digest = hashlib.sha256()
        try:
            async with state.open_stream(said["target"], **options) as stream:
                for number in range(times):
                    digest.update(piece)
                    await stream.write(piece)
                    await asyncio.sleep(float(said.get("pause", "0")))
                if "fail" in said:
                    raise ValueError("changed my mind")
                while "hold" in said:
                    await stream.write(b"x")
                    await asyncio.sleep(0.01)
        except (RemoteError, RequestTimeout, ChannelClosed, LocalProtocolError, ValueError) as error:
            return JSONResponse({"kind": type(error).__name__, "code": getattr(error, "code", ""), "error": str(error)})
        return JSONResponse({"result": stream.result, "digest": digest.hexdigest(), "size": stream.size, "format": stream.format})

    async def file(request):
        said = request.query_params
        return JSONResponse(await state.send_file(said["target"], said["path"], content_type="text/plain"))

    return Starlette(routes=[Route("/send", send), Route("/file", file)])
"""

FILES = """
import asyncio, hashlib, logging, os
from starlette.applications import Starlette
from pywatt_core import RemoteError, pywatt_module

log = logging.getLogger("files")

@pywatt_module()
async def app(state):
    return Starlette()

@app.on_stream("upload", max_size=None)
async def upload(stream, state):
    digest = hashlib.sha256()
    log.warning("upload begun")
    async for piece in stream:
        digest.update(piece)
    return {"by": state.module_id, "from": stream.source, "size": stream.size, "digest": digest.hexdigest(), "total": stream.total_size,
            "type": stream.content_type, "properties": stream.properties, "priority": stream.priority}

@app.on_stream("small", max_size=1000)
async def small(stream):
    return len(await stream.read())

@app.on_stream("few")
async def few(stream):
    async for piece in stream:
        return "enough"

@app.on_stream("slow")
async def slow(stream):
    log.warning("slow begun")
    try:
        async for piece in stream:
            await asyncio.sleep(3600)
    except asyncio.CancelledError:
        log.warning("slow was called off")
        raise

@app.on_stream("fail")
async def fail(stream):
    raise RemoteError("the disk is full", code="no_space")

@app.on_stream("die")
async def die(stream):
    async for piece in stream:
        os._exit(1)
"""


def modules(project: Any, more: str = "") -> None:
    project.write(SENDER, "sender.py")
    project.write(FILES, "files.py")
    project.write(f'[modules.sender]\nrun = "sender.py"\n[modules.files]\nrun = "files.py"\n{more}')


async def send(project: Any, target: str, size: int = 0, times: int = 1, **more: Any) -> Any:
    options = json.dumps(more.pop("options", {}))
    query = urlencode({"target": target, "size": size, "times": times, "options": options, **more})
    return json.loads((await project.http(f"/sender/send?{query}")).text)


async def test_bytes_arrive_as_they_were_sent_and_what_the_function_returns_comes_back(running: Running) -> None:
    async with running() as project:
        modules(project)
        await project.start()
        await project.ready("sender", "files")
        for size, times, total in ((2**18, 20, None), (256, 3, 768), (0, 0, None), (0, 1, 0), (65536, 2, 131072)):
            options = {"total_size": total, "content_type": "a/b", "priority": "high", "properties": {"k": "v"}}
            answer = await send(project, "files:upload", size, times, options=options)
            assert answer["result"] == {
                "by": "files",
                "from": "sender",
                "size": size * times,
                "digest": answer["digest"],
                "total": total,
                "type": "a/b",
                "properties": {"k": "v"},
                "priority": "High",
            }
            assert (answer["size"], answer["format"]) == (size * times, "MessagePack")
        assert await project.stop() == 0
        assert project.errors == ""


async def test_a_file_is_sent_whole(running: Running) -> None:
    async with running() as project:
        modules(project)
        data = os.urandom(3_000_001)
        (project.folder / "a file.txt").write_bytes(data)
        await project.start()
        await project.ready("sender", "files")
        query = urlencode({"target": "files:upload", "path": str(project.folder / "a file.txt")})
        found = json.loads((await project.http(f"/sender/file?{query}")).text)
        assert (found["digest"], found["total"]) == (hashlib.sha256(data).hexdigest(), len(data))
        assert (found["properties"], found["type"]) == ({"name": "a file.txt"}, "text/plain")


async def test_each_way_of_going_wrong_says_what_happened(running: Running) -> None:
    async with running() as project:
        modules(project)
        await project.start()
        await project.ready("sender", "files")

        async def wrong(*arguments: Any, **more: Any) -> tuple[str, str, str]:
            found = await send(project, *arguments, **more)
            return found["kind"], found["code"], found["error"]

        assert await wrong("files:uplaod") == (
            "RemoteError", "endpoint_not_found", "files receives no stream 'uplaod'; did you mean 'upload'?",
        )  # fmt: skip
        assert await wrong("nobody:upload") == ("RemoteError", "module_not_found", "module 'nobody' not found")
        assert await wrong("sender:upload") == ("RemoteError", "endpoint_not_found", "sender receives no stream 'upload'")
        assert await wrong("files:fail", 256, 1000) == ("RemoteError", "no_space", "the disk is full")
        assert await wrong("files:small", options={"total_size": 1001}) == (
            "RemoteError", "bad_request", "files takes streams of 1000 bytes at most for 'small', not 1001",
        )  # fmt: skip
        kind, code, text = await wrong("files:small", 1024, 2)
        assert (kind, code) == ("RemoteError", "bad_request")
        assert text.startswith("the stream of sender is broken: chunk ")
        assert text.endswith(" makes the stream larger than the 1000 bytes that are taken here")
        kind, code, text = await wrong("files:few", 65536, 100)
        assert (kind, code) == ("RemoteError", "stream_ended")
        assert text.startswith("files has ended the stream to files:few after ")
        assert await wrong("files:upload", 256, 1, options={"total_size": 255}) == (
            "LocalProtocolError", "", "the stream to files:upload: more than the 255 bytes that the stream was opened for",
        )  # fmt: skip
        assert await wrong("files:upload", 256, 1, options={"total_size": 257}) == (
            "LocalProtocolError", "", "the stream to files:upload: 256 bytes of the 257 that the stream was opened for",
        )  # fmt: skip
        assert await wrong("files:upload", options={"priority": "urgent"}) == (
            "LocalProtocolError", "", "no stream: a priority is one of Low, Normal, High, Critical, not 'urgent'",
        )  # fmt: skip
        assert await wrong("files:slow", 65536, 100, options={"timeout": 1.0}) == (
            "RequestTimeout", "", "the stream to files:slow was not over within 1 s",
        )  # fmt: skip


async def test_a_sender_that_gives_up_ends_the_function_that_receives(running: Running) -> None:
    async with running() as project:
        modules(project)
        await project.start()
        await project.ready("sender", "files")
        assert (await send(project, "files:slow", 256, 1, fail=1))["error"] == "changed my mind"
        await project.line("slow was called off", module="files")


async def test_the_end_of_either_process_ends_the_stream_at_once(running: Running) -> None:
    async with running() as project:
        modules(project)
        await project.start()
        await project.ready("sender", "files")
        after = len(project.lines)
        found = await send(project, "files:die", 256, 1, hold=1)
        assert (found["kind"], found["code"]) == ("RemoteError", "disconnected")
        assert found["error"] == "the process of files ended before it answered; it may or may not have acted"
        await project.ready("files", after=after)
        held = asyncio.create_task(send(project, "files:slow", 256, 1, hold=1))
        await project.line("slow begun", module="files", after=after)
        os.kill((await project.ps())["sender"]["pid"], signal.SIGKILL)
        await project.line("slow was called off", module="files", after=after)
        held.cancel()  # the gateway may have asked the next process


async def test_a_stream_under_way_is_finished_when_its_receiver_or_its_sender_is_told_to_end(running: Running) -> None:
    async with running() as project:
        modules(project)
        await project.start()
        await project.ready("sender", "files")
        for leaving in ("files", "sender"):
            after = len(project.lines)
            sending = asyncio.create_task(send(project, "files:upload", 65536, 30, pause=0.05))
            await project.line("upload begun", module="files", after=after)
            code, _, errors = await project.command("restart", leaving)
            assert code == 0, errors
            answer = await sending
            assert answer.get("size") == 30 * 65536, answer
            assert answer["result"]["digest"] == answer["digest"]
            await project.ready(leaving, after=after)


async def test_all_chunks_of_a_stream_go_to_one_instance(running: Running) -> None:
    async with running() as project:
        modules(project, "instances = 3\n")
        await project.start()
        await project.ready("sender", "files.1", "files.2", "files.3")
        answers = await asyncio.gather(*[send(project, "files:upload", 65536, 12) for _ in range(6)])
        assert all(answer["result"]["digest"] == answer["digest"] for answer in answers)
        assert {answer["result"]["by"] for answer in answers} == {"files.1", "files.2", "files.3"}
        exact = await send(project, "files.2:upload", 65536, 3)
        assert exact["result"]["by"] == "files.2"


def resident(pid: int) -> int:
    """Bytes of memory that a process has had at most."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmHWM")


async def test_a_large_stream_needs_little_memory_anywhere(running: Running) -> None:
    async with running() as project:
        modules(project)
        await project.start()
        await project.ready("sender", "files")
        assert project.process is not None
        status = await project.ps()
        pids = [project.process.pid, status["sender"]["pid"], status["files"]["pid"]]
        await send(project, "files:upload", 2**20, 8)
        before = [resident(pid) for pid in pids]
        answer = await send(project, "files:upload", 2**20, 96)
        assert answer["result"]["digest"] == answer["digest"]
        assert answer["size"] == 96 * 2**20
        grown = [after - earlier for after, earlier in zip([resident(pid) for pid in pids], before, strict=True)]
        assert max(grown) < 24 * 2**20, f"bytes more than after 8 MiB: {grown}"
