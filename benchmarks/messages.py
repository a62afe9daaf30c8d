"""Requests between two modules of a running `pywatt up`, 1 KB: one in flight and 64, against nats-py over a real nats-server.

Both have the same shape: one process asks, one in the middle carries, one answers. Ours is `state.send_request` to a function of
another module: a typed payload, its envelope with deadline and trace, two links with their session tables, routing, and the
answer's way back. nats-py's is a request of the same number of bytes, unread. Nothing is pinned: both use the processors that
there are. Each round measures both, in turn; figures are medians.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import peers

SIZE = 1024
ROUNDS, SECONDS = 5, 0.8
PATIENCE = 60

ASKER = """
import asyncio, statistics, time
from msgspec import Struct
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from pywatt_core import pywatt_module

class Order(Struct):
    id: int
    text: str

@pywatt_module()
async def app(state):
    async def measure(request):
        in_flight, seconds, size = (float(request.query_params[name]) for name in ("in_flight", "seconds", "size"))
        order, times, until = Order(1, "x" * int(size)), [], 0.0

        async def worker():
            while (begin := time.perf_counter()) < until:
                await state.send_request("answerer:echo", order, Order)
                times.append(time.perf_counter() - begin)

        for until in (time.perf_counter() + seconds / 5, time.perf_counter() + seconds * 1.2):
            times.clear()
            begin = time.perf_counter()
            await asyncio.gather(*(worker() for _ in range(int(in_flight))))
        return JSONResponse({"rate": len(times) / (time.perf_counter() - begin), "p50": statistics.median(times) * 1e6})

    return Starlette(routes=[Route("/measure", measure)])
"""
ANSWERER = """
from msgspec import Struct
from starlette.applications import Starlette
from pywatt_core import pywatt_module

class Order(Struct):
    id: int
    text: str

@pywatt_module()
async def app(state):
    return Starlette()

@app.on("echo")
async def echo(order: Order) -> Order:
    return order
"""
PROJECT = """
[modules.asker]
run = "asker.py"

[modules.answerer]
run = "answerer.py"
"""


@contextlib.contextmanager
def running(folder: str) -> Iterator[str]:
    """`pywatt up` with both modules; the address of its front door."""
    for name, text in {"asker.py": ASKER, "answerer.py": ANSWERER, "pywatt.toml": PROJECT}.items():
        Path(folder, name).write_text(text, encoding="utf-8")
    door = f"http://127.0.0.1:{peers.free_port()}"
    command = [sys.executable, "-m", "pywatt_core.cli.main", "up", "--port", door.rpartition(":")[2]]
    with Path(folder, "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        until = time.monotonic() + PATIENCE
        while True:
            try:
                measure(door, 1, 0.1)
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > until:
                    raise SystemExit(f"pywatt up did not start: {Path(folder, 'log').read_text(errors='replace')[-500:]}") from None
                time.sleep(0.1)
        yield door
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def measure(door: str, in_flight: int, seconds: float) -> dict[str, float]:
    url = f"{door}/asker/measure?in_flight={in_flight}&seconds={seconds}&size={SIZE}"
    with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
        found: dict[str, float] = json.load(answer)
        return found


async def measure_nats(server: peers.Server, in_flight: int) -> dict[str, float]:
    call, close = await peers.connect("nats", server.address, SIZE)
    times: list[float] = []
    begin = until = 0.0

    async def worker() -> None:
        while (started := time.perf_counter()) < until:
            await call()
            times.append(time.perf_counter() - started)

    for seconds in (SECONDS / 5, SECONDS):
        times.clear()
        begin = time.perf_counter()
        until = begin + seconds
        await asyncio.gather(*(worker() for _ in range(in_flight)))
    took = time.perf_counter() - begin
    await close()
    return {"rate": len(times) / took, "p50": statistics.median(times) * 1e6}


def figures(rounds: int) -> list[dict[str, Any]]:
    skipped = peers.missing("nats", "tcp")
    ours: dict[int, list[dict[str, float]]] = {1: [], 64: []}
    theirs: dict[int, list[dict[str, float]]] = {1: [], 64: []}
    with tempfile.TemporaryDirectory(prefix="pw") as folder, running(folder) as door, contextlib.ExitStack() as stack:
        server = None
        if not skipped:
            server = peers.Server("nats", "tcp", folder, None, broker=None)
            stack.callback(server.stop)
        for _ in range(rounds):
            for in_flight in ours:
                ours[in_flight].append(measure(door, in_flight, SECONDS))
                if server is not None:
                    theirs[in_flight].append(peers.run(measure_nats(server, in_flight)))
    return [
        figure("one in flight, p50", "p50", "us", ours[1], theirs[1], skipped),
        figure("64 in flight", "rate", "1/s", ours[64], theirs[64], skipped),
    ]


def figure(what: str, member: str, unit: str, ours: list[Any], theirs: list[Any], skipped: str) -> dict[str, Any]:
    result: dict[str, Any] = {
        "claim": "messages",
        "what": f"request from module to module, 1 KB, {what}",
        "ours": round(statistics.median(one[member] for one in ours), 1),
        "peer": None,
        "peer_name": "nats-py",
        "limit": None,
        "limit_name": "",
        "unit": unit,
        "ratio": None,
        "target": "",
        "ok": None,
    }
    if not skipped:
        result["peer"] = round(statistics.median(one[member] for one in theirs), 1)
        result["ratio"] = round(statistics.median(a[member] / b[member] for a, b in zip(ours, theirs, strict=True)), 2)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON array and nothing else")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"how often each takes its turn (default {ROUNDS})")
    arguments = parser.parse_args()
    results = figures(arguments.rounds)
    if arguments.json:
        print(json.dumps(results))
        return
    for one in results:
        beside = f"nats-py {one['peer']:,.0f}, ratio {one['ratio']}" if one["peer"] is not None else "no nats-py here to compare with"
        print(f"{one['what']}: ours {one['ours']:,.0f} {one['unit']}, {beside}")


if __name__ == "__main__":
    main()
