"""The main job, as a user sees it: `pywatt up` on the guestbook, through the front door, from start to Ctrl-C."""

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pywatt_core.testing import fetch

EXAMPLE = Path(__file__).parents[2] / "examples" / "guestbook"
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("PYWATT", "LISTEN_"))}
DEADLINE = 40


class Guestbook:
    """`pywatt up` in a copy of the example."""

    def __init__(self, folder, runtime):
        self.folder = folder
        self.environ = {**CLEAN, "XDG_RUNTIME_DIR": str(runtime)}
        self.output = ""
        self.door = ""

    def pywatt(self, *arguments):
        command = [sys.executable, "-m", "pywatt_core.cli.main", *arguments]
        return subprocess.run(command, cwd=self.folder, env=self.environ, capture_output=True, text=True, timeout=DEADLINE, check=False)

    async def start(self):
        command = [sys.executable, "-m", "pywatt_core.cli.main", "up", "--port", "0"]
        self.process = await asyncio.create_subprocess_exec(
            *command, cwd=self.folder, env=self.environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        self.changed = asyncio.Event()
        self.reading = asyncio.create_task(self._read())
        await self.until(lambda: "guestbook" in self.ready() and "greeter" in self.ready())
        self.door = re.search(r"front door on http://(\S+?)[,\s]", self.output)[1]

    def ready(self):
        return re.findall(r"(\w+)\s+ready in", self.output)

    async def _read(self):
        while data := await self.process.stdout.read(65536):
            self.output += data.decode()
            self.changed.set()
        self.changed.set()

    async def until(self, condition):
        try:
            async with asyncio.timeout(DEADLINE):
                while not condition():
                    assert not self.reading.done(), f"pywatt up ended:\n{self.output}"
                    self.changed.clear()
                    await self.changed.wait()
        except TimeoutError:
            raise AssertionError(f"what was waited for did not come:\n{self.output}") from None

    async def get(self, path, **arguments):
        return await fetch(self.door, "GET", path, deadline=DEADLINE, **arguments)

    def processes(self):
        statuses = json.loads(self.pywatt("ps", "--json").stdout)
        return {status["instance"]: status["pid"] for status in statuses}

    async def interrupt(self):
        self.process.send_signal(signal.SIGINT)
        async with asyncio.timeout(DEADLINE):
            return await self.process.wait()


@pytest.fixture
def guestbook(tmp_path, tmp_path_factory):
    folder = tmp_path / "guestbook"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns(".pywatt", "__pycache__"))
    return Guestbook(folder, tmp_path_factory.mktemp("r"))


@contextlib.asynccontextmanager
async def running(guestbook):
    await guestbook.start()
    try:
        yield guestbook
    finally:
        if guestbook.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                guestbook.process.send_signal(signal.SIGINT)
            await guestbook.process.wait()
        await guestbook.reading


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_two_applications_answer_behind_one_front_door_and_leave_nothing_behind(guestbook):
    async with running(guestbook) as up:
        assert (await up.get("/guestbook/entries")).json() == []
        written = await fetch(up.door, "POST", "/guestbook/entries", json_body={"name": "Ada", "message": "Hello"})
        assert written.status == 201
        entry = written.json()
        assert (await up.get("/guestbook/entries")).json() == [entry]
        assert (await up.get(f"/guestbook/entries/{entry['id']}")).json() == entry
        assert (await up.get("/guestbook/entries/unknown")).status == 404
        assert (await fetch(up.door, "POST", "/guestbook/entries", json_body={"name": ""})).status == 422

        greeting = (await up.get("/greeter/hello/ada")).json()
        assert greeting == {"greeting": "Hello, ada!", "signed": True, "signature": "Secret([REDACTED])"}

        index = await up.get("/", headers={"accept": "text/html"})
        assert "/guestbook/entries" in index.text
        assert "/greeter/hello/{name}" in index.text

        refused = await fetch(up.door, "DELETE", "/guestbook/entries")
        assert (refused.status, refused.headers["allow"]) == (405, "GET, HEAD, OPTIONS, POST")
        assert (await up.get("/guestbook/nowhere")).status == 404
        assert (await up.get("/guestbook/health")).status == 404, "health stays inside"

        pids = up.processes()
        assert await up.interrupt() == 0
        assert not [pid for pid in pids.values() if alive(pid)]
        assert not list(Path(up.environ["XDG_RUNTIME_DIR"]).rglob("*.sock"))
        assert "violets-are-blue" not in up.output
        assert "Traceback" not in up.output


@pytest.mark.parametrize("victim", ["guestbook", "greeter"])
async def test_a_module_that_is_killed_is_replaced_while_the_other_serves_on(guestbook, victim):
    async with running(guestbook) as up:
        await fetch(up.door, "POST", "/guestbook/entries", json_body={"name": "Ada", "message": "Hello"})
        before = up.processes()
        os.kill(before[victim], signal.SIGKILL)
        other = "/greeter/hello/ada" if victim == "guestbook" else "/guestbook/entries"
        assert (await up.get(other)).status == 200
        path = "/guestbook/entries" if victim == "guestbook" else "/greeter/hello/ada"
        await up.until(lambda: up.ready().count(victim) == 2)
        assert (await up.get(path)).status == 200
        if victim == "guestbook":
            assert len((await up.get(path)).json()) == 1
        after = up.processes()
        assert after[victim] != before[victim]
        assert {name: pid for name, pid in after.items() if name != victim} == {name: pid for name, pid in before.items() if name != victim}


async def test_the_tools_beside_it_work(guestbook):
    async with running(guestbook) as up:
        table = up.pywatt("ps")
        assert table.returncode == 0, table.stderr
        assert "guestbook" in table.stdout
        assert "ready" in table.stdout
        before = up.processes()["greeter"]
        done = await asyncio.to_thread(up.pywatt, "restart", "greeter")
        assert done.returncode == 0, done.stderr
        assert up.processes()["greeter"] != before
        assert (await up.get("/greeter/hello/ada")).status == 200
        logs = await asyncio.to_thread(up.pywatt, "logs", "guestbook")
        assert "serving" in logs.stdout
        stopped = await asyncio.to_thread(up.pywatt, "stop")
        assert stopped.returncode == 0, stopped.stderr
        async with asyncio.timeout(DEADLINE):
            assert await up.process.wait() == 0


async def test_each_module_runs_alone_too(guestbook):
    for name, path, words in (("guestbook", "/entries", "[]"), ("greeter", "/hello/ada", "Hello, ada!")):
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            f"{name}.py",
            cwd=guestbook.folder,
            env={**CLEAN, "PYWATT__MODULE__LISTEN": str(guestbook.folder / "alone.sock"), "PYWATT__DATABASES__MAIN__USE": "sqlite"},
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(DEADLINE):
                while line := await process.stderr.readline():
                    if b"serving" in line:
                        break
                assert words in (await fetch(str(guestbook.folder / "alone.sock"), "GET", path)).text
                process.terminate()
                assert await process.wait() == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
