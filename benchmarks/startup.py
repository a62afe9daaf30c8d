"""P6: spawn to announce, against the bare framework doing the same work: import, build the application, bind, be ready.

Ours is ``python -m pywatt_core.launch app.py`` with an init line already waiting on its standard input; the clock stops
when the announce arrives. The peer is the same application under its own server, which prints a line once it accepts.
The limit is an interpreter that prints a line.

The claim is about the clock; the processor time that each process had used by then is printed beside it, because on a busy
machine that is the steadier figure.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROUNDS, WARM_UP = 15, 2

OURS = {
    "FastAPI": """
from fastapi import FastAPI
from pywatt_core import pywatt_module

@pywatt_module
def module(state):
    app = FastAPI()

    @app.get("/hello/{name}")
    async def hello(name: str) -> dict[str, str]:
        return {"hello": name}

    return app
""",
    "Flask": """
from flask import Flask
from pywatt_core import pywatt_module

@pywatt_module
def module(state):
    app = Flask("bench")

    @app.get("/hello/<name>")
    def hello(name):
        return {"hello": name}

    return app
""",
}

BARE = {
    "FastAPI": """
import socket
import uvicorn
from fastapi import FastAPI

app = FastAPI()

@app.get("/hello/{name}")
async def hello(name: str) -> dict[str, str]:
    return {"hello": name}

class Server(uvicorn.Server):
    async def startup(self, sockets=None):
        await super().startup(sockets)
        print("ready", flush=True)

listener = socket.create_server(("127.0.0.1", 0))
Server(uvicorn.Config(app, log_level="error")).run(sockets=[listener])
""",
    "Flask": """
import socket
import waitress.server
from flask import Flask

app = Flask("bench")

@app.get("/hello/<name>")
def hello(name):
    return {"hello": name}

listener = socket.create_server(("127.0.0.1", 0))
server = waitress.server.create_server(app, sockets=[listener])
print("ready", flush=True)
server.run()
""",
}


class Took(NamedTuple):
    """Seconds from starting a process to the first byte that it writes to standard output, and what it worked in them."""

    clock: float
    processor: float


def spawn(command: list[str], line: bytes) -> Took:
    """Start `command`, give it `line`, wait for its first byte, end it."""
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    try:
        process.stdin.write(line)
        process.stdin.flush()
        first = process.stdout.read(1)
        clock = time.perf_counter() - begin
        if not first:
            raise RuntimeError(f"{command} wrote nothing:\n{process.stderr.read().decode()}")
    finally:
        os.kill(process.pid, signal.SIGKILL)  # Popen.kill() would reap one that has ended, and its accounts with it
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        for stream in (process.stdin, process.stdout, process.stderr):
            stream.close()
    return Took(clock, used.ru_utime + used.ru_stime)


def init_line() -> bytes:
    init = {
        "orchestrator_api": "http://127.0.0.1:9900",
        "module_id": "bench",
        "env": {},
        "listen": "127.0.0.1:0",
        "security_level": "None",
        "pywatt": {"config": {"plugins": {}}},
    }
    return json.dumps(init).encode() + b"\n"


def compile_everything() -> None:
    import pywatt_core

    compileall.compile_dir(Path(pywatt_core.__file__).parent, quiet=2)
    for name in ("pywatt_fastapi", "pywatt_flask"):
        package = __import__(name)
        compileall.compile_dir(Path(package.__file__ or "").parent, quiet=2)


def measure(framework: str, folder: Path) -> list[dict[str, object]]:
    """The claim's figure, by the clock, and the same by processor time."""
    ours, bare = folder / f"ours_{framework.lower()}.py", folder / f"bare_{framework.lower()}.py"
    ours.write_text(OURS[framework])
    bare.write_text(BARE[framework])
    commands = {
        "ours": [sys.executable, "-m", "pywatt_core.launch", str(ours)],
        "bare": [sys.executable, str(bare)],
        "limit": [sys.executable, "-c", "print('ready', flush=True)"],
    }
    figures: dict[str, list[Took]] = {name: [] for name in commands}
    for number in range(ROUNDS + WARM_UP):
        for name, command in commands.items():
            took = spawn(command, init_line())
            if number >= WARM_UP:
                figures[name].append(took)
    clock = figure(framework, "", {name: [took.clock for took in found] for name, found in figures.items()})
    ratio = clock["ratio"]
    if framework == "FastAPI":
        clock |= {"target": "<= 1.1 x the bare framework", "ok": isinstance(ratio, float) and ratio <= 1.1}
    return [clock, figure(framework, ", processor time", {name: [took.processor for took in found] for name, found in figures.items()})]


def figure(framework: str, what: str, seconds: dict[str, list[float]]) -> dict[str, object]:
    """Medians in milliseconds, and the median of the ratios of neighbouring runs."""
    medians = {name: round(statistics.median(found) * 1000, 1) for name, found in seconds.items()}
    return {
        "claim": "P6",
        "what": f"spawn to announce, {framework}{what}",
        "ours": medians["ours"],
        "peer": medians["bare"],
        "peer_name": f"bare {framework}",
        "limit": medians["limit"],
        "limit_name": "an interpreter that prints",
        "unit": "ms",
        "ratio": round(statistics.median(a / b for a, b in zip(seconds["ours"], seconds["bare"], strict=True)), 3),
        "target": "printed, no target",
        "ok": None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON array and nothing else")
    arguments = parser.parse_args()
    os.environ.pop("PYWATT_STANDALONE", None)
    os.environ["PYWATT_MODULE_ID"] = "bench"
    compile_everything()
    with tempfile.TemporaryDirectory() as folder:
        results = [result for framework in OURS for result in measure(framework, Path(folder))]
    if arguments.json:
        print(json.dumps(results))
        return
    for result in results:
        print(f"{result['what']}: ours {result['ours']} ms, {result['peer_name']} {result['peer']} ms, limit {result['limit']} ms")
        print(f"  ratio {result['ratio']}, {result['target']}")


if __name__ == "__main__":
    main()
