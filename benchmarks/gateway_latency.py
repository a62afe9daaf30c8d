"""P5: what the gateway adds to the answer's time, one client, pinned: ours against nginx as proxy.

The client has a processor to itself, front door and module share another. Added is the difference of the percentiles
to asking the module directly, in the same run. The limit is a relay that passes bytes on unread in the same event loop.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.front_doors import BODY, PATH, Door, Unavailable, doors

ROUNDS = 7
WARM_UP, REQUESTS = 300, 1500
LIMITS = {50: 60.0, 90: 80.0}
"""Percentile to the µs that may be added."""

REQUEST = f"GET {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


def one_round(door: Door) -> list[float]:
    """The times of one connection's requests in µs, sorted."""
    times = []
    with socket.create_connection(("127.0.0.1", door.port)) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for number in range(WARM_UP + REQUESTS):
            begin = time.perf_counter()
            client.sendall(REQUEST)
            data = b""
            while not data.endswith(BODY.encode()):
                data += client.recv(65536)
            if number >= WARM_UP:
                times.append((time.perf_counter() - begin) * 1e6)
    return sorted(times)


def percentile(times: list[float], percent: int) -> float:
    return times[min(len(times) - 1, len(times) * percent // 100)]


def measure() -> dict[str, dict[int, float]]:
    """Added µs of each front door by percentile: the median over rounds in which all of them were asked."""
    processors = sorted(os.sched_getaffinity(0))
    added: dict[str, dict[int, list[float]]] = {}
    try:
        with doors(relay=True) as found:
            os.sched_setaffinity(0, {processors[0]})
            for door in found.values():
                door.pin(processors[-1])
            for _ in range(ROUNDS):
                times = {name: one_round(door) for name, door in found.items()}
                for name in found.keys() - {"direct"}:
                    for percent in LIMITS:
                        more = percentile(times[name], percent) - percentile(times["direct"], percent)
                        added.setdefault(name, {}).setdefault(percent, []).append(more)
    finally:
        os.sched_setaffinity(0, set(processors))
    return {name: {percent: statistics.median(values) for percent, values in by.items()} for name, by in added.items()}


def figures() -> list[dict[str, Any]]:
    names = {"peer_name": "nginx as proxy", "limit_name": "relay of bytes", "unit": "us"}
    try:
        added = measure()
    except Unavailable as error:
        empty = {"ours": None, "peer": None, "limit": None, "ratio": None, "ok": None}
        return [{"claim": "P5", "what": "gateway", **empty, **names, "target": "+60 us", "skipped": str(error)}]
    return [
        {
            "claim": "P5",
            "what": f"time added to an answer, p{percent}",
            "ours": added["gateway"][percent],
            "peer": added["nginx"][percent],
            "limit": added["relay"][percent],
            **names,
            "ratio": added["gateway"][percent] / added["nginx"][percent],
            "target": f"<= +{limit:.0f} us",
            "ok": added["gateway"][percent] <= limit,
        }
        for percent, limit in LIMITS.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    found = figures()
    if parser.parse_args().json:
        print(json.dumps(found))
        return
    for one in found:
        if one.get("skipped"):
            print(f"{one['claim']}: skipped: {one['skipped']}")
            continue
        print(f"{one['claim']} {one['what']} (us)")
        print(f"   gateway {one['ours']:+8.1f}   nginx {one['peer']:+8.1f}   relay {one['limit']:+8.1f}")
        print(f"   ratio to nginx {one['ratio']:.2f}   target {one['target']}   {'met' if one['ok'] else 'missed'}")


if __name__ == "__main__":
    main()
