"""Fetch one row by its key from SQLite: our database against raw aiosqlite, and against sqlite3 without any loop, in one run.

Raw aiosqlite is one connection and the three calls of its documentation (execute, fetchone, close), with `sqlite3.Row` for rows. Ours
is `fetch_one`, with a mapping for a row, the parameters checked, and a pool of readers. The limit is sqlite3 in the caller's own
thread, which blocks whoever else wants to run. All take turns, with one task and with sixteen.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiosqlite

from pywatt_core.interfaces import Context
from pywatt_sqlite import Options, open_sqlite

ROUNDS, FETCHES, KEYS = 9, 3200, 1000
SELECT = "SELECT id, name, body FROM items WHERE id = ?"

Fetch = Callable[[int], Awaitable[object]]


async def per_second(fetch: Fetch, tasks: int) -> float:
    """Fetches per second with so many tasks at once."""

    async def work(first: int) -> None:
        for number in range(FETCHES // tasks):
            await fetch((first + number) % KEYS)

    begun = time.perf_counter()
    await asyncio.gather(*[work(task * 7) for task in range(tasks)])
    return FETCHES / (time.perf_counter() - begun)


async def measure(folder: Path) -> dict[tuple[str, int], list[float]]:
    context = Context(module_id="benchmark", section="databases.main", folder=folder)
    figures: dict[tuple[str, int], list[float]] = {}
    async with open_sqlite(Options(path="benchmark.db"), context) as database, aiosqlite.connect(folder / "benchmark.db") as raw:
        await database.execute("CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT, body TEXT)")
        async with database.transaction() as transaction:
            for number in range(KEYS):
                await transaction.execute("INSERT INTO items VALUES (?, ?, ?)", (number, f"item {number}", "x" * 100))
        raw.row_factory = sqlite3.Row
        inline = sqlite3.connect(folder / "benchmark.db")

        async def ours(key: int) -> object:
            return await database.fetch_one(SELECT, (key,))

        async def peer(key: int) -> object:
            async with raw.execute(SELECT, (key,)) as cursor:
                return await cursor.fetchone()

        async def limit(key: int) -> object:
            return inline.execute(SELECT, (key,)).fetchone()

        for _ in range(ROUNDS + 1):
            for tasks in (1, 16):
                for name, fetch in (("ours", ours), ("peer", peer), ("limit", limit)):
                    figures.setdefault((name, tasks), []).append(await per_second(fetch, tasks))
        inline.close()
    return {key: values[1:] for key, values in figures.items()}  # the first round opens the readers


def results(figures: dict[tuple[str, int], list[float]]) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    for tasks in (1, 16):
        ours, peer, limit = (statistics.median(figures[name, tasks]) for name in ("ours", "peer", "limit"))
        ratio = statistics.median(a / b for a, b in zip(figures["ours", tasks], figures["peer", tasks], strict=True))
        found.append(
            {
                "claim": "sqlite",
                "what": f"fetch one row by key from SQLite, {tasks} task{'s' * (tasks > 1)}",
                "ours": round(ours),
                "peer": round(peer),
                "peer_name": "raw aiosqlite",
                "limit": round(limit),
                "limit_name": "sqlite3, blocking",
                "unit": "1/s",
                "ratio": round(ratio, 3),
                "target": ">= 0.85 x raw aiosqlite",
                "ok": ratio >= 0.85,
            }
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON array and nothing else")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = results(asyncio.run(measure(Path(folder))))
    if arguments.json:
        print(json.dumps(found))
        return
    for one in found:
        print(f"{one['what']}: ours {one['ours']}/s, raw aiosqlite {one['peer']}/s, sqlite3 in the same thread {one['limit']}/s")
        print(f"  ratio {one['ratio']} to raw aiosqlite (target {one['target']})")


if __name__ == "__main__":
    main()
