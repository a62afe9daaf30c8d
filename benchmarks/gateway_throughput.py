"""P4: small responses through the gateway, 32 connections: processor time a request, ours against nginx as proxy.

Both stand before the same nginx that plays the module, in turns, in the same run. The figure is the time on a processor
that the front door spends on one request, because requests a second on a shared machine say more about the load beside
it than about the front door. The limit is what the module itself spends when it is asked directly.

The gateway remembers heads that come more than once, byte for byte, as those of wrk all do, and header lines apart from
request lines. Two more scenarios therefore change the path with every request, and the path and a header, so that nothing
is ever remembered. They have no target and are there to be known.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.front_doors import Door, Unavailable, doors, load

ROUNDS = 5
SECONDS = 1
CONNECTIONS = 32
TARGET = 0.9

Round = tuple[float, float]
"""Processor time a request in µs, requests a second."""


def one_round(door: Door, *, varied: str) -> Round:
    before = door.cpu()
    answers = load(door, connections=CONNECTIONS, seconds=SECONDS, varied=varied)
    return (door.cpu() - before) / answers * 1e6, answers / SECONDS


def scenario(what: str, *, over_unix: bool = False, varied: str = "", target: bool = True) -> list[dict[str, Any]]:
    with doors(over_unix=over_unix) as found:
        for door in found.values():
            load(door, connections=CONNECTIONS, seconds=SECONDS, varied=varied)
        rounds: dict[str, list[Round]] = {name: [] for name in found}
        for _ in range(ROUNDS):
            for name, door in found.items():
                rounds[name].append(one_round(door, varied=varied))
    cpu = {name: statistics.median(time for time, _ in taken) for name, taken in rounds.items()}
    rate = {name: statistics.median(rate for _, rate in taken) for name, taken in rounds.items()}
    ratio = statistics.median(peer / ours for (ours, _), (peer, _) in zip(rounds["gateway"], rounds["nginx"], strict=True))
    ok, wanted = (ratio >= TARGET, f"nginx / ours >= {TARGET}") if target else (None, "")
    return [
        figure(f"{what}: processor time a request", cpu, "us", ratio, ok, wanted),
        figure(f"{what}: requests a second", rate, "1/s", rate["gateway"] / rate["nginx"], None, ""),
    ]


def figure(what: str, values: dict[str, float], unit: str, ratio: float, ok: bool | None, target: str) -> dict[str, Any]:
    names = {"peer_name": "nginx as proxy", "limit_name": "module asked directly"}
    figures = {"ours": values["gateway"], "peer": values["nginx"], "limit": values["direct"]}
    return {"claim": "P4", "what": what, **figures, **names, "unit": unit, "ratio": ratio, "target": target, "ok": ok}


def figures() -> list[dict[str, Any]]:
    try:
        return [
            *scenario("module on TCP"),
            *scenario("module on a Unix socket", over_unix=True, target=False),
            *scenario("module on TCP, no two paths alike", varied="paths", target=False),
            *scenario("module on TCP, no two heads alike", varied="heads", target=False),
        ]
    except Unavailable as error:
        empty = {"ours": None, "peer": None, "limit": None, "peer_name": "", "limit_name": "", "unit": "us", "ratio": None, "ok": None}
        return [{"claim": "P4", "what": "gateway", **empty, "target": "nginx / ours >= 0.9", "skipped": str(error)}]


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
        verdict = {True: "met", False: "missed", None: "-"}[one["ok"]]
        print(f"{one['claim']} {one['what']} ({one['unit']})")
        print(f"   gateway {one['ours']:10.2f}   nginx {one['peer']:10.2f}   direct {one['limit']:10.2f}")
        print(f"   ratio {one['ratio']:.3f}   {one['target'] or 'no target'}   {verdict}")


if __name__ == "__main__":
    main()
