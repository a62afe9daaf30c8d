"""P10: `get` and `set` of 64 bytes in Redis: our cache against raw redis-py with hiredis, and against a bare pipeline, in one run.

Raw redis-py is one client with its pool of connections and the call of its documentation. Ours is the whole of the cache: keys and
values checked, counters, a deadline for each command, and callers that share round trips. The limit is hiredis on a bare asyncio
protocol that does nothing but write what was asked in one turn of the loop and hand out replies. aiocache is asked too, as
`RedisCache` with bytes and its usual deadline. All take turns, with one task and with sixty-four, and with all 64 values in one `get_many`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import aiocache
import hiredis
import redis.asyncio
from aiocache.serializers import NullSerializer

from pywatt_core.interfaces import Context
from pywatt_redis import Options, open_redis
from tools import test_servers
from tools.running_servers import RedisServer

ROUNDS, REQUESTS, VALUE = 7, 6400, b"x" * 64
NAMES = [f"key{number}" for number in range(64)]

Ask = Callable[[int], Awaitable[object]]


class Bare(asyncio.Protocol):
    """The least that a pipelined client has to do."""

    def __init__(self) -> None:
        self._reader = hiredis.Reader(notEnoughData=Ellipsis)
        self._asked: deque[asyncio.Future[Any]] = deque()
        self._buffer: list[bytes] = []
        self._loop = asyncio.get_running_loop()
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        while (reply := self._reader.gets()) is not Ellipsis:
            self._asked.popleft().set_result(reply)

    def execute(self, *command: Any) -> asyncio.Future[Any]:
        reply = self._loop.create_future()
        if not self._buffer:
            self._loop.call_soon(self._flush)
        self._buffer.append(hiredis.pack_command(command))
        self._asked.append(reply)
        return reply

    def close(self) -> None:
        self._transport.close()

    def _flush(self) -> None:
        self._transport.write(b"".join(self._buffer))
        self._buffer.clear()


async def per_second(ask: Ask, tasks: int, each: int = 1) -> tuple[float, float]:
    """Answers per second with so many tasks at once, and microseconds of this process's CPU time for one."""

    async def work(first: int) -> None:
        for number in range(REQUESTS // tasks // each):
            await ask((first + number) % len(NAMES))

    begun, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*[work(task * 7) for task in range(tasks)])
    return REQUESTS / (time.perf_counter() - begun), (time.process_time() - cpu) / REQUESTS * 1e6


async def measure(port: int) -> dict[tuple[str, str, int], list[tuple[float, float]]]:
    context = Context(module_id="benchmark", section="caches.main")
    figures: dict[tuple[str, str, int], list[tuple[float, float]]] = {}
    raw = redis.asyncio.Redis(host="127.0.0.1", port=port)
    facade = aiocache.RedisCache(endpoint="127.0.0.1", port=port, serializer=NullSerializer(encoding=None))
    bare: Bare
    _, bare = await asyncio.get_running_loop().create_connection(Bare, "127.0.0.1", port)
    async with open_redis(Options(host="127.0.0.1", port=port), context) as cache:
        await cache.set_many(dict.fromkeys(NAMES, VALUE))
        contenders: dict[str, dict[str, Ask]] = {
            "get": {
                "ours": lambda number: cache.get(NAMES[number]),
                "peer": lambda number: raw.get(NAMES[number]),
                "limit": lambda number: bare.execute("GET", NAMES[number]),
                "aiocache": lambda number: facade.get(NAMES[number]),
            },
            "set": {
                "ours": lambda number: cache.set(NAMES[number], VALUE),
                "peer": lambda number: raw.set(NAMES[number], VALUE),
                "limit": lambda number: bare.execute("SET", NAMES[number], VALUE),
                "aiocache": lambda number: facade.set(NAMES[number], VALUE),
            },
            "get_many": {
                "ours": lambda number: cache.get_many(NAMES),
                "peer": lambda number: raw.mget(NAMES),
                "limit": lambda number: bare.execute("MGET", *NAMES),
            },
        }
        for _ in range(ROUNDS + 1):
            for what, asks in contenders.items():
                for tasks in (1, 64) if what != "get_many" else (1,):
                    for name, ask in asks.items():
                        each = len(NAMES) if what == "get_many" else 1
                        figures.setdefault((what, name, tasks), []).append(await per_second(ask, tasks, each))
    bare.close()
    await facade.client.aclose()
    await raw.aclose()
    return {key: values[1:] for key, values in figures.items()}  # the first round makes the connections


def results(figures: dict[tuple[str, str, int], list[tuple[float, float]]]) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    for what, tasks in sorted({(what, tasks) for what, _, tasks in figures}):
        rates = {name: [rate for rate, _ in values] for (kind, name, many), values in figures.items() if (kind, many) == (what, tasks)}
        costs = {
            name: statistics.median(cpu for _, cpu in values)
            for (kind, name, many), values in figures.items()
            if (kind, many) == (what, tasks)
        }
        middle = {name: statistics.median(values) for name, values in rates.items()}
        ratio = statistics.median(ours / peer for ours, peer in zip(rates["ours"], rates["peer"], strict=True))
        target = 3.0 if tasks == 64 else 0.95
        about = f"{what} of 64 values" if what == "get_many" else f"{what} of 64 bytes"
        aiocaches = f", where aiocache makes {middle['aiocache']:,.0f}/s" if "aiocache" in middle else ""
        found.append(
            {
                "claim": "P10" if (what, tasks) == ("get", 64) else "redis",
                "what": f"Redis, {about}, {tasks} task{'s' * (tasks > 1)}{aiocaches}",
                "ours": round(middle["ours"]),
                "peer": round(middle["peer"]),
                "peer_name": "raw redis-py with hiredis",
                "limit": round(middle["limit"]),
                "limit_name": "bare pipeline on hiredis",
                "unit": "1/s",
                "ratio": round(ratio, 3),
                "target": f">= {target:g} x raw redis-py",
                "ok": ratio >= target,
                "our_cpu_us": round(costs["ours"], 2),
                "peer_cpu_us": round(costs["peer"], 2),
                "limit_cpu_us": round(costs["limit"], 2),
            }
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON array and nothing else")
    arguments = parser.parse_args()
    try:
        with RedisServer() as server:
            found = results(asyncio.run(measure(server.port)))
    except test_servers.Missing as error:
        skipped: dict[str, object] = dict.fromkeys(("ours", "peer", "limit", "ratio", "ok"))
        names = {"peer_name": "raw redis-py with hiredis", "limit_name": "bare pipeline on hiredis", "unit": "1/s"}
        what = {"claim": "P10", "what": "Redis, get of 64 bytes, 64 tasks", "target": ">= 3 x raw redis-py"}
        found = [{**what, **skipped, **names, "skipped": str(error)}]
    if arguments.json:
        print(json.dumps(found))
        return
    for one in found:
        if one.get("skipped"):
            print(f"{one['what']}: {one['skipped']}")
            continue
        print(f"{one['what']}: ours {one['ours']:,}/s, raw redis-py {one['peer']:,}/s, bare pipeline {one['limit']:,}/s")
        print(f"  CPU for one: ours {one['our_cpu_us']} us, raw redis-py {one['peer_cpu_us']} us, bare pipeline {one['limit_cpu_us']} us")
        print(f"  ratio {one['ratio']} to raw redis-py (target {one['target']})")


if __name__ == "__main__":
    main()
