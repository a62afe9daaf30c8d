"""P2: typed requests, 64 in flight, both ends on one processor: ours against grpcio aio, nats-py with a real nats-server, and a raw
Protocol, over a Unix socket and TCP, with 64 bytes, 1 KB and 16 KB.

What the ends are stands in `peers`. Both ends of a pair share one processor; nats-server has the other one, so that the
comparison leaves its work out. Each round measures every end once, in turn. A figure is the median over the rounds; a ratio the
median of the rounds' ratios. The claim of 100,000 requests a second is judged by the processor time of both ends for one request,
10 µs: the same on a quiet machine, and it stays what it is while somebody else uses the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import peers

IN_FLIGHT = 64
SIZES = {64: "64 B", 1024: "1 KB", 16384: "16 KB"}
ROUNDS = 7
SECONDS = {"link": 0.5, "raw": 0.5, "grpc": 0.5, "nats": 0.5}
PROCESSOR, BROKER = 0, 1
ENOUGH = 1e6 / 100_000
"""µs of processor that one request may take."""


class Measured(NamedTuple):
    """Requests in a second, and µs of both ends' processor for one."""

    rate: float
    cpu: float


async def measure(kind: str, server: peers.Server, size: int) -> Measured:
    """Keep `IN_FLIGHT` requests under way for a while."""
    call, close = await peers.connect(kind, server.address, size)
    loop = asyncio.get_running_loop()
    done, until = 0, loop.time() + SECONDS[kind] / 5

    async def worker() -> None:
        nonlocal done
        while loop.time() < until:
            for _ in range(20):
                await call()
            done += 20

    await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))  # warm
    done, until = 0, loop.time() + SECONDS[kind]
    begin, used = time.perf_counter(), peers.own_cpu_seconds() + server.cpu_seconds()
    await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))
    used, took = peers.own_cpu_seconds() + server.cpu_seconds() - used, time.perf_counter() - begin
    await close()
    return Measured(done / took, used / done * 1e6)


def all_rounds(transport: str, rounds: int) -> dict[tuple[str, int], list[Measured]]:
    """Every end at every size, `rounds` times in turn."""
    kinds = [kind for kind in SECONDS if not peers.missing(kind, transport)]
    found: dict[tuple[str, int], list[Measured]] = {(kind, size): [] for size in SIZES for kind in kinds}
    servers: dict[str, peers.Server] = {}
    with tempfile.TemporaryDirectory(prefix="pw") as folder:
        try:
            for kind in kinds:
                servers[kind] = peers.Server(kind, transport, folder, PROCESSOR, broker=BROKER)
            for _ in range(rounds):
                for (kind, size), results in found.items():
                    results.append(peers.run(measure(kind, servers[kind], size)))
        finally:
            for server in servers.values():
                server.stop()
    return found


def figure(transport: str, size: int, peer: str, least: float, found: dict[tuple[str, int], list[Measured]]) -> dict[str, Any]:
    """Ours against one peer; `least` is the ratio that we hold ourselves to."""
    names = {"grpc": "grpcio aio", "nats": "nats-py"}
    claimed = size == 1024
    result: dict[str, Any] = {
        "claim": "P2",
        "what": f"typed requests, {transport}, {SIZES[size]}, {IN_FLIGHT} in flight, both ends on one CPU",
        "ours": round(statistics.median(one.rate for one in found["link", size])),
        "our_cpu_us": round(statistics.median(one.cpu for one in found["link", size]), 2),
        "peer": None,
        "peer_name": names[peer],
        "limit": round(statistics.median(one.rate for one in found["raw", size])),
        "limit_name": "raw Protocol",
        "limit_cpu_us": round(statistics.median(one.cpu for one in found["raw", size]), 2),
        "unit": "1/s",
        "ratio": None,
        "target": f">= {least:g} x {names[peer]}" + (", 100,000/s of CPU time" if claimed else ""),
        "ok": None,
    }
    if why := peers.missing(peer, transport):
        return {**result, "ours": None, "skipped": why}
    pairs = list(zip(found["link", size], found[peer, size], strict=True))
    result["peer"] = round(statistics.median(theirs.rate for _, theirs in pairs))
    result["peer_cpu_us"] = round(statistics.median(theirs.cpu for _, theirs in pairs), 2)
    ratio = statistics.median(ours.rate / theirs.rate for ours, theirs in pairs)
    result["ratio"] = round(ratio, 2)
    result["ok"] = ratio >= least and (not claimed or result["our_cpu_us"] <= ENOUGH)
    return result


def figures(rounds: int) -> list[dict[str, Any]]:
    peers.pin(PROCESSOR)
    results = []
    for transport, against in {"unix": {"grpc": 10.0}, "tcp": {"grpc": 10.0, "nats": 3.0}}.items():
        found = all_rounds(transport, rounds)
        results += [figure(transport, size, peer, least, found) for size in SIZES for peer, least in against.items()]
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
            continue
        print(f"{one['what']}: ours {one['ours']:,}/s ({one['our_cpu_us']} µs of processor), ", end="")
        print(f"{one['peer_name']} {one['peer']:,}/s ({one['peer_cpu_us']} µs), ", end="")
        print(f"raw Protocol {one['limit']:,}/s ({one['limit_cpu_us']} µs); ratio {one['ratio']}, target {one['target']}")


if __name__ == "__main__":
    main()
