"""Streams: megabytes a second from one module to another through a real orchestrator, beside a raw copy over as many sockets.

Three processes each time. Ours: a module that sends, the orchestrator, a module that receives; chunks of 64 KiB, acknowledged
and checked. The limit: three processes that pass the same bytes on over two Unix sockets with blocking calls, and nothing else.
Rounds alternate; a figure is the median of the rounds, a ratio the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pywatt_core.testing.client import fetch

ROUNDS = 5
MEGABYTES = 64
PIECE = 1 << 16
LAUNCHER = "import sys; from pywatt_core.cli.main import main; sys.exit(main())"
DEADLINE = 60.0

SENDER = """
import time
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from pywatt_core import pywatt_module

@pywatt_module()
async def app(state):
    async def send(request):
        count = int(request.query_params["megabytes"]) * 16
        piece = bytes(65536)
        begin = time.perf_counter()
        async with state.open_stream("receiver:take", total_size=count * len(piece)) as stream:
            for _ in range(count):
                await stream.write(piece)
        took = time.perf_counter() - begin
        assert stream.result == count * len(piece)
        return JSONResponse(took)

    return Starlette(routes=[Route("/send", send)])
"""

RECEIVER = """
from starlette.applications import Starlette
from pywatt_core import pywatt_module

@pywatt_module()
async def app(state):
    return Starlette()

@app.on_stream("take", max_size=None)
async def take(stream):
    async for piece in stream:
        pass
    return stream.size
"""


class Round(NamedTuple):
    """Megabytes a second, and milliseconds of all three processes' processor for one."""

    rate: float
    cpu: float


def cpu_seconds(pids: list[int]) -> float:
    """Processor time that these processes have used so far."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


# ── ours ────────────────────────────────────────────────────────────────────────────────────────────────────────────


class Ours:
    """An orchestrator with two modules."""

    def __init__(self, process: subprocess.Popen[str], address: str, pids: list[int]) -> None:
        self._process, self._address, self.pids = process, address, pids

    def round(self, megabytes: int) -> Round:
        before = cpu_seconds(self.pids)
        answer = asyncio.run(fetch(self._address, "GET", f"/sender/send?megabytes={megabytes}"))
        if answer.status != 200:
            raise RuntimeError(f"the stream failed: {answer.text}")
        return Round(megabytes / json.loads(answer.text), (cpu_seconds(self.pids) - before) / megabytes * 1000)


@contextlib.contextmanager
def ours(*, channels: bool) -> Iterator[Ours]:
    with tempfile.TemporaryDirectory(prefix="pw-") as name:
        folder = Path(name)
        (folder / "sender.py").write_text(SENDER)
        (folder / "receiver.py").write_text(RECEIVER)
        more = "" if channels else "channels = []\n"
        (folder / "pywatt.toml").write_text("".join(f'[modules.{one}]\nrun = "{one}.py"\n{more}' for one in ("sender", "receiver")))
        process = subprocess.Popen(
            [sys.executable, "-c", LAUNCHER, "up", "--port", "0", "--json"],
            cwd=folder,
            env={**os.environ, "XDG_RUNTIME_DIR": name},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            address = wait_until_ready(process)
            status = subprocess.run(
                [sys.executable, "-c", LAUNCHER, "ps", "--json"],
                cwd=folder,
                env={**os.environ, "XDG_RUNTIME_DIR": name},
                capture_output=True,
                text=True,
                timeout=DEADLINE,
                check=True,
            )
            yield Ours(process, address, [process.pid, *(one["pid"] for one in json.loads(status.stdout))])
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(DEADLINE)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def wait_until_ready(process: subprocess.Popen[str]) -> str:
    """The front door's address, when both modules are ready."""
    assert process.stdout is not None
    address, ready, seen = "", set(), []
    for line in process.stdout:
        seen.append(line)
        said = json.loads(line)
        if "front door on" in said["message"]:
            address = said["message"].split("http://")[1].split(",")[0]
        if "ready in" in said["message"]:
            ready.add(said["module"])
        if address and len(ready) == 2:
            return address
    raise RuntimeError("the orchestrator ended:\n" + "".join(seen))


