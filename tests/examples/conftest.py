"""Examples as a user sees them: `pywatt up` in a copy of one, through the front door, from start to Ctrl-C."""

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

EXAMPLES = Path(__file__).parents[2] / "examples"
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("PYWATT", "LISTEN_"))}
DEADLINE = 40


class Example:
    """`pywatt up` in a copy of one example."""

    deadline = DEADLINE
    clean = CLEAN

    def __init__(self, name, folder, runtime):
        self.name = name
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
        modules = re.findall(r"^\[modules\.(\w+)\]", (self.folder / "pywatt.toml").read_text(), re.MULTILINE)
        await self.until(lambda: set(modules) <= set(self.ready()))
        self.door = re.search(r"front door on http://(\S+?)[,\s]", self.output)[1]

    def running(self):
        return running(self)

    def ready(self):
        return re.findall(r"(\w+)(?:\.\d+)?\s+ready in", self.output)

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

    async def post(self, path, **arguments):
        return await fetch(self.door, "POST", path, deadline=DEADLINE, **arguments)

    def processes(self):
        statuses = json.loads(self.pywatt("ps", "--json").stdout)
        return {status["instance"]: status["pid"] for status in statuses}

    async def interrupt(self):
        self.process.send_signal(signal.SIGINT)
        async with asyncio.timeout(DEADLINE):
            return await self.process.wait()


@contextlib.asynccontextmanager
async def running(example):
    try:
        await example.start()
        yield example
    finally:
        if example.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                example.process.send_signal(signal.SIGINT)
            await example.process.wait()
        await example.reading


@pytest.fixture
def example_of(tmp_path, tmp_path_factory):
    """Copies one example; `async with example.running() as up` starts it."""

    def copy(name):
        folder = tmp_path / name
        shutil.copytree(EXAMPLES / name, folder, ignore=shutil.ignore_patterns(".pywatt", "__pycache__"))
        return Example(name, folder, tmp_path_factory.mktemp("r"))

    return copy
