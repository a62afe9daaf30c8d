"""S2: secrets rotate a thousand times under load. No request fails, and what is acknowledged is in use.

`pywatt up` runs two modules behind its gateway. Each answers from a database whose address is a secret, and keeps a key that is one
too. Again and again both change in the ``.env`` file, with PostgreSQL the password at the server first, while clients ask without a
pause. As soon as the orchestrator says that a rotation is done, both modules have to answer with its number, from the key and from the
database.

    python benchmarks/soak/rotation.py                              1,000 rotations, PostgreSQL
    python benchmarks/soak/rotation.py --rounds 50 --database sqlite

Exit status 1 where a request has failed, where an acknowledged value was not in use, or where a process has grown without end, in memory
or in open files.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

LAUNCHER = "import sys; from pywatt_core.cli.main import main; sys.exit(main())"
DEADLINE = 60.0
GROWTH = 16
"""MiB, and open files, by which a process may grow over what it needed after a tenth of the rounds."""

MODULE = """
import os
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from pywatt_core import pywatt_module

@pywatt_module(secrets=["API_KEY"], rotate=True, state_builder=lambda init, secrets: secrets[0])
async def app(state):
    async def place():
        if state.database.dialect == "sqlite":
            return os.path.basename((await state.database.fetch_all("PRAGMA database_list"))[0]["file"]).removesuffix(".db")
        return await state.database.fetch_value("SELECT current_setting('application_name')")

    async def answer(request):
        async with state.database.transaction() as transaction:
            await transaction.execute("INSERT INTO calls (who) VALUES (?)", (state.module_id,))
        return JSONResponse({"pid": os.getpid(), "key": int(state.user_state.expose_secret().rpartition("-")[2]), "place": await place()})

    return Starlette(routes=[Route("/", answer)])
"""

CONFIG = """
[secrets.dotenv]
poll = 0.05

[databases.main]
{database}
[modules.users]
run = "holds.py"

[modules.orders]
run = "holds.py"
"""


class Place(NamedTuple):
    """A database in which the rounds have places of their own."""

    section: str
    change: Callable[[int], str]
    """Makes the place of a round ready; its address."""


@contextlib.contextmanager
def sqlite(folder: Path) -> Any:
    """Two files in turn."""
    import sqlite3

    def change(number: int) -> str:
        path = folder / f"r{number}.db"
        with contextlib.closing(sqlite3.connect(path)) as made:
            made.execute("CREATE TABLE calls (who TEXT)")
            made.commit()
        with contextlib.suppress(FileNotFoundError):
            for old in folder.glob(f"r{number - 4}.db*"):
                old.unlink()
        return str(path)

    yield Place('use = "sqlite"\npath = "secret:PLACE"\n', change)


@contextlib.contextmanager
def postgres(_folder: Path) -> Any:
    """One server, whose password changes each time. The pools are full from the start: a session that is open stays open."""
    import asyncpg

    from tools.running_servers import PostgresServer

    with PostgresServer() as server:

        async def ask(sql: str) -> None:
            connection = await asyncpg.connect(host="127.0.0.1", port=server.port, user="postgres", database="postgres")
            try:
                await connection.execute(sql)
            finally:
                await connection.close()

        def change(number: int) -> str:
            asyncio.run(ask(f"ALTER ROLE pywatt PASSWORD 'password-{number}'"))
            return f"postgresql://pywatt:password-{number}@127.0.0.1:{server.port}/postgres?application_name=r{number}"

        asyncio.run(ask("CREATE TABLE calls (who TEXT)"))
        pool = "pool = { min_connections = 4, max_connections = 4 }"
        yield Place(f'use = "postgres"\nurl = "secret:PLACE"\n{pool}\n', change)


def write_secrets(folder: Path, number: int, address: str) -> None:
    """As an editor does: a new file in the old one's place."""
    fresh = folder / ".env.new"
    fresh.write_text(f"API_KEY=key-of-round-{number}\nPLACE={address}\n", encoding="utf-8")
    fresh.replace(folder / ".env")