# ── the limit ───────────────────────────────────────────────────────────────────────────────────────────────────────


def relay(source: socket.socket, target: socket.socket) -> None:
    """Pass on whatever comes, and the answer back."""
    buffer = bytearray(PIECE)
    while True:
        count = source.recv_into(buffer)
        if not count:
            return
        target.sendall(memoryview(buffer)[:count])
        if buffer[count - 1 : count] == b"E":  # the last byte of a round
            source.sendall(target.recv(1))


def receive(source: socket.socket) -> None:
    """Take whatever comes; answer the last byte of a round."""
    buffer = bytearray(PIECE)
    while count := source.recv_into(buffer):
        if buffer[count - 1 : count] == b"E":
            source.sendall(b"D")


class Raw:
    """Two processes beside this one, and a Unix socket between each and the next."""

    def __init__(self) -> None:
        self._first, relay_in = socket.socketpair()
        relay_out, last = socket.socketpair()
        context = multiprocessing.get_context("fork")
        self._helpers = [context.Process(target=relay, args=(relay_in, relay_out)), context.Process(target=receive, args=(last,))]
        for helper in self._helpers:
            helper.start()
        for end in (relay_in, relay_out, last):
            end.close()

    def round(self, megabytes: int) -> Round:
        pids = [os.getpid(), *(helper.pid for helper in self._helpers if helper.pid)]
        piece, used, begin = bytes(PIECE), cpu_seconds(pids), time.perf_counter()
        for _ in range(megabytes * 16):
            self._first.sendall(piece)
        self._first.sendall(b"E")
        self._first.recv(1)
        return Round(megabytes / (time.perf_counter() - begin), (cpu_seconds(pids) - used) / megabytes * 1000)

    def close(self) -> None:
        self._first.close()
        for helper in self._helpers:
            helper.terminate()
            helper.join()


# ── figures ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def scenario(what: str, *, channels: bool, rounds: int, megabytes: int) -> list[dict[str, Any]]:
    raw = Raw()
    try:
        with ours(channels=channels) as stream:
            stream.round(megabytes // 4)
            raw.round(megabytes // 4)
            taken = [(stream.round(megabytes), raw.round(megabytes)) for _ in range(rounds)]
    finally:
        raw.close()
    names = {"claim": "streams", "peer": None, "peer_name": "", "limit_name": "raw copy over two sockets", "target": "", "ok": None}
    return [
        {
            **names,
            "what": f"{what}: bytes a second",
            "ours": statistics.median(one.rate for one, _ in taken),
            "limit": statistics.median(one.rate for _, one in taken),
            "unit": "MB/s",
            "ratio": statistics.median(mine.rate / theirs.rate for mine, theirs in taken),
        },
        {
            **names,
            "what": f"{what}: processor time of all three processes",
            "ours": statistics.median(one.cpu for one, _ in taken),
            "limit": statistics.median(one.cpu for _, one in taken),
            "unit": "ms/MB",
            "ratio": statistics.median(mine.cpu / theirs.cpu for mine, theirs in taken if theirs.cpu)
            if any(t.cpu for _, t in taken)
            else None,
        },
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description="Streams between modules, beside a raw copy.")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--megabytes", type=int, default=MEGABYTES, help="in each round")
    options = parser.parse_args()
    figures = scenario("over Unix sockets", channels=True, rounds=options.rounds, megabytes=options.megabytes)
    figures += scenario("over standard input and output", channels=False, rounds=options.rounds, megabytes=options.megabytes)
    if options.json:
        print(json.dumps(figures))
        return 0
    for one in figures:
        ratio = f"{one['ratio']:.2f}" if one["ratio"] is not None else "-"
        print(f"{one['what']}: {one['ours']:.2f} {one['unit']}, {one['limit_name']} {one['limit']:.2f}, ratio {ratio}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
