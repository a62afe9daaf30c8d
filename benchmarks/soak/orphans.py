"""R3: kill -9 the orchestrator, again and again: every module gone within a second, no orphan, socket or folder left.

Each round starts `pywatt up` on four modules (one that behaves, one that ignores SIGTERM and has a child, one that still
starts, one with a port of its own), kills the orchestrator at a random moment after they are ready, and watches how long
anything of it is left.

    python benchmarks/soak/orphans.py            200 rounds
    python benchmarks/soak/orphans.py --rounds 5
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

PEER = Path(__file__).parents[2] / "plugins" / "pywatt_orchestrator" / "tests" / "peer.py"
LAUNCHER = "import sys; from pywatt_core.cli.main import main; sys.exit(main())"
DEADLINE = 30.0
LIMIT = 1.0
"""Seconds within which every module has to be gone."""

MODULES = {
    "users": (["serve"], 'listen = "unix"'),
    "stubborn": (["child=600", "ignore_sigterm", "greet", "http", "announce", "block"], 'listen = "unix"'),
    "starting": (["greet", "block"], 'listen = "unix"'),
    "orders": (["serve"], ""),
}


def write_project(folder: Path) -> None:
    text = ""
    for name, (deeds, more) in MODULES.items():
        text += f"[modules.{name}]\ncommand = {json.dumps([sys.executable, str(PEER), *deeds])}\nrust = false\n{more}\n"
    (folder / "pywatt.toml").write_text(text)


def processes(folder: Path, runtime: Path) -> Iterator[int]:
    """Everything that runs because of the project, by its working folder or its environment."""
    wanted = f"XDG_RUNTIME_DIR={runtime}".encode()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if (entry / "cwd").readlink() == folder or wanted in (entry / "environ").read_bytes():
                    yield int(entry.name)


def one_round(folder: Path, runtime: Path) -> tuple[float, list[str]]:
    """Seconds from the kill until no process is left, and what is left for good."""
    environ = {**os.environ, "XDG_RUNTIME_DIR": str(runtime)}
    command = [sys.executable, "-c", LAUNCHER, "up", "--port", "0", "--json"]
    orchestrator = subprocess.Popen(command, cwd=folder, env=environ, stdout=subprocess.PIPE, start_new_session=True)
    assert orchestrator.stdout is not None
    waiting = {"users", "stubborn", "orders"}
    while waiting and (line := orchestrator.stdout.readline()):
        event = json.loads(line)
        if event["message"].startswith("ready in"):
            waiting.discard(event["module"])
    time.sleep(random.random() * 0.2)
    orchestrator.kill()
    killed = time.monotonic()
    orchestrator.wait()
    orchestrator.stdout.close()
    left = [f"not ready: {name}" for name in sorted(waiting)]
    while (running := list(processes(folder, runtime))) and time.monotonic() - killed < DEADLINE:
        time.sleep(0.005)
    gone = time.monotonic() - killed
    left += [f"process {pid}" for pid in running] + [str(path) for path in runtime.rglob("*")]
    for pid in running:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return gone, left


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    rounds = parser.parse_args().rounds
    folder, runtime = Path(tempfile.mkdtemp(prefix="pw-soak-")).resolve(), Path(tempfile.mkdtemp(prefix="pw-"))
    times: list[float] = []
    failures = 0
    try:
        write_project(folder)
        for number in range(1, rounds + 1):
            gone, left = one_round(folder, runtime)
            times.append(gone)
            if left:
                failures += 1
                print(f"round {number}: left behind: {', '.join(left)}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(runtime, ignore_errors=True)
    late = sum(gone > LIMIT for gone in times)
    print(f"rounds {len(times)}   left something behind {failures}   later than {LIMIT:g} s {late}")
    print(f"everything gone after: median {statistics.median(times) * 1000:.0f} ms, worst {max(times) * 1000:.0f} ms")
    return 1 if failures or late else 0


if __name__ == "__main__":
    sys.exit(main())
