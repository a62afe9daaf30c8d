"""A module that is hostile to its orchestrator: on standard output and through its doors, with another module beside it."""

from __future__ import annotations

import base64
import fcntl
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest

from tests.hostile.material import BOMBS, BOUND, ENDLESS_BOUND, FATAL, FRAMES, LIMIT, MIB, Bad, Memory, frame, large

Running = Callable[[], Any]

PEER = Path(__file__).with_name("hostile_peer.py")
ROUTE = {
    "op": "route_to_module",
    "target_module_id": "healthy",
    "target_endpoint": "e",
    "request_id": "r",
    "payload": {"data": [49], "format": "Json"},
}
LITTLE = 48 * MIB
"""Bytes for what is no large message."""


def route(**changes: object) -> bytes:
    """A message for another module as JSON, with these members changed; `...` takes one away."""
    return json.dumps({name: value for name, value in {**ROUTE, **changes}.items() if value is not ...}).encode()


TEXTS = [
    Bad("text", b"hello there", "hello there"),
    Bad("NUL", b"a\0b", r"a\x00b"),
    Bad("a byte order mark", b'\xef\xbb\xbf{"op":"get_secret","name":"BOM"}', r"\ufeff"),
    Bad("bad UTF-8", b"caf\xe9 \xff\xfe", "caf"),
    Bad("a carriage return", b'{"op":"identify","module_id":"hostile"}\r'),
    Bad("a terminal sequence", b"\x1b]0;owned\x07\x1b[2J wiped", "wiped"),
    Bad("a truncated object", route()[:-9], "route_to_module"),
    Bad("depth", b'{"op":"get_secret","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested deeper than 127"),
    Bad("no op", b'{"a":1}', "op"),
    Bad("an op that nobody knows", b'{"op":"format_disk"}', "an unknown kind"),
    Bad("a message of the other side", b'{"op":"shutdown"}', "an unknown kind"),
    Bad("a name that is a number", b'{"op":"get_secret","name":5}', "$.name"),
    Bad("a payload of texts", route(payload={"data": "1", "format": "Json"}), "data"),
    Bad("a payload of large numbers", route(payload={"data": [256], "format": "Json"}), "data"),
    Bad("a format that nobody knows", route(payload={"data": [1], "format": "Yaml"}), "format"),
    Bad("no request_id", route(request_id=...), "request_id"),
    Bad("a port that is none", b'{"op":"port_request","request_id":"p","specific_port":70000}', "specific_port"),
    Bad("a second announce", b'{"op":"announce","listen":"127.0.0.1:1","endpoints":[]}', "announced itself again"),
    Bad("a reply to nothing", route(target_endpoint="__response__")),
    Bad("an answer to nothing", b'{"op":"rotation_ack","rotation_id":"x","status":"success"}', "rotation_ack"),
]


HELD: dict[Path, IO[str]] = {}
"""The files whose peers have to wait."""


def corpus(project: Any, *pieces: Bad) -> str:
    """A file for the peer, locked until it may begin."""
    file: Path = project.folder / f"corpus{len(list(project.folder.iterdir()))}.json"
    file.write_text(json.dumps([[bad.name, base64.b64encode(bad.data).decode()] for bad in pieces]))
    HELD[file] = file.open()
    fcntl.flock(HELD[file], fcntl.LOCK_EX)
    return str(file)


def add(project: Any, mode: str, *pieces: Bad, name: str = "hostile") -> None:
    command = [sys.executable, str(PEER), mode, corpus(project, *pieces)]
    kind = mode.partition("_")[0]
    channels = [] if kind == "stdout" else [kind]
    with (project.folder / "pywatt.toml").open("a") as file:
        file.write(f"[modules.{name}]\ncommand = {json.dumps(command)}\nrust = false\nlisten = 'unix'\nchannels = {channels}\n\n")


async def beside(project: Any, top: str = "") -> Memory:
    """An orchestrator with an honest module; what it has grown by since then."""
    text = (project.folder / "pywatt.toml").read_text()
    (project.folder / "pywatt.toml").write_text(top + text)
    project.peer("healthy", "serve")
    await project.start()
    await project.ready("healthy")
    await project.line("front door on")
    await project.ready("hostile")
    memory = Memory(project.process.pid)
    for file in project.folder.glob("corpus*.json"):
        with HELD.pop(file) as held:
            fcntl.flock(held, fcntl.LOCK_UN)
    return memory


async def survived(project: Any, memory: Memory, bound: int, *pieces: Bad) -> None:
    """All were, each with its words in the log; the honest module is served, the orchestrator ends as it should."""
    await project.line("all survived", module="hostile")
    assert (await project.http("/healthy/pid")).status == 200

    def told() -> str:
        lines = [line["message"] for line in project.lines if line["module"] == "hostile"]
        return "\n".join([*lines, json.dumps(lines, ensure_ascii=False)])

    try:
        await project.until(lambda: all(bad.words in told() for bad in pieces))
    except AssertionError:
        missing = [(bad.name, bad.words) for bad in pieces if bad.words not in told()]
        raise AssertionError(f"it did not say {missing}: {project.transcript()}") from None
    print(f"the orchestrator grew by {memory.growth / MIB:.1f} MiB")
    assert memory.growth < bound
    assert "Traceback" not in project.errors + told()
    assert await project.stop() == 0


async def test_each_hostile_line_is_refused_by_name_and_the_next_question_is_answered(running: Running) -> None:
    async with running() as project:
        add(project, "stdout", *TEXTS)
        memory = await beside(project)
        await survived(project, memory, LITTLE, *TEXTS)


async def test_bombs_cost_no_more_memory_than_their_bytes(running: Running) -> None:
    async with running() as project:
        add(project, "stdout", *BOMBS)
        memory = await beside(project)
        await survived(project, memory, BOUND, *BOMBS)


async def test_a_line_without_end_is_kept_up_to_the_limit_and_then_thrown_away(running: Running) -> None:
    endless = Bad("endless", b"x" * (LIMIT + 2 * MIB), f"a line over the limit of {LIMIT} bytes was thrown away")
    async with running() as project:
        add(project, "stdout", endless)
        memory = await beside(project)
        await survived(project, memory, ENDLESS_BOUND, endless)


@pytest.mark.parametrize("kind", ["unix", "tcp"])
async def test_each_hostile_frame_is_refused_by_name_and_the_connection_goes_on(running: Running, kind: str) -> None:
    skip = {"text", "NUL", "bad UTF-8", "a byte order mark", "a terminal sequence", "a truncated object", "a second announce"}
    texts = [Bad(bad.name, frame(bad.data), bad.words) for bad in TEXTS if bad.name not in skip]
    more = [
        Bad("JSON that is none", frame(b"hello there"), "malformed"),
        Bad("JSON that is no UTF-8", frame(b'{"op":"\xff"}'), "not UTF-8"),
        Bad("a bomb in Base64", frame(base64.b64encode(large(b'{"op":"zzz","a":[', b"{},", b"0]}")), 3), "500000 values"),
    ]
    frames = [bad for bad in FRAMES if not bad.name.startswith("CBOR")]
    async with running() as project:
        add(project, kind, *texts, *more, *frames)
        memory = await beside(project)
        await survived(project, memory, BOUND, *texts, *more, *frames)


@pytest.mark.parametrize("kind", ["unix", "tcp"])
async def test_a_connection_that_cannot_be_followed_is_closed_and_the_next_one_is_let_in(running: Running, kind: str) -> None:
    async with running() as project:
        add(project, f"{kind}_fatal", *FATAL)
        memory = await beside(project)
        await survived(project, memory, LITTLE, *FATAL)


FLOODS = {
    "empty lines": ("stdout", b"\n" * 65536),
    "tiny messages": ("stdout", b'{"op":"a"}\n' * 1000),
    "questions": ("stdout", b'{"op":"get_secret","name":"X"}\n' * 1000),
    "malformed questions": (
        "stdout",
        b'{"op":"get_secret","name":"X","a":1,"name":5}\n{"op":"port_request","request_id":"p","specific_port":70000}\n' * 500,
    ),
    "messages for nobody": ("stdout", (route(target_module_id="nobody") + b"\n") * 200),
    "notifications for nobody": ("stdout", (route(target_module_id="nobody", request_id="n") + b"\n") * 200),
    "tiny frames": ("unix", frame(b'{"op":"a"}') * 1000),
    "frames of no format": ("tcp", frame(b"", 77) * 1000),
    "questions in frames": ("tcp", frame(b'{"op":"get_secret","name":"X"}') * 1000),
    "messages for nobody in frames": ("unix", frame(route(target_module_id="nobody")) * 200),
}


@pytest.mark.parametrize("flood", FLOODS)
async def test_a_flood_from_somebody_who_reads_nothing_takes_bounded_memory_and_stops_nobody(running: Running, flood: str) -> None:
    mode, data = FLOODS[flood]
    async with running() as project:
        add(project, f"{mode}_deaf", Bad(flood, data))
        memory = await beside(project)
        for _ in range(40):
            assert (await project.http("/healthy/pid")).status == 200
        print(f"{flood}: the orchestrator grew by {memory.growth / MIB:.1f} MiB")
        assert memory.growth < LITTLE
