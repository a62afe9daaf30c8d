"""Ask PostgreSQL: our database against raw asyncpg, psycopg's pool and SQLAlchemy's asyncio on asyncpg, on one server in one run.

Every library has a pool of 16 connections over TCP and is used as its documentation says: `pool.fetchrow`, `pool.connection()`,
`engine.connect()`. Ours is `fetch_one`, with a mapping for a row, parameters checked, a deadline for every wait, and errors of
one family. The limit is asyncpg on connections that their tasks keep, with no pool at all. Three kinds of work: one row by its key, a
transaction that changes a row, and 1,000 rows of one statement. All take turns, on uvloop where it is installed.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import resource
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple

from pywatt_core.interfaces import Context, Database
from pywatt_core.replaceable import GetSecret, Replaceable
from pywatt_core.sql.options import PoolOptions
from pywatt_postgres import Options, open_postgres
from tools import test_servers
from tools.running_servers import PostgresServer

ROUNDS, CONNECTIONS, KEYS, MANY = 7, 16, 1000, 1000
CLAIM = 0.85

GET = "SELECT id, name, body FROM items WHERE id = {}"
CHANGE = "UPDATE items SET total = total + 1 WHERE id = {}"
ROWS = "SELECT id, name, body FROM items ORDER BY id LIMIT {}"

Call = Callable[[int], Awaitable[object]]


class Work(NamedTuple):
    """Three kinds of work by one library. Each call gets a number to take its key from."""

    get: Call
    change: Call
    rows: Call


class Kind(NamedTuple):
    name: str
    words: str
    tasks: int
    calls: int


KINDS = (
    Kind("get", "fetch one row by key from PostgreSQL", 1, 800),
    Kind("get", "fetch one row by key from PostgreSQL", 16, 3200),
    Kind("change", "change one row in a transaction of its own, PostgreSQL", 16, 1280),
    Kind("rows", "fetch 1,000 rows from PostgreSQL", 16, 320),
)
NAMES = {"asyncpg": "raw asyncpg", "psycopg": "psycopg pool", "sqlalchemy": "SQLAlchemy async"}


@asynccontextmanager
async def ours(port: int) -> AsyncIterator[Work]:
    """As a module has it whose address is a secret: behind the face that rotations exchange it behind."""
    pool = PoolOptions(max_connections=CONNECTIONS)
    options = Options(host="127.0.0.1", port=port, user="postgres", database="postgres", pool=pool, ssl_mode="disable")

    def make(_secret: GetSecret) -> AbstractAsyncContextManager[Database]:
        return open_postgres(options, Context(module_id="benchmark", section="databases.main"))

    async def no_secret(_name: str) -> str:
        return ""

    replaceable = Replaceable(make, "databases.main", interface=Database)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(replaceable.close)
        database = await replaceable.open(no_secret)

        async def change(key: int) -> None:
            async with database.transaction() as transaction:
                await transaction.execute(CHANGE.format("?"), (key,))

        yield Work(lambda key: database.fetch_one(GET.format("?"), (key,)), change, lambda _: database.fetch_all(ROWS.format("?"), (MANY,)))


@asynccontextmanager
async def asyncpg_pool(port: int) -> AsyncIterator[Work]:
    import asyncpg

    address = {"host": "127.0.0.1", "port": port, "user": "postgres", "database": "postgres", "ssl": False}
    async with asyncpg.create_pool(**address, min_size=CONNECTIONS, max_size=CONNECTIONS) as pool:

        async def change(key: int) -> None:
            async with pool.acquire() as connection, connection.transaction():
                await connection.execute(CHANGE.format("$1"), key)

        yield Work(lambda key: pool.fetchrow(GET.format("$1"), key), change, lambda _: pool.fetch(ROWS.format("$1"), MANY))


@asynccontextmanager
async def asyncpg_alone(port: int) -> AsyncIterator[Work]:
    import asyncpg

    free: list[Any] = []
    for _ in range(CONNECTIONS):
        free.append(await asyncpg.connect(host="127.0.0.1", port=port, user="postgres", database="postgres", ssl=False))
    mine: dict[Any, Any] = {}

    def connection() -> Any:
        task = asyncio.current_task()
        if task not in mine:
            mine[task] = free[len(mine) % CONNECTIONS]
        return mine[task]

    async def change(key: int) -> None:
        own = connection()
        async with own.transaction():
            await own.execute(CHANGE.format("$1"), key)

    yield Work(lambda key: connection().fetchrow(GET.format("$1"), key), change, lambda _: connection().fetch(ROWS.format("$1"), MANY))
    for one in free:
        await one.close()


@asynccontextmanager
async def psycopg_pool(port: int) -> AsyncIterator[Work]:
    import psycopg_pool as library
    from psycopg.rows import dict_row

    address = f"postgresql://postgres@127.0.0.1:{port}/postgres?sslmode=disable"
    async with library.AsyncConnectionPool(address, min_size=CONNECTIONS, max_size=CONNECTIONS, kwargs={"row_factory": dict_row}) as pool:
        await pool.wait()

        async def get(key: int) -> object:
            async with pool.connection() as connection:
                return await (await connection.execute(GET.format("%s"), (key,))).fetchone()

        async def change(key: int) -> None:
            async with pool.connection() as connection:
                await connection.execute(CHANGE.format("%s"), (key,))

        async def rows(_: int) -> object:
            async with pool.connection() as connection:
                return await (await connection.execute(ROWS.format("%s"), (MANY,))).fetchall()

        yield Work(get, change, rows)


@asynccontextmanager
async def sqlalchemy_engine(port: int) -> AsyncIterator[Work]:
    from sqlalchemy import text
    from sqlalchemy.ext.asyncio import create_async_engine

    address = f"postgresql+asyncpg://postgres@127.0.0.1:{port}/postgres"
    engine = create_async_engine(address, pool_size=CONNECTIONS, max_overflow=0, connect_args={"ssl": False})
    statements = [text(sql.format(":value")) for sql in (GET, CHANGE, ROWS)]

    async def get(key: int) -> object:
        async with engine.connect() as connection:
            return (await connection.execute(statements[0], {"value": key})).mappings().first()

    async def change(key: int) -> None:
        async with engine.begin() as connection:
            await connection.execute(statements[1], {"value": key})

    async def rows(_: int) -> object:
        async with engine.connect() as connection:
            return (await connection.execute(statements[2], {"value": MANY})).mappings().all()

    yield Work(get, change, rows)
    await engine.dispose()


ENDS = {"ours": ours, "asyncpg": asyncpg_pool, "limit": asyncpg_alone, "psycopg": psycopg_pool, "sqlalchemy": sqlalchemy_engine}
NEEDS = {"psycopg": "psycopg_pool", "sqlalchemy": "greenlet"}


def missing(end: str) -> str:
    """Why a library cannot be measured here; empty where it can."""
    library = NEEDS.get(end)
    return "" if library is None or importlib.util.find_spec(library) else f"{library} is not installed"


async def per_second(call: Call, tasks: int, calls: int) -> tuple[float, float]:
    """Calls per second with so many tasks at once, and microseconds of this process's CPU for each."""

    async def work(first: int) -> None:
        for number in range(calls // tasks):
            await call((first * 61 + number) % KEYS)  # tasks do not change the same rows at the same time

    before = resource.getrusage(resource.RUSAGE_SELF)
    begun = time.perf_counter()
    await asyncio.gather(*[asyncio.create_task(work(task)) for task in range(tasks)])
    seconds = time.perf_counter() - begun
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return calls / seconds, cpu / calls * 1e6


Figures = dict[tuple[str, Kind], list[tuple[float, float]]]


async def measure(port: int) -> Figures:
    figures: Figures = {}
    async with AsyncExitStack() as stack:
        works = {name: await stack.enter_async_context(end(port)) for name, end in ENDS.items() if not missing(name)}
        for _ in range(ROUNDS + 1):
            for kind in KINDS:
                for name, work in works.items():
                    figures.setdefault((name, kind), []).append(await per_second(getattr(work, kind.name), kind.tasks, kind.calls))
    return {key: values[1:] for key, values in figures.items()}  # the first round prepares statements and opens connections


async def fill(port: int) -> None:
    import asyncpg

    connection = await asyncpg.connect(host="127.0.0.1", port=port, user="postgres", database="postgres", ssl=False)
    await connection.execute("CREATE TABLE items (id BIGINT PRIMARY KEY, name TEXT, body TEXT, total BIGINT NOT NULL DEFAULT 0)")
    rows = [(number, f"item {number}", "x" * 100) for number in range(KEYS)]
    await connection.executemany("INSERT INTO items (id, name, body) VALUES ($1, $2, $3)", rows)
    await connection.execute("ANALYZE items")
    await connection.close()


def results(figures: Figures) -> list[dict[str, object]]:
    return [figure(figures, kind, peer) for kind in KINDS for peer in NAMES]


def figure(figures: Figures, kind: Kind, peer: str) -> dict[str, object]:
    rate = {name: statistics.median(one for one, _ in values) for (name, of), values in figures.items() if of is kind}
    cpu = {name: statistics.median(one for _, one in values) for (name, of), values in figures.items() if of is kind}
    result: dict[str, object] = {
        "claim": "P9" if (kind.name, kind.tasks) == ("get", 16) else "postgres",
        "what": f"{kind.words}, {kind.tasks} task{'s' * (kind.tasks > 1)}",
        "ours": round(rate["ours"]),
        "peer": None,
        "peer_name": NAMES[peer],
        "limit": round(rate["limit"]),
        "limit_name": "asyncpg, no pool",
        "unit": "1/s",
        "ratio": None,
        "target": "",
        "ok": None,
        "our_cpu_us": round(cpu["ours"], 1),
        "limit_cpu_us": round(cpu["limit"], 1),
    }
    if why := missing(peer):
        return {**result, "ours": None, "skipped": why}
    pairs = zip(figures["ours", kind], figures[peer, kind], strict=True)
    ratio = statistics.median(mine / theirs for (mine, _), (theirs, _) in pairs)
    result.update(peer=round(rate[peer]), ratio=round(ratio, 3), peer_cpu_us=round(cpu[peer], 1))
    if peer == "asyncpg" and (kind.name, kind.tasks) == ("get", 16):
        result.update(target=f">= {CLAIM} x {NAMES[peer]}", ok=ratio >= CLAIM)
    return result


async def run() -> list[dict[str, object]]:
    with PostgresServer() as server:
        await fill(server.port)
        return results(await measure(server.port))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON array and nothing else")
    arguments = parser.parse_args()
    try:
        test_servers.obtain("postgres")
    except test_servers.Missing as error:
        why = {"claim": "P9", "what": "fetch one row by key from PostgreSQL", "ours": None, "peer": None, "limit": None, "unit": "1/s"}
        found: list[dict[str, object]] = [{**why, "ratio": None, "target": "", "ok": None, "skipped": str(error)}]
    else:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            found = runner.run(run())
    if arguments.json:
        print(json.dumps(found))
        return
    for one in found:
        if one.get("skipped"):
            print(f"{one['what']}: skipped, {one['skipped']}")
            continue
        print(f"{one['what']}: ours {one['ours']}/s, {one['peer_name']} {one['peer']}/s, {one['limit_name']} {one['limit']}/s; ", end="")
        print(f"CPU {one['our_cpu_us']}, {one['peer_cpu_us']}, {one['limit_cpu_us']} µs; ratio {one['ratio']} {one['target']}")


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if importlib.util.find_spec("uvloop") is None:
        return None
    import uvloop

    return uvloop.new_event_loop


if __name__ == "__main__":
    main()