class Project:
    """A running orchestrator, and what it says."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []
        self._more = asyncio.Condition()
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            async with self._more:
                self.lines.append(line.decode(errors="replace"))
                self._more.notify_all()
        async with self._more:
            self._more.notify_all()

    async def said(self, *texts: str, after: int = 0) -> int:
        """Wait for a line with all of `texts`; the number of lines up to it."""
        seen = after
        async with asyncio.timeout(DEADLINE), self._more:
            while True:
                for number in range(seen, len(self.lines)):
                    if all(text in self.lines[number] for text in texts):
                        return number + 1
                seen = len(self.lines)
                if self._reading.done():
                    raise RuntimeError("the orchestrator has ended:\n" + "".join(self.lines[-20:]))
                await self._more.wait()


@contextlib.asynccontextmanager
async def running(folder: Path, runtime: Path) -> AsyncIterator[Project]:
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(runtime)}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", LAUNCHER, "up", "--json", "--port", "0"),
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        limit=2**20,
    )
    project = Project(process)
    try:
        yield project
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(process.wait(), DEADLINE)
            except TimeoutError:
                process.kill()


class Client:
    """One connection through the gateway, kept alive, asked again and again."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def get(self, path: str) -> dict[str, Any]:
        """The answer. Raises whatever kept it from being a 200."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        try:
            async with asyncio.timeout(DEADLINE):
                writer.write(f"GET {path} HTTP/1.1\r\nHost: soak\r\n\r\n".encode())
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                length = next(int(line.partition(":")[2]) for line in head.lower().splitlines() if line.startswith("content-length:"))
                body = await reader.readexactly(length)
        except BaseException:
            self.close()
            raise
        if not head.startswith("HTTP/1.1 200 "):
            raise RuntimeError(f"{head.splitlines()[0]}: {body[:300]!r}")
        answer: dict[str, Any] = json.loads(body)
        return answer

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


class Load:
    """What all clients have seen."""

    def __init__(self) -> None:
        self.latencies: list[float] = []
        self.failures: list[str] = []
        self.ending = False

    async def ask(self, port: int, path: str) -> None:
        client = Client(port)
        while not self.ending:
            begun = time.perf_counter()
            try:
                await client.get(path)
            except Exception as error:
                self.failures.append(f"{path}: {type(error).__name__}: {error}")
            self.latencies.append(time.perf_counter() - begun)
        client.close()


class Size(NamedTuple):
    """What a process needs."""

    memory: float
    """MiB."""
    files: int
    """Open ones."""


def size_of(pid: int) -> Size:
    """What a process needs now."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return Size(int(line.split()[1]) / 1024, len(os.listdir(f"/proc/{pid}/fd")))
    raise RuntimeError(f"process {pid} does not say how much memory it has")


async def soak(folder: Path, runtime: Path, place: Place, rounds: int, clients: int) -> int:
    """Everything; the exit status."""
    write_secrets(folder, 0, await asyncio.to_thread(place.change, 0))
    (folder / "holds.py").write_text(MODULE, encoding="utf-8")
    (folder / "pywatt.toml").write_text(CONFIG.format(database=place.section), encoding="utf-8")
    stale: list[str] = []
    seconds: list[float] = []
    sizes: dict[int, list[Size]] = {}
    async with running(folder, runtime) as project:
        at = await project.said("http://127.0.0.1:")
        port = int(
            "".join(filter(str.isdigit, project.lines[at - 1].partition("http://127.0.0.1:")[2].split("/")[0].split('"')[0].split()[0]))
        )
        probe, load = Client(port), Load()
        for path in ("/users/", "/orders/"):
            await until_served(probe, path)
        asking = [asyncio.create_task(load.ask(port, ("/users/", "/orders/")[number % 2])) for number in range(clients)]
        for number in range(1, rounds + 1):
            address = await asyncio.to_thread(place.change, number)
            begun = time.perf_counter()
            write_secrets(folder, number, address)
            at = await project.said("API_KEY", "PLACE", "rotated: orders, users", after=at)
            seconds.append(time.perf_counter() - begun)
            for path in ("/users/", "/orders/"):
                answer = await probe.get(path)
                if (answer["key"], answer["place"]) != (number, f"r{number}"):
                    stale.append(f"{path} after round {number}: {answer}")
                if number in (max(1, rounds // 10), rounds):
                    sizes.setdefault(answer["pid"], []).append(size_of(answer["pid"]))
            if number in (max(1, rounds // 10), rounds):
                sizes.setdefault(project.process.pid, []).append(size_of(project.process.pid))
            if number % 100 == 0:
                print(f"{number} rotations, {len(load.latencies)} requests, {len(load.failures)} failed", flush=True)
        load.ending = True
        await asyncio.gather(*asking)
        probe.close()
    return tell(load, stale, seconds, sizes, rounds)


async def until_served(client: Client, path: str) -> None:
    async with asyncio.timeout(DEADLINE):
        while True:
            with contextlib.suppress(Exception):
                await client.get(path)
                return
            await asyncio.sleep(0.1)


def tell(load: Load, stale: list[str], seconds: list[float], sizes: dict[int, list[Size]], rounds: int) -> int:
    latencies = sorted(load.latencies)
    print(
        f"{rounds} rotations, {statistics.median(seconds):.3f} s each (median), {max(seconds):.3f} s at most, from the change of the file"
    )
    print(f"{len(latencies)} requests: {statistics.median(latencies) * 1e3:.1f} ms median, {latencies[-1] * 1e3:.0f} ms at most")
    print(f"{len(load.failures)} requests failed, {len(stale)} acknowledged values were not in use")
    for line in [*load.failures[:5], *stale[:5]]:
        print(f"    {line}")
    grown = False
    for pid, found in sizes.items():
        memory, files = found[-1].memory - found[0].memory, found[-1].files - found[0].files
        print(
            f"process {pid}: {found[0].memory:.1f} MiB, {found[0].files} open files after a tenth, {memory:+.1f} and {files:+} at the end"
        )
        grown = grown or max(memory, files) > GROWTH
    return 1 if load.failures or stale or grown or len(sizes) != 3 else 0


def main() -> int:
    parser = argparse.ArgumentParser(description="Rotations under load.")
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--database", choices=("postgres", "sqlite"), default="postgres")
    options = parser.parse_args()
    folder, runtime = Path(tempfile.mkdtemp(prefix="pywatt-soak-")), Path(tempfile.mkdtemp(prefix="pywatt-run-"))
    try:
        with (postgres if options.database == "postgres" else sqlite)(folder) as place:
            return asyncio.run(soak(folder, runtime, place, options.rounds, options.clients))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(runtime, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
