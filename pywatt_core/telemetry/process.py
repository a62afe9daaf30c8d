"""What the operating system knows about this process, as metrics; what it does not tell here is left out."""

from __future__ import annotations

import os
import platform
import resource
import time
from pathlib import Path
from typing import TYPE_CHECKING

from .logs import counts
from .series import escape_label, number

if TYPE_CHECKING:
    from collections.abc import Iterator

_FIRST_SEEN = time.time()


def process_lines() -> Iterator[str]:
    """CPU, memory, descriptors, start time, Python's version, log events by level: lines of the Prometheus text format."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    yield from _one("process_cpu_seconds_total", "counter", "User and system CPU time in seconds.", usage.ru_utime + usage.ru_stime)
    yield from _one("process_start_time_seconds", "gauge", "Start of the process in seconds since 1970.", _start_time())
    memory = _memory()
    if memory is not None:
        yield from _one("process_virtual_memory_bytes", "gauge", "Virtual memory in bytes.", memory[0])
        yield from _one("process_resident_memory_bytes", "gauge", "Resident memory in bytes.", memory[1])
    descriptors = _open_descriptors()
    if descriptors is not None:
        yield from _one("process_open_fds", "gauge", "Open file descriptors.", descriptors)
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    yield from _one("process_max_fds", "gauge", "Limit of open file descriptors.", float("inf") if soft == resource.RLIM_INFINITY else soft)
    yield "# HELP python_info Version of Python."
    yield "# TYPE python_info gauge"
    yield f'python_info{{implementation="{platform.python_implementation()}",version="{escape_label(platform.python_version())}"}} 1'
    by_level, dropped = counts()
    yield "# HELP pywatt_log_events_total Log events, written or dropped."
    yield "# TYPE pywatt_log_events_total counter"
    for level, count in sorted(by_level.items()):
        yield f'pywatt_log_events_total{{level="{level}"}} {count}'
    yield from _one("pywatt_log_events_dropped_total", "counter", "Log events that nobody read in time.", dropped)


def _one(name: str, kind: str, help: str, value: float) -> Iterator[str]:
    yield f"# HELP {name} {help}"
    yield f"# TYPE {name} {kind}"
    yield f"{name} {number(value)}"


def _memory() -> tuple[int, int] | None:
    """Virtual and resident bytes."""
    try:
        pages = Path("/proc/self/statm").read_text().split()
    except OSError:
        return None
    size = resource.getpagesize()
    return int(pages[0]) * size, int(pages[1]) * size


def _open_descriptors() -> int | None:
    try:
        return sum(1 for _ in Path("/proc/self/fd").iterdir()) - 1  # the one that lists them is among them
    except OSError:
        return None


def _start_time() -> float:
    """Seconds since 1970; where the system does not tell, the moment at which this file was loaded."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        booted = next(int(line.split()[1]) for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime "))
    except (OSError, StopIteration, ValueError, IndexError):
        return _FIRST_SEEN
    return booted + ticks / os.sysconf("SC_CLK_TCK")
