"""P1: a typed request, one in flight, each end on a processor of its own: ours against a raw Protocol echo, grpcio aio, and nats-py
with a real nats-server, over a Unix socket and TCP, with 64 bytes, 1 KB and 16 KB.

What the ends are stands in `peers`; the limit is the same bytes over blocking sockets, no loop at all. The client has one
processor, the server the other, which nats-server shares. Each round measures every end once, in turn. A figure is the median
over the rounds of the p50 of one round; a ratio the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import peers

SIZES = {64: "64 B", 1024: "1 KB", 16384: "16 KB"}
ROUNDS, WARM_UP = 9, 200
REQUESTS = {"link": 2000, "raw": 2000, "grpc": 400, "nats": 600, "blocking": 2000}
CLIENT, SERVER = 0, 1
NAMES = {"raw": "raw Protocol echo", "grpc": "grpcio aio", "nats": "nats-py"}
CLAIM = 1.25
"""The ratio to a raw Protocol that we hold ourselves to, over a Unix socket with 1 KB."""


async def measure(kind: str, server: peers.Server, size: int) -> float:
    """The p50 in µs of one round."""
    call, close = await peers.connect(kind, server.address, size)
    for _ in range(WARM_UP):
        await call()
    times = []
    for _ in range(REQUESTS[kind]):
        begin = time.perf_counter()
        await call()
        times.append(time.perf_counter() - begin)
    await close()
    return statistics.median(times) * 1e6


def measure_blocking(server: peers.Server, size: int) -> float:
    times = []
    calls = peers.blocking_calls(server.address, size)
    for _ in range(WARM_UP):
        next(calls)
    for _ in range(REQUESTS["blocking"]):
        begin = time.perf_counter()
        next(calls)
        times.append(time.perf_counter() - begin)
    calls.close()
    return statistics.median(times) * 1e6


def all_rounds(transport: str, rounds: int) -> dict[tuple[str, int], list[float]]:
    """Every end at every size, `rounds` times in turn."""
    kinds = [kind for kind in REQUESTS if not peers.missing(kind, transport)]
    found: dict[tuple[str, int], list[float]] = {(kind, size): [] for size in SIZES for kind in kinds}
    servers: dict[str, peers.Server] = {}
    with tempfile.TemporaryDirectory(prefix="pw") as folder:
        try:
            for kind in kinds:
                servers[kind] = peers.Server(kind, transport, folder, SERVER, broker=SERVER)
            for _ in range(rounds):
                for (kind, size), results in found.items():
                    server = servers[kind]
                    results.append(measure_blocking(server, size) if kind == "blocking" else peers.run(measure(kind, server, size)))
        finally:
            for server in servers.values():
                server.stop()
    return found


def figure(transport: str, size: int, peer: str, found: dict[tuple[str, int], list[float]]) -> dict[str, Any]:
    """Ours against one peer."""
    result: dict[str, Any] = {
        "claim": "P1",
        "what": f"typed request, {transport}, {SIZES[size]}, one in flight, p50",
        "ours": round(statistics.median(found["link", size]), 2),
        "peer": None,
        "peer_name": NAMES[peer],
        "limit": round(statistics.median(found["blocking", size]), 2),
        "limit_name": "blocking sockets",
        "unit": "us",
        "ratio": None,
        "target": "",
        "ok": None,
    }
    if why := peers.missing(peer, transport):
        return {**result, "ours": None, "skipped": why}
    ratio = statistics.median(a / b for a, b in zip(found["link", size], found[peer, size], strict=True))
    result["peer"] = round(statistics.median(found[peer, size]), 2)
    result["ratio"] = round(ratio, 3)
    if peer == "raw" and (transport, size) == ("unix", 1024):
        result["target"], result["ok"] = f"<= {CLAIM} x {NAMES[peer]}", ratio <= CLAIM
    return result


def figures(rounds: int) -> list[dict[str, Any]]:
    peers.pin(CLIENT)
    results = []
    for transport, against in {"unix": ("raw", "grpc"), "tcp": ("raw", "grpc", "nats")}.items():
        found = all_rounds(transport, rounds)
        results += [figure(transport, size, peer, found) for size in SIZES for peer in against]
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON array and nothing else")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"how often each end takes its turn (default {ROUNDS})")
    arguments = parser.parse_args()
    results = figures(arguments.rounds)
    if arguments.json:
        print(json.dumps(results))
        return
    for one in results:
        if one.get("skipped"):
            print(f"{one['what']}, against {one['peer_name']}: skipped, {one['skipped']}")
        else:
            print(f"{one['what']}: ours {one['ours']:.1f} µs, {one['peer_name']} {one['peer']:.1f} µs, ", end="")
            print(f"blocking sockets {one['limit']:.1f} µs; ratio {one['ratio']:.2f} {one['target'] and 'target ' + one['target']}")


if __name__ == "__main__":
    main()
