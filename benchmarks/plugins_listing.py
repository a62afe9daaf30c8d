"""P8: ``pywatt plugins --json`` with 300 installed distributions: ours against another host of plugins looking around.

The peers see the same 300 distributions: ``pytest --version``, which loads its plugins, and the least that the standard
library needs to read the entry points. The limit is an interpreter that does nothing. The listing is looked at as well: it
has to name what is installed, and no backend may have been imported.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

DISTRIBUTIONS, ROUNDS, WARM_UP = 300, 21, 2
TARGET = 60.0
"""Milliseconds."""

BACKENDS = ("aiosqlite", "sqlite3", "fastapi", "starlette", "uvicorn", "flask", "waitress", "httptools", "pydantic", "asyncio", "msgspec")

LOOK = f"""
import sys
from pywatt_core.cli.main import main
status = main(["plugins", "--json"])
print(*[name for name in {BACKENDS!r} if name in sys.modules], file=sys.stderr)
sys.exit(status)
"""

COMMANDS = {
    "ours": [sys.executable, "-m", "pywatt_core.cli.main", "plugins", "--json"],
    "pytest --version": [sys.executable, "-m", "pytest", "--version"],
    "importlib.metadata": [sys.executable, "-c", "import importlib.metadata as m; m.entry_points(group='pywatt')"],
    "python -c pass": [sys.executable, "-c", "pass"],
}


def install(folder: Path) -> None:
    """Distributions as pip leaves them: metadata, a record, and for every third one an entry point of somebody else's."""
    for number in range(DISTRIBUTIONS):
        metadata = folder / f"someones_library_{number}-1.{number}.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: someones-library-{number}\nVersion: 1.{number}\n\n{'text ' * 200}"
        )
        (metadata / "RECORD").write_text("".join(f"someones_library_{number}/file{line}.py,sha256=x,1\n" for line in range(20)))
        if number % 3 == 0:
            (metadata / "entry_points.txt").write_text(f"[console_scripts]\nlibrary{number} = someones_library_{number}:main\n")


def measure(environ: dict[str, str], folder: Path) -> dict[str, float]:
    """The median of each command's milliseconds; all take turns, so that what disturbs one disturbs all."""
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for number in range(WARM_UP + ROUNDS):
        for name, command in COMMANDS.items():
            started = time.perf_counter()
            subprocess.run(command, cwd=folder, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
            if number >= WARM_UP:
                times[name].append((time.perf_counter() - started) * 1000)
    return {name: statistics.median(found) for name, found in times.items()}


def look(environ: dict[str, str], folder: Path) -> int:
    """How many plugins are listed; ends the benchmark where the listing is wrong or has imported a backend."""
    done = subprocess.run([sys.executable, "-c", LOOK], cwd=folder, env=environ, capture_output=True, text=True, check=True)
    if done.stderr.strip():
        raise SystemExit(f"listing plugins imported {done.stderr.strip()}")
    rows = json.loads(done.stdout)
    if "builtin" not in {row["name"] for row in rows}:
        raise SystemExit("the listing lacks the built-in plugin")
    return len(rows)


def figures() -> list[dict[str, Any]]:
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE" and not name.startswith("PYWATT")}
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        install(folder)
        environ["PYTHONPATH"] = str(folder)
        plugins = look(environ, folder)
        found = measure(environ, folder)
    ours, limit = found["ours"], found["python -c pass"]
    return [
        {
            "claim": "P8",
            "what": f"pywatt plugins --json, {DISTRIBUTIONS} distributions, {plugins} plugins",
            "ours": round(ours, 1),
            "peer": round(found[peer], 1),
            "limit": round(limit, 1),
            "peer_name": peer,
            "limit_name": "python -c pass",
            "unit": "ms",
            "ratio": round(ours / found[peer], 2),
            "target": f"<= {TARGET:.0f} ms",
            "ok": ours <= TARGET,
        }
        for peer in ("pytest --version", "importlib.metadata")
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON array")
    wanted = parser.parse_args()
    found = figures()
    if wanted.json:
        print(json.dumps(found))
        return
    for one in found:
        print(f"{one['what']}: {one['ours']} {one['unit']}, {one['peer_name']} {one['peer']}, {one['limit_name']} {one['limit']}")
        print(f"  {one['ratio']} of the peer; target {one['target']}: {'met' if one['ok'] else 'missed'}")


if __name__ == "__main__":
    main()
