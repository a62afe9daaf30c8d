"""A gigabyte from one module to another, and the memory that all three processes need for it.

    python benchmarks/soak/streams.py                  1 GiB
    python benchmarks/soak/streams.py --megabytes 4096

Exit status 1 where a process has grown by more than 24 MiB over what it needed for the first 16 MiB, or where bytes are missing.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.streaming import ours

LIMIT = 24
"""MiB by which a process may grow."""
WARM = 16
"""MiB that are sent before."""


def peak(pid: int) -> float:
    """MiB of memory that a process has had at most."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"process {pid} does not say how much memory it had")


def main() -> int:
    parser = argparse.ArgumentParser(description="Memory of a large stream.")
    parser.add_argument("--megabytes", type=int, default=1024)
    options = parser.parse_args()
    with ours(channels=True) as stream:
        stream.round(WARM)
        before = [peak(pid) for pid in stream.pids]
        rate = stream.round(options.megabytes).rate
        grown = [peak(pid) - earlier for pid, earlier in zip(stream.pids, before, strict=True)]
    for name, earlier, more in zip(("orchestrator", "module", "module"), before, grown, strict=True):
        print(f"{name}: {earlier:.1f} MiB after {WARM} MiB, {more:+.1f} MiB after {options.megabytes} MiB more")
    print(f"{rate:.0f} MB/s")
    return 1 if max(grown) > LIMIT else 0


if __name__ == "__main__":
    sys.exit(main())
